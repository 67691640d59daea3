//! Looking a fact up: at its source, or through caches in front of it. The same for all facts, whatever they are.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::concern::Concern;
use crate::deadline::Deadline;
use crate::outcome::Failure;

/// Something a source of truth says that may be kept for a while.
pub trait Fact: Clone + Send + Sync + Serialize + DeserializeOwned + 'static {
    /// Names the kind of fact and the version of its form, in cache keys: `memberships.1`. A release that writes another
    /// form has another version, so that old and new can share a cache.
    const KIND: &'static str;

    /// What it is about. A log entry that touches any of it voids the fact.
    fn concerns(&self) -> Vec<Concern>;

    /// Whether it says that there is nothing (kept for the negative time).
    fn is_negative(&self) -> bool;

    /// When it ends by itself, whatever caches are told: the token's own expiry.
    fn expires_at(&self) -> Option<SystemTime>;
}

/// Where a kind of fact is known.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// What is asked.
    type Query: Clone + Send + Sync + 'static;
    /// What is answered.
    type Fact: Fact;

    /// The source's name in logs and errors, and in cache keys: two sources never share an entry.
    fn name(&self) -> &str;

    /// What tells `query` from any other: becomes a keyed digest, and stands nowhere as it is.
    fn key(&self, query: &Self::Query) -> Zeroizing<Vec<u8>>;

    /// What the answer will be about, as far as the query tells.
    fn concerns(&self, query: &Self::Query) -> Vec<Concern>;

    /// How far the source may be behind the truth: a read replica's lag.
    fn lag(&self) -> Duration {
        Duration::ZERO
    }

    /// Asks the source.
    ///
    /// # Errors
    /// [`Failure::Denied`] if the answer is no, which may be kept for the negative time; [`Failure::Unavailable`] if
    /// there is no answer.
    async fn fetch(&self, query: &Self::Query, deadline: Deadline) -> Result<Self::Fact, Failure>;
}

/// Looks facts up.
#[async_trait]
pub trait Lookup<Q, F>: Send + Sync {
    /// The fact that answers `query`, not older than any revocation that concerns it.
    ///
    /// # Errors
    /// [`Failure`].
    async fn look_up(&self, query: &Q, deadline: Deadline) -> Result<F, Failure>;
}

/// How long facts of one source are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheTimes {
    /// As long as this a fact is used without asking again.
    pub fresh: Duration,
    /// As long as this beyond, while the source cannot be asked.
    pub stale_if_error: Duration,
    /// As long as this "no" and "nothing" are used without asking again.
    pub negative: Duration,
}
