//! The set-up of `natsgate demo` and `natsgate dev`: a real nats-server in operator mode, a development OpenID
//! provider, and `natsgate all` with a configuration like anybody's.

use std::fmt::Write as _;
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

/// How long `natsgate all` may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// The rules: members of a project may publish into it and read all of it.
const POLICY: &str = "\
version: 1
account: APP
rules:
  - name: project members
    for_each: { membership: { kind: project, role: member } }
    publish: { allow: ['projects.{membership.id}.in.>'] }
    subscribe: { allow: ['projects.{membership.id}.>'] }
";

/// Which ports to use; the system chooses where there is none.
#[derive(Default)]
pub struct Ports {
    /// The nats-server's.
    pub nats: Option<u16>,
    /// The provider's.
    pub provider: Option<u16>,
}

/// Everything that runs. Dropping it ends it.
pub struct Stage {
    /// The nats-server.
    pub nats: NatsServer,
    /// Its operator's keys.
    pub keys: OperatorMode,
    /// The OpenID provider, which knows alice (member of apollo) and bob (member of gemini).
    pub provider: DevProvider,
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
        let people = [("alice", "apollo"), ("bob", "gemini")]
            .map(|(name, project)| Person::new(name).claim("projects", vec![project.to_owned()]));
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
        write(
            folder.path(),
            "natsgate.yaml",
            &configuration(&nats, &keys, provider.issuer())?,
        )?;
        write(folder.path(), "policy.yaml", POLICY)?;
        let gateway = launch(folder.path()).await?;
        let what = format!(
            "natsgate all, configured by {}",
            folder.path().join("natsgate.yaml").display()
        );
        tell(Started {
            what,
            took: begun.elapsed(),
        });
        Ok(Self {
            nats,
            keys,
            provider,
            gateway,
            folder,
        })
    }

    /// The configuration file of `natsgate all`.
    pub fn configuration(&self) -> PathBuf {
        self.folder.path().join("natsgate.yaml")
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

/// A configuration file for `natsgate all`.
fn configuration(nats: &NatsServer, keys: &OperatorMode, issuer: &str) -> anyhow::Result<String> {
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
    }
    write!(
        text,
        "decision:\n  policy_file: policy.yaml\n  providers:\n    - name: dev\n      issuer: {issuer}\n      \
         audiences: [nats]\n  memberships:\n    - claim: {{ name: projects, kind: project, role: member }}\n"
    )?;
    Ok(text)
}

async fn launch(folder: &Path) -> anyhow::Result<Process> {
    let program = std::env::current_exe().context("finding natsgate's own binary")?;
    let mut command = Command::new(program);
    command
        .arg("all")
        .arg("--config")
        .arg(folder.join("natsgate.yaml"));
    // Overrides meant for another natsgate must not reach this one.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("NATSGATE_")) {
        command.env_remove(name);
    }
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
