//! A NATS server with natsgate answering its callout, as a user would run them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, Subscriber};
use futures::StreamExt;
use natsgate_devkit::process::Process;
use natsgate_devkit::{
    ConfigMode, ConfigModeOptions, DevProvider, DevProviderOptions, NatsServer, NatsServerOptions,
    OperatorMode, OperatorModeOptions, SigningAlgorithm, TokenSpec,
};
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;

/// The longest anything here may take before a test fails: generous, and never waited for when all is well.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The policy of most tests: members of a project may publish to its `in` and subscribe to all of it.
pub const POLICY: &str = r#"
version: 1
account: APP
rules:
  - name: project members
    for_each: { membership: { kind: project, role: member } }
    publish: { allow: ["projects.{membership.id}.in.>"] }
    subscribe: { allow: ["projects.{membership.id}.>"] }
"#;

/// How the nats-server knows its callout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Config,
    Operator,
    /// Operator mode in which clients need no sentinel credentials.
    OperatorWithDefaultSentinel,
    /// That, and account JWTs that can be pushed: the shim reads them, and has a root secret for APP.
    OperatorWithPushes,
}

/// The root secret of APP's templates.
pub const ROOT_SECRET: &str = "only for these tests, 32 bytes at least";

/// A nats-server set up for a callout, and what a shim needs to know of it.
pub struct Cluster {
    pub nats: NatsServer,
    pub keys: Keys,
    /// Whether the shim is to read account JWTs.
    pub pushes: bool,
}

pub enum Keys {
    Config(Box<ConfigMode>),
    Operator(Box<OperatorMode>),
}

impl Cluster {
    pub async fn start(mode: Mode, xkey: bool) -> Self {
        Self::start_with(mode, xkey, |options| options).await
    }

    /// With what `change` makes of the server's options.
    pub async fn start_with(
        mode: Mode,
        xkey: bool,
        change: impl FnOnce(NatsServerOptions) -> NatsServerOptions,
    ) -> Self {
        install_crypto();
        let (keys, config) = match mode {
            Mode::Config => {
                let keys = ConfigMode::generate(ConfigModeOptions {
                    xkey,
                    ..Default::default()
                })
                .unwrap();
                let config = keys.server_config();
                (Keys::Config(Box::new(keys)), config)
            }
            Mode::Operator | Mode::OperatorWithDefaultSentinel | Mode::OperatorWithPushes => {
                let options = OperatorModeOptions {
                    xkey,
                    default_sentinel: mode != Mode::Operator,
                    full_resolver: mode == Mode::OperatorWithPushes,
                    ..Default::default()
                };
                let keys = OperatorMode::generate(options).unwrap();
                let config = keys.server_config();
                (Keys::Operator(Box::new(keys)), config)
            }
        };
        let pushes = mode == Mode::OperatorWithPushes;
        // A large token has to fit into CONNECT to reach the callout at all.
        let config = format!("{config}\nmax_control_line: 262144\n");
        let options = change(NatsServerOptions {
            config,
            ..Default::default()
        });
        let nats = NatsServer::start(options).await.unwrap();
        Self { nats, keys, pushes }
    }

    /// The `shim` section for this server, without its `decision`.
    pub fn shim_section(&self) -> String {
        let url = self.nats.client_url();
        let mut text = String::from("shim:\n  cluster: test\n  answer_margin: 400ms\n");
        match &self.keys {
            Keys::Config(keys) => {
                for (name, user) in [("nats", &keys.callout_user), ("system", &keys.system_user)] {
                    let password = user.password.expose_secret();
                    writeln!(
                        text,
                        "  {name}: {{ servers: ['{url}'], user: {}, password: '{password}' }}",
                        user.user
                    )
                    .unwrap();
                }
                let seed = keys.issuer.seed().unwrap();
                writeln!(text, "  config_mode: {{ issuer_seed: {} }}", seed.expose_secret()).unwrap();
                writeln!(text, "  accounts: [{{ name: APP }}]").unwrap();
                if let Some(xkey) = &keys.xkey {
                    writeln!(text, "  xkey_seed: {}", xkey.seed().expose_secret()).unwrap();
                }
            }
            Keys::Operator(keys) => {
                for (name, user) in [("nats", &keys.callout_user), ("system", &keys.system_user)] {
                    let creds = user.credentials.format().replace('\n', "\n      ");
                    writeln!(
                        text,
                        "  {name}:\n    servers: ['{url}']\n    creds: |\n      {creds}"
                    )
                    .unwrap();
                }
                let seed = keys.callout_account.seed().unwrap();
                let account = keys.callout_account.public_key();
                let (operators, secrets) = if self.pushes {
                    (
                        format!(", operators: [{}]", keys.operator.public_key()),
                        format!(", root_secrets: ['{ROOT_SECRET}']"),
                    )
                } else {
                    (String::new(), String::new())
                };
                writeln!(
                    text,
                    "  operator_mode: {{ callout_account: {account}, signing_seed: {}{operators} }}",
                    seed.expose_secret()
                )
                .unwrap();
                let app = keys.account("APP").unwrap();
                let seed = app.signing_key.seed().unwrap();
                let account = app.key.public_key();
                writeln!(
                    text,
                    "  accounts: [{{ name: APP, account: {account}, signing_seed: {}{secrets} }}]",
                    seed.expose_secret()
                )
                .unwrap();
                if let Some(xkey) = &keys.xkey {
                    writeln!(text, "  xkey_seed: {}", xkey.seed().expose_secret()).unwrap();
                }
            }
        }
        text
    }

