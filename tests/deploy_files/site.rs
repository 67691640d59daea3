//! A site laid out from the files in deploy/ as they are: beside them the keys, certificates and JWTs that an operator
//! would make; from outside nothing but environment variables and, for nats-server, the listeners on its command line.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use natsgate_devkit::process::Process;
use natsgate_devkit::{DevProvider, DevProviderOptions, NatsVersion, tools};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The longest anything here may take before a test fails: generous, and never waited for when all is well.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The issuer in the example of memberships; the tests' provider stands in for it.
const EXAMPLE_ISSUER: &str = "https://login.example.com";

/// Subjects that no policy and no permission here allows.
const SOMEWHERE_ELSE: &str = "somewhere.else";
const NOWHERE: &str = "nowhere.allowed";

/// What a shim says once it takes requests.
pub const SHIM_READY: &str = "the shim takes authorization requests";

/// Environment variables.
pub type Variables = Vec<(String, String)>;

/// A folder of deploy/, copied with nothing left out, and an OpenID provider.
pub struct Site {
    folder: TempDir,
    pub provider: DevProvider,
    started: AtomicUsize,
}

impl Site {
    pub async fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let provider = DevProvider::start(DevProviderOptions::default()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        copy(&deploy(), folder.path());
        let site = Self {
            folder,
            provider,
            started: AtomicUsize::new(0),
        };
        let members = site.file("natsgate/members.yaml");
        let text = std::fs::read_to_string(&members).unwrap();
        assert!(text.contains(EXAMPLE_ISSUER));
        std::fs::write(members, text.replace(EXAMPLE_ISSUER, site.provider.issuer())).unwrap();
        site
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.file(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// `natsgate` with `arguments` and an environment of `variables` alone, in the folder of its configurations.
    pub fn natsgate(&self, arguments: &[&str], variables: &Variables) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_natsgate"));
        command
            .args(arguments)
            .current_dir(self.file("natsgate"))
            .env_clear();
        command.env("NATSGATE_OIDC_ISSUER", self.provider.issuer());
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// `natsgate <what> --config <what>.yaml`, running, once it has said `ready`.
    pub async fn start(&self, what: &str, variables: &Variables, ready: &str) -> Gateway {
        let config = format!("{what}.yaml");
        let mut command = self.natsgate(&[what, "--config", &config], variables);
        // Each with a log of its own, so that nobody is ready because another was.
        let started = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.file(&format!("natsgate-{what}-{started}.log"));
        let mut gateway = Gateway(Process::spawn(format!("natsgate {what}"), &mut command, &log).unwrap());
        gateway.wait_for(ready).await;
        gateway
    }

    /// The certificates that shim.yaml and decision.yaml name.
    pub fn make_certificates(&self) {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(rcgen::DnType::CommonName, "natsgate test authority");
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        self.write("natsgate/tls/ca.pem", &authority.pem());
        for (name, usage) in [
            ("decision", ExtendedKeyUsagePurpose::ServerAuth),
            ("shim", ExtendedKeyUsagePurpose::ClientAuth),
        ] {
            let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &authority).unwrap();
            self.write(&format!("natsgate/tls/{name}.pem"), &certificate.pem());
            self.write(&format!("natsgate/tls/{name}.key"), &key.serialize_pem());
        }
    }
}

/// The repository's deploy/.
pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// A running `natsgate`.
pub struct Gateway(pub Process);

impl Gateway {
    /// Waits until its log has `text`.
    pub async fn wait_for(&mut self, text: &str) {
        let waiting = async {
            while !self.0.logs().contains(text) {
                assert!(self.0.is_running(), "natsgate ended: {}", self.0.logs());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("natsgate did not say {text:?}: {}", self.0.logs());
        }
    }
}

/// A running nats-server.
pub struct Server {
    pub process: Process,
    pub url: String,
}

impl Server {
    /// nats-server with the configuration `conf` of `site`, on ports of its own choice.
    pub async fn start(site: &Site, conf: &str, arguments: &[&str], variables: &Variables) -> Self {
        let folder = site.file("running");
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new(tools::nats_server(NatsVersion::default()).unwrap());
        command.arg("--config").arg(site.file(conf)).args([
            "--addr",
            "127.0.0.1",
            "--port",
            "-1",
            "--http_port",
            "-1",
        ]);
        command
            .arg("--ports_file_dir")
            .arg(&folder)
            .args(arguments)
            .current_dir(&folder)
            .env_clear();
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let mut process =
            Process::spawn("nats-server", &mut command, &folder.join("nats-server.log")).unwrap();
        let ports = folder.join(format!("nats-server_{}.ports", process.id().unwrap()));
        let started = async {
            loop {
                assert!(process.is_running(), "nats-server ended: {}", process.logs());
                let text = std::fs::read(&ports).unwrap_or_default();
                let ports: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
                if let Some(url) = ports["nats"][0].as_str() {
                    return url.to_owned();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let url = tokio::time::timeout(PATIENCE, started)
            .await
            .expect("nats-server does not listen");
        Self { process, url }
    }

    /// The overrides that tell a shim where this server is.
    pub fn overrides(&self) -> Variables {
        ["NATS", "SYSTEM", "EVICTION"]
            .map(|connection| (format!("NATSGATE__SHIM__{connection}__SERVERS"), self.url.clone()))
            .to_vec()
    }

    /// Connects once.
    pub async fn connect(&self, options: ConnectOptions) -> Result<Session, ConnectErrorKind> {
        let (sender, errors) = unbounded_channel();
        let client = options
            .event_callback(move |event| {
                if let Event::ServerError(error) = event {
                    let _ = sender.send(error.to_string());
                }
                async {}
            })
            .connection_timeout(PATIENCE)
            .max_reconnects(1)
            .connect(&self.url)
            .await
            .map_err(|error| error.kind())?;
        Ok(Session { client, errors })
    }

    /// An ordinary client with `token` alone, whose inboxes are where policy.yaml lets `subject` have them.
    pub async fn connect_as(&self, subject: &str, token: &SecretString) -> Result<Session, ConnectErrorKind> {
        let options = ConnectOptions::with_token(token.expose_secret().to_owned());
        let options = options.custom_inbox_prefix(format!("_INBOX.{subject}"));
        let mut session = self.connect(options).await?;
        // The client believes itself connected after whatever line comes first. A word on a subject proves it.
        assert!(!session.may_publish(SOMEWHERE_ELSE).await);
        Ok(session)
    }

    /// What the log says of rights that somebody did not have, clients' trials left out.
    pub fn violations(&self) -> Vec<String> {
        let logs = self.process.logs();
        let lines = logs.lines().filter(|line| line.contains("Violation"));
        let lines = lines.filter(|line| !line.contains(SOMEWHERE_ELSE) && !line.contains(NOWHERE));
        lines.map(str::to_owned).collect()
    }
}

/// A connected client and what the server complained of.
pub struct Session {
    pub client: Client,
    errors: UnboundedReceiver<String>,
}

impl Session {
    /// Whether the server lets it publish to `subject`.
    pub async fn may_publish(&mut self, subject: &str) -> bool {
        self.client.publish(subject.to_owned(), "x".into()).await.unwrap();
        self.was_allowed("Publish").await
    }

    /// Whether the server lets it subscribe to `subject`, in a queue group if one is named.
    pub async fn may_subscribe(&mut self, subject: &str, queue: Option<&str>) -> bool {
        let subject = subject.to_owned();
        let _subscription = match queue {
            Some(queue) => self
                .client
                .queue_subscribe(subject, queue.to_owned())
                .await
                .unwrap(),
            None => self.client.subscribe(subject).await.unwrap(),
        };
        self.was_allowed("Subscription").await
    }

    /// The server takes a connection's lines in order, so its word on one subject nobody may publish to comes after its
    /// word on whatever was tried before.
    async fn was_allowed(&mut self, what: &str) -> bool {
        self.client.publish(NOWHERE, "".into()).await.unwrap();
        let mut allowed = true;
        loop {
            let error = within(self.errors.recv()).await.expect("the client is gone");
            let error = error.to_lowercase();
            assert!(error.contains("permissions violation"), "{error}");
            if error.contains(NOWHERE) {
                return allowed;
            }
            assert!(error.contains(&what.to_lowercase()), "{error}");
            allowed = false;
        }
    }
}

/// For what will surely happen: bounds a hanging test, decides nothing.
pub async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("nothing for 30 s")
}
