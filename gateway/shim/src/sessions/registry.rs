//! All sessions, under one lock with how far the log was taken in.

mod held_against;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use natsgate_core::{Concern, LogEntry, Revision, SessionEvent, SessionKey, SessionRecord};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;

use super::index::{Id, Index};
use super::log::{Since, Taken, Touch, touch};
use super::session::{Facts, Owner, Phase, Session, Target};

pub use held_against::{Jumped, Struck};

/// How long a connection that was answered may take to be seen connected before it is forgotten. Longer than any auth
/// timeout; a list that has it corrects this.
const CONNECTS_WITHIN: Duration = Duration::from_secs(30);

/// How long a connection that is gone is remembered, so that a list or an event from before does not bring it back: they come by
/// several ways, which overtake one another. Its name never comes again.
const GONE_FOR: Duration = Duration::from_secs(120);

/// How many events wait for whoever tells of them. Beyond it all is told anew.
const TOLD_LATER: usize = 65_536;

/// A connection about which is going to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// How far this shim had taken in the log: whoever decides has to know as much. Also what a grant is valid as of at
    /// least that does not say.
    pub applied: Option<Revision>,
}

/// What becomes of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It may be given.
    Give {
        /// What it is valid as of.
        as_of: Option<Revision>,
    },
    /// Something was taken in since that concerns it, or may: ask again, of somebody who knows as much.
    AskAgain(Asked),
    /// The connection is to be closed, or was: give no answer.
    Drop,
}

/// A session that nobody here had known of.
#[derive(Debug, Clone)]
pub struct Found {
    /// How it is listed.
    pub record: SessionRecord,
    /// Whether it is a leaf node.
    pub leaf: bool,
}

/// All sessions.
pub struct Registry {
    state: Mutex<State>,
    me: Arc<str>,
    events: mpsc::Sender<SessionEvent>,
}

#[derive(Default)]
struct State {
    taken: Taken,
    next: Id,
    ids: HashMap<SessionKey, Id>,
    sessions: HashMap<Id, Session>,
    index: Index,
    /// Connections that are gone, and since when; the oldest first beside them.
    gone: HashSet<SessionKey>,
    gone_since: VecDeque<(Instant, SessionKey)>,
    /// Whether events were lost, so that all has to be told anew.
    untold: bool,
}

impl Registry {
    /// An empty registry of the shim named `me`, and what happens to its sessions, for whoever tells of it.
    pub fn new(me: &str) -> (Self, mpsc::Receiver<SessionEvent>) {
        let (events, told) = mpsc::channel(TOLD_LATER);
        let registry = Self {
            state: Mutex::default(),
            me: me.into(),
            events,
        };
        (registry, told)
    }