    /// Options of an ordinary client: with the sentinel's credentials where the server wants them.
    pub fn client_options(&self) -> ConnectOptions {
        match &self.keys {
            Keys::Operator(keys) if keys.default_sentinel.is_none() => {
                ConnectOptions::with_credentials(&keys.sentinel.credentials.format()).unwrap()
            }
            _ => ConnectOptions::new(),
        }
    }

    /// Connects with `token`, once.
    pub async fn connect(&self, token: &SecretString) -> Result<Session, ConnectErrorKind> {
        self.connect_with(self.client_options().token(token.expose_secret().to_owned()))
            .await
    }

    /// Connects with `options`, once.
    pub async fn connect_with(&self, options: ConnectOptions) -> Result<Session, ConnectErrorKind> {
        let (events, seen) = tokio::sync::mpsc::unbounded_channel();
        let client = options
            .event_callback(move |event| {
                let _ = events.send(event);
                async {}
            })
            .connection_timeout(PATIENCE)
            .max_reconnects(1)
            .connect(self.nats.client_url())
            .await
            .map_err(|error| error.kind())?;
        Ok(Session {
            client,
            events: tokio::sync::Mutex::new(seen),
        })
    }
}

/// A connected client and what it was told.
pub struct Session {
    pub client: Client,
    events: tokio::sync::Mutex<tokio::sync::mpsc::UnboundedReceiver<Event>>,
}

impl Session {
    /// The next event that `wanted` picks.
    pub async fn event(&self, wanted: impl Fn(&Event) -> bool) -> Event {
        let mut events = self.events.lock().await;
        tokio::time::timeout(PATIENCE, async {
            loop {
                let event = events.recv().await.expect("the client is gone");
                if wanted(&event) {
                    return event;
                }
            }
        })
        .await
        .expect("the event did not come")
    }

    /// Whether the server lets it publish to `subject`: either `watcher` sees the message, or the server says no.
    pub async fn may_publish(&self, subject: &str, watcher: &Client) -> bool {
        let mut seen = watcher.subscribe(subject.to_owned()).await.unwrap();
        let refusal = format!("permissions violation for publish to \"{subject}\"");
        self.told(&mut seen, &refusal, || {
            self.client.publish(subject.to_owned(), "x".into())
        })
        .await
    }

    /// Whether the server lets it subscribe to `subject`: either it sees a message there, or the server says no.
    pub async fn may_subscribe(&self, subject: &str, publisher: &Client) -> bool {
        let mut seen = self.client.subscribe(subject.to_owned()).await.unwrap();
        let target = subject.replace(['*', '>'], "x");
        let refusal = format!("permissions violation for subscription to \"{subject}\"");
        self.told(&mut seen, &refusal, || {
            publisher.publish(target.clone(), "x".into())
        })
        .await
    }

    /// Publishes until a message is seen or the server says no. (Once is not enough: a flush does not wait for the
    /// server, so the subscription may be younger than the message.)
    async fn told<F: Future<Output = Result<(), async_nats::PublishError>>>(
        &self,
        seen: &mut Subscriber,
        refusal: &str,
        publish: impl Fn() -> F,
    ) -> bool {
        let publishing = async {
            loop {
                publish().await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            message = seen.next() => { assert!(message.is_some()); true }
            _ = self.event(|event| refuses(event, refusal)) => false,
            () = publishing => unreachable!("it goes on for ever"),
        }
    }
}

/// Whether the server says that it does not let the client do `what`: one that was tried before may be told of only now.
fn refuses(event: &Event, what: &str) -> bool {
    let what = what.to_lowercase();
    matches!(event, Event::ServerError(error) if error.to_string().to_lowercase().contains(&what))
}

impl Cluster {
    /// A client that may do anything in the account APP, past the callout.
    pub async fn break_glass(&self) -> Client {
        let options = self.break_glass_options();
        options.connect(self.nats.client_url()).await.unwrap()
    }

