//! What was done for one entry of the log, for the acknowledgement.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use natsgate_core::{Acknowledgement, EntryId, Revision};
use tokio::time::Instant;

use super::kicks::Closed;

/// One entry being carried out.
#[derive(Debug)]
pub(super) struct Job {
    entry: EntryId,
    revision: Revision,
    began: Instant,
    closed: AtomicU64,
    gone: AtomicU64,
    spared: AtomicU64,
    pending: AtomicU64,
    /// Whether all sessions that this shim looks after are done.
    own_done: AtomicBool,
    /// Sessions of other shims of which it is not known yet that these have done it.
    others: AtomicU64,
}

impl Job {
    pub(super) fn begin(entry: EntryId, revision: Revision) -> Self {
        Self {
            entry,
            revision,
            began: Instant::now(),
            closed: AtomicU64::new(0),
            gone: AtomicU64::new(0),
            spared: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            own_done: AtomicBool::new(false),
            others: AtomicU64::new(0),
        }
    }

    /// So many sessions are to be looked at or closed.
    pub(super) fn found(&self, sessions: usize) {
        self.pending
            .fetch_add(u64::try_from(sessions).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// One of them is closed.
    pub(super) fn ended(&self, closed: Closed) {
        match closed {
            Closed::Kicked => &self.closed,
            Closed::Gone => &self.gone,
        }
        .fetch_add(1, Ordering::Relaxed);
        self.pending.fetch_sub(1, Ordering::Relaxed);
    }

    /// One of them loses nothing.
    pub(super) fn spared(&self) {
        self.spared.fetch_add(1, Ordering::Relaxed);
        self.pending.fetch_sub(1, Ordering::Relaxed);
    }

    /// All sessions that this shim looks after are done.
    pub(super) fn own_is_done(&self) {
        self.own_done.store(true, Ordering::Relaxed);
    }

    /// So many sessions of other shims are waited for.
    pub(super) fn waits_for(&self, others: usize) {
        self.others
            .store(u64::try_from(others).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many are left.
    pub(super) fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// How many were closed.
    pub(super) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    /// How many were spared.
    pub(super) fn spared_count(&self) -> u64 {
        self.spared.load(Ordering::Relaxed)
    }

    /// Since it began.
    pub(super) fn took(&self) -> Duration {
        self.began.elapsed()
    }

    /// What is to be said of it. Servers out of reach are told while something is left to be done.
    pub(super) fn acknowledgement(
        &self,
        shim: &str,
        cluster: &str,
        unreachable: Vec<String>,
    ) -> Acknowledgement {
        let others = self.others.load(Ordering::Relaxed);
        let pending = self.pending().saturating_add(others);
        Acknowledgement {
            shim: shim.to_owned(),
            cluster: cluster.to_owned(),
            entry: self.entry,
            revision: self.revision,
            closed: self.closed(),
            gone: self.gone.load(Ordering::Relaxed),
            spared: self.spared_count(),
            own_done: self.own_done.load(Ordering::Relaxed),
            pending,
            took: self.took(),
            unreachable: if pending == 0 { Vec::new() } else { unreachable },
        }
    }
}
