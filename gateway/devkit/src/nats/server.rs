//! A real nats-server as a child process, on ports that the server itself chooses.
//!
//! Started on port 0, the server says in a file which ports it got (`ports_file_dir`), so any number of servers run at
//! once without a race, and nobody reads logs to learn that it is up. A restart keeps the ports.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;

use crate::error::DevkitError;
use crate::process::{LOOK_AGAIN, Process};
use crate::tools::{self, NatsVersion};

/// How long a server may take until it listens. Generous: it takes some 50 ms, on a machine that does nothing else.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// What to start.
#[derive(Debug, Clone)]
pub struct NatsServerOptions {
    /// Which server.
    pub version: NatsVersion,
    /// Its name (`server_name`); the server takes its id where this is `None`.
    pub name: Option<String>,
    /// Configuration text, put after the listeners, which are the devkit's: it must not say `listen`, `port`, `http`,
    /// `websocket`, `jetstream` or `cluster`. `{{store_dir}}` stands for a folder that lasts as long as the
    /// [`NatsServer`].
    pub config: String,
    /// The port for clients; the server chooses one where this is `None`.
    pub port: Option<u16>,
    /// The inside of the `websocket` block beside its listener, such as `no_tls: true`; `None` means no WebSocket.
    pub websocket: Option<String>,
    /// Whether the HTTP monitoring port is open.
    pub monitoring: bool,
    /// Whether JetStream is on, with its files in the store folder.
    pub jetstream: bool,
    /// The cluster it belongs to, if any.
    pub cluster: Option<ClusterOptions>,
    /// Whether the server logs why it refuses (`debug`). On unless told otherwise.
    pub debug: bool,
    /// Whether the server logs the whole protocol (`trace`), CONNECT lines with their tokens included.
    pub trace: bool,
}

impl Default for NatsServerOptions {
    fn default() -> Self {
        Self {
            version: NatsVersion::default(),
            name: None,
            config: String::new(),
            port: None,
            websocket: None,
            monitoring: false,
            jetstream: false,
            cluster: None,
            debug: true,
            trace: false,
        }
    }
}

/// A server's place in a cluster.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// The cluster's name, the same for all its servers.
    pub name: String,
    /// The [`NatsServer::cluster_url`]s of servers that were started before; none for the first.
    pub routes: Vec<String>,
}

/// A running nats-server. Dropping it kills it and removes its files.
#[derive(Debug)]
pub struct NatsServer {
    process: Process,
    options: NatsServerOptions,
    ports: Ports,
    folder: TempDir,
}

/// The ports file, as nats-server writes it (`Ports` in its `server.go`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Ports {
    nats: Vec<String>,
    monitoring: Vec<String>,
    cluster: Vec<String>,
    websocket: Vec<String>,
}

impl NatsServer {
    /// Starts a server and waits until it listens on all its ports.
    ///
    /// # Errors
    /// The binary is not there, the server refuses the configuration (its own words are in the error), or it does not
    /// listen within half a minute.
    pub async fn start(options: NatsServerOptions) -> Result<Self, DevkitError> {
        let folder = tempfile::Builder::new()
            .prefix("natsgate-nats-")
            .tempdir()
            .map_err(DevkitError::io("make a folder for nats-server"))?;
        let (process, ports) = launch(&options, &Ports::default(), folder.path()).await?;
        Ok(Self {
            process,
            options,
            ports,
            folder,
        })
    }

    /// Where clients connect, such as `nats://127.0.0.1:40123` (`tls://…` where the configuration demands TLS).
    pub fn client_url(&self) -> &str {
        first(&self.ports.nats)
    }

    /// Where WebSocket clients connect, such as `ws://127.0.0.1:40124`; `None` without
    /// [`NatsServerOptions::websocket`].
    pub fn websocket_url(&self) -> Option<&str> {
        self.ports.websocket.first().map(String::as_str)
    }

    /// The HTTP monitoring endpoint; `None` without [`NatsServerOptions::monitoring`].
    pub fn monitoring_url(&self) -> Option<&str> {
        self.ports.monitoring.first().map(String::as_str)
    }

    /// Where other servers of the cluster connect; `None` without [`NatsServerOptions::cluster`].
    pub fn cluster_url(&self) -> Option<&str> {
        self.ports.cluster.first().map(String::as_str)
    }

    /// The client port.
    pub fn port(&self) -> u16 {
        port_of(self.client_url()).unwrap_or_default()
    }

    /// Which server this is.
    pub fn version(&self) -> NatsVersion {
        self.options.version
    }

    /// A folder of this server's own; what `{{store_dir}}` in the configuration stood for.
    pub fn store_dir(&self) -> PathBuf {
        store_dir(self.folder.path())
    }

    /// The process id; `None` after [`Self::stop`] or [`Self::kill`].
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Everything the server has logged since the first start.
    pub fn logs(&self) -> String {
        self.process.logs()
    }

