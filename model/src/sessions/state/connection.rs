//! A connection, as its nats-server has it, and what is on the way there.

use super::pair::Pair;
use super::{Revision, Version, Who};

/// Who answered a session, as its name says. A shim that comes back has another identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// The shim that runs.
    Running(Who),
    /// The one that crashed there.
    Former(Who),
}

/// What a session was given. All but the version stands in its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Grant {
    /// Which permissions.
    pub version: Version,
    /// The revision they were validated at.
    pub as_of: Revision,
    /// Who answered.
    pub owner: Owner,
    /// For the promises only: the newest version whose revocation `as_of` includes.
    pub knew: Version,
}

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Place {
    /// Not made yet.
    #[default]
    Unborn,
    /// Inside its callout.
    InCallout,
    /// Live.
    Live,
    /// Closed. It never comes back under the same ids.
    Closed,
}

/// A connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Connection {
    /// Where it is.
    pub place: Place,
    /// The shims' answers that are on the way.
    pub answers: Pair<Option<Grant>>,
    /// What it was given, once it is live.
    pub grant: Option<Grant>,
    /// Whether the callout's time is over, so that it can only be live or gone.
    pub over: bool,
    /// For the promises only: how many shims count it as closed by them.
    pub counted: u8,
    /// For the promises only: whether a shim closed it that had not answered it.
    pub taken: bool,
    /// For the promises only: whether it was closed inside its callout.
    pub early: bool,
}

impl Connection {
    /// It is closed, for whatever reason.
    pub fn close(&mut self) {
        self.place = Place::Closed;
        self.answers = Pair::default();
        // Nobody needs to wait for the callout's time any more to see that it is gone.
        self.over = true;
    }

    /// What it was given, if it is live.
    pub fn live(&self) -> Option<&Grant> {
        match self.place {
            Place::Live => self.grant.as_ref(),
            _ => None,
        }
    }
}
