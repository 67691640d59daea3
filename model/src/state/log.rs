//! The log as one Redis holds it: entries, the head with its epoch, idempotency records. All of it is replicated in the order it
//! was written, so a replica, a snapshot and a cut-off primary are older or newer copies of the same thing.

use super::{Revision, Version};

/// How many entries a log can hold.
pub const CAPACITY: usize = 5;

/// What an entry is, wherever it stands (`EntryId` and `Change`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id {
    /// The revocation after the truth became this version.
    Revocation(Version),
    /// Something that concerns other facts.
    Other(u8),
}

/// An entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// Which.
    pub id: Id,
    /// The epoch it was appended in. In the code the seal binds epoch, sequence and predecessor, so that an entry of one epoch cannot
    /// pass for one of another; hence no two entries of one epoch and sequence.
    pub epoch: u8,
    /// For the promises only: whether an instance appended it again.
    pub again: bool,
}

/// A set of entries, by what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Ids(u8);

impl Ids {
    fn bit(id: Id) -> u8 {
        match id {
            Id::Revocation(version) => 1 << (version & 3),
            Id::Other(number) => 16 << (number & 3),
        }
    }

    /// Puts `id` in.
    pub fn insert(&mut self, id: Id) {
        self.0 |= Self::bit(id);
    }

    /// Takes `id` out.
    pub fn remove(&mut self, id: Id) {
        self.0 &= !Self::bit(id);
    }

    /// Whether `id` is in it.
    pub fn contains(self, id: Id) -> bool {
        self.0 & Self::bit(id) != 0
    }

    /// Those of either.
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those not in `other`.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those there are, revocations first.
    pub fn iter(self) -> impl Iterator<Item = Id> {
        (0..4)
            .map(Id::Revocation)
            .chain((0..4).map(Id::Other))
            .filter(move |id| self.contains(*id))
    }

    /// The newest version whose revocation is in it; 0 without any.
    pub fn newest_version(self) -> Version {
        (1..4)
            .rev()
            .find(|v| self.contains(Id::Revocation(*v)))
            .unwrap_or(0)
    }
}

/// Where a node's data came from, which decides whether the epoch it holds is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lineage {
    /// The epoch is bound to this node's replication id.
    Bound,
    /// Received as a replica: another replication id, and nothing missing that a client waited for.
    Promoted,
    /// Read from a disk, or nothing at all: another replication id, and anything may be missing.
    Restored,
}

/// The log as one Redis holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    entries: [Option<Entry>; CAPACITY],
    /// The last sequence.
    pub end: u8,
    /// The oldest sequence still held; one beyond the end if nothing is.
    pub oldest: u8,
    /// What was trimmed.
    pub trimmed: Ids,
    /// The idempotency records.
    pub records: Ids,
    /// The epoch; 0 if there is none yet.
    pub epoch: u8,
    /// Whether that epoch is this node's.
    pub lineage: Lineage,
    /// Whether the log is complete since before the token was issued, as far as anybody has vouched for it.
    pub complete: bool,
    /// What is known of the epoch before, while nobody has vouched for it.
    pub before: Option<Before>,
}

/// The end of an epoch, as the next one found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Before {
    /// Where it ended, as far as could be seen; epoch 0 if nothing could.
    pub end: Revision,
    /// Whether nothing can be missing that was confirmed: it was replicated, and its replica was promoted.
    pub whole: bool,
}

/// Where a log ends (`Head`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Head {
    /// The last entry's position.
    pub revision: Revision,
    /// The last entry itself.
    pub last: Option<Entry>,
    /// Whether it is complete since before the token was issued.
    pub complete: bool,
}

impl Node {
    /// An empty log in `epoch`, complete.
    pub fn new(epoch: u8) -> Self {
        Self {
            entries: [None; CAPACITY],
            end: 0,
            oldest: 1,
            trimmed: Ids::default(),
            records: Ids::default(),
            epoch,
            lineage: Lineage::Bound,
            complete: true,
            before: None,
        }
    }

    /// Nothing at all: an emptied Redis.
    pub fn emptied() -> Self {
        Self {
            lineage: Lineage::Restored,
            complete: false,
            ..Self::new(0)
        }
    }

    /// The entry at `sequence`, if it is still held.
    pub fn entry(&self, sequence: u8) -> Option<Entry> {
        self.entries
            .get(usize::from(sequence.checked_sub(1)?))
            .copied()
            .flatten()
    }

    /// What is held.
    pub fn ids(&self) -> Ids {
        let mut ids = Ids::default();
        for entry in self.entries.iter().flatten() {
            ids.insert(entry.id);
        }
        ids
    }

    /// Entries there are, with their sequences.
    pub fn entries(&self) -> impl Iterator<Item = (u8, Entry)> {
        (1..)
            .zip(self.entries)
            .filter_map(|(sequence, entry)| Some((sequence, entry?)))
    }

    /// Appends, if there is room.
    #[must_use]
    pub fn push(&mut self, id: Id, again: bool) -> bool {
        let epoch = self.epoch;
        let Some(place) = self.entries.get_mut(usize::from(self.end)) else {
            return false;
        };
        *place = Some(Entry { id, epoch, again });
        self.end += 1;
        true
    }

    /// Drops the oldest entry.
    pub fn trim(&mut self) {
        if let Some(place) = self.entries.get_mut(usize::from(self.oldest - 1))
            && let Some(entry) = place.take()
        {
            self.trimmed.insert(entry.id);
            self.oldest += 1;
        }
    }

    /// Where it ends.
    pub fn head(&self) -> Head {
        Head {
            revision: Revision {
                epoch: self.epoch,
                sequence: self.end,
            },
            last: self.entry(self.end),
            complete: self.complete && self.oldest == 1,
        }
    }
}
