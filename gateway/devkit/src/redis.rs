//! A real Redis (or valkey) as a child process.
//!
//! Redis cannot choose a port by itself, so a free one is picked and the start is tried again if somebody else takes it
//! in between; the server counts as ours only when it answers with our child's process id.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::error::DevkitError;
use crate::process::{LOOK_AGAIN, Process};
use crate::tools;

/// How long a server may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How many ports are tried.
const ATTEMPTS: usize = 5;

/// A running Redis on a loopback port, without persistence. Dropping it kills it and removes its files.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    port: u16,
    arguments: Vec<String>,
    folder: TempDir,
}

impl RedisServer {
    /// Starts an empty Redis and waits until it answers.
    ///
    /// # Errors
    /// The binary is not there, or it does not answer within half a minute.
    pub async fn start() -> Result<Self, DevkitError> {
        Self::start_with(Vec::new()).await
    }

    /// As [`Self::start`], with more arguments, such as `["--appendonly", "yes"]`.
    ///
    /// # Errors
    /// As for [`Self::start`]; also when Redis refuses an argument.
    pub async fn start_with(arguments: Vec<String>) -> Result<Self, DevkitError> {
        let folder = tempfile::Builder::new()
            .prefix("natsgate-redis-")
            .tempdir()
            .map_err(DevkitError::io("make a folder for redis-server"))?;
        let mut attempt = 1;
        loop {
            let port = free_port().await?;
            match launch(port, &arguments, &folder).await {
                Ok(process) => {
                    return Ok(Self {
                        process,
                        port,
                        arguments,
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

    /// Such as `redis://127.0.0.1:40126/`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id; `None` after [`Self::stop`] or [`Self::kill`].
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Everything it has logged since the first start.
    pub fn logs(&self) -> String {
        self.process.logs()
    }

    /// Ends it politely (SIGTERM) and waits until it is gone.
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

    /// Starts it again on its port, empty unless the arguments turned persistence on.
    ///
    /// # Errors
    /// As for [`Self::start`]; also when somebody else has taken the port.
    pub async fn restart(&mut self) -> Result<(), DevkitError> {
        self.process.stop().await?;
        self.process = launch(self.port, &self.arguments, &self.folder).await?;
        Ok(())
    }
}

async fn free_port() -> Result<u16, DevkitError> {
    let doing = "find a free port for redis-server";
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(DevkitError::io(doing))?;
    Ok(listener.local_addr().map_err(DevkitError::io(doing))?.port())
}

async fn launch(port: u16, arguments: &[String], folder: &TempDir) -> Result<Process, DevkitError> {
    let mut command = Command::new(tools::redis_server()?);
    command.args([
        "--bind",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "--save",
        "",
        "--dir",
    ]);
    command.arg(folder.path()).args(arguments);
    let mut process = Process::spawn("redis-server", &mut command, &folder.path().join("redis.log"))?;
    let ready = async {
        loop {
            process.check_running()?;
            if answers_as(port, process.id()).await {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    match tokio::time::timeout(READY_WITHIN, ready).await {
        Ok(ready) => ready.map(|()| process),
        Err(_elapsed) => Err(DevkitError::NotReady {
            name: "redis-server".to_owned(),
            within: READY_WITHIN,
            log: process.last_words(),
        }),
    }
}

/// Whether the Redis on `port` answers, and is the process `id`. A Redis that wants a password first answers too,
/// without saying who it is: then the answer alone has to do.
async fn answers_as(port: u16, id: Option<u32>) -> bool {
    let (Some(id), Ok(answer)) = (id, ask(port, b"INFO server\r\n").await) else {
        return false;
    };
    answer.starts_with("-NOAUTH") || answer.lines().any(|line| line == format!("process_id:{id}"))
}

/// Sends one inline command and QUIT, and returns everything that comes back.
async fn ask(port: u16, command: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(&[command, b"QUIT\r\n"].concat()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use ::redis::AsyncCommands;

    use super::*;

    #[tokio::test]
    async fn it_answers_and_is_gone_when_dropped() {
        let redis = RedisServer::start().await.unwrap();
        assert_eq!(ask(redis.port(), b"PING\r\n").await.unwrap(), "+PONG\r\n+OK\r\n");
        let (process, port) = (format!("/proc/{}", redis.id().unwrap()), redis.port());
        drop(redis);
        assert!(!std::path::Path::new(&process).exists());
        assert!(ask(port, b"PING\r\n").await.is_err());
    }

    #[tokio::test]
    async fn a_restart_keeps_the_port_and_forgets_the_data() {
        let mut redis = RedisServer::start().await.unwrap();
        let url = redis.url();
        let mut before = ::redis::Client::open(url.as_str())
            .unwrap()
            .get_multiplexed_async_connection()
            .await
            .unwrap();
        let () = before.set("k", "v").await.unwrap();
        assert_eq!(
            before.get::<_, Option<String>>("k").await.unwrap().as_deref(),
            Some("v")
        );
        redis.restart().await.unwrap();
        assert_eq!(redis.url(), url);
        let mut after = ::redis::Client::open(url)
            .unwrap()
            .get_multiplexed_async_connection()
            .await
            .unwrap();
        assert_eq!(after.get::<_, Option<String>>("k").await.unwrap(), None);
    }

    #[tokio::test]
    async fn somebody_elses_redis_is_not_taken_for_ours() {
        let redis = RedisServer::start().await.unwrap();
        assert!(answers_as(redis.port(), redis.id()).await);
        assert!(!answers_as(redis.port(), Some(1)).await);
    }
}
