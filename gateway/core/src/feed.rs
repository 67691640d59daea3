//! The port to the revocation log as somebody reads it who acts on every entry, in order, and misses none.

use tokio::sync::watch;

use crate::freshness::Position;
use crate::revision::Revision;
use crate::revocation::LogEntry;

/// Entries are missing between a position and what can be had: the position is of another epoch, or the entries after it were
/// trimmed. Whoever has it goes on from what the log holds ([`RevocationFeed::held`]), and looks at everything anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the revocation log does not go back to that position any more")]
pub struct Missed;

/// All that the log holds, as this process has applied it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Where the log ends.
    pub position: Revision,
    /// The sequence after which no entry is missing.
    pub before: u64,
    /// The entries after it, oldest first. Those of before the log's epoch have that epoch's revision, under the sequence they
    /// still have.
    pub entries: Vec<LogEntry>,
}

/// The entries that this process has applied, in order.
pub trait RevocationFeed: Send + Sync {
    /// How far the log is applied, as it changes.
    fn positions(&self) -> watch::Receiver<Position>;

    /// The entries applied after `after`, oldest first, `limit` at most; none if there are none yet.
    ///
    /// # Errors
    /// [`Missed`].
    fn after(&self, after: &Revision, limit: usize) -> Result<Vec<LogEntry>, Missed>;

    /// All that the log holds, at one moment: for who has [`Missed`] something. `None` before it was read, and while it is not
    /// to be believed; the position tells when that is over.
    fn held(&self) -> Option<Held>;
}