    /// The options of that client.
    pub fn break_glass_options(&self) -> ConnectOptions {
        match &self.keys {
            Keys::Config(keys) => {
                let user = &keys.break_glass_user;
                ConnectOptions::with_user_and_password(
                    user.user.clone(),
                    user.password.expose_secret().into(),
                )
            }
            Keys::Operator(keys) => {
                ConnectOptions::with_credentials(&keys.break_glass_user.credentials.format()).unwrap()
            }
        }
    }
}

/// The `decision` section for one provider, with memberships from its `projects` claim.
pub fn decision_section(issuer: &str, listen: Option<u16>) -> String {
    let listen = listen
        .map(|port| format!("  listen: 127.0.0.1:{port}\n"))
        .unwrap_or_default();
    format!(
        "decision:\n{listen}  policy_file: policy.yaml\n  providers:\n    - name: test\n      issuer: {issuer}\n      \
         audiences: [nats]\n  memberships:\n    - claim: {{ name: projects, kind: project, role: member }}\n"
    )
}

/// A folder with a configuration in it.
pub struct Folder {
    dir: TempDir,
}

impl Folder {
    pub fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("natsgate.yaml"), config).unwrap();
        std::fs::write(dir.path().join("policy.yaml"), POLICY).unwrap();
        Self { dir }
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// `natsgate` with `arguments` and the configuration in `folder`.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_natsgate"));
    command
        .args(arguments)
        .arg("--config")
        .arg(folder.join("natsgate.yaml"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NATSGATE") {
            command.env_remove(name);
        }
    }
    command
}

/// A running `natsgate`.
pub struct Gateway {
    pub process: Process,
    _folder: Folder,
}

impl Gateway {
    /// Starts `natsgate <what>` and waits until it says `ready`.
    pub async fn start(what: &str, config: &str, ready: &str) -> Self {
        let folder = Folder::new(config);
        Self::start_in(folder, what, ready).await
    }

    pub async fn start_in(folder: Folder, what: &str, ready: &str) -> Self {
        let log = folder.path().join(format!("{what}.log"));
        let process = Process::spawn(
            format!("natsgate {what}"),
            &mut command(folder.path(), &[what]),
            &log,
        )
        .unwrap();
        let mut gateway = Self {
            process,
            _folder: folder,
        };
        gateway.wait_for(ready).await;
        gateway
    }

    /// `natsgate all` for `cluster`, with tokens from `issuer`.
    pub async fn all(cluster: &Cluster, issuer: &str) -> Self {
        let config = format!("{}{}", cluster.shim_section(), decision_section(issuer, None));
        Self::start("all", &config, SHIM_READY).await
    }

    /// `natsgate shim` for `cluster`, asking `ports`.
    pub async fn shim(cluster: &Cluster, ports: &[u16]) -> Self {
        let endpoints: Vec<String> = ports
            .iter()
            .map(|port| format!("http://127.0.0.1:{port}"))
            .collect();
        let config = format!(
            "{}  decision: {{ endpoints: {endpoints:?} }}\n",
            cluster.shim_section()
        );
        Self::start("shim", &config, SHIM_READY).await
    }

    /// `natsgate decision` on `port`.
    pub async fn decision(issuer: &str, port: u16) -> Self {
        Self::start(
            "decision",
            &decision_section(issuer, Some(port)),
            "the decision service listens",
        )
        .await
    }

    /// Waits until its log has `text`.
    pub async fn wait_for(&mut self, text: &str) {
        let waiting = async {
            while !self.process.logs().contains(text) {
                assert!(
                    self.process.is_running(),
                    "natsgate ended: {}",
                    self.process.logs()
                );
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("natsgate did not say {text:?}: {}", self.process.logs());
        }
    }

    /// Log lines with `text` in them.
    pub fn lines(&self, text: &str) -> Vec<String> {
        self.process
            .logs()
            .lines()
            .filter(|line| line.contains(text))
            .map(str::to_owned)
            .collect()
    }
}

/// What a shim says once it takes requests.
pub const SHIM_READY: &str = "the shim takes authorization requests";

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// One crypto provider for the clients of this process.
pub fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

/// The development provider, which signs with every algorithm and issues whatever it is asked for.
pub async fn provider() -> DevProvider {
    install_crypto();
    let options = DevProviderOptions {
        algorithms: SigningAlgorithm::ALL.to_vec(),
        ..Default::default()
    };
    DevProvider::start(options).await.unwrap()
}

/// An honest token for alice, a member of apollo.
pub fn alice() -> TokenSpec {
    TokenSpec::new("alice").claim("projects", serde_json::json!(["apollo"]))
}
