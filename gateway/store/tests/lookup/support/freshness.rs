//! The revocation log as one instance sees it, moved by hand.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use natsgate_core::{
    ClaimsStanding, Concern, Deadline, Epoch, Freshness, PolicyGeneration, Position, Revision, Unavailable,
};
use tokio::time::Instant;

pub(crate) struct HandFreshness(Mutex<State>);

struct State {
    epoch: u8,
    applied: u64,
    position: Reach,
    /// The log is lost or damaged: nothing from before counts.
    void: bool,
    entries: Vec<(u64, Vec<Concern>)>,
    /// When which revision was reached.
    history: Vec<(Instant, Revision)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Unknown,
    Confirmed,
    Degraded,
}

impl State {
    fn revision(&self) -> Revision {
        Revision::new(Epoch::from_bytes([self.epoch; 16]), self.applied)
    }

    fn reached(&mut self) {
        let revision = self.revision();
        self.history.push((Instant::now(), revision));
    }
}

impl HandFreshness {
    /// Caught up with a log of ten entries.
    pub(crate) fn new() -> Self {
        let mut state = State {
            epoch: 1,
            applied: 10,
            position: Reach::Confirmed,
            void: false,
            entries: Vec::new(),
            history: Vec::new(),
        };
        state.reached();
        Self(Mutex::new(state))
    }

    /// Applies one more entry, which touches `concerns`.
    pub(crate) fn apply(&self, concerns: &[Concern]) {
        let mut state = self.0.lock().unwrap();
        state.applied += 1;
        let applied = state.applied;
        state.entries.push((applied, concerns.to_vec()));
        state.reached();
    }

    /// A new epoch of the log, which goes on at `applied`, takes the place of the old one.
    pub(crate) fn enter_epoch(&self, epoch: u8, applied: u64) {
        let mut state = self.0.lock().unwrap();
        state.epoch = epoch;
        state.applied = applied;
        state.entries.clear();
        state.reached();
    }

    pub(crate) fn degrade(&self) {
        self.0.lock().unwrap().position = Reach::Degraded;
    }

    pub(crate) fn confirm(&self) {
        let mut state = self.0.lock().unwrap();
        state.position = Reach::Confirmed;
        state.void = false;
    }

    /// The log turns out to be lost or damaged.
    pub(crate) fn void(&self) {
        let mut state = self.0.lock().unwrap();
        state.position = Reach::Degraded;
        state.void = true;
    }

    pub(crate) fn forget(&self) {
        self.0.lock().unwrap().position = Reach::Unknown;
    }

    pub(crate) fn revision(&self) -> Revision {
        self.0.lock().unwrap().revision()
    }
}

#[async_trait]
impl Freshness for HandFreshness {
    fn position(&self) -> Position {
        let state = self.0.lock().unwrap();
        match state.position {
            Reach::Unknown => Position::Unknown,
            Reach::Confirmed => Position::Confirmed(state.revision()),
            Reach::Degraded => Position::Degraded(state.revision()),
        }
    }

    fn stamp(&self, lag: Duration) -> Option<Revision> {
        let state = self.0.lock().unwrap();
        if state.position != Reach::Confirmed {
            return None;
        }
        let as_of = Instant::now().checked_sub(lag)?;
        // What was applied before this instance began nobody knows.
        let reached = state.history.iter().rev().find(|(at, _)| *at <= as_of);
        reached.map(|(_, revision)| *revision)
    }

    fn superseded(&self, stamp: &Revision, concerns: &[Concern]) -> bool {
        let state = self.0.lock().unwrap();
        state.void
            || !state.revision().includes(stamp)
            || state.entries.iter().any(|(sequence, touched)| {
                *sequence > stamp.sequence && touched.iter().any(|one| concerns.contains(one))
            })
    }

    fn claims(&self, _issued_at: Option<SystemTime>, _concerns: &[Concern]) -> ClaimsStanding {
        ClaimsStanding::Unknown
    }

    fn policy(&self) -> Option<PolicyGeneration> {
        None
    }

    async fn catch_up(&self, _revision: Revision, _deadline: Deadline) -> Result<(), Unavailable> {
        Ok(())
    }
}
