//! The tier that instances share: bytes in, bytes out, each call bounded in time. It is never needed for being right.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use natsgate_core::{Cache, CacheError, CacheKey};
use tokio::time::timeout;

use super::trouble::Trouble;

/// The shared tier.
pub(super) struct Shared {
    cache: Arc<dyn Cache>,
    /// The longest one call may take.
    bound: Duration,
    trouble: Trouble,
}

impl Shared {
    /// `cache`, asked for no longer than `bound`.
    pub(super) fn new(cache: Arc<dyn Cache>, bound: Duration) -> Self {
        Self {
            cache,
            bound,
            trouble: Trouble::default(),
        }
    }

    /// What lies under `key`.
    pub(super) async fn get(&self, key: &CacheKey) -> Result<Option<Bytes>, CacheError> {
        let got = timeout(self.bound, self.cache.get(key)).await;
        self.judged("reading", key, got.ok())
    }

    /// Lays `value` under `key`.
    pub(super) async fn put(&self, key: &CacheKey, value: Bytes, ttl: Duration) -> Result<(), CacheError> {
        let put = timeout(self.bound, self.cache.put(key, value, ttl)).await;
        self.judged("writing", key, put.ok())
    }

    /// The outcome of a call; `None` if there was none in time.
    fn judged<T>(
        &self,
        doing: &str,
        key: &CacheKey,
        outcome: Option<Result<T, CacheError>>,
    ) -> Result<T, CacheError> {
        let outcome = outcome.unwrap_or_else(|| {
            Err(CacheError {
                doing: format!("{doing} {key}"),
                cause: format!("no answer within {:?} (`shared_timeout`)", self.bound),
            })
        });
        if let Err(error) = &outcome
            && let Some(times) = self.trouble.again()
        {
            tracing::warn!(%error, times, "the shared cache cannot be used: facts come from their sources");
        }
        outcome
    }
}
