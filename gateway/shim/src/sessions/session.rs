//! One session, as far as it is known.

use std::sync::Arc;

use natsgate_core::{Concern, Revision, SessionKey, SessionRecord};
use natsgate_proto::v1;
use tokio::time::Instant;

use super::log::Touch;
use crate::entitlement::Entitlement;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is in its callout: what it will get is being asked.
    Asked,
    /// It was answered; whether it is connected is not known yet.
    Answered,
    /// It was seen connected.
    Live,
}

/// Which shim looks after a session: closes it at once when it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// This one.
    Me,
    /// Another one, of this name.
    Other(Arc<str>),
    /// Nobody knows.
    Nobody,
}

/// What a grant says of the session it gave.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What it rests on; `None` if the decision service does not say, so that everything may concern it.
    pub concerns: Option<Arc<[Concern]>>,
    /// What a recheck needs; empty if it cannot be rechecked.
    pub basis: Vec<u8>,
    /// What it gives.
    pub entitlement: Entitlement,
}

impl Facts {
    /// What `grant` says; the session ends at `expires_at` (seconds since the Unix epoch) at the latest.
    pub fn of(grant: &v1::Grant, expires_at: i64) -> Self {
        let mut concerns = Vec::with_capacity(grant.concerns.len());
        let mut whole = !grant.concerns.is_empty();
        for bytes in &grant.concerns {
            match <[u8; 16]>::try_from(bytes.as_slice()) {
                Ok(bytes) => concerns.push(Concern::from_bytes(bytes)),
                // It is about something that cannot be read: so it may be about anything.
                Err(_) => whole = false,
            }
        }
        Self {
            concerns: whole.then(|| concerns.into()),
            basis: grant.basis.clone(),
            entitlement: Entitlement::of(grant, expires_at),
        }
    }
}

/// A session.
#[derive(Debug, Clone)]
pub struct Session {
    /// How it is listed; has its key, account, names and times.
    pub record: SessionRecord,
    /// Whether it is a leaf node.
    pub leaf: bool,
    /// How far it has come.
    pub phase: Phase,
    /// Since when it is in that phase.
    pub since: Instant,
    /// Who looks after it.
    pub owner: Owner,
    /// What its grant says; `None` where another shim has it.
    pub facts: Option<Facts>,
    /// What the facts were looked at as of. May be ahead of what the session is valid as of: an entry in between may close it.
    pub looked_as_of: Option<Revision>,
    /// Whether it is to be closed: what is in flight for it is not answered any more.
    pub doomed: bool,
}

impl Session {
    /// Its connection.
    pub fn key(&self) -> &SessionKey {
        &self.record.key
    }

    /// What its permissions are valid as of.
    pub fn as_of(&self) -> Option<Revision> {
        self.record.as_of
    }

    /// Whether it is to be closed for an entry that closes those it concerns, and concerns it as `touch` says: also if it only may, and
    /// nobody knows more of it than is known here.
    pub fn is_closed_by(&self, touch: Touch) -> bool {
        match touch {
            Touch::No => false,
            Touch::Maybe => self.facts.is_some(),
            Touch::Yes => true,
        }
    }

    /// What is to be closed to close it.
    pub fn target(&self) -> Target {
        Target {
            key: self.record.key.clone(),
            leaf: self.leaf,
            in_callout: self.phase != Phase::Live,
            since: self.since,
        }
    }
}

/// A connection to close.
#[derive(Debug, Clone)]
pub struct Target {
    /// Which.
    pub key: SessionKey,
    /// Whether it is a leaf node, which its server does not find while it is in its callout.
    pub leaf: bool,
    /// Whether it may still be in its callout.
    pub in_callout: bool,
    /// Since when it is where it is.
    pub since: Instant,
}
