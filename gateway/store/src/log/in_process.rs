//! The revocation log in this process's memory, for one instance by itself.
//!
//! It lives and dies with the process, so it has one epoch only, and whoever reads it is never out of its reach. What was
//! revoked before the process began is not in it; bans are, beyond any log, in their store, and what is still to be announced of
//! them and of pushed memberships is in the outbox there.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use natsgate_core::{
    Appended, Change, Clock, Deadline, Epoch, Head, Idempotency, LogEntry, LogError, LogPage, NewEntry,
    PolicyGeneration, Revision, RevocationLog, Witness,
};
use tokio::sync::watch;

use super::settings::LogSettings;

/// A [`RevocationLog`] in memory.
pub struct InProcessLog {
    held: Mutex<Held>,
    clock: Arc<dyn Clock>,
    retention: Duration,
    max_entries: usize,
    complete_since: Option<SystemTime>,
    bell: watch::Sender<u64>,
}

struct Held {
    epoch: Epoch,
    last: u64,
    /// The newest time a trimmed entry was made at.
    trimmed: Option<SystemTime>,
    entries: VecDeque<Kept>,
    done: HashMap<[u8; 32], Done>,
    /// The keys of `done`, the oldest first.
    done_since: VecDeque<(SystemTime, [u8; 32])>,
    policy: Option<PolicyGeneration>,
}

/// An entry, and when it came by our own clock: its maker's may say anything.
struct Kept {
    entry: LogEntry,
    appended_at: SystemTime,
}

struct Done {
    body: [u8; 32],
    sequence: u64,
}

impl InProcessLog {
    /// An empty log. `complete_since`: since when nothing was revoked that it does not hold. The start of the process where
    /// anybody may revoke: an earlier process may have taken revocations that are forgotten with it, and a token issued before
    /// one would count again. `None` where nothing can have been (nobody may, or there was no natsgate before).
    pub fn new(settings: &LogSettings, complete_since: Option<SystemTime>, clock: Arc<dyn Clock>) -> Self {
        let held = Held {
            epoch: Epoch::from_bytes(rand::random()),
            last: 0,
            trimmed: None,
            entries: VecDeque::new(),
            done: HashMap::new(),
            done_since: VecDeque::new(),
            policy: None,
        };
        Self {
            held: Mutex::new(held),
            clock,
            retention: settings.retention,
            max_entries: usize::try_from(settings.max_entries).unwrap_or(usize::MAX),
            complete_since,
            bell: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Whoever panicked while holding it had changed all or nothing: every change below ends with its last step.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for InProcessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcessLog")
            .field("end", &self.lock().last)
            .finish_non_exhaustive()
    }
}

impl Held {
    /// Forgets what is older than `retention`, and the oldest beyond `max_entries`.
    fn trim(&mut self, now: SystemTime, retention: Duration, max_entries: usize) {
        let old = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age > retention);
        while let Some(first) = self.entries.front() {
            if !old(first.appended_at) && self.entries.len() <= max_entries {
                break;
            }
            self.trimmed = self.trimmed.max(Some(first.entry.at.min(now)));
            self.entries.pop_front();
        }
        while let Some((at, key)) = self.done_since.front()
            && old(*at)
        {
            self.done.remove(key);
            self.done_since.pop_front();
        }
    }

    fn repeated(&self, idempotency: &Idempotency) -> Result<Option<Appended>, LogError> {
        match self.done.get(&idempotency.key) {
            None => Ok(None),
            Some(done) if done.body != idempotency.body => Err(LogError::KeyReused),
            Some(done) => Ok(Some(Appended {
                revision: Revision::new(self.epoch, done.sequence),
                repeated: true,
                confirmed: true,
            })),
        }
    }
}

#[async_trait]
impl RevocationLog for InProcessLog {
    async fn append(&self, entry: &NewEntry, _deadline: Deadline) -> Result<Appended, LogError> {
        let now = self.clock.now();
        let revision = {
            let mut held = self.lock();
            if let Some(idempotency) = &entry.idempotency
                && let Some(before) = held.repeated(idempotency)?
            {
                return Ok(before);
            }
            let predecessor = held.last;
            let sequence = predecessor.saturating_add(1);
            let revision = Revision::new(held.epoch, sequence);
            if let Change::PolicyChanged { policy } = &entry.change
                && held
                    .policy
                    .as_ref()
                    .is_none_or(|known| known.generation < policy.generation)
            {
                held.policy = Some(policy.clone());
            }
            if let Some(Idempotency { key, body }) = entry.idempotency {
                held.done.insert(key, Done { body, sequence });
                held.done_since.push_back((now, key));
            }
            held.entries.push_back(Kept {
                entry: LogEntry {
                    id: entry.id,
                    revision,
                    predecessor,
                    at: entry.at,
                    change: entry.change.clone(),
                    idempotency: entry.idempotency.clone(),
                },
                appended_at: now,
            });
            held.last = sequence;
            held.trim(now, self.retention, self.max_entries);
            revision
        };
        self.bell.send_modify(|rung| *rung = rung.wrapping_add(1));
        Ok(Appended {
            revision,
            repeated: false,
            confirmed: true,
        })
    }

    async fn tick(&self, _witness: Option<&Witness>, _deadline: Deadline) -> Result<Head, LogError> {
        let now = self.clock.now();
        let mut held = self.lock();
        held.trim(now, self.retention, self.max_entries);
        Ok(Head {
            revision: Revision::new(held.epoch, held.last),
            oldest: held
                .entries
                .front()
                .map_or(held.last.saturating_add(1), |first| first.entry.revision.sequence),
            complete_since: self.complete_since.max(held.trimmed),
            policy: held.policy.clone(),
        })
    }

    async fn read(&self, after: u64, limit: usize, _deadline: Deadline) -> Result<LogPage, LogError> {
        let held = self.lock();
        let begin = held
            .entries
            .partition_point(|kept| kept.entry.revision.sequence <= after);
        let entries = held.entries.range(begin..).take(limit);
        Ok(LogPage {
            epoch: held.epoch,
            entries: entries.map(|kept| kept.entry.clone()).collect(),
        })
    }

    fn doorbell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }
}
