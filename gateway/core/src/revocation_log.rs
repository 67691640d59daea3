//! The port to the revocation log: an ordered, gap-free, authenticated list of changes that every instance reads.
//!
//! Appending, the record that makes it idempotent and its announcement are one atomic step. What reads the log, notices
//! gaps and answers whether a fact still counts is not here: that is [`crate::freshness`]'s side of it.

use std::time::SystemTime;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::deadline::Deadline;
use crate::revision::{Epoch, Revision};
use crate::revocation::{Change, EntryId, LogEntry, PolicyGeneration};

/// What makes an append happen once, however often it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// A digest of caller, method and the caller's key: another caller's same key is another request.
    pub key: [u8; 32],
    /// A digest of the request's body: the same key with another body is a mistake of the caller's.
    pub body: [u8; 32],
}

/// An entry to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// Its name.
    pub id: EntryId,
    /// When it was made.
    pub at: SystemTime,
    /// What it says.
    pub change: Change,
    /// What makes it idempotent; an entry without is appended as often as asked.
    pub idempotency: Option<Idempotency>,
}

/// An entry stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Where it stands; where it stood already, if it was appended before.
    pub revision: Revision,
    /// Whether it stood there before this call.
    pub repeated: bool,
    /// Whether as many replicas have it as the configuration asks for. If not, a failover may still lose it.
    pub confirmed: bool,
}

/// Where the log ends, confirmed by its primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The last entry's position.
    pub revision: Revision,
    /// The oldest sequence still held; older ones were trimmed. One beyond the end if nothing is held.
    pub oldest: u64,
    /// Since when nothing that was appended is missing, be it lost or trimmed; `None` for ever.
    pub complete_since: Option<SystemTime>,
    /// The policy in force, if instances coordinate it.
    pub policy: Option<PolicyGeneration>,
}

/// A part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// The epoch that the log itself was in when this was read.
    pub epoch: Epoch,
    /// The entries, oldest first.
    pub entries: Vec<LogEntry>,
}

/// What somebody knows of the log whom a loss of it did not touch. Told of an epoch that has ended only when everything
/// that he knows to be missing was appended again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// How far they have applied it.
    pub applied: Revision,
    /// Since when they have missed nothing; `None` for ever.
    pub complete_since: Option<SystemTime>,
}

/// The log could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// It could not be reached, or not in time, or it is no primary. Whether an append happened is then not known:
    /// append again with the same idempotency.
    #[error("{doing}: {cause}")]
    Unavailable {
        /// What was being done.
        doing: String,
        /// What went wrong, and what to look at.
        cause: String,
    },
    /// The idempotency key was used before, for something else.
    #[error("the idempotency key was used before for another request: use a new key for every request")]
    KeyReused,
    /// What it holds cannot be right: an entry was forged, altered, or removed. Nothing read before counts any more.
    #[error("the revocation log was tampered with or is damaged: {0}")]
    Damaged(String),
}

/// The revocation log.
#[async_trait]
pub trait RevocationLog: Send + Sync {
    /// Appends `entry`, records its idempotency and announces it, in one atomic step.
    ///
    /// # Errors
    /// [`LogError`].
    async fn append(&self, entry: &NewEntry, deadline: Deadline) -> Result<Appended, LogError>;

    /// Whether anything can be appended here at all. Where not, whoever follows it leaves it to others to append again what
    /// an epoch lost.
    fn takes_appends(&self) -> bool {
        true
    }

    /// Where the log ends, by a write that only a primary in possession of its replicas can do: whoever gets an answer
    /// knows that nothing was appended before this call began that he is not told of.
    ///
    /// If the log is not the one of its epoch any more (another primary, or emptied, or set back), a new epoch begins.
    /// It is complete since then, until a `witness` comes who saw the old one's end and has appended again what was lost:
    /// then since he says so.
    ///
    /// # Errors
    /// [`LogError`].
    async fn tick(&self, witness: Option<&Witness>, deadline: Deadline) -> Result<Head, LogError>;

    /// The entries after sequence `after`, oldest first, `limit` at most, of whatever epoch: what an epoch takes over
    /// from the one before keeps its place. Fewer than asked for, only if there are no more. The reader must see to it that
    /// they are of the same log as the [`Head`] he reads up to: a primary that was cut off may still answer reads.
    ///
    /// # Errors
    /// [`LogError`].
    async fn read(&self, after: u64, limit: usize, deadline: Deadline) -> Result<LogPage, LogError>;

    /// Changes whenever something was appended, as far as announcements arrive. No more than a hint to look.
    fn doorbell(&self) -> watch::Receiver<u64>;
}
