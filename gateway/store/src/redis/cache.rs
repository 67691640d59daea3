//! A cache in Redis, shared by all instances, in which nothing can be read and nothing forged.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use natsgate_core::{Cache, CacheError, CacheKey, Deadline};

use super::connection::RedisConnection;
use crate::seal::{SealError, Sealer, Secrets};

/// The longest time that is asked of Redis, which refuses times beyond what it can count to.
const LONGEST_KEPT: Duration = Duration::from_secs(365 * 24 * 3600);

/// A [`Cache`] in Redis. Every operation is one round trip.
///
/// An entry's key is `<namespace>:c:<kind>:<digest>`, without a hash tag, so that a Cluster spreads entries over its nodes.
/// Its value is sealed for exactly that key: what was altered, put under another key, or written by somebody without the
/// secret does not open, and what does not open is not there. Values larger than the bound are not kept, and what was
/// there before is removed.
///
/// Whether a fact that is found still counts is not decided here: nothing is ever right only because it was found.
pub struct RedisCache {
    redis: RedisConnection,
    sealer: Sealer,
    max_value_bytes: usize,
    unopened: AtomicU64,
    too_large: AtomicU64,
    told: AtomicBool,
}

impl RedisCache {
    /// A cache that seals with `secrets` and keeps values of up to `max_value_bytes`.
    ///
    /// # Errors
    /// [`SealError::NoKey`].
    pub fn new(redis: RedisConnection, secrets: &Secrets, max_value_bytes: usize) -> Result<Self, SealError> {
        Ok(Self {
            redis,
            sealer: secrets.sealer("cache")?,
            max_value_bytes,
            unopened: AtomicU64::new(0),
            too_large: AtomicU64::new(0),
            told: AtomicBool::new(false),
        })
    }

    /// How many entries were found that did not open.
    pub fn unopened(&self) -> u64 {
        self.unopened.load(Ordering::Relaxed)
    }

    /// How many values were too large to be kept.
    pub fn too_large(&self) -> u64 {
        self.too_large.load(Ordering::Relaxed)
    }

    fn key(&self, key: &CacheKey) -> String {
        format!("{}:c:{key}", self.redis.namespace())
    }

    /// Said once: whoever can write to Redis could otherwise fill the log.
    fn tell_unopened(&self, error: SealError) {
        self.unopened.fetch_add(1, Ordering::Relaxed);
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %error,
                "an entry in Redis is ignored: do all instances have the same secrets, and does nobody else write to \
                 this namespace? Said once; such entries are counted"
            );
        }
    }
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCache")
            .field("redis", &self.redis)
            .field("max_value_bytes", &self.max_value_bytes)
            .finish_non_exhaustive()
    }
}

/// Calls carry no deadline of their own here: the connection's `command_timeout` bounds them.
fn unhurried() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn failed(doing: &str, key: &CacheKey, cause: impl fmt::Display) -> CacheError {
    CacheError {
        doing: format!("{doing} {key}"),
        cause: cause.to_string(),
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn get(&self, key: &CacheKey) -> Result<Option<Bytes>, CacheError> {
        let name = self.key(key);
        let mut get = redis::cmd("GET");
        get.arg(&name);
        let sealed: Vec<u8> = match self.redis.command(&name, &get, unhurried()).await {
            Ok(Some(sealed)) => sealed,
            Ok(None) => return Ok(None),
            // Somebody else put something there that is not even bytes.
            Err(error) if error.code() == Some("WRONGTYPE") => {
                self.tell_unopened(SealError::DoesNotOpen);
                return Ok(None);
            }
            Err(error) => return Err(failed("reading", key, error)),
        };
        match self.sealer.open(name.as_bytes(), &sealed) {
            Ok(value) => Ok(Some(Bytes::copy_from_slice(&value))),
            Err(error) => {
                self.tell_unopened(error);
                Ok(None)
            }
        }
    }

    async fn put(&self, key: &CacheKey, value: Bytes, ttl: Duration) -> Result<(), CacheError> {
        let name = self.key(key);
        let millis = u64::try_from(ttl.min(LONGEST_KEPT).as_millis()).unwrap_or(0);
        let too_large = value.len() > self.max_value_bytes;
        if too_large {
            self.too_large.fetch_add(1, Ordering::Relaxed);
        }
        // What is not kept must not leave its predecessor in place.
        let command = if too_large || millis == 0 {
            let mut unlink = redis::cmd("UNLINK");
            unlink.arg(&name);
            unlink
        } else {
            let sealed = self
                .sealer
                .seal(name.as_bytes(), &value)
                .map_err(|error| failed("sealing", key, error))?;
            let mut set = redis::cmd("SET");
            set.arg(&name).arg(sealed).arg("PX").arg(millis);
            set
        };
        self.redis
            .command::<redis::Value>(&name, &command, unhurried())
            .await
            .map(drop)
            .map_err(|error| failed("writing", key, error))
    }
}
