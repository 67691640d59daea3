//! The log, in one epoch. How it is kept and followed is the caches' model's; here it is only what shims and decision services read.

use super::{Id, Revision, Version};

/// How many entries a log can hold.
pub const CAPACITY: usize = 4;

/// Entries by their sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Entries([Option<Id>; CAPACITY]);

impl Entries {
    /// The entry at `sequence`.
    pub fn at(&self, sequence: u8) -> Option<Id> {
        self.0
            .get(usize::from(sequence.checked_sub(1)?))
            .copied()
            .flatten()
    }

    /// Puts `entry` at `sequence`, if there is room.
    pub fn put(&mut self, sequence: u8, entry: Option<Id>) -> Option<()> {
        *self.0.get_mut(usize::from(sequence.checked_sub(1)?))? = entry;
        Some(())
    }

    /// Those after `sequence`.
    pub fn after(&self, sequence: u8) -> impl Iterator<Item = Id> {
        self.0.iter().skip(usize::from(sequence)).copied().flatten()
    }

    /// Those up to `sequence`.
    pub fn up_to(&self, sequence: u8) -> impl Iterator<Item = Id> {
        self.0.iter().take(usize::from(sequence)).copied().flatten()
    }

    /// Forgets those up to `sequence`.
    pub fn forget_up_to(&mut self, sequence: u8) {
        for entry in self.0.iter_mut().take(usize::from(sequence)) {
            *entry = None;
        }
    }

    /// Forgets those after `sequence`.
    pub fn forget_after(&mut self, sequence: u8) {
        for entry in self.0.iter_mut().skip(usize::from(sequence)) {
            *entry = None;
        }
    }
}

/// The log in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Log {
    /// The epoch.
    pub epoch: u8,
    /// The truth when it began: no fact of this epoch is older.
    pub base: Version,
    /// The last sequence.
    pub end: u8,
    /// The oldest sequence still held; what was before is kept here all the same, for those who had read it.
    pub oldest: u8,
    /// The entries.
    pub entries: Entries,
}

impl Log {
    /// An empty log.
    pub fn new(epoch: u8, base: Version) -> Self {
        Self {
            epoch,
            base,
            end: 0,
            oldest: 1,
            entries: Entries::default(),
        }
    }

    /// Appends, if there is room.
    pub fn push(&mut self, id: Id) -> Option<()> {
        self.entries.put(self.end + 1, Some(id))?;
        self.end += 1;
        Some(())
    }

    /// Where it ends.
    pub fn head(&self) -> Revision {
        Revision {
            epoch: self.epoch,
            sequence: self.end,
        }
    }

    /// The oldest permissions that somebody may give who has applied it up to `sequence`.
    pub fn oldest_version(&self, sequence: u8) -> Version {
        newest(self.entries.up_to(sequence)).max(self.base)
    }
}

/// The newest version whose revocation is among `entries`; 0 without any.
pub fn newest(entries: impl Iterator<Item = Id>) -> Version {
    entries
        .map(|id| match id {
            Id::Revocation(version) => version,
            Id::Other(_) => 0,
        })
        .max()
        .unwrap_or(0)
}
