//! What can go wrong while a development server is set up.

use std::path::PathBuf;
use std::time::Duration;

/// Why a development server, key or token could not be made. Meant for whoever runs the tests or the demo.
#[derive(Debug, thiserror::Error)]
pub enum DevkitError {
    /// A binary or script that `make setup` provides was not found.
    #[error("{tool} is not there (looked for {}): run `make setup`", joined(.looked_for))]
    ToolMissing {
        /// What was looked for, in words.
        tool: String,
        /// Every path that was tried.
        looked_for: Vec<PathBuf>,
    },

    /// A program that the machine itself must have was not found on `PATH`.
    #[error("cannot start {program}: {source}; install it or put it on PATH")]
    Spawn {
        /// The program as it was called.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },

    /// A file, folder, socket or process of ours did not do what it should.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done, with what.
        doing: String,
        /// What the system said.
        source: std::io::Error,
    },

    /// A server ended before it was ready.
    #[error("{name} ended at start ({status}); its last words:\n{log}")]
    Exited {
        /// Which server.
        name: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of its log.
        log: String,
    },

    /// A server was not ready in time.
    #[error("{name} was not ready within {within:?}; its last words:\n{log}")]
    NotReady {
        /// Which server.
        name: String,
        /// How long was waited.
        within: Duration,
        /// The end of its log.
        log: String,
    },

    /// A server that was stopped or killed was asked for something only a running one can do.
    #[error("{name} is not running: start or restart it first")]
    NotRunning {
        /// Which server.
        name: String,
    },

    /// Something a server said or was given could not be understood.
    #[error("{what}: {detail}")]
    Unreadable {
        /// What was being read.
        what: String,
        /// What is wrong with it.
        detail: String,
    },

    /// A key or a JWT could not be made.
    #[error("cannot {doing}: {source}")]
    Key {
        /// What was being made.
        doing: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The development OpenID provider did not answer as it should.
    #[error("the development OpenID provider: {0}")]
    Provider(String),
}

impl DevkitError {
    /// An I/O error with what was being done, such as "make a folder".
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}

fn joined(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}
