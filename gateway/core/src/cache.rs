//! The port to a cache: bytes under a key, for a time.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// A cache key: a kind, readable, and a digest of what it is about. Never holds a token or a personal value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey(String);

impl CacheKey {
    /// The key of `what` within `kind` (`jwks`, say).
    pub fn new(kind: &'static str, what: &[u8]) -> Self {
        let digest = Sha256::digest(what);
        Self(format!("{kind}:{}", data_encoding::HEXLOWER.encode(&digest)))
    }

    /// The key within `kind` of whatever has this `digest`. For digests that were made with a secret key, so that nobody
    /// who reads the keys of a shared cache can test guesses (an e-mail address, say) against them.
    pub fn from_digest(kind: &str, digest: [u8; 32]) -> Self {
        Self(format!("{kind}:{}", data_encoding::HEXLOWER.encode(&digest)))
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The cache could not be asked. Callers go on without it: a cache is never needed for being right.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{doing} in the cache: {cause}")]
pub struct CacheError {
    /// What was being done: `reading jwks:…`.
    pub doing: String,
    /// What went wrong.
    pub cause: String,
}

/// Keeps bytes for a time. Entries may vanish at any moment.
#[async_trait]
pub trait Cache: Send + Sync {
    /// What was put under `key`, unless its time is over or it was evicted.
    ///
    /// # Errors
    /// [`CacheError`] if the cache could not be asked.
    async fn get(&self, key: &CacheKey) -> Result<Option<Bytes>, CacheError>;

    /// Keeps `value` under `key` for `ttl` at most.
    ///
    /// # Errors
    /// [`CacheError`] if the cache could not be asked.
    async fn put(&self, key: &CacheKey, value: Bytes, ttl: Duration) -> Result<(), CacheError>;
}
