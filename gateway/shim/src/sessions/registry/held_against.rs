//! Sessions held against entries of the log: which an entry concerns when it is taken in, which it still concerns, and which
//! entries concern a session.

use std::sync::Arc;

use natsgate_core::{Held, LogEntry, Measure, Revision, SessionKey, Touches};

use super::{Id, Phase, Registry, State};
use crate::sessions::log::{Since, Touch, touches};
use crate::sessions::session::{Owner, Session};

/// The sessions that an entry concerns.
#[derive(Debug, Default)]
pub struct Struck {
    /// Those this shim looks after.
    pub mine: Vec<SessionKey>,
    /// Those that another shim looks after, with whether they are concerned.
    pub others: Vec<(SessionKey, Touch)>,
}

/// What is to be done after a gap.
#[derive(Debug, Default)]
pub struct Jumped {
    /// This shim's sessions that are not valid as of the new position: what is known of the time between may be
    /// incomplete, so they are to be looked at.
    pub look: Vec<SessionKey>,
    /// The entries that the log holds and that were not taken in before, oldest first, with the sessions they concern.
    pub missed: Vec<(Arc<LogEntry>, Struck)>,
}

impl Registry {
    /// How far the log was taken in.
    pub fn applied(&self) -> Option<Revision> {
        self.state().taken.applied
    }

    /// Takes an entry in: from now on every grant is held against it. Returns the sessions that it concerns.
    pub fn take(&self, entry: &Arc<LogEntry>) -> Struck {
        let mut state = self.state();
        state.taken.push(Arc::clone(entry));
        state.struck_by(entry)
    }

    /// Goes on from where the log ends that holds `held`, and takes in what it holds: what else came before is not known.
    /// Grants in flight are asked for again when they arrive, unless they are of there.
    pub fn jump(&self, held: Held) -> Jumped {
        let mut state = self.state();
        let entries: Vec<Arc<LogEntry>> = held.entries.into_iter().map(Arc::new).collect();
        let missed = state.taken.missed(held.position.epoch, &entries);
        state.taken.jump(held.position, held.before, entries);
        let struck = |entry: Arc<LogEntry>| {
            let struck = state.struck_by(&entry);
            (entry, struck)
        };
        let missed = missed.into_iter().map(struck).collect();
        let older = state.sessions.values().filter(|session| {
            session.owner == Owner::Me
                && session.phase != Phase::Asked
                && !session
                    .as_of()
                    .is_some_and(|as_of| as_of.includes(&held.position))
        });
        let look = older.map(|session| session.key().clone()).collect();
        Jumped { look, missed }
    }

    /// Whether this shim looks after a session that `entry`, which closes those it concerns, concerns or may, and that is
    /// still there.
    pub fn is_left(&self, entry: &Arc<LogEntry>) -> bool {
        let state = self.state();
        let concerned = |session: &Session| {
            session.owner == Owner::Me
                && session.phase != Phase::Asked
                && !state.taken.covers(session.as_of(), &entry.revision)
                && session.is_closed_by(touches(entry, session))
        };
        let is = |id: Id| state.sessions.get(&id).is_some_and(concerned);
        match entry.change.effect().touches {
            Touches::Nobody => false,
            Touches::Everybody => state.sessions.values().any(concerned),
            Touches::Session { server_id, client_id } => {
                let key = SessionKey { server_id, client_id };
                state.ids.get(&key).is_some_and(|id| is(*id))
            }
            Touches::Concern(concern) => state.index.about(&concern).any(is) || state.index.unknown().any(is),
        }
    }

    /// The entries taken in after what the session `key` is valid as of that concern it or may, newest first; `None` if that
    /// cannot be told.
    pub fn against(&self, key: &SessionKey) -> Option<Vec<(Arc<LogEntry>, Touch)>> {
        let state = self.state();
        let session = state.session(key)?;
        let Some(applied) = state.taken.applied else {
            return Some(Vec::new());
        };
        let as_of = session.as_of()?;
        // Of a grant that arrives it is known that whoever gave it has read on. This one was given at any time: the other
        // epoch may be one that was over before this shim began.
        if as_of.epoch != applied.epoch {
            return None;
        }
        match state.taken.since(&as_of) {
            Since::Nothing => Some(Vec::new()),
            Since::Unknown => None,
            Since::Entries(entries) => Some(concerning(session, entries)),
        }
    }

    /// As [`Self::against`], with `entries` (oldest first) in the place of those that are remembered: all that came after some
    /// position which the session is not older than.
    pub fn against_these(&self, key: &SessionKey, entries: &[Arc<LogEntry>]) -> Vec<(Arc<LogEntry>, Touch)> {
        let state = self.state();
        let Some(session) = state.session(key) else {
            return Vec::new();
        };
        let later = |entry: &&Arc<LogEntry>| {
            session
                .as_of()
                .is_none_or(|as_of| as_of.sequence < entry.revision.sequence)
        };
        concerning(session, entries.iter().filter(later).cloned())
    }

    /// Whether an entry that is remembered came for certain after what the session `key` is valid as of, be it of another epoch, and
    /// closes it whatever it would get. `newest`: the log's epoch is known to be the newest there is.
    pub fn is_closed_since(&self, key: &SessionKey, newest: bool) -> bool {
        let state = self.state();
        let Some(session) = state.session(key) else {
            return false;
        };
        let Some(as_of) = session.as_of() else {
            return false;
        };
        let mut later = state.taken.later(&as_of, newest);
        later.any(|entry| {
            let touch = touches(entry, session);
            entry.change.effect().measure == Measure::Kick && session.is_closed_by(touch)
        })
    }

    /// Who looks after the session `key`, if it is not valid as of `revision`.
    pub fn owner_of_older(&self, key: &SessionKey, revision: &Revision) -> Option<Owner> {
        let state = self.state();
        let session = state.session(key)?;
        let covers = state.taken.covers(session.as_of(), revision);
        (!covers).then(|| session.owner.clone())
    }
}

impl State {
    /// The sessions that `entry`, which was just taken in, concerns.
    fn struck_by(&self, entry: &Arc<LogEntry>) -> Struck {
        let mut struck = Struck::default();
        let candidates: Vec<Id> = match entry.change.effect().touches {
            Touches::Nobody => return struck,
            Touches::Everybody => self.sessions.keys().copied().collect(),
            Touches::Session { server_id, client_id } => {
                let key = SessionKey { server_id, client_id };
                self.ids.get(&key).copied().into_iter().collect()
            }
            Touches::Concern(concern) => {
                let known = self.index.about(&concern);
                known.chain(self.index.unknown()).collect()
            }
        };
        let named = matches!(entry.change.effect().touches, Touches::Session { .. });
        for session in candidates.iter().filter_map(|id| self.sessions.get(id)) {
            // What is in flight is held against the entry when its grant arrives.
            if session.phase == Phase::Asked && !named {
                continue;
            }
            if !named && self.taken.covers(session.as_of(), &entry.revision) {
                continue;
            }
            match (touches(entry, session), &session.owner) {
                (Touch::No, _) => {}
                (_, Owner::Me) => struck.mine.push(session.key().clone()),
                (touch, _) => struck.others.push((session.key().clone(), touch)),
            }
        }
        struck
    }
}

/// Those of `entries` that concern `session`, or may.
fn concerning(
    session: &Session,
    entries: impl IntoIterator<Item = Arc<LogEntry>>,
) -> Vec<(Arc<LogEntry>, Touch)> {
    let held = entries.into_iter().map(|entry| {
        let touch = touches(&entry, session);
        (entry, touch)
    });
    held.filter(|(_, touch)| *touch != Touch::No).collect()
}
