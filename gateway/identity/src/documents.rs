//! A provider's documents (discovery, key set) through the shared cache, so that one instance's fetch serves the others.
//!
//! An entry is the time of the fetch (seconds since the epoch, 8 bytes, big-endian), the stamp (1 byte whether there is
//! one, the epoch in 16, the sequence in 8) and the document as it came. The kind in the key names the version of this form.
//! What is taken out is read and checked anew: what is in the cache is trusted no more than what came over the network.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use natsgate_core::clock::{from_unix_seconds, unix_seconds};
use natsgate_core::{Cache, CacheKey, Clock, Concern, Epoch, Freshness, Position, Revision};
use tokio::time::timeout;
use url::Url;

use crate::fetch::{FetchError, Fetcher};
use crate::settings::oidc::OidcSettings;

/// The kind of a discovery document, with the version of an entry's form.
pub(crate) const DISCOVERY: &str = "discovery.2";

/// The kind of a key set, with the version of an entry's form.
pub(crate) const KEY_SET: &str = "jwks.2";

/// How long the cache may take to answer. It is there for speed; the provider itself can be asked instead.
const CACHE_TIMEOUT: Duration = Duration::from_millis(250);

/// Which documents will do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Accept {
    /// A cached one that is not due for a refresh.
    Cached,
    /// The same, if it was fetched after this time.
    CachedSince(Option<SystemTime>),
    /// Only one that the provider sends now.
    Fetched,
}

/// A document, read.
pub(crate) struct Document<T> {
    pub(crate) value: T,
    /// When its fetch began.
    pub(crate) fetched_at: SystemTime,
    /// The revision that was applied before its fetch began, if that was confirmed.
    pub(crate) stamp: Option<Revision>,
    /// Whether it came out of the cache.
    pub(crate) cached: bool,
}

/// The documents of one provider.
#[derive(Clone)]
pub(crate) struct Documents {
    provider: String,
    issuer: String,
    refresh_after: Duration,
    fetcher: Fetcher,
    cache: Arc<dyn Cache>,
    clock: Arc<dyn Clock>,
    freshness: Option<Arc<dyn Freshness>>,
}

/// An entry's time and stamp.
struct Head {
    fetched_at: SystemTime,
    stamp: Option<Revision>,
}

impl Documents {
    pub(crate) fn new(
        settings: &OidcSettings,
        fetcher: Fetcher,
        cache: Arc<dyn Cache>,
        clock: Arc<dyn Clock>,
        freshness: Option<Arc<dyn Freshness>>,
    ) -> Self {
        Self {
            provider: settings.name.clone(),
            issuer: settings.issuer.clone(),
            refresh_after: settings.refresh_after,
            fetcher,
            cache,
            clock,
            freshness,
        }
    }

    /// Whether a document of `stamp` that is about `concerns`, and the provider as a whole, must not be used any more:
    /// something that concerns it was revoked since its fetch began. One without a stamp, fetched while the revocation log
    /// was out of reach, serves until the log is back.
    pub(crate) fn voided(&self, stamp: Option<&Revision>, concerns: &[Concern]) -> bool {
        let Some(freshness) = &self.freshness else {
            return false;
        };
        match stamp {
            Some(stamp) => {
                let provider = [Concern::provider(&self.issuer)];
                freshness.superseded(stamp, &provider) || freshness.superseded(stamp, concerns)
            }
            None => matches!(freshness.position(), Position::Confirmed(_)),
        }
    }

    /// The document of this `kind` at `url`, read by `read`; from the cache if one there is acceptable. `concerns` tells
    /// what it is about, beside the provider.
    ///
    /// # Errors
    /// If it could not be fetched, or `read` will not have it.
    pub(crate) async fn get<T>(
        &self,
        kind: &'static str,
        url: &Url,
        accept: Accept,
        read: impl Fn(&[u8]) -> Result<T, String>,
        concerns: impl Fn(&T) -> Vec<Concern>,
    ) -> Result<Document<T>, FetchError> {
        let key = CacheKey::new(kind, url.as_str().as_bytes());
        if let Some((head, body)) = self.cached(&key, accept).await
            && let Ok(value) = read(&body)
            && self.counts(&head, &concerns(&value))
        {
            return Ok(Document {
                value,
                fetched_at: head.fetched_at,
                stamp: head.stamp,
                cached: true,
            });
        }
        // Before the fetch: what is revoked while it runs is newer than what it brings.
        let head = Head {
            fetched_at: self.clock.now(),
            stamp: self
                .freshness
                .as_ref()
                .and_then(|freshness| freshness.stamp(Duration::ZERO)),
        };
        let body = self.fetcher.get(url).await?;
        let value = read(&body).map_err(|problem| FetchError::new(url, problem))?;
        self.keep(&key, &head, &body).await;
        Ok(Document {
            value,
            fetched_at: head.fetched_at,
            stamp: head.stamp,
            cached: false,
        })
    }

    /// Whether a cached document may be used: only with a stamp, and only while the position is confirmed, where there
    /// are revocations to be heard of at all.
    fn counts(&self, head: &Head, concerns: &[Concern]) -> bool {
        let Some(freshness) = &self.freshness else {
            return true;
        };
        matches!(freshness.position(), Position::Confirmed(_)) && !self.voided(head.stamp.as_ref(), concerns)
    }

    async fn cached(&self, key: &CacheKey, accept: Accept) -> Option<(Head, Bytes)> {
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
        let (head, body) = Head::read(&entry)?;
        // A time in the future is no time.
        let age = self.clock.now().duration_since(head.fetched_at).ok()?;
        let newer = newer_than.is_none_or(|time| head.fetched_at > time);
        (age < self.refresh_after && newer).then_some((head, body))
    }

    async fn keep(&self, key: &CacheKey, head: &Head, body: &Bytes) {
        if self.freshness.is_some() && head.stamp.is_none() {
            // Nobody could tell later whether it still counts.
            return;
        }
        let put = self.cache.put(key, head.before(body), self.refresh_after);
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

impl Head {
    fn before(&self, body: &Bytes) -> Bytes {
        let mut entry = BytesMut::with_capacity(33 + body.len());
        entry.put_i64(unix_seconds(self.fetched_at));
        entry.put_u8(u8::from(self.stamp.is_some()));
        entry.put_slice(
            self.stamp
                .map_or([0; 16], |stamp| *stamp.epoch.as_bytes())
                .as_slice(),
        );
        entry.put_u64(self.stamp.map_or(0, |stamp| stamp.sequence));
        entry.extend_from_slice(body);
        entry.freeze()
    }

    fn read(entry: &Bytes) -> Option<(Self, Bytes)> {
        let (time, rest) = entry.split_at_checked(8)?;
        let (stamped, rest) = rest.split_at_checked(1)?;
        let (epoch, rest) = rest.split_at_checked(16)?;
        let (sequence, body) = rest.split_at_checked(8)?;
        let revision = Revision::new(
            Epoch::from_bytes(epoch.try_into().ok()?),
            u64::from_be_bytes(sequence.try_into().ok()?),
        );
        let stamp = match stamped {
            [0] => None,
            [1] => Some(revision),
            _ => return None,
        };
        let fetched_at = from_unix_seconds(i64::from_be_bytes(time.try_into().ok()?))?;
        Some((Self { fetched_at, stamp }, entry.slice_ref(body)))
    }
}
