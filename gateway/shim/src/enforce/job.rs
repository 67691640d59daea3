//! What was done for one entry of the log, for the acknowledgement.

use std::sync::atomic::{AtomicU64, Ordering};
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
        let pending = self.pending();
        Acknowledgement {
            shim: shim.to_owned(),
            cluster: cluster.to_owned(),
            entry: self.entry,
            revision: self.revision,
            closed: self.closed(),
            gone: self.gone.load(Ordering::Relaxed),
            spared: self.spared_count(),
            pending,
            took: self.took(),
            unreachable: if pending == 0 { Vec::new() } else { unreachable },
        }
    }
}
