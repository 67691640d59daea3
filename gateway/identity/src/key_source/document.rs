//! A provider's documents through the shared cache, so that one instance's fetch serves the others.
//!
//! An entry is the time of the fetch (seconds since the epoch, 8 bytes, big-endian) and the document as it came. It is
//! read and checked anew by whoever takes it out: what is in the cache is trusted no more than what came over the network.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use natsgate_core::clock::{from_unix_seconds, unix_seconds};
use natsgate_core::{Cache, CacheKey, Clock};
use tokio::time::timeout;
use url::Url;

use crate::fetch::{FetchError, Fetcher};
use crate::settings::oidc::OidcSettings;

/// How long the cache may take to answer. It is there for speed; the provider itself can be asked instead.
const CACHE_TIMEOUT: Duration = Duration::from_millis(250);

/// Which documents will do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Accept {
    /// A cached one that is not due for a refresh.
    Cached,
    /// The same, if it was fetched after this time.
    CachedSince(Option<SystemTime>),
    /// Only one that the provider sends now.
    Fetched,
}

/// A document, read.
pub(super) struct Document<T> {
    pub(super) value: T,
    /// When its fetch began.
    pub(super) fetched_at: SystemTime,
    /// Whether it came out of the cache.
    pub(super) cached: bool,
}

/// The documents of one provider.
pub(super) struct Documents {
    provider: String,
    refresh_after: Duration,
    fetcher: Fetcher,
    cache: Arc<dyn Cache>,
    clock: Arc<dyn Clock>,
}

impl Documents {
    pub(super) fn new(
        settings: &OidcSettings,
        fetcher: Fetcher,
        cache: Arc<dyn Cache>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            provider: settings.name.clone(),
            refresh_after: settings.refresh_after,
            fetcher,
            cache,
            clock,
        }
    }

    /// The document of this `kind` at `url`, read by `read`; from the cache if one there is acceptable.
    ///
    /// # Errors
    /// If it could not be fetched, or `read` will not have it.
    pub(super) async fn get<T>(
        &self,
        kind: &'static str,
        url: &Url,
        accept: Accept,
        read: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<Document<T>, FetchError> {
        let key = CacheKey::new(kind, url.as_str().as_bytes());
        if let Some((fetched_at, body)) = self.cached(&key, accept).await
            && let Ok(value) = read(&body)
        {
            return Ok(Document {
                value,
                fetched_at,
                cached: true,
            });
        }
        let fetched_at = self.clock.now();
        let body = self.fetcher.get(url).await?;
        let value = read(&body).map_err(|problem| FetchError::new(url, problem))?;
        self.keep(&key, fetched_at, &body).await;
        Ok(Document {
            value,
            fetched_at,
            cached: false,
        })
    }

    async fn cached(&self, key: &CacheKey, accept: Accept) -> Option<(SystemTime, Bytes)> {
        let newer_than = match accept {
            Accept::Cached => None,
            Accept::CachedSince(time) => time,
            Accept::Fetched => return None,
        };
        let entry = match timeout(CACHE_TIMEOUT, self.cache.get(key)).await {
            Ok(Ok(entry)) => entry?,
            Ok(Err(error)) => {
                tracing::warn!(provider = self.provider, %error, "going on without the cache");
                return None;
            }
            Err(_) => {
                tracing::warn!(
                    provider = self.provider,
                    "going on without the cache: it did not answer in time"
                );
                return None;
            }
        };
        let (stamp, body) = entry.split_at_checked(8)?;
        let fetched_at = from_unix_seconds(i64::from_be_bytes(stamp.try_into().ok()?))?;
        // A stamp in the future is no stamp.
        let age = self.clock.now().duration_since(fetched_at).ok()?;
        let newer = newer_than.is_none_or(|time| fetched_at > time);
        (age < self.refresh_after && newer).then(|| (fetched_at, entry.slice_ref(body)))
    }

    async fn keep(&self, key: &CacheKey, fetched_at: SystemTime, body: &Bytes) {
        let mut entry = BytesMut::with_capacity(8 + body.len());
        entry.put_i64(unix_seconds(fetched_at));
        entry.extend_from_slice(body);
        let put = self.cache.put(key, entry.freeze(), self.refresh_after);
        match timeout(CACHE_TIMEOUT, put).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(provider = self.provider, %error, "going on without the cache"),
            Err(_) => tracing::warn!(
                provider = self.provider,
                "going on without the cache: it did not answer in time"
            ),
        }
    }
}
