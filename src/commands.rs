//! The commands, one file each.

use std::sync::Arc;

use natsgate_core::{Cache, Clock};
use natsgate_store::InProcessCache;

pub mod all;
pub mod check_config;
pub mod decision;
#[cfg(feature = "devkit")]
pub mod demo;
#[cfg(feature = "devkit")]
pub mod dev;
pub mod shim;

/// The most a process keeps in its cache, in bytes.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// The cache of a process that shares none with others.
fn in_process_cache(clock: Arc<dyn Clock>) -> Arc<dyn Cache> {
    Arc::new(InProcessCache::new(CACHE_BYTES, clock))
}

/// Logs what somebody who relies on the configuration should know.
fn tell(notes: &[String]) {
    for note in notes {
        tracing::warn!("{note}");
    }
}
