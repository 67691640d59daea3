//! Bans: whom decisions refuse though everything else would let them in. And the port to where they are kept.
//!
//! A kick is not a ban: who was kicked comes back, and gets what the truth then says. A ban is truth that natsgate itself
//! holds. It comes with a revocation and has the name of that log entry; writing it and what is to be appended to the
//! log is one transaction, as with pushed memberships ([`crate::pushed`]), and the same outbox announces it.

use std::time::SystemTime;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::concern::Concern;
use crate::deadline::Deadline;
use crate::pushed::{Announced, Announcement};
use crate::revocation::{EntryId, Pace, Selector};
use crate::revocation_log::Idempotency;

/// Whom a ban refuses, of those it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BanScope {
    /// Credentials issued at this time or before, and those that do not say when they were issued. The time has the
    /// clock skew in it already.
    IssuedUntil(SystemTime),
    /// Everybody, until this time.
    Everyone {
        /// Until when.
        until: SystemTime,
    },
}

impl BanScope {
    /// Whether it refuses a credential that was issued at `issued_at`, at the time `now`.
    pub fn refuses(&self, issued_at: Option<SystemTime>, now: SystemTime) -> bool {
        match self {
            Self::IssuedUntil(time) => issued_at.is_none_or(|issued_at| issued_at <= *time),
            Self::Everyone { until } => now < *until,
        }
    }
}

/// A ban.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Its name: that of the log entry which says so.
    pub id: EntryId,
    /// Whom or what it is about; one that [`Selector::ban_concern`] is known of.
    pub selector: Selector,
    /// Whom of those it refuses.
    pub scope: BanScope,
    /// Why, in the words of whoever imposed it.
    pub reason: String,
    /// Who imposed it: a caller's name.
    pub actor: String,
    /// When, in whole microseconds.
    pub imposed_at: SystemTime,
    /// From when on it can refuse nobody any more, so that it may be forgotten: no token lives longer.
    pub ends_at: SystemTime,
    /// Whether and how it was lifted before.
    pub lifted: Option<Lifted>,
}

impl Ban {
    /// Whether it counts at the time `now`.
    pub fn is_in_force(&self, now: SystemTime) -> bool {
        self.lifted.is_none() && now < self.ends_at
    }
}

/// How a ban was lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifted {
    /// When, in whole microseconds.
    pub at: SystemTime,
    /// By whom: a caller's name.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// What became of imposing or lifting a ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BanWritten {
    /// The ban as it is now.
    pub ban: Ban,
    /// What must still be appended to the log, if it is not known to be.
    pub pending: Option<Announcement>,
    /// What is known to be appended.
    pub announced: Option<Announced>,
    /// Whether an earlier call with the same idempotency key did it.
    pub repeated: bool,
}

/// The store could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BanStoreError {
    /// It could not be reached, or not in time. Whether a write happened is then not known: write again with the same
    /// idempotency key.
    #[error("{doing}: {cause}")]
    Unavailable {
        /// What was being done.
        doing: String,
        /// What went wrong, and what to look at.
        cause: String,
    },
    /// There is no ban of that name.
    #[error("there is no ban of this name: it may have ended by itself and been forgotten")]
    NotFound,
    /// The idempotency key was used before, for something else. Nothing was written.
    #[error("the idempotency key was used before for another request: use a new key for every request")]
    KeyReused,
    /// What the store holds cannot be right.
    #[error("the store of bans is damaged: {0}")]
    Damaged(String),
}

/// Holds bans.
#[async_trait]
pub trait BanStore: Send + Sync {
    /// Imposes `ban`, once for `idempotency`; its revocation closes live sessions at `pace`.
    ///
    /// # Errors
    /// [`BanStoreError`].
    async fn impose(
        &self,
        ban: &Ban,
        pace: Pace,
        idempotency: &Idempotency,
        deadline: Deadline,
    ) -> Result<BanWritten, BanStoreError>;

    /// Lifts the ban `id` as `lifted` says, once for `idempotency`. One that is lifted already stays as it was. `entry` is the
    /// name that the log entry is to have.
    ///
    /// # Errors
    /// [`BanStoreError`].
    async fn lift(
        &self,
        id: EntryId,
        entry: EntryId,
        lifted: &Lifted,
        idempotency: &Idempotency,
        deadline: Deadline,
    ) -> Result<BanWritten, BanStoreError>;

    /// The bans in force at `now` on any of `concerns`, which are those that bans are looked up by
    /// ([`Selector::ban_concern`]).
    ///
    /// # Errors
    /// [`BanStoreError`]; never a part of the list.
    async fn in_force(
        &self,
        concerns: &[Concern],
        now: SystemTime,
        deadline: Deadline,
    ) -> Result<Vec<Ban>, BanStoreError>;

    /// The bans in the order of their names, beginning after `after`, `limit` at most; with those that were lifted or
    /// have ended, if `all`.
    ///
    /// # Errors
    /// [`BanStoreError`].
    async fn list(
        &self,
        all: bool,
        after: Option<EntryId>,
        limit: usize,
        now: SystemTime,
        deadline: Deadline,
    ) -> Result<Vec<Ban>, BanStoreError>;

    /// Forgets bans that ended before `before`, and idempotency records from before then. Returns how many bans.
    ///
    /// # Errors
    /// [`BanStoreError`].
    async fn purge_bans(&self, before: SystemTime, deadline: Deadline) -> Result<u64, BanStoreError>;
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_credential_without_a_time_counts_as_older_than_any_ban() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let tokens = BanScope::IssuedUntil(at(100));
        assert!(tokens.refuses(Some(at(100)), at(500)) && tokens.refuses(None, at(500)));
        assert!(!tokens.refuses(Some(at(101)), at(500)));
        let everyone = BanScope::Everyone { until: at(100) };
        assert!(everyone.refuses(Some(at(99)), at(99)) && !everyone.refuses(None, at(100)));
    }
}
