//! The tier in this process: entries of all lookups, bounded together in bytes.
//!
//! It forgets for want of room, never because something does not count any more: that is asked at every use.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;
use natsgate_core::Fact;

use super::entry::Entry;
use super::key::Key;

/// What an entry costs beside its answer, roughly: moka's own bookkeeping and ours.
const OVERHEAD_BYTES: usize = 256;

/// The longest time moka is asked to keep something; its timers do not take just any duration.
const LONGEST_KEPT: Duration = Duration::from_secs(365 * 24 * 3600);

/// The in-process tier.
pub(super) struct Memory {
    slots: Cache<Key, Slot>,
}

#[derive(Clone)]
struct Slot {
    entry: Arc<dyn Any + Send + Sync>,
    bytes: u32,
    ttl: Duration,
}

/// Frees the memory of what is of no use to anybody any more. Moka's clock is not ours, so it does not decide.
struct PerSlot;

impl Expiry<Key, Slot> for PerSlot {
    fn expire_after_create(&self, _key: &Key, slot: &Slot, _created_at: Instant) -> Option<Duration> {
        Some(slot.ttl)
    }

    fn expire_after_update(
        &self,
        _key: &Key,
        slot: &Slot,
        _updated_at: Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        Some(slot.ttl)
    }
}

impl Memory {
    /// A tier of at most `max_bytes`.
    pub(super) fn new(max_bytes: u64) -> Self {
        let slots = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_key: &Key, slot: &Slot| slot.bytes)
            .expire_after(PerSlot)
            .build();
        Self { slots }
    }

    /// What is kept under `key`.
    pub(super) fn get<F: Fact>(&self, key: &Key) -> Option<Arc<Entry<F>>> {
        self.slots.get(key)?.entry.downcast().ok()
    }

    /// Keeps `entry`, whose answer takes `written` bytes when written down, for `ttl` at most.
    pub(super) fn put<F: Fact>(&self, key: Key, entry: Arc<Entry<F>>, written: usize, ttl: Duration) {
        // Short strings, maps and vectors take about three times the room of their JSON.
        let bytes = written
            .saturating_mul(3)
            .saturating_add(entry.concerns.len().saturating_mul(16))
            .saturating_add(OVERHEAD_BYTES);
        let slot = Slot {
            entry,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            ttl: ttl.min(LONGEST_KEPT),
        };
        self.slots.insert(key, slot);
    }

    /// How many bytes are taken.
    pub(super) fn bytes(&self) -> u64 {
        self.slots.run_pending_tasks();
        self.slots.weighted_size()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("entries", &self.slots.entry_count())
            .finish_non_exhaustive()
    }
}
