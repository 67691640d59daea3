//! A real PostgreSQL as child processes.
//!
//! The server refuses to run as root, so under root it runs as `nobody`, in a folder that belongs to `nobody`. It counts
//! as ours once its own `postmaster.pid` says that it is ready, which it says only of a port it listens on itself.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::error::DevkitError;
use crate::process::{LOOK_AGAIN, Process};
use crate::tools;
use owner::Owner;

mod children;
mod owner;

/// How long a server may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long one `execute` or `query` may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// How often a start is tried: the port may be taken in between, a killed server's shared memory be in use for a moment.
const ATTEMPTS: usize = 100;

/// The superuser of every server.
const USER: &str = "natsgate";

/// The database that is there from the start.
const DATABASE: &str = "postgres";

/// What a server is started with, beside the defaults.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// Settings of `postgresql.conf`, by name: `("max_connections", "5")`.
    pub settings: Vec<(String, String)>,
    /// With this, connections over TCP must be over TLS.
    pub tls: Option<PostgresTls>,
}

/// How a server speaks TLS.
#[derive(Clone)]
pub struct PostgresTls {
    /// Its certificate, with those that vouch for it, in PEM form.
    pub certificate_pem: String,
    /// The certificate's private key in PEM form.
    pub key_pem: String,
    /// With this, clients must have a certificate that one of these vouches for, beside the password.
    pub client_ca_pem: Option<String>,
}

impl std::fmt::Debug for PostgresTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PostgresTls")
    }
}

/// A running PostgreSQL on a loopback port, with a superuser whose password is made up at start. Dropping it kills it and
/// removes its files.
#[derive(Debug)]
pub struct PostgresServer {
    process: Process,
    port: u16,
    password: String,
    options: PostgresOptions,
    folder: TempDir,
}

impl PostgresServer {
    /// Starts an empty server and waits until it is ready.
    ///
    /// # Errors
    /// The programs are not there, or it is not ready within a minute.
    pub async fn start() -> Result<Self, DevkitError> {
        Self::start_with(PostgresOptions::default()).await
    }

