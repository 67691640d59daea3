//! The log: events to standard error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::Problem;
use crate::config::log::{LogConfig, LogFormat};

/// Begins to log as `config` says.
///
/// # Errors
/// A level that is none.
pub fn start(config: &LogConfig) -> Result<(), Problem> {
    let filter = filter(config)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE);
    let started = match config.format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Problem::new("log", error))
}

/// The filter of `config`. The audit is written whatever the level, unless it is named itself.
///
/// # Errors
/// A level that is none.
pub fn filter(config: &LogConfig) -> Result<EnvFilter, Problem> {
    let wrong =
        "cannot be read; write error, warn, info, debug, trace or filters like info,natsgate_shim=debug";
    if config.level.trim().is_empty() {
        return Err(Problem::new("log.level", "is empty; leave it out for info"));
    }
    EnvFilter::try_new(format!(
        "{}=info,{}",
        natsgate_decision::audit::TARGET,
        config.level
    ))
    .map_err(|_| Problem::new("log.level", wrong))
}
