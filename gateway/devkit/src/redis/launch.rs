//! Finding a port, starting a server on it, and knowing that it is ours.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::raw::ADMINISTRATOR;
use crate::error::DevkitError;
use crate::process::{LOOK_AGAIN, Process};
use crate::tools;

/// How long a server may take until it answers.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(30);

/// How long a server may take for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How many ports are tried.
const ATTEMPTS: usize = 10;

pub(super) async fn free_port() -> Result<u16, DevkitError> {
    let doing = "find a free port for redis-server";
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(DevkitError::io(doing))?;
    Ok(listener.local_addr().map_err(DevkitError::io(doing))?.port())
}

/// Does `start` again with other ports for as long as those it found were taken in between.
pub(super) async fn on_free_ports<T, F>(start: impl Fn() -> F) -> Result<T, DevkitError>
where
    F: Future<Output = Result<T, DevkitError>>,
{
    let mut attempt = 1;
    loop {
        match start().await {
            Err(DevkitError::Exited { log, .. })
                if attempt < ATTEMPTS && log.contains("Address already in use") =>
            {
                attempt += 1;
            }
            result => return result,
        }
    }
}

/// Starts a server with `arguments` in `folder`, and waits until it answers on `port` as our child.
pub(super) async fn launch(
    name: &str,
    port: u16,
    arguments: &[String],
    folder: &Path,
) -> Result<Process, DevkitError> {
    let mut command = Command::new(tools::redis_server()?);
    command.args(arguments);
    let mut process = Process::spawn(name, &mut command, &folder.join(format!("{name}.log")))?;
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
            name: name.to_owned(),
            within: READY_WITHIN,
            log: process.last_words(),
        }),
    }
}

/// Whether the Redis on `port` answers, has read its data, and is the process `id`.
pub(super) async fn answers_as(port: u16, id: Option<u32>) -> bool {
    // A server without users of its own answers AUTH with an error, and the rest all the same.
    let question = format!("AUTH {ADMINISTRATOR} {ADMINISTRATOR}\r\nINFO server\r\nINFO persistence\r\n");
    let (Some(id), Ok(Ok(answer))) = (
        id,
        tokio::time::timeout(ANSWER_WITHIN, ask(port, question.as_bytes())).await,
    ) else {
        return false;
    };
    let says = |line: &str| answer.lines().any(|said| said == line);
    says(&format!("process_id:{id}")) && !says("loading:1")
}

/// Sends inline commands and QUIT, and returns everything that comes back. A sentinel of Redis 7.0 knows no QUIT: it hangs up
/// because we say no more.
pub(super) async fn ask(port: u16, commands: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(&[commands, b"QUIT\r\n"].concat()).await?;
    stream.shutdown().await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Asks `done` again and again until it says so.
///
/// # Errors
/// [`DevkitError::NotReady`] if that takes too long.
pub(super) async fn until(name: &str, done: impl AsyncFn() -> bool) -> Result<(), DevkitError> {
    let wait = async {
        while !done().await {
            tokio::time::sleep(LOOK_AGAIN * 4).await;
        }
    };
    tokio::time::timeout(READY_WITHIN, wait)
        .await
        .map_err(|_elapsed| DevkitError::NotReady {
            name: name.to_owned(),
            within: READY_WITHIN,
            log: String::new(),
        })
}
