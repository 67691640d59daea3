//! How the process begins, stops and ends.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::{Config, Loaded, Problem, Problems, load};
use crate::{cli, telemetry};

/// The exit code for arguments or a configuration that cannot work (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// After the first signal the process has this long to finish what it has taken.
const STOP_TIME: Duration = Duration::from_secs(20);

/// A signal sooner than this after the first is the first one, sent twice.
const SECOND_SIGNAL_AFTER: Duration = Duration::from_secs(1);

/// Says on standard error why the process ends, and makes its exit code: the command's own, 64 for arguments or a
/// configuration that cannot work, 1 for other failures.
pub fn exit_code(result: anyhow::Result<ExitCode>) -> ExitCode {
    let error = match result {
        Ok(code) => return code,
        Err(error) => error,
    };
    // Where nobody reads it any more, the exit code is all there is to say.
    let _ = writeln!(
        std::io::stderr(),
        "natsgate: {}",
        format!("{error:#}").replace('\n', "\nnatsgate: ")
    );
    if error.is::<Problems>() || error.is::<Problem>() {
        ExitCode::from(EXIT_USAGE)
    } else {
        ExitCode::FAILURE
    }
}

/// Reads the configuration of a command that serves, and begins to log.
///
/// # Errors
/// [`Problem`].
pub fn begin(file: &cli::ConfigFile) -> Result<Loaded, Problem> {
    let loaded = load(&file.config, &variables()?)?;
    telemetry::start(&loaded.config.log)?;
    Ok(loaded)
}

/// The environment, as far as it is text.
///
/// # Errors
/// A [`Problem`] for an override that is not: it would be ignored.
pub fn variables() -> Result<Vec<(String, String)>, Problem> {
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os() {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => variables.push((name, value)),
            (Ok(name), Err(_)) if name.starts_with("NATSGATE_") => {
                return Err(Problem::new(name, "is not UTF-8 text"));
            }
            _ => {}
        }
    }
    Ok(variables)
}

/// The section `name` of a configuration.
///
/// # Errors
/// A [`Problem`] if it is missing.
pub fn section<'a, T>(
    name: &str,
    pick: impl Fn(&'a Config) -> Option<&'a T>,
    config: &'a Config,
) -> Result<&'a T, Problem> {
    pick(config).ok_or_else(|| Problem::new(name, "is missing; this command needs it"))
}

/// Runs `main` on a runtime of its own, with the process's one TLS provider installed.
///
/// # Errors
/// What `main` says, and a runtime that cannot be made.
pub fn block_on<T, F: Future<Output = anyhow::Result<T>>>(main: F) -> anyhow::Result<T> {
    install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let result = runtime.block_on(main);
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// One TLS and crypto provider for everything in the process.
pub fn install_crypto() {
    // An error means that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A token that is cancelled by SIGTERM or SIGINT. A second signal, or twenty seconds, end the process at once.
///
/// # Errors
/// If signals cannot be listened to.
pub fn stop_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        token.cancel();
        info!("stopping: what was taken is finished first");
        // Some supervisors send the first one twice.
        tokio::time::sleep(SECOND_SIGNAL_AFTER).await;
        let again = async {
            let (Ok(mut terminate), Ok(mut interrupt)) =
                (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
            else {
                return std::future::pending().await;
            };
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        };
        tokio::select! { () = again => {}, () = tokio::time::sleep(STOP_TIME) => {} }
        tracing::error!("stopped before everything was finished");
        std::process::exit(1);
    });
    Ok(stop)
}