    /// This shim's name.
    pub fn me(&self) -> &str {
        &self.me
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change below leaves it half done: each ends with its last step, and none of them can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers the connection of `record` before it is asked about.
    pub fn ask(&self, record: SessionRecord, leaf: bool) -> Asked {
        let mut state = self.state();
        let applied = state.taken.applied;
        // A connection asks once; whatever has its name is of before.
        state.remove(&record.key);
        state.insert(Session {
            record,
            leaf,
            phase: Phase::Asked,
            since: Instant::now(),
            owner: Owner::Me,
            facts: None,
            looked_as_of: None,
            doomed: false,
        });
        Asked { applied }
    }

    /// Holds a grant against what was taken in since it was valid, and notes it if it still holds: from then on it is an
    /// answered session, and every later entry finds it. `record` is what is known of it now.
    pub fn answer(&self, record: SessionRecord, facts: Facts, asked: Asked) -> Answer {
        let mut state = self.state();
        let Some(id) = state.ids.get(&record.key).copied() else {
            return Answer::Drop;
        };
        if state.sessions.get(&id).is_none_or(|session| session.doomed) {
            return Answer::Drop;
        }
        let as_of = record.as_of.or(asked.applied);
        let again = Answer::AskAgain(Asked {
            applied: state.taken.applied,
        });
        match as_of {
            None if state.taken.applied.is_some() => return again,
            None => {}
            Some(as_of) => match state.taken.since(&as_of) {
                Since::Nothing => {}
                Since::Unknown => return again,
                Since::Entries(entries) => {
                    let (digest, account) = (&record.principal_digest, &record.account);
                    let concerned = |entry: &Arc<LogEntry>| {
                        touch(entry, facts.concerns.as_deref(), digest, account) != Touch::No
                    };
                    if entries.iter().any(concerned) {
                        return again;
                    }
                }
            },
        }
        let leaf = state.sessions.get(&id).is_some_and(|session| session.leaf);
        let session = Session {
            record: SessionRecord {
                as_of,
                shim: self.me.to_string(),
                ..record
            },
            leaf,
            phase: Phase::Answered,
            since: Instant::now(),
            owner: Owner::Me,
            facts: Some(facts),
            looked_as_of: as_of,
            doomed: false,
        };
        state.remove(&session.record.key);
        state.insert(session);
        Answer::Give { as_of }
    }

    /// Forgets a connection that was not let in.
    pub fn refused(&self, key: &SessionKey) {
        self.state().remove(key);
    }

    /// A connection was seen. One that is known is live from now on; another is registered as found, with whoever answered
    /// it as its owner, and `true` is returned: somebody has to judge it.
    pub fn seen(&self, found: Found) -> bool {
        let mut state = self.state();
        let key = &found.record.key;
        if state.gone.contains(key) {
            return false;
        }
        if let Some(id) = state.ids.get(key).copied() {
            let Some(session) = state.sessions.get_mut(&id) else {
                return false;
            };
            if session.phase == Phase::Live {
                return false;
            }
            // A request may be answered twice, by two shims, while one of them drains: what the server says counts.
            let mine = found.record.shim.is_empty() || *found.record.shim == *self.me;
            if session.phase == Phase::Answered && !mine {
                let doomed = session.doomed;
                state.remove(&found.record.key);
                state.insert(Session {
                    owner: Owner::Other(found.record.shim.as_str().into()),
                    leaf: found.leaf,
                    phase: Phase::Live,
                    since: Instant::now(),
                    facts: None,
                    looked_as_of: found.record.as_of,
                    doomed,
                    record: found.record,
                });
                return true;
            }
            session.phase = Phase::Live;
            session.since = Instant::now();
            session.record.connected_at = found.record.connected_at;
            if session.record.server_name.is_empty() {
                session.record.server_name = found.record.server_name;
            }
            let told = session.record.clone();
            self.tell(&mut state, SessionEvent::Connected(Box::new(told)));
            return false;
        }
        let owner = match found.record.shim.as_str() {
            "" => Owner::Nobody,
            // It was forgotten here: as good as one whose shim is gone.
            shim if *shim == *self.me => Owner::Nobody,
            shim => Owner::Other(shim.into()),
        };
        state.insert(Session {
            looked_as_of: found.record.as_of,
            record: found.record,
            leaf: found.leaf,
            phase: Phase::Live,
            since: Instant::now(),
            owner,
            facts: None,
            doomed: false,
        });
        true
    }

    /// A connection is gone, for `reason` in the server's words. False if it was not known.
    pub fn gone(&self, key: &SessionKey, reason: &str) -> bool {
        let mut state = self.state();
        state.bury(key);
        let Some(session) = state.remove(key) else {
            return false;
        };
        if session.phase != Phase::Asked && session.owner == Owner::Me {
            let event = SessionEvent::Disconnected {
                cluster: session.record.cluster.clone(),
                key: key.clone(),
                reason: reason.to_owned(),
            };
            self.tell(&mut state, event);
        }
        true
    }

    /// A server is gone, with all its connections. Returns how many.
    pub fn server_gone(&self, server_id: &str, reason: &str) -> usize {
        let keys = self.keys_where(|session| session.key().server_id == server_id);
        keys.iter().filter(|key| self.gone(key, reason)).count()
    }

    /// The servers that have sessions.
    pub fn servers(&self) -> HashSet<String> {
        let state = self.state();
        let ids = state.ids.keys();
        ids.map(|key| key.server_id.clone()).collect()
    }

    /// Forgets the sessions of `server_id` that a list which was asked for at `asked` and has `listed` on it does not have: live
    /// ones that were live before, and answered ones whose time is over. Returns how many.
    pub fn missing(&self, server_id: &str, asked: Instant, listed: &dyn Fn(&SessionKey) -> bool) -> usize {
        let keys = self.keys_where(|session| {
            let key = session.key();
            let settled = match session.phase {
                Phase::Live => session.since < asked,
                Phase::Answered => asked.saturating_duration_since(session.since) > CONNECTS_WITHIN,
                Phase::Asked => false,
            };
            key.server_id == server_id && settled && !listed(key)
        });
        keys.iter().filter(|key| self.gone(key, "")).count()
    }

    fn keys_where(&self, wanted: impl Fn(&Session) -> bool) -> Vec<SessionKey> {
        let state = self.state();
        let wanted = state.sessions.values().filter(|session| wanted(session));
        wanted.map(|session| session.key().clone()).collect()
    }

    /// A session as it is now.
    pub fn get(&self, key: &SessionKey) -> Option<Session> {
        self.state().session(key).cloned()
    }

    /// Who looks after the session `key`.
    pub fn owner(&self, key: &SessionKey) -> Option<Owner> {
        self.state().session(key).map(|session| session.owner.clone())
    }

    /// What is to be closed to close the session `key`; from now on nothing in flight for it is answered.
    pub fn doom(&self, key: &SessionKey) -> Option<Target> {
        let mut state = self.state();
        let id = *state.ids.get(key)?;
        let session = state.sessions.get_mut(&id)?;
        session.doomed = true;
        Some(session.target())
    }

    /// The session `key` was rechecked, or its details learned: it would get the same as of `as_of`, and rests on `facts`. It is
    /// valid as of then, but not past an entry that closes it whatever it would get, nor past what this shim has taken in: those
    /// are still to be carried out.
    pub fn renew(&self, key: &SessionKey, as_of: Option<Revision>, generation: u64, facts: Facts) {
        let mut state = self.state();
        let Some(mut session) = state.remove(key) else {
            return;
        };
        // Two rechecks may end in another order than they began in.
        let older = session
            .looked_as_of
            .zip(as_of)
            .is_some_and(|(before, now)| before.epoch == now.epoch && before.sequence > now.sequence);
        if older {
            debug!(
                server = key.server_id,
                client = key.client_id,
                "a session was looked at anew meanwhile"
            );
        } else {
            // By what it rested on so far: a resource that it did not have closed nothing of it.
            session.record.as_of = state.taken.reached(&session, as_of);
            session.looked_as_of = as_of;
            session.record.policy_generation = generation;
            session.facts = Some(facts);
            debug!(
                server = key.server_id,
                client = key.client_id,
                looked_as_of = session.looked_as_of.map(tracing::field::display),
                valid_as_of = session.as_of().map(tracing::field::display),
                "a session was looked at"
            );
        }
        let told =
            (session.owner == Owner::Me && session.phase == Phase::Live).then(|| session.record.clone());
        state.insert(session);
        if let Some(record) = told {
            self.tell(&mut state, SessionEvent::Connected(Box::new(record)));
        }
    }

    /// Gives the session `key` to `owner`.
    pub fn hand_over(&self, key: &SessionKey, owner: Owner) {
        let mut state = self.state();
        let Some(id) = state.ids.get(key).copied() else {
            return;
        };
        let Some(session) = state.sessions.get_mut(&id) else {
            return;
        };
        session.owner = owner;
        if session.owner == Owner::Me {
            session.record.shim = self.me.to_string();
            let told = session.record.clone();
            self.tell(&mut state, SessionEvent::Connected(Box::new(told)));
        }
    }

    /// The sessions that are not this shim's, with their owners.
    pub fn others(&self) -> Vec<(SessionKey, Owner)> {
        let state = self.state();
        let others = state
            .sessions
            .values()
            .filter(|session| session.owner != Owner::Me);
        others
            .map(|session| (session.key().clone(), session.owner.clone()))
            .collect()
    }

    /// How many sessions are known that were let in.
    pub fn len(&self) -> usize {
        let state = self.state();
        let there = state.sessions.values();
        there.filter(|session| session.phase != Phase::Asked).count()
    }

    /// How many were let in by this shim and not seen connected yet.
    pub fn arriving(&self) -> usize {
        let state = self.state();
        let sessions = state.sessions.values();
        sessions
            .filter(|session| session.phase == Phase::Answered && session.owner == Owner::Me)
            .count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// If events were lost: all that this shim has to tell of, once.
    pub fn untold(&self) -> Option<Vec<SessionEvent>> {
        let mut state = self.state();
        if !std::mem::take(&mut state.untold) {
            return None;
        }
        let mine = state
            .sessions
            .values()
            .filter(|session| session.owner == Owner::Me && session.phase == Phase::Live);
        Some(
            mine.map(|session| SessionEvent::Connected(Box::new(session.record.clone())))
                .collect(),
        )
    }

    /// Something that was to be told could not be: all is to be told anew.
    pub fn tell_anew(&self) {
        self.state().untold = true;
    }

    fn tell(&self, state: &mut State, event: SessionEvent) {
        let told = match &event {
            SessionEvent::Connected(record) => *record.shim == *self.me,
            SessionEvent::Disconnected { .. } => true,
        };
        if told && self.events.try_send(event).is_err() {
            state.untold = true;
        }
    }
}

impl State {
    /// Remembers that the connection `key` is gone.
    fn bury(&mut self, key: &SessionKey) {
        let now = Instant::now();
        while let Some((since, _)) = self.gone_since.front()
            && now.saturating_duration_since(*since) > GONE_FOR
        {
            if let Some((_, old)) = self.gone_since.pop_front() {
                self.gone.remove(&old);
            }
        }
        if self.gone.insert(key.clone()) {
            self.gone_since.push_back((now, key.clone()));
        }
    }

    fn session(&self, key: &SessionKey) -> Option<&Session> {
        self.sessions.get(self.ids.get(key)?)
    }

    fn insert(&mut self, session: Session) {
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        self.index.add(id, concerns(&session));
        self.ids.insert(session.record.key.clone(), id);
        self.sessions.insert(id, session);
    }

    fn remove(&mut self, key: &SessionKey) -> Option<Session> {
        let id = self.ids.remove(key)?;
        let session = self.sessions.remove(&id)?;
        self.index.remove(id, concerns(&session));
        Some(session)
    }
}

fn concerns(session: &Session) -> Option<&[Concern]> {
    session.facts.as_ref()?.concerns.as_deref()
}

#[cfg(test)]
mod tests;
