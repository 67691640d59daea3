//! `natsgate shim`: answers a NATS cluster's auth callout, asking decision services over gRPC.

use std::sync::Arc;

use natsgate_core::SystemClock;
use natsgate_shim::Shim;
use tokio_util::sync::CancellationToken;

use crate::cli::ConfigFile;
use crate::lifecycle;

/// Runs until a signal.
///
/// # Errors
/// A configuration that cannot work, or a shim that cannot begin.
pub fn run(file: &ConfigFile) -> anyhow::Result<()> {
    let loaded = lifecycle::begin(file)?;
    let config = lifecycle::section("shim", |config| config.shim.as_ref(), &loaded.config)?;
    let settings = config.settings(&loaded.base)?;
    lifecycle::block_on(async {
        let decisions = config.decision_point(&loaded.base)?;
        let stop = lifecycle::stop_signal()?;
        Ok(Shim::new(settings, decisions, Arc::new(SystemClock))
            .run(stop, CancellationToken::new())
            .await?)
    })
}
