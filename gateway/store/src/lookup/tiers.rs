//! What the caches of all sources of a process have in common.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{Cache, Clock, Freshness, Source};
use tokio::sync::Semaphore;

use super::cached::Cached;
use super::memory::Memory;
use super::settings::{LookupSettings, SourceCacheSettings};
use super::shared::Shared;
use crate::seal::KeyDigests;
use crate::settings::SettingsError;

/// The tiers in front of all sources: one a process.
pub struct LookupTiers {
    pub(super) memory: Memory,
    pub(super) shared: Option<Shared>,
    pub(super) digests: KeyDigests,
    pub(super) freshness: Arc<dyn Freshness>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) max_fact_bytes: usize,
    pub(super) join_while_degraded: Duration,
    /// One permit a running fetch.
    pub(super) fetches: Arc<Semaphore>,
}

impl LookupTiers {
    /// The tiers: this process's memory, and `shared` if instances share a cache. `digests` makes the keys; instances
    /// that share a cache must have it from the same secret.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn new(
        settings: &LookupSettings,
        shared: Option<Arc<dyn Cache>>,
        digests: KeyDigests,
        freshness: Arc<dyn Freshness>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, SettingsError> {
        settings.validate()?;
        Ok(Arc::new(Self {
            memory: Memory::new(settings.max_bytes),
            shared: shared.map(|cache| Shared::new(cache, settings.shared_timeout)),
            digests,
            freshness,
            clock,
            max_fact_bytes: settings.max_fact_bytes,
            join_while_degraded: settings.join_while_degraded,
            fetches: Arc::new(Semaphore::new(settings.max_fetches)),
        }))
    }

    /// These tiers in front of `source`, whose answers are kept as `settings` say. No two sources of a kind may have
    /// the same name: they would answer for each other.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn cached<S: Source>(
        self: &Arc<Self>,
        source: S,
        settings: &SourceCacheSettings,
    ) -> Result<Cached<S>, SettingsError> {
        settings.validate(&format!("{}.cache", source.name().escape_debug()))?;
        Ok(Cached::new(Arc::clone(self), source, settings))
    }

    /// How many bytes of this process's memory facts take now.
    pub fn bytes_in_memory(&self) -> u64 {
        self.memory.bytes()
    }
}

impl fmt::Debug for LookupTiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupTiers")
            .field("memory", &self.memory)
            .field("shared", &self.shared.is_some())
            .finish_non_exhaustive()
    }
}