    /// Ends it politely (SIGTERM: clients are told "Server Shutdown") and waits until it is gone.
    ///
    /// # Errors
    /// The system refuses the signal or the wait.
    pub async fn stop(&mut self) -> Result<(), DevkitError> {
        self.process.stop().await
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// The system refuses the wait.
    pub fn kill(&mut self) -> Result<(), DevkitError> {
        self.process.kill()
    }

    /// Freezes it (SIGSTOP): connections stay open, nothing is answered.
    ///
    /// # Errors
    /// It is not running.
    pub fn suspend(&self) -> Result<(), DevkitError> {
        self.process.suspend()
    }

    /// Lets a frozen server go on (SIGCONT).
    ///
    /// # Errors
    /// It is not running.
    pub fn resume(&self) -> Result<(), DevkitError> {
        self.process.resume()
    }

    /// Starts it again with the same ports, files and configuration, after [`Self::stop`] if it still runs.
    ///
    /// # Errors
    /// As for [`Self::start`]; also when somebody else has taken the port.
    pub async fn restart(&mut self) -> Result<(), DevkitError> {
        self.process.stop().await?;
        (self.process, self.ports) = launch(&self.options, &self.ports, self.folder.path()).await?;
        Ok(())
    }

    /// As [`Self::restart`], with another configuration text in the place of [`NatsServerOptions::config`].
    ///
    /// # Errors
    /// As for [`Self::restart`].
    pub async fn restart_with(&mut self, config: impl Into<String>) -> Result<(), DevkitError> {
        self.options.config = config.into();
        self.restart().await
    }
}

async fn launch(
    options: &NatsServerOptions,
    before: &Ports,
    folder: &Path,
) -> Result<(Process, Ports), DevkitError> {
    let name = format!("nats-server {}", options.version);
    let binary = tools::nats_server(options.version)?;
    let config = folder.join("nats-server.conf");
    let store = store_dir(folder);
    std::fs::create_dir_all(&store).map_err(DevkitError::io(format!(
        "make the store folder {}",
        store.display()
    )))?;
    std::fs::write(&config, config_text(options, before, folder))
        .map_err(DevkitError::io(format!("write {}", config.display())))?;

    let mut command = Command::new(&binary);
    command.arg("--config").arg(&config).current_dir(folder);
    let mut process = Process::spawn(&name, &mut command, &folder.join("nats-server.log"))?;
    // The server names the file after its own binary and process id.
    let file = folder.join(format!("nats-server_{}.ports", process.id().unwrap_or_default()));
    let ready = async {
        loop {
            process.check_running()?;
            if let Some(ports) = read_ports(&file) {
                return Ok(ports);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    match tokio::time::timeout(READY_WITHIN, ready).await {
        Ok(ports) => Ok((process, ports?)),
        Err(_elapsed) => Err(DevkitError::NotReady {
            name,
            within: READY_WITHIN,
            log: process.last_words(),
        }),
    }
}

/// The ports, once the file is there and whole: the server writes it in place.
fn read_ports(file: &Path) -> Option<Ports> {
    let text = std::fs::read(file).ok()?;
    serde_json::from_slice::<Ports>(&text)
        .ok()
        .filter(|ports| !ports.nats.is_empty())
}

fn store_dir(folder: &Path) -> PathBuf {
    folder.join("store")
}

fn config_text(options: &NatsServerOptions, before: &Ports, folder: &Path) -> String {
    let again = |urls: &Vec<String>| urls.first().and_then(|url| port_of(url)).map_or(-1, i32::from);
    let client = options.port.map_or_else(|| again(&before.nats), i32::from);
    let store = store_dir(folder).display().to_string();
    let mut lines = vec![
        format!("listen: \"127.0.0.1:{client}\""),
        format!("ports_file_dir: \"{}\"", folder.display()),
        format!("debug: {}", options.debug),
        format!("trace: {}", options.trace),
    ];
    lines.extend(
        options
            .name
            .as_ref()
            .map(|name| format!("server_name: \"{name}\"")),
    );
    if options.monitoring {
        lines.push(format!("http: \"127.0.0.1:{}\"", again(&before.monitoring)));
    }
    if options.jetstream {
        lines.push(format!("jetstream {{ store_dir: \"{store}/jetstream\" }}"));
    }
    lines.extend(options.websocket.as_ref().map(|inside| {
        format!(
            "websocket {{\n  listen: \"127.0.0.1:{}\"\n  {inside}\n}}",
            again(&before.websocket)
        )
    }));
    lines.extend(options.cluster.as_ref().map(|cluster| {
        let routes = cluster
            .routes
            .iter()
            .map(|route| format!("\"{route}\""))
            .collect::<Vec<_>>()
            .join(", ");
        format!(
            "cluster {{\n  name: \"{}\"\n  listen: \"127.0.0.1:{}\"\n  routes: [{routes}]\n}}",
            cluster.name,
            again(&before.cluster)
        )
    }));
    lines.push(options.config.replace("{{store_dir}}", &store));
    lines.push(String::new());
    lines.join("\n")
}

fn first(urls: &[String]) -> &str {
    // `read_ports` lets nothing through without a client URL.
    urls.first().map_or("", String::as_str)
}

fn port_of(url: &str) -> Option<u16> {
    url.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
}
