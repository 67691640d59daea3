//! For every concern the newest entry that touches it.

use std::collections::HashMap;
use std::time::SystemTime;

use natsgate_core::{Concern, LogEntry};

/// The newest entry of a concern: by its place in the log, and by when it was made. The two may be different entries,
/// since an entry that is appended again keeps its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Newest {
    sequence: u64,
    at: SystemTime,
}

/// The newest entry of every concern there is an entry of.
#[derive(Debug, Default)]
pub(super) struct Index {
    newest: HashMap<Concern, Newest>,
}

impl Index {
    /// Takes an entry in.
    pub(super) fn add(&mut self, entry: &LogEntry) {
        for concern in entry.change.concerns() {
            let new = Newest {
                sequence: entry.revision.sequence,
                at: entry.at,
            };
            self.newest
                .entry(concern)
                .and_modify(|known| {
                    known.sequence = known.sequence.max(new.sequence);
                    known.at = known.at.max(new.at);
                })
                .or_insert(new);
        }
    }

    /// Forgets an entry and all before it, as far as nothing newer has the same concerns.
    pub(super) fn forget(&mut self, entry: &LogEntry) {
        for concern in entry.change.concerns() {
            if let Some(known) = self.newest.get(&concern)
                && known.sequence <= entry.revision.sequence
            {
                self.newest.remove(&concern);
            }
        }
    }

    /// Whether an entry after `sequence` touches one of `concerns`, or everything.
    pub(super) fn touched_after(&self, sequence: u64, concerns: &[Concern]) -> bool {
        self.any(concerns, |newest| newest.sequence > sequence)
    }

    /// Whether an entry made at `time` or later touches one of `concerns`, or everything.
    pub(super) fn touched_since(&self, time: SystemTime, concerns: &[Concern]) -> bool {
        self.any(concerns, |newest| newest.at >= time)
    }

    fn any(&self, concerns: &[Concern], counts: impl Fn(&Newest) -> bool) -> bool {
        concerns
            .iter()
            .chain(std::iter::once(&Concern::EVERYTHING))
            .filter_map(|concern| self.newest.get(concern))
            .any(counts)
    }

    /// How many concerns it knows.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.newest.len()
    }
}
