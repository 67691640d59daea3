//! `log`: how the log is written.

use schemars::JsonSchema;
use serde::Deserialize;

/// How the log is written: to standard error, one event a line.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// What is written: `error`, `warn`, `info`, `debug` or `trace`, or filters as in `info,natsgate_shim=debug`. Audit
    /// events have the target `natsgate::audit` and the level `info`.
    pub level: String,
    /// In which form.
    pub format: LogFormat,
}

/// A form of log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}
