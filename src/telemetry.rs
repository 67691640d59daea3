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
        // It would say so on standard error, and panic where that is a pipe nobody reads any more.
        .log_internal_errors(false)
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
    // A word that is no level would count as the name of a module, and nothing else be written.
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let is_known =
        |part: &str| part.contains(['=', '[']) || levels.contains(&part.to_ascii_lowercase().as_str());
    if !config.level.split(',').all(|part| is_known(part.trim())) {
        return Err(Problem::new("log.level", wrong));
    }
    // What async-nats logs of its connections, the shim says itself, with more.
    let audit = natsgate_decision::audit::TARGET;
    EnvFilter::try_new(format!("{audit}=info,async_nats=off,{}", config.level))
        .map_err(|_| Problem::new("log.level", wrong))
}
