//! The set-up of `natsgate demo` and `natsgate dev`: a real nats-server in operator mode, a development OpenID
//! provider, `natsgate all` with a configuration like anybody's, and a backend that pushes memberships.

mod backend;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use async_nats::{Client, ConnectOptions};
use natsgate_devkit::process::Process;
use natsgate_devkit::{
    DevProvider, DevProviderOptions, NatsServer, NatsServerOptions, NatsVersion, OperatorMode,
    OperatorModeOptions, Person,
};
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;

pub use backend::Backend;

/// How long `natsgate all` may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// The file that configures `natsgate account`.
const ACCOUNT_CONFIGURATION: &str = "account.yaml";

/// A file of changes, to begin with: what guests may do.
const GUESTS: &str = "guests.yaml";

/// The rules: members of a project may publish into it and read all of it; who is in none gets the account's default permissions.
const POLICY: &str = "\
version: 1
account: APP
rules:
  - name: project members
    for_each: { membership: { kind: project, role: member } }
    publish: { allow: ['projects.{membership.id}.in.>'] }
    subscribe: { allow: ['projects.{membership.id}.>'] }
  - name: guests get what the account's JWT gives everybody
    when: memberships.size() == 0
    account_defaults: true
";

/// Which ports to use; the system chooses where there is none.
#[derive(Default)]
pub struct Ports {
    /// The nats-server's.
    pub nats: Option<u16>,
    /// The provider's.
    pub provider: Option<u16>,
    /// The gRPC API's.
    pub api: Option<u16>,
}

/// Everything that runs. Dropping it ends it.
pub struct Stage {
    /// The nats-server.
    pub nats: NatsServer,
    /// Its operator's keys.
    pub keys: OperatorMode,
    /// The OpenID provider, which knows alice (of whose projects the backend tells: apollo and hermes), bob (whose tokens say
    /// gemini), carol (who is in none), and the backend.
    pub provider: DevProvider,
    api: String,
    gateway: Process,
    folder: TempDir,
}

/// A part that started, and how long it took.
pub struct Started {
    /// What it is.
    pub what: String,
    /// Until it was ready.
    pub took: Duration,
}

impl Stage {
    /// Starts everything; `tell` hears of each part when it is ready.
    ///
    /// # Errors
    /// What did not start, and why.
    pub async fn start(ports: Ports, mut tell: impl FnMut(Started)) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let options = OperatorModeOptions {
            xkey: true,
            default_sentinel: true,
            full_resolver: true,
            ..Default::default()
        };
        let keys = OperatorMode::generate(options)?;
        let options = NatsServerOptions {
            port: ports.nats,
            config: keys.server_config(),
            debug: false,
            ..Default::default()
        };
        let nats = NatsServer::start(options)
            .await
            .context("starting the nats-server")?;
        let version = NatsVersion::default();
        let what = format!(
            "nats-server {version} at {}: operator mode, keys made just now, sealed",
            nats.client_url()
        );
        tell(Started {
            what,
            took: begun.elapsed(),
        });

        let begun = Instant::now();
        let people = [
            Person::new("alice"),
            Person::new("bob").claim("projects", vec!["gemini".to_owned()]),
            Person::new("carol"),
            Person::new(backend::NAME)
                .claim("aud", backend::AUDIENCE)
                .claim("scope", backend::SCOPES),
        ];
        let options = DevProviderOptions {
            port: ports.provider,
            people: people.to_vec(),
            ..DevProviderOptions::default()
        };
        let provider = DevProvider::start(options)
            .await
            .context("starting the development OpenID provider")?;
        let what = format!("development OpenID provider at {}", provider.issuer());
        tell(Started {
            what,
            took: begun.elapsed(),
        });

        let begun = Instant::now();
        let folder = tempfile::Builder::new()
            .prefix("natsgate-")
            .tempdir()
            .context("making a folder")?;
        let api = match ports.api {
            Some(port) => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            None => free_address()?,
        };
        let configured = configuration(&nats, &keys, provider.issuer(), api)?;
        write(folder.path(), "natsgate.yaml", &configured)?;
        write(folder.path(), "policy.yaml", POLICY)?;
        // The operator's key is not natsgate all's to have.
        let seed = keys.operator.seed()?;
        let writer = format!(
            "{configured}accounts: {{ operator_seed: {}, file: accounts.redb }}\n",
            seed.expose_secret()
        );
        write(folder.path(), ACCOUNT_CONFIGURATION, &writer)?;
        write(
            folder.path(),
            GUESTS,
            "version: 1\ndefault_permissions:\n  subscribe: { allow: ['news.>'] }\n",
        )?;
        let gateway = launch(folder.path()).await?;
        let what = format!(
            "natsgate all, its API at {api}, configured by {}",
            folder.path().join("natsgate.yaml").display()
        );
        tell(Started {
            what,
            took: begun.elapsed(),
        });
        let stage = Self {
            nats,
            keys,
            provider,
            api: format!("http://{api}"),
            gateway,
            folder,
        };

