//! The follower as somebody reads it who acts on every entry and must miss none.
//!
//! An entry is in [`RevocationFeed::after`] before the position tells of it: both come from the same view, the position
//! later. So whoever looks when a position changes finds everything up to it, and what came meanwhile.

use natsgate_core::{Held, LogEntry, Missed, Position, Revision, RevocationFeed};
use tokio::sync::watch;

use super::Follower;

impl RevocationFeed for Follower {
    fn positions(&self) -> watch::Receiver<Position> {
        self.shared.position.subscribe()
    }

    /// Before the log was read for the first time there are none: whether any are missing shows when the position is
    /// known.
    fn after(&self, after: &Revision, limit: usize) -> Result<Vec<LogEntry>, Missed> {
        self.shared
            .read()
            .as_ref()
            .map_or_else(|| Ok(Vec::new()), |view| view.after(after, limit))
    }

    fn held(&self) -> Option<Held> {
        self.shared.read().as_ref().and_then(super::view::View::held)
    }
}
