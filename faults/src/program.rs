//! natsgate's own program as processes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use natsgate_devkit::process::Process;
use serde_json::Value;
use tempfile::TempDir;

use crate::PATIENCE;

/// The program.
#[derive(Debug, Clone)]
pub struct Program(PathBuf);

impl Program {
    /// The one at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The one of the profile that this bench is of: cargo puts a bench into `deps`, beside it.
    pub fn beside_this_bench() -> Self {
        let own = std::env::current_exe().unwrap();
        let program = own.ancestors().nth(2).unwrap().join("natsgate");
        assert!(
            program.is_file(),
            "{} is not there: build natsgate in the same profile first (`make` does)",
            program.display()
        );
        Self(program)
    }
}

/// One `natsgate <what>`, in a folder of its own, which it keeps when it is started again.
pub struct Natsgate {
    what: &'static str,
    ready: &'static str,
    program: Program,
    process: Process,
    folder: TempDir,
    starts: usize,
    asked_to_stop: bool,
}

impl Natsgate {
    /// Prepares a folder for it, with `config` (JSON is YAML too) and what `fill` puts there, and starts it. It may not be
    /// ready yet.
    pub(crate) fn start(
        program: &Program,
        what: &'static str,
        ready: &'static str,
        config: &Value,
        fill: impl FnOnce(&Path),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("natsgate.yaml"), config.to_string()).unwrap();
        fill(folder.path());
        let process = spawn(program, what, folder.path(), 0);
        Self {
            what,
            ready,
            program: program.clone(),
            process,
            folder,
            starts: 1,
            asked_to_stop: false,
        }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Everything it has logged since it was started last.
    pub fn logs(&self) -> String {
        self.process.logs()
    }

    /// Everything it has logged in all its lives.
    pub fn all_logs(&self) -> String {
        (0..self.starts)
            .map(|number| std::fs::read_to_string(log(self.folder.path(), number)).unwrap_or_default())
            .collect()
    }

    /// Whether it runs (or is frozen).
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&mut self) {
        let waiting = async {
            while !self.process.logs().contains(self.ready) {
                assert!(
                    self.process.is_running(),
                    "natsgate {} ended: {}",
                    self.what,
                    self.process.logs()
                );
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("natsgate {} is not ready: {}", self.what, self.process.logs());
        }
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
    }

    /// Ends it politely (SIGTERM).
    pub async fn stop(&mut self) {
        self.process.stop().await.unwrap();
    }

    /// Asks it to end (SIGTERM), and does not wait.
    pub fn ask_to_stop(&mut self) {
        self.process.ask_to_stop().unwrap();
        self.asked_to_stop = true;
    }

    /// Whether it was asked to end since it was started.
    pub fn is_asked_to_stop(&self) -> bool {
        self.asked_to_stop
    }

    /// Freezes it (SIGSTOP).
    pub fn suspend(&self) {
        self.process.suspend().unwrap();
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) {
        self.process.resume().unwrap();
    }

    /// Starts it again, after it was killed or stopped. It may not be ready yet.
    pub fn start_again(&mut self) {
        self.process.kill().unwrap();
        self.process = spawn(&self.program, self.what, self.folder.path(), self.starts);
        self.starts += 1;
        self.asked_to_stop = false;
    }
}

/// Each life has a log of its own, so that none is ready because the one before was.
fn log(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("{number}.log"))
}

fn spawn(program: &Program, what: &str, folder: &Path, number: usize) -> Process {
    let mut command = Command::new(&program.0);
    command
        .arg(what)
        .arg("--config")
        .arg(folder.join("natsgate.yaml"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NATSGATE") {
            command.env_remove(name);
        }
    }
    Process::spawn(format!("natsgate {what}"), &mut command, &log(folder, number)).unwrap()
}
