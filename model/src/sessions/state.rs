//! What there is.

pub mod connection;
pub mod fold;
pub mod log;
pub mod pair;
pub mod shim;

pub use crate::state::log::{Id, Ids};
pub use crate::state::{Revision, Version, Who};

use super::bounds::Bounds;
use connection::{Connection, Owner};
use log::Log;
pub use pair::Nth;
use pair::Pair;
use shim::{Former, Shim, Word};

/// Everything there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State {
    /// The truth: the version of the permissions that a session may have now. A higher one allows less.
    pub truth: Version,
    /// The newest version whose revocation was appended.
    pub appended: Version,
    /// For the promises only: the newest version for which `wait` said that all is carried out.
    pub completed: Version,
    /// How many other entries were appended.
    pub others: u8,
    /// The log.
    pub log: Log,
    /// The log as it was in the epoch before, for those who have not heard of the new one.
    pub old: Option<Log>,
    /// What the epoch lost and survivors still have to append again.
    pub lost: Ids,
    /// The shims.
    pub shims: Pair<Shim>,
    /// What is left of those that crashed, by their successors' places.
    pub formers: Pair<Option<Former>>,
    /// The connections, on the server.
    pub connections: Pair<Connection>,
    /// For the promises only: whether a session was closed that lost nothing, by somebody who could have known.
    pub unjust: bool,
}

impl State {
    /// Everything quiet: one epoch, an empty log, the shims caught up and no connections.
    pub fn at_rest(bounds: &Bounds) -> Self {
        let log = Log::new(1, 0);
        let shim = Shim {
            reconciled: true,
            ..Shim::started(&log)
        };
        let mut shims = Pair::both(shim);
        if bounds.shims < 2 {
            *shims.of_mut(Who::Second) = Shim::default();
        }
        Self {
            truth: 0,
            appended: 0,
            completed: 0,
            others: 0,
            log,
            old: None,
            lost: Ids::default(),
            shims,
            formers: Pair::both(None),
            connections: Pair::both(Connection::default()),
            unjust: false,
        }
    }

    /// What the board says of the shim that answered a session, and whether that counts as present.
    pub fn word(&self, owner: Owner) -> Option<(Word, bool)> {
        match owner {
            Owner::Running(who) => Some((self.shims.of(who).word, true)),
            Owner::Former(who) => self.formers.of(who).map(|former| (former.word, former.present)),
        }
    }

    /// Whether an answer of the crashed shim of this place is still on its way to the server.
    pub fn former_still_answers(&self, who: Who) -> bool {
        self.connections.iter().any(|connection| {
            connection
                .answers
                .iter()
                .flatten()
                .any(|grant| grant.owner == Owner::Former(who))
        })
    }

    /// The shims that there can be.
    pub fn whos(bounds: &Bounds) -> &'static [Who] {
        if bounds.shims > 1 {
            &Who::BOTH
        } else {
            &[Who::First]
        }
    }

    /// The connections that there can be.
    pub fn nths(bounds: &Bounds) -> &'static [Nth] {
        if bounds.connections > 1 {
            &Nth::BOTH
        } else {
            &[Nth::First]
        }
    }
}
