//! One child process: started with its output in a file, stopped by signal, gone when dropped.
//!
//! A process is only ever signalled by the id of a child that has not been waited for, so never somebody else's. What
//! a child is (nats-server, Redis, node) is its own module's business.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::error::DevkitError;

/// How often a child's end, or a file it is to write, is looked for.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How long a child may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(20);

/// A child process. Dropping it kills it and waits for its end, so nothing of it is left behind.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Option<Child>,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with nothing on its standard input and with both outputs appended to the file `log`.
    ///
    /// # Errors
    /// The program cannot be started, or the log cannot be opened.
    pub fn spawn(name: impl Into<String>, command: &mut Command, log: &Path) -> Result<Self, DevkitError> {
        let name = name.into();
        let open = || File::options().create(true).append(true).open(log);
        let doing = || format!("open the log {} of {name}", log.display());
        let (out, err) = (
            open().map_err(DevkitError::io(doing()))?,
            open().map_err(DevkitError::io(doing()))?,
        );
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|source| DevkitError::Spawn {
                program: command.get_program().to_string_lossy().into_owned(),
                source,
            })?;
        Ok(Self {
            name,
            child: Some(child),
            log: log.to_path_buf(),
        })
    }

    /// What this process is called in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id, while it has not been stopped or killed.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.as_mut().map(Child::try_wait), Some(Ok(None)))
    }

    /// What it ended with, if it has ended by itself; also `None` after [`Self::stop`] or [`Self::kill`].
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    /// Everything it has written to its outputs so far.
    pub fn logs(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last lines of [`Self::logs`], for an error.
    pub(crate) fn last_words(&self) -> String {
        let logs = self.logs();
        let lines: Vec<&str> = logs.lines().collect();
        lines
            .get(lines.len().saturating_sub(15)..)
            .unwrap_or_default()
            .join("\n")
    }

    /// An error if the process has ended; for those that wait for it to be ready.
    pub(crate) fn check_running(&mut self) -> Result<(), DevkitError> {
        let Some(child) = self.child.as_mut() else {
            return Err(DevkitError::NotRunning {
                name: self.name.clone(),
            });
        };
        match child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                self.child = None;
                Err(DevkitError::Exited {
                    name: self.name.clone(),
                    status,
                    log: self.last_words(),
                })
            }
            Err(source) => Err(DevkitError::Io {
                doing: format!("look after {}", self.name),
                source,
            }),
        }
    }

    /// Asks it to end (SIGTERM) and waits until it has; after twenty seconds it is killed. Nothing to do is success.
    ///
    /// # Errors
    /// The system refuses the signal or the wait.
    pub async fn stop(&mut self) -> Result<(), DevkitError> {
        self.stop_by(Signal::TERM).await
    }

    /// As [`Self::stop`], by the signal that asks this program to end.
    pub(crate) async fn stop_by(&mut self, signal: Signal) -> Result<(), DevkitError> {
        if self.child.is_none() || self.signal(signal).is_err() {
            return self.kill();
        }
        let ended = async {
            while self.is_running() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        // In time or not: what is left is killed, and the child is waited for.
        let _in_time = tokio::time::timeout(GRACE, ended).await;
        self.kill()
    }

    /// As [`Self::stop_by`], for a destructor: waits without giving way to others.
    #[allow(
        clippy::disallowed_methods,
        reason = "a destructor cannot await, and what comes after it relies on the end"
    )]
    pub(crate) fn end_by(&mut self, signal: Signal) -> Result<(), DevkitError> {
        if self.child.is_some() && self.signal(signal).is_ok() {
            let mut waited = Duration::ZERO;
            while self.is_running() && waited < GRACE {
                std::thread::sleep(LOOK_AGAIN);
                waited = waited.saturating_add(LOOK_AGAIN);
            }
        }
        self.kill()
    }

    /// Kills it (SIGKILL: no chance to clean up) and waits for its end. Nothing to do is success.
    ///
    /// # Errors
    /// The system refuses the wait.
    pub fn kill(&mut self) -> Result<(), DevkitError> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        // A child that has ended already cannot be killed; the wait tells.
        let _already_gone = child.kill();
        child
            .wait()
            .map(drop)
            .map_err(DevkitError::io(format!("wait for the end of {}", self.name)))
    }

    /// Asks it to end (SIGTERM), and does not wait.
    ///
    /// # Errors
    /// It is not running.
    pub fn ask_to_stop(&self) -> Result<(), DevkitError> {
        self.signal(Signal::TERM)
    }

    /// Freezes it (SIGSTOP): it keeps its sockets and answers nothing until [`Self::resume`].
    ///
    /// # Errors
    /// It is not running.
    pub fn suspend(&self) -> Result<(), DevkitError> {
        self.signal(Signal::STOP)
    }

    /// Lets a frozen process go on (SIGCONT).
    ///
    /// # Errors
    /// It is not running.
    pub fn resume(&self) -> Result<(), DevkitError> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), DevkitError> {
        // The id is still ours: a child that was waited for is no longer in `self.child`, and one that ended on its
        // own keeps its id until then.
        let pid = self
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let Some(pid) = pid else {
            return Err(DevkitError::NotRunning {
                name: self.name.clone(),
            });
        };
        rustix::process::kill_process(pid, signal).map_err(|source| DevkitError::Io {
            doing: format!("signal {}", self.name),
            source: source.into(),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _end = self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exists(id: u32) -> bool {
        Path::new(&format!("/proc/{id}")).exists()
    }

    fn start(folder: &tempfile::TempDir, script: &str) -> Process {
        Process::spawn(
            "a shell",
            Command::new("sh").args(["-c", script]),
            &folder.path().join("log"),
        )
        .unwrap()
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let process = start(&folder, "exec sleep 1000");
        let id = process.id().unwrap();
        assert!(exists(id));
        drop(process);
        assert!(!exists(id));
    }

    #[test]
    fn a_frozen_process_is_gone_when_dropped_too() {
        let folder = tempfile::tempdir().unwrap();
        let process = start(&folder, "exec sleep 1000");
        let id = process.id().unwrap();
        process.suspend().unwrap();
        drop(process);
        assert!(!exists(id));
    }

    #[tokio::test]
    async fn stop_lets_it_say_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = start(
            &folder,
            "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done",
        );
        while !process.logs().contains("up") {
            process.check_running().unwrap();
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let id = process.id().unwrap();
        process.stop().await.unwrap();
        assert_eq!(process.logs(), "up\nbye\n");
        assert!(!exists(id));
        assert!(matches!(process.suspend(), Err(DevkitError::NotRunning { .. })));
        process.stop().await.unwrap();
    }

    #[tokio::test]
    async fn an_early_end_is_told_with_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = start(&folder, "echo no such luck; exit 3");
        let error = loop {
            match process.check_running() {
                Ok(()) => tokio::time::sleep(LOOK_AGAIN).await,
                Err(error) => break error.to_string(),
            }
        };
        assert!(
            error.contains("exit status: 3") && error.contains("no such luck"),
            "{error}"
        );
    }
}
