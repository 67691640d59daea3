//! A shim: how far it has followed the log, what it knows of sessions, what it has said.

use super::log::{Entries, Log};
use super::pair::Pair;
use super::{Id, Ids, Revision, Version};
use crate::sessions::flaw::Flaw;
use crate::sessions::protocol::Protocol;

/// What is still to be done about a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Todo {
    /// Nothing.
    #[default]
    Nothing,
    /// It is being asked what it would get now.
    Recheck {
        /// What the shim had applied when it asked.
        min: Revision,
    },
    /// It is to be closed: at once by the shim that answered it; by the other some time later, and only if the owner has not said that it is done.
    Close,
}

/// A session, as a shim knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Session {
    /// The `as_of` in its name.
    pub named: Revision,
    /// What it is known to be valid as of: that, or what a recheck said, or how far its owner said that it is done.
    pub valid: Revision,
    /// What it was given, if this shim answered it: then it knows all that the grant rests on, and can ask again.
    pub basis: Option<Version>,
    /// Whether the server was heard to say that it is live.
    pub seen: bool,
    /// What is still to be done about it.
    pub todo: Todo,
}

/// What a shim's registry has under a connection's ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Known {
    /// Nothing.
    #[default]
    Nothing,
    /// It is being asked about.
    InFlight {
        /// What the shim had applied when it asked (`min_revision`).
        min: Revision,
        /// How often it was asked again, up to 7.
        again: u8,
    },
    /// It is answered, or was found.
    Session(Session),
}

impl Known {
    /// The session.
    pub fn session(&self) -> Option<&Session> {
        match self {
            Self::Session(session) => Some(session),
            _ => None,
        }
    }

    /// The session, to change.
    pub fn session_mut(&mut self) -> Option<&mut Session> {
        match self {
            Self::Session(session) => Some(session),
            _ => None,
        }
    }
}

/// What the log has against a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// Nothing.
    Nothing,
    /// An entry that touches it, or may.
    Something,
    /// That cannot be told: another epoch, or entries that were never read.
    Unknown,
}

/// What a shim has said on the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Word {
    /// The entries it has acknowledged, completely.
    pub acked: Ids,
    /// How far it had come when it last had nothing left to do (its presence: position, nothing pending).
    pub done: Revision,
}

/// What is left of a shim that crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Former {
    /// What it had said.
    pub word: Word,
    /// Whether it still counts as present.
    pub present: bool,
}

/// A CONNZ that the server has answered; the shim has not worked the answer in yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Connz {
    /// Which connections it lists.
    pub listed: Pair<bool>,
    /// For which it means something that they are not listed: they were live, or over, when it was asked.
    pub telling: Pair<bool>,
    /// Whether it was asked after a shim crashed and its last answers had arrived or expired.
    pub after: bool,
}

/// A shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Shim {
    /// Whether it runs.
    pub up: bool,
    /// How far it has applied the log.
    pub applied: Revision,
    /// What it has applied in this epoch.
    pub entries: Entries,
    /// What was before this sequence was never read.
    pub floor: u8,
    /// With [`Flaw::LookedUpBeforeApplied`]: it has looked up the sessions of the next entry.
    pub looked: bool,
    /// Whether it has looked what sessions there are since it started.
    pub reconciled: bool,
    /// Whether it has done so since the last crash of a shim, after that one's last answers had arrived or expired.
    pub swept: bool,
    /// The CONNZ under way.
    pub connz: Option<Connz>,
    /// Its registry.
    pub known: Pair<Known>,
    /// What it has said on the board.
    pub word: Word,
}

impl Shim {
    /// One that has just started and read all the log holds.
    pub fn started(log: &Log) -> Self {
        let mut shim = Self {
            up: true,
            ..Self::default()
        };
        shim.begin(log);
        shim
    }

    /// Reads all the log holds, anew.
    pub fn begin(&mut self, log: &Log) {
        self.applied = log.head();
        self.entries = log.entries;
        self.floor = log.oldest - 1;
        self.entries.forget_up_to(self.floor);
    }

    /// What the applied entries have against a session that is valid as of `valid`. With its `basis` it is known what it rests on;
    /// of its name alone nobody can tell what an entry that names no principal has to do with it.
    pub fn against(&self, protocol: &Protocol, valid: Revision, basis: bool) -> Against {
        let comparable = valid.epoch == self.applied.epoch || protocol.has(Flaw::EpochIgnored);
        if !comparable || valid.sequence < self.floor {
            Against::Unknown
        } else if self
            .entries
            .after(valid.sequence)
            .any(|entry| touches(protocol, entry, basis))
        {
            Against::Something
        } else {
            Against::Nothing
        }
    }

    /// Whether an entry that was taken in after `valid` closes a session unasked. Of another epoch's position it cannot be told what came
    /// after it: there, whether it `came` just now.
    pub fn closes(&self, protocol: &Protocol, valid: Revision, came: bool) -> bool {
        if !protocol.bounds.kicks {
            false
        } else if valid.epoch == self.applied.epoch {
            self.entries.after(valid.sequence).any(is_kick)
        } else {
            came
        }
    }

    /// The kicks among what it has applied in this epoch.
    pub fn kicks(&self) -> Ids {
        let mut kicks = Ids::default();
        for entry in self
            .entries
            .up_to(self.applied.sequence)
            .filter(|entry| is_kick(*entry))
        {
            kicks.insert(entry);
        }
        kicks
    }

    /// Whether the entry that was taken in last closes what it touches unasked.
    pub fn kick_came(&self) -> bool {
        self.entries.at(self.applied.sequence).is_some_and(is_kick)
    }

    /// Whether anything is left to do about any session.
    pub fn pending(&self) -> bool {
        self.known
            .iter()
            .filter_map(Known::session)
            .any(|session| session.todo != Todo::Nothing)
    }
}

/// Whether, with [`Bounds::kicks`](crate::sessions::Bounds::kicks), an entry closes what it touches unasked.
pub fn is_kick(entry: Id) -> bool {
    matches!(entry, Id::Revocation(_))
}

fn touches(protocol: &Protocol, entry: Id, basis: bool) -> bool {
    match (entry, basis) {
        (_, false) => !protocol.has(Flaw::FoundConcernsUnknown),
        (Id::Revocation(_), true) => true,
        (Id::Other(_), true) => protocol.bounds.rechecks,
    }
}
