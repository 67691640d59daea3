//! `monitor`: the port for health and metrics.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

/// Health and metrics over HTTP: `/healthz`, `/readyz`, `/metrics`. They name no person and no token, but tell how much
/// there is and what is wrong: keep the port to whoever watches.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MonitorConfig {
    /// The address it listens on; left out, there is none.
    pub listen: Option<SocketAddr>,
}