        let begun = Instant::now();
        let pushed = stage.backend()?.put("alice", &["apollo", "hermes"]).await;
        pushed.with_context(|| format!("natsgate all says:\n{}", stage.log()))?;
        tell(Started {
            what: "a backend, which pushes that alice is a member of the projects apollo and hermes"
                .to_owned(),
            took: begun.elapsed(),
        });
        Ok(stage)
    }

    /// The URL of the gRPC API.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// Whoever calls it.
    ///
    /// # Errors
    /// None that happens.
    pub fn backend(&self) -> anyhow::Result<Backend<'_>> {
        Backend::new(&self.provider, &self.api)
    }

    /// The configuration file of `natsgate all`.
    pub fn configuration(&self) -> PathBuf {
        self.folder.path().join("natsgate.yaml")
    }

    /// The configuration file of `natsgate account`, which alone has the operator's key.
    pub fn account_configuration(&self) -> PathBuf {
        self.folder.path().join(ACCOUNT_CONFIGURATION)
    }

    /// A file of changes to try `natsgate account` with.
    pub fn guests(&self) -> PathBuf {
        self.folder.path().join(GUESTS)
    }

    /// Runs `natsgate account push` with a file of `changes`. Returns what it said.
    ///
    /// # Errors
    /// It failed; with what it said.
    pub async fn push_account(&self, changes: &str) -> anyhow::Result<String> {
        write(self.folder.path(), "changes.yaml", changes)?;
        let mut command = own_command()?;
        command.args(["account", "push", "--config"]);
        command.arg(self.account_configuration());
        command.arg(self.folder.path().join("changes.yaml"));
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output
            .await
            .context("running natsgate account push")?
            .context("running natsgate account push")?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if !output.status.success() {
            bail!("natsgate account push says:\n{}", said(&output.stderr));
        }
        Ok(said(&output.stdout))
    }

    /// What `natsgate all` has logged.
    pub fn log(&self) -> String {
        self.gateway.logs()
    }

    /// An ordinary client that presents `token`, once.
    ///
    /// # Errors
    /// The client library's.
    pub async fn connect(&self, token: &SecretString) -> Result<Client, async_nats::ConnectError> {
        self.options(token).connect(self.nats.client_url()).await
    }

    /// The options of that client.
    pub fn options(&self, token: &SecretString) -> ConnectOptions {
        ConnectOptions::with_token(token.expose_secret().to_owned()).max_reconnects(1)
    }

    /// Whether `natsgate all` still runs.
    pub fn is_up(&mut self) -> bool {
        self.gateway.is_running()
    }
}

/// An address that nobody listens at.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.context("finding a free port for the API")
}

/// A configuration file for `natsgate all`, its API listening at `api`.
fn configuration(
    nats: &NatsServer,
    keys: &OperatorMode,
    issuer: &str,
    api: SocketAddr,
) -> anyhow::Result<String> {
    let url = nats.client_url();
    let mut text = String::from("shim:\n  cluster: demo\n");
    for (name, user) in [("nats", &keys.callout_user), ("system", &keys.system_user)] {
        let creds = user.credentials.format().trim_end().replace('\n', "\n      ");
        writeln!(
            text,
            "  {name}:\n    servers: ['{url}']\n    creds: |\n      {creds}"
        )?;
    }
    let seed = keys.callout_account.seed()?;
    writeln!(
        text,
        "  operator_mode:\n    callout_account: {}",
        keys.callout_account.public_key()
    )?;
    writeln!(text, "    signing_seed: {}", seed.expose_secret())?;
    writeln!(text, "    operators: [{}]", keys.operator.public_key())?;
    if let Some(xkey) = &keys.xkey {
        writeln!(text, "  xkey_seed: {}", xkey.seed().expose_secret())?;
    }
    writeln!(text, "  accounts:")?;
    for account in &keys.accounts {
        let seed = account.signing_key.seed()?;
        writeln!(
            text,
            "    - name: {}\n      account: {}",
            account.name,
            account.key.public_key()
        )?;
        writeln!(text, "      signing_seed: {}", seed.expose_secret())?;
        let root: [u8; 32] = rand::random();
        let root: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "      root_secrets: ['{root}']")?;
    }
    // All of it is on this machine, so all clocks are the same.
    write!(
        text,
        "store:
  follow: {{ clock_skew: 0s }}
  pushed: {{ file: {{ path: pushed.redb }} }}
decision:
  listen: {api}
  policy_file: policy.yaml
  providers:
    - {{ name: dev, issuer: '{issuer}', audiences: [nats], leeway: 0s }}
  memberships:
    - claim: {{ name: projects, kind: project, role: member }}
  callers:
    - name: {name}
      token: {{ subject: {name} }}
      scopes: [{scopes}]
      issuers: ['*']
      kinds: ['*']
      id_prefixes: ['*']
      roles: ['*']
  caller_providers:
    - {{ name: api, issuer: '{issuer}', audiences: [{audience}], leeway: 0s }}
",
        name = backend::NAME,
        scopes = backend::SCOPES.replace(' ', ", "),
        audience = backend::AUDIENCE,
    )?;
    Ok(text)
}

/// natsgate itself.
fn own_command() -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("finding natsgate's own binary")?;
    let mut command = Command::new(program);
    // Overrides meant for another natsgate must not reach this one.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("NATSGATE_")) {
        command.env_remove(name);
    }
    Ok(command)
}

async fn launch(folder: &Path) -> anyhow::Result<Process> {
    let mut command = own_command()?;
    command
        .arg("all")
        .arg("--config")
        .arg(folder.join("natsgate.yaml"));
    let mut gateway = Process::spawn("natsgate all", &mut command, &folder.join("natsgate.log"))?;
    let begun = Instant::now();
    while !gateway.logs().contains("the shim takes authorization requests") {
        if !gateway.is_running() || begun.elapsed() > READY_WITHIN {
            bail!("natsgate all is not ready; it says:\n{}", gateway.logs());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(gateway)
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = folder.join(name);
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}
