//! The port to the revocation log as somebody reads it who acts on every entry, in order, and misses none.

use tokio::sync::watch;

use crate::freshness::Position;
use crate::revision::Revision;
use crate::revocation::LogEntry;

/// Entries are missing between a position and what can be had: the position is of another epoch, or the entries after it were
/// trimmed. Whoever has it can only look at everything anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the revocation log does not go back to that position any more")]
pub struct Missed;

/// The entries that this process has applied, in order.
pub trait RevocationFeed: Send + Sync {
    /// How far the log is applied, as it changes.
    fn positions(&self) -> watch::Receiver<Position>;

    /// The entries applied after `after`, oldest first, `limit` at most; none if there are none yet.
    ///
    /// # Errors
    /// [`Missed`].
    fn after(&self, after: &Revision, limit: usize) -> Result<Vec<LogEntry>, Missed>;
}
