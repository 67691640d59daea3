//! An instance: its follower of the log, and the in-process side of its lookups.

use super::log::{Entry, Head, Id, Ids};
use super::{Fact, Revision, Version};

/// A tick that was begun and answered; the instance has not worked the answer in yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tick {
    /// The answer.
    pub head: Head,
    /// Whether it began longer than `max_lag` ago.
    pub aged: bool,
    /// For the promises only: the newest version whose revocation had returned when it began.
    pub told: Version,
}

/// What reads the log (`Follower`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Follower {
    /// What is applied. Epoch 0: nothing was ever read, nothing may be decided.
    pub applied: Revision,
    /// The sequence of the newest entry applied that concerns the key; 0 without any.
    pub newest: u8,
    /// Stamps before this one are superseded: what came after them was trimmed.
    pub floor: u8,
    /// Whether nothing is missing since before the token was issued.
    pub complete: bool,
    /// Whether the position is confirmed.
    pub confirmed: bool,
    /// Every entry ever applied, kept for appending again.
    pub retained: Ids,
    /// What the epoch lost of it, and this instance has not read in the new epoch again.
    pub lost: Ids,
    /// How far the epoch before was applied and whether nothing was missing then (`Witness`), while the log is to hear it.
    pub former: Option<(Revision, bool)>,
    /// With [`crate::Flaw::WitnessByTicks`]: whether this instance ticked in this epoch since the last
    /// snapshot, so that the snapshot lacks that tick.
    pub ticked_since_snapshot: bool,
    /// What was applied a lag ago.
    pub lagged: Revision,
    /// The tick under way.
    pub tick: Option<Tick>,
    /// For the promises only: the newest version whose revocation had returned when the tick began that confirmed last.
    pub told: Version,
}

impl Follower {
    /// Whether the log was ever read.
    pub fn is_known(&self) -> bool {
        self.applied.epoch != 0
    }

    /// Notes `entry` at `sequence` as applied.
    pub fn apply(&mut self, sequence: u8, entry: Entry) {
        self.applied.sequence = sequence;
        self.retained.insert(entry.id);
        self.lost.remove(entry.id);
        if let Id::Revocation(_) = entry.id {
            self.newest = sequence;
        }
    }

    /// Whether a fact of `stamp` does not count (`Freshness::superseded`).
    pub fn superseded(&self, stamp: Revision) -> bool {
        stamp.epoch != self.applied.epoch || self.superseded_by_sequence(stamp)
    }

    /// The same without a look at the epoch.
    pub fn superseded_by_sequence(&self, stamp: Revision) -> bool {
        stamp.sequence > self.applied.sequence || self.behind(stamp)
    }

    /// Whether something after `stamp` concerns the key, or may have.
    pub fn behind(&self, stamp: Revision) -> bool {
        stamp.sequence < self.floor || stamp.sequence < self.newest
    }

    /// Whether the token of the beginning counts (`ClaimsStanding::Current`): what the epoch lost still concerns it.
    pub fn claims_current(&self) -> bool {
        self.claims_current_by_log() && self.lost.newest_version() == 0
    }

    /// The same as far as the log knows.
    pub fn claims_current_by_log(&self) -> bool {
        self.confirmed && self.complete && self.newest == 0
    }
}

/// A fetch that runs: its source has answered, its waiters have not been told yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fetch {
    /// The stamp, if it has one yet, and if it may have one.
    pub stamp: Option<Revision>,
    /// What the source said.
    pub version: Version,
    /// Whether it began a short time ago (`join_while_degraded`, less than `max_lag`).
    pub young: bool,
    /// For the promises only: what the waiter who may expect most may expect.
    pub due: Version,
}

/// An instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Instance {
    /// What reads the log.
    pub follower: Follower,
    /// The in-process cache's entry for the key.
    pub in_process: Option<Fact>,
    /// The fetch that runs for the key.
    pub fetch: Option<Fetch>,
}

impl Instance {
    /// An instance that has read an empty log of `epoch`, just now and a lag ago.
    pub fn caught_up(epoch: u8) -> Self {
        let start = Revision { epoch, sequence: 0 };
        Self {
            follower: Follower {
                applied: start,
                complete: true,
                confirmed: true,
                lagged: start,
                ..Follower::default()
            },
            ..Self::default()
        }
    }
}
