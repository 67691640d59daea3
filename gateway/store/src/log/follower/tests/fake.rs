//! A revocation log that can be out of reach, slow, silent, wrong, trimmed, and lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use natsgate_core::{
    Appended, Change, Deadline, Epoch, Head, LogEntry, LogError, LogPage, NewEntry, PolicyGeneration,
    Revision, RevocationLog, Witness,
};
use tokio::sync::{Notify, watch};

/// The log.
pub(super) struct FakeLog {
    pub(super) state: Mutex<State>,
    bell: watch::Sender<u64>,
    /// Told whenever a read waits at the gate.
    pub(super) at_the_gate: Notify,
    /// Lets one read through the gate.
    pub(super) open_gate: Notify,
}

/// What it does.
pub(super) struct State {
    pub(super) epoch: Epoch,
    pub(super) entries: Vec<LogEntry>,
    pub(super) end: u64,
    pub(super) complete_since: Option<SystemTime>,
    pub(super) policy: Option<PolicyGeneration>,
    pub(super) reachable: bool,
    /// Whether the doorbell works.
    pub(super) rings: bool,
    /// Appending is refused until the next tick.
    pub(super) wants_a_tick: bool,
    /// Appending is refused.
    pub(super) refuses: bool,
    /// It is only read here.
    pub(super) read_only: bool,
    /// How long a tick's answer, taken when it arrives, is on its way.
    pub(super) answer_takes: Duration,
    /// Reads wait at the gate.
    pub(super) gate: bool,
    /// This many reads do not give entry `hidden`.
    pub(super) hide: usize,
    pub(super) hidden: u64,
    /// What reads are answered from instead: an old primary that does not know that it is none any more.
    pub(super) cut_off: Option<(Epoch, Vec<LogEntry>)>,
    pub(super) witnesses: Vec<Option<Witness>>,
    pub(super) ticks: usize,
    pub(super) appends: usize,
    once: HashMap<[u8; 32], u64>,
}

impl FakeLog {
    pub(super) fn new() -> Arc<Self> {
        let state = State {
            epoch: Epoch::from_bytes(rand::random()),
            entries: Vec::new(),
            end: 0,
            complete_since: None,
            policy: None,
            reachable: true,
            rings: true,
            wants_a_tick: false,
            refuses: false,
            read_only: false,
            answer_takes: Duration::ZERO,
            gate: false,
            hide: 0,
            hidden: 0,
            cut_off: None,
            witnesses: Vec::new(),
            ticks: 0,
            appends: 0,
            once: HashMap::new(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            bell: watch::Sender::new(0),
            at_the_gate: Notify::new(),
            open_gate: Notify::new(),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Appends as another instance would.
    pub(super) fn put(&self, entry: NewEntry) -> Revision {
        let mut state = self.state();
        let revision = state.put(&entry);
        if state.rings {
            self.bell.send_modify(|rung| *rung += 1);
        }
        revision
    }

    pub(super) fn out_of_reach(&self, out: bool) {
        self.state().reachable = !out;
    }

    /// Goes on in a new epoch with those entries only that `keep` says.
    pub(super) fn lose(&self, at: SystemTime, keep: impl Fn(&LogEntry) -> bool) -> Epoch {
        let mut state = self.state();
        state.epoch = Epoch::from_bytes(rand::random());
        state.entries.retain(keep);
        state.once.clear();
        state.end = state.entries.last().map_or(0, |entry| entry.revision.sequence);
        state.complete_since = Some(at);
        state.epoch
    }

    /// Trims everything before `sequence`.
    pub(super) fn trim(&self, sequence: u64) {
        let mut state = self.state();
        let trimmed = state
            .entries
            .iter()
            .filter(|entry| entry.revision.sequence < sequence)
            .map(|entry| entry.at)
            .max();
        state.complete_since = state.complete_since.max(trimmed);
        state.entries.retain(|entry| entry.revision.sequence >= sequence);
    }

    /// The ids of what it holds.
    pub(super) fn names(&self) -> Vec<natsgate_core::EntryId> {
        self.state().entries.iter().map(|entry| entry.id).collect()
    }
}

impl State {
    fn put(&mut self, entry: &NewEntry) -> Revision {
        let revision = Revision::new(self.epoch, self.end + 1);
        if let Change::PolicyChanged { policy } = &entry.change {
            self.policy = Some(policy.clone());
        }
        self.entries.push(LogEntry {
            id: entry.id,
            revision,
            predecessor: self.end,
            at: entry.at,
            change: entry.change.clone(),
            idempotency: entry.idempotency.clone(),
        });
        self.end = revision.sequence;
        revision
    }

    fn check(&self) -> Result<(), LogError> {
        self.reachable.then_some(()).ok_or_else(|| LogError::Unavailable {
            doing: "asking the fake log".to_owned(),
            cause: "the test says so".to_owned(),
        })
    }
}

#[async_trait]
impl RevocationLog for FakeLog {
    async fn append(&self, entry: &NewEntry, _deadline: Deadline) -> Result<Appended, LogError> {
        let mut state = self.state();
        state.check()?;
        state.appends += 1;
        if state.wants_a_tick || state.refuses {
            return Err(LogError::Unavailable {
                doing: "appending to the fake log".to_owned(),
                cause: "its epoch has ended".to_owned(),
            });
        }
        let key = entry.idempotency.as_ref().unwrap().key;
        let before = state.once.get(&key).copied();
        let revision = match before {
            Some(sequence) => Revision::new(state.epoch, sequence),
            None => state.put(entry),
        };
        state.once.insert(key, revision.sequence);
        if state.rings && before.is_none() {
            self.bell.send_modify(|rung| *rung += 1);
        }
        Ok(Appended {
            revision,
            repeated: before.is_some(),
            confirmed: true,
        })
    }

    fn takes_appends(&self) -> bool {
        !self.state().read_only
    }

    async fn tick(&self, witness: Option<&Witness>, _deadline: Deadline) -> Result<Head, LogError> {
        let (answer, takes) = {
            let mut state = self.state();
            state.ticks += 1;
            state.wants_a_tick = false;
            state.witnesses.push(witness.cloned());
            let head = Head {
                revision: Revision::new(state.epoch, state.end),
                oldest: state
                    .entries
                    .first()
                    .map_or(state.end + 1, |entry| entry.revision.sequence),
                complete_since: state.complete_since,
                policy: state.policy.clone(),
            };
            (state.check().map(|()| head), state.answer_takes)
        };
        tokio::time::sleep(takes).await;
        answer
    }

    async fn read(&self, after: u64, limit: usize, _deadline: Deadline) -> Result<LogPage, LogError> {
        if self.state().gate {
            self.at_the_gate.notify_one();
            self.open_gate.notified().await;
        }
        let mut state = self.state();
        state.check()?;
        let hides = state.hide > 0 && after < state.hidden;
        if hides {
            state.hide -= 1;
        }
        let hidden = state.hidden;
        // A primary that was cut off, and answers reads only.
        let (epoch, entries) = match &state.cut_off {
            Some((epoch, entries)) => (*epoch, entries),
            None => (state.epoch, &state.entries),
        };
        let entries = entries
            .iter()
            .filter(|entry| entry.revision.sequence > after)
            .filter(|entry| !(hides && entry.revision.sequence == hidden));
        Ok(LogPage {
            epoch,
            entries: entries.take(limit).cloned().collect(),
        })
    }

    fn doorbell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }
}
