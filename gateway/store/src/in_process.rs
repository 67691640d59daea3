//! A cache in this process's memory, bounded in bytes.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use moka::Expiry;
use moka::future::Cache as Moka;
use natsgate_core::{Cache, CacheError, CacheKey, Clock};

/// What an entry costs beside key and value, roughly: moka's own bookkeeping and ours.
const OVERHEAD_BYTES: usize = 128;

/// A [`Cache`] for one process. The total of keys and values stays within a bound: what was not used for longest and
/// least often goes first, and an entry larger than the whole bound is not kept.
///
/// Whether an entry's time is over is decided by the [`Clock`] passed in, at every `get`. Moka's own timer only frees
/// the memory of what nobody asks for any more.
pub struct InProcessCache {
    entries: Moka<CacheKey, Entry>,
    max_bytes: u64,
    clock: Arc<dyn Clock>,
}

#[derive(Clone)]
struct Entry {
    value: Bytes,
    put_at: SystemTime,
    ttl: Duration,
}

impl Entry {
    /// A clock that was set back past the `put` ends the entry: nobody knows how old it is.
    fn is_live(&self, now: SystemTime) -> bool {
        now.duration_since(self.put_at).is_ok_and(|age| age < self.ttl)
    }
}

/// The longest time moka is asked to keep something; its timers do not take just any duration.
const LONGEST_KEPT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Each entry for its own time.
struct PerEntry;

impl Expiry<CacheKey, Entry> for PerEntry {
    fn expire_after_create(&self, _key: &CacheKey, entry: &Entry, _created_at: Instant) -> Option<Duration> {
        Some(entry.ttl.min(LONGEST_KEPT))
    }

    fn expire_after_update(
        &self,
        _key: &CacheKey,
        entry: &Entry,
        _updated_at: Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.ttl.min(LONGEST_KEPT))
    }
}

impl InProcessCache {
    /// A cache of at most `max_bytes`, keys and bookkeeping included.
    pub fn new(max_bytes: u64, clock: Arc<dyn Clock>) -> Self {
        let entries = Moka::builder()
            .max_capacity(max_bytes)
            .weigher(|key: &CacheKey, entry: &Entry| weight(key, &entry.value))
            .expire_after(PerEntry)
            .build();
        Self {
            entries,
            max_bytes,
            clock,
        }
    }
}

/// What an entry costs, in bytes.
fn weight(key: &CacheKey, value: &Bytes) -> u32 {
    let bytes = key
        .as_str()
        .len()
        .saturating_add(value.len())
        .saturating_add(OVERHEAD_BYTES);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl fmt::Debug for InProcessCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcessCache")
            .field("entries", &self.entries.entry_count())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Cache for InProcessCache {
    async fn get(&self, key: &CacheKey) -> Result<Option<Bytes>, CacheError> {
        let entry = self.entries.get(key).await;
        Ok(entry
            .filter(|entry| entry.is_live(self.clock.now()))
            .map(|entry| entry.value))
    }

    async fn put(&self, key: &CacheKey, value: Bytes, ttl: Duration) -> Result<(), CacheError> {
        // What is not kept must not leave its predecessor in place.
        if ttl.is_zero() || u64::from(weight(key, &value)) > self.max_bytes {
            self.entries.invalidate(key).await;
            return Ok(());
        }
        // A slice would keep alive all of what it is a slice of, uncounted.
        let value = Bytes::copy_from_slice(&value);
        let put_at = self.clock.now();
        self.entries
            .insert(key.clone(), Entry { value, put_at, ttl })
            .await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::UNIX_EPOCH;

    use super::*;

    struct HandClock(Mutex<SystemTime>);

    impl HandClock {
        fn set_back(&self, by: Duration) {
            *self.0.lock().unwrap() -= by;
        }
    }

    impl Clock for HandClock {
        fn now(&self) -> SystemTime {
            *self.0.lock().unwrap()
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    fn cache(max_bytes: u64) -> (InProcessCache, Arc<HandClock>) {
        let clock = Arc::new(HandClock(Mutex::new(UNIX_EPOCH + HOUR * 1000)));
        (InProcessCache::new(max_bytes, clock.clone()), clock)
    }

    fn key(number: u32) -> CacheKey {
        CacheKey::new("test", &number.to_be_bytes())
    }

    async fn put(cache: &InProcessCache, number: u32, value: &[u8], ttl: Duration) {
        cache
            .put(&key(number), Bytes::copy_from_slice(value), ttl)
            .await
            .unwrap();
    }

    async fn get(cache: &InProcessCache, number: u32) -> Option<Vec<u8>> {
        cache.get(&key(number)).await.unwrap().map(Vec::from)
    }

    #[tokio::test]
    async fn a_clock_set_back_ends_an_entry() {
        let (cache, clock) = cache(10_000);
        put(&cache, 1, b"one", HOUR).await;
        clock.set_back(Duration::from_secs(1));
        assert_eq!(get(&cache, 1).await, None);
    }

    #[tokio::test]
    async fn the_bound_in_bytes_holds_whatever_is_put() {
        let (cache, _clock) = cache(10_000);
        for number in 0..1000 {
            put(&cache, number, &[0; 1000], HOUR).await;
        }
        cache.entries.run_pending_tasks().await;
        assert!(
            cache.entries.weighted_size() <= 10_000,
            "{}",
            cache.entries.weighted_size()
        );
        assert!(
            (1..10).contains(&cache.entries.entry_count()),
            "{}",
            cache.entries.entry_count()
        );

        put(&cache, 5000, &[0; 20_000], HOUR).await;
        cache.entries.run_pending_tasks().await;
        assert_eq!(get(&cache, 5000).await, None);
        assert!(cache.entries.weighted_size() <= 10_000);
    }
}