    /// As [`Self::start`], with `options`.
    ///
    /// # Errors
    /// As for [`Self::start`]; also when the server refuses a setting, or speaks no TLS.
    pub async fn start_with(options: PostgresOptions) -> Result<Self, DevkitError> {
        let owner = Owner::of_this_process();
        let folder = tempfile::Builder::new()
            .prefix("natsgate-pg-")
            .tempdir()
            .map_err(DevkitError::io("make a folder for PostgreSQL"))?;
        owner.give(folder.path(), 0o700)?;
        let password = HEXLOWER.encode(&rand::random::<[u8; 16]>());
        initialise(folder.path(), owner, &password).await?;
        configure(folder.path(), owner, &options)?;
        let mut attempt = 1;
        loop {
            let port = free_port()?;
            match launch(port, &options, owner, &folder).await {
                Ok(process) => {
                    return Ok(Self {
                        process,
                        port,
                        password,
                        options,
                        folder,
                    });
                }
                Err(DevkitError::Exited { log, .. })
                    if attempt < ATTEMPTS && log.contains("Address already in use") =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Such as `postgres://natsgate:PASSWORD@127.0.0.1:40126/postgres`.
    pub fn url(&self) -> String {
        format!(
            "postgres://{USER}:{}@127.0.0.1:{}/{DATABASE}",
            self.password, self.port
        )
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's name.
    pub fn user(&self) -> &str {
        USER
    }

    /// The superuser's password, which TCP connections need.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The database that is there from the start.
    pub fn database(&self) -> &str {
        DATABASE
    }

    /// The folder of the Unix socket, over which no password is needed.
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process id; `None` after [`Self::stop`] or [`Self::kill`].
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Everything it has logged since the first start.
    pub fn logs(&self) -> String {
        self.process.logs()
    }

    /// Runs statements as the superuser, over the Unix socket.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses a statement.
    pub async fn execute(&self, sql: &str) -> Result<(), DevkitError> {
        self.query(sql).await.map(drop)
    }

    /// Runs statements as [`Self::execute`] does, and returns the rows of all of them as text.
    ///
    /// # Errors
    /// As for [`Self::execute`].
    pub async fn query(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, DevkitError> {
        let wrong = |detail: String| DevkitError::Unreadable {
            what: "PostgreSQL's answer".to_owned(),
            detail,
        };
        let asked = async {
            let (client, connection) = tokio_postgres::Config::new()
                .host_path(self.folder.path())
                .port(self.port)
                .user(USER)
                .dbname(DATABASE)
                .connect(NoTls)
                .await?;
            // Ends with the client; what goes wrong with it, the query tells.
            let _connection = tokio::spawn(connection);
            client.simple_query(sql).await
        };
        let messages = tokio::time::timeout(ANSWER_WITHIN, asked)
            .await
            .map_err(|_| wrong(format!("none within {ANSWER_WITHIN:?}")))?
            .map_err(|error| match error.as_db_error() {
                Some(refused) => wrong(refused.to_string()),
                None => wrong(error.to_string()),
            })?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        Ok(rows
            .map(|row| (0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect())
            .collect())
    }

    /// Ends it politely (SIGINT, a fast shutdown: clients are disconnected) and waits until it is gone.
    ///
    /// # Errors
    /// The system refuses the signal or the wait.
    pub async fn stop(&mut self) -> Result<(), DevkitError> {
        self.process.stop_by(Signal::INT).await
    }

    /// Kills it with all its backends (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// The system refuses the wait.
    pub async fn kill(&mut self) -> Result<(), DevkitError> {
        if self.suspend().await.is_ok() {
            children::signal(self.process.id(), Signal::KILL);
        }
        self.process.kill()
    }

    /// Freezes it with all its backends (SIGSTOP): connections stay open, nothing is answered.
    ///
    /// # Errors
    /// It is not running.
    pub async fn suspend(&self) -> Result<(), DevkitError> {
        self.process.suspend()?;
        children::until_stopped(self.process.id()).await;
        children::signal(self.process.id(), Signal::STOP);
        Ok(())
    }

    /// Lets a frozen server go on (SIGCONT).
    ///
    /// # Errors
    /// It is not running.
    pub fn resume(&self) -> Result<(), DevkitError> {
        children::signal(self.process.id(), Signal::CONT);
        self.process.resume()
    }

    /// Starts it again on its port, with its data.
    ///
    /// # Errors
    /// As for [`Self::start`]; also when somebody else has taken the port.
    pub async fn restart(&mut self) -> Result<(), DevkitError> {
        self.stop().await?;
        let mut attempt = 1;
        loop {
            let before = self.process.logs().len();
            match launch(self.port, &self.options, Owner::of_this_process(), &self.folder).await {
                Ok(process) => {
                    self.process = process;
                    return Ok(());
                }
                // Backends of the killed server that have not quite ended.
                Err(DevkitError::Exited { .. })
                    if attempt < ATTEMPTS
                        && self
                            .process
                            .logs()
                            .get(before..)
                            .is_some_and(|new| new.contains("pre-existing shared memory block")) =>
                {
                    attempt += 1;
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // An immediate shutdown (SIGQUIT), not SIGKILL: that would leave a segment of shared memory for ever, and a
        // system has a few thousand of them. Nobody is left to tell what goes wrong.
        children::signal(self.process.id(), Signal::CONT);
        let _resumed = self.process.resume();
        let _ended = self.process.end_by(Signal::QUIT);
        children::forget_shared_memory(&data(self.folder.path()));
    }
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn free_port() -> Result<u16, DevkitError> {
    let doing = "find a free port for PostgreSQL";
    let listener = TcpListener::bind("127.0.0.1:0").map_err(DevkitError::io(doing))?;
    Ok(listener.local_addr().map_err(DevkitError::io(doing))?.port())
}

/// Makes the data folder: everybody on the Unix socket is let in, whoever comes over TCP needs the password.
async fn initialise(folder: &Path, owner: Owner, password: &str) -> Result<(), DevkitError> {
    let password_file = folder.join("password");
    owner.write(&password_file, password)?;
    let program = tools::postgres_program("initdb")?;
    let mut command = tokio::process::Command::from(owner.command(&program));
    command
        .args([
            "--username",
            USER,
            "--encoding",
            "UTF8",
            "--locale",
            "C",
            "--no-sync",
        ])
        .args([
            "--auth-local",
            "trust",
            "--auth-host",
            "scram-sha-256",
            "--pwfile",
        ])
        .arg(&password_file)
        .arg("--pgdata")
        .arg(data(folder))
        .current_dir(folder)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(READY_WITHIN, command.output())
        .await
        .map_err(|_| DevkitError::NotReady {
            name: "initdb".to_owned(),
            within: READY_WITHIN,
            log: String::new(),
        })?
        .map_err(|source| DevkitError::Spawn {
            program: program.display().to_string(),
            source,
        })?;
    if !output.status.success() {
        return Err(DevkitError::Exited {
            name: "initdb".to_owned(),
            status: output.status,
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    std::fs::remove_file(&password_file).map_err(DevkitError::io("remove initdb's password file"))
}

/// Writes what the options ask for beside command-line arguments.
fn configure(folder: &Path, owner: Owner, options: &PostgresOptions) -> Result<(), DevkitError> {
    let Some(tls) = &options.tls else { return Ok(()) };
    owner.write(&folder.join("server.crt"), &tls.certificate_pem)?;
    owner.write(&folder.join("server.key"), &tls.key_pem)?;
    let mut over_tcp = "hostssl all all 127.0.0.1/32 scram-sha-256".to_owned();
    if let Some(pem) = &tls.client_ca_pem {
        owner.write(&folder.join("client-ca.crt"), pem)?;
        over_tcp.push_str(" clientcert=verify-ca");
    }
    owner.write(
        &data(folder).join("pg_hba.conf"),
        &format!("local all all trust\n{over_tcp}\n"),
    )
}

async fn launch(
    port: u16,
    options: &PostgresOptions,
    owner: Owner,
    folder: &TempDir,
) -> Result<Process, DevkitError> {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut settings: Vec<(String, String)> = [
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", port.to_string()),
        ("unix_socket_directories", folder.path().display().to_string()),
        // What was committed survives a kill, if not a power cut; and the machine is small.
        ("fsync", "off".to_owned()),
        ("full_page_writes", "off".to_owned()),
        ("shared_buffers", "8MB".to_owned()),
        // In the data folder, so that it goes when that goes.
        ("dynamic_shared_memory_type", "mmap".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    if let Some(tls) = &options.tls {
        settings.push(("ssl".to_owned(), "on".to_owned()));
        settings.push(("ssl_cert_file".to_owned(), path("server.crt")));
        settings.push(("ssl_key_file".to_owned(), path("server.key")));
        if tls.client_ca_pem.is_some() {
            settings.push(("ssl_ca_file".to_owned(), path("client-ca.crt")));
        }
    }
    settings.extend(options.settings.iter().cloned());

    let mut command = owner.command(&tools::postgres_program("postgres")?);
    command
        .arg("-D")
        .arg(data(folder.path()))
        .current_dir(folder.path());
    for (name, value) in settings {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    let mut process = Process::spawn("postgres", &mut command, &folder.path().join("postgres.log"))?;
    let ready = async {
        loop {
            process.check_running()?;
            if says_ready(&data(folder.path()), process.id()) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    match tokio::time::timeout(READY_WITHIN, ready).await {
        Ok(ready) => ready.map(|()| process),
        Err(_elapsed) => Err(DevkitError::NotReady {
            name: "postgres".to_owned(),
            within: READY_WITHIN,
            log: process.last_words(),
        }),
    }
}

/// Whether `postmaster.pid` (its first line is the process, its eighth the state) is that of process `id`, and ready.
fn says_ready(data: &Path, id: Option<u32>) -> bool {
    let Ok(text) = std::fs::read_to_string(data.join("postmaster.pid")) else {
        return false;
    };
    let mut lines = text.lines().map(str::trim);
    lines.next().and_then(|line| line.parse().ok()) == id && lines.nth(6) == Some("ready")
}

#[cfg(test)]
mod tests;
