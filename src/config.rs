//! The configuration: one YAML file, environment overrides, secrets by reference.
//!
//! [`load()`] reads it into the sections' types; each section then makes, out of what it was told, what its part of
//! natsgate is built from, and reports whatever cannot work as a [`Problem`] that names the key. Nothing here listens
//! or connects.

pub mod account_changes;
pub mod accounts;
pub mod callers;
pub mod decision;
pub mod direct;
pub mod link;
pub mod load;
pub mod log;
pub mod monitor;
pub mod nats;
pub mod problem;
pub mod redact;
pub mod reference;
pub mod security_events;
pub mod shim;
pub mod store;
pub mod tls;
pub mod value;

use schemars::JsonSchema;
use serde::Deserialize;

pub use load::{Loaded, load};
pub use problem::{Problem, Problems};

/// natsgate's configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How the log is written.
    #[serde(default)]
    pub log: log::LogConfig,
    /// Health and metrics.
    #[serde(default)]
    pub monitor: monitor::MonitorConfig,
    /// The callout shim: for `natsgate shim` and `natsgate all`.
    pub shim: Option<shim::ShimConfig>,
    /// What instances share, and what natsgate itself keeps.
    #[serde(default)]
    pub store: store::StoreConfig,
    /// The account writer: for `natsgate accounts` and `natsgate all`, and for `natsgate account push` and `drain`, beside the `shim` section.
    pub accounts: Option<accounts::AccountsConfig>,
    /// The decision service: for `natsgate decision` and `natsgate all`.
    pub decision: Option<decision::DecisionConfig>,
}

/// The JSON schema of the configuration file, generated from these types.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}
