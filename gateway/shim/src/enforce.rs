//! Carries out what the revocation log says: finds the sessions an entry concerns, closes them or looks first at who loses
//! something, and acknowledges.
//!
//! Entries are taken in one after the other, in order, and carried out side by side. A session is closed at once by the shim
//! that answered it; the others look after a short delay, different for each, at what is still connected and not
//! acknowledged by its own shim, nor seen to be worked on by it (`others`). What was missed (a gap, another epoch) is carried out as
//! far as the log still holds it, and made up for by looking at every session there is.

mod details;
mod job;
mod kicks;
mod others;
mod peers_at_work;
mod recheck;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use natsgate_core::{
    Board, Clock, Deadline, EntryId, LogEntry, Measure, Missed, Pace, Position, Revision, RevocationFeed,
    SessionKey,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use self::job::Job;
use crate::decision_point::DecisionPoint;
use crate::peers::Peers;
use crate::sessions::{Jumped, Registry, Struck};

pub(crate) use details::write as write_details;
pub use kicks::{Closed, Kicks};

/// How many entries are taken in at once.
const BATCH: usize = 256;

/// How many sessions of one entry are being closed at once.
const CLOSED_AT_ONCE: usize = 2048;

/// How often an entry that is not carried out yet is told of.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// How often it is looked whether sessions that were found later are closed.
const SETTLED_EVERY: Duration = Duration::from_millis(50);

/// How long telling may take.
const TELL_WITHIN: Duration = Duration::from_secs(2);

/// How enforcement is done.
#[derive(Debug, Clone)]
pub struct EnforcementSettings {
    /// Over which time sessions are closed that nobody asked to be closed at once: those that a changed policy gives less,
    /// and those that cannot be judged after entries were missed.
    pub spread: Duration,
    /// Whether sessions that would get more are closed too, over that time, so that they come back and have it.
    pub reconnect_widened: bool,
    /// How long a recheck may go on without an answer. After that what cannot be compared counts as narrowed.
    pub recheck_within: Duration,
    /// How long the shim that answered a session is waited for before others look after it.
    pub take_over_after: Duration,
    /// How often the servers' connections are listed though nothing seems to be missing.
    pub reconcile_every: Duration,
}

impl Default for EnforcementSettings {
    fn default() -> Self {
        Self {
            spread: Duration::from_secs(10),
            reconnect_widened: false,
            recheck_within: Duration::from_secs(5),
            take_over_after: Duration::from_millis(400),
            reconcile_every: Duration::from_secs(30),
        }
    }
}

/// What was done so far.
#[derive(Debug, Default)]
pub struct Counters {
    /// Entries of the log that were taken in.
    pub entries: AtomicU64,
    /// Times that entries were missed, so that every session was looked at.
    pub gaps: AtomicU64,
    /// Sessions closed.
    pub closed: AtomicU64,
    /// Sessions that were to be closed and went by themselves.
    pub gone: AtomicU64,
    /// Sessions that were looked at and lose nothing.
    pub spared: AtomicU64,
    /// Sessions that could not be compared, and so were closed.
    pub incomparable: AtomicU64,
    /// Sessions taken over from shims that are gone.
    pub taken_over: AtomicU64,
    /// Grants that were asked for again, since something that concerns them was revoked meanwhile.
    pub asked_again: AtomicU64,
    /// How many live sessions are known, as of a second ago at most.
    pub sessions: AtomicU64,
    /// How many sessions are still to be closed, as of a second ago at most.
    pub pending: AtomicU64,
    /// How many servers are out of reach, as of a second ago at most.
    pub unreachable: AtomicU64,
    /// 1 while what this shim does cannot be told, nor learned what others do.
    pub board_away: AtomicU64,
}

impl Counters {
    pub(crate) fn set(gauge: &AtomicU64, count: usize) {
        gauge.store(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Carries out revocations.
pub struct Enforcer {
    /// The sessions.
    pub registry: Arc<Registry>,
    /// Closes them.
    pub kicks: Arc<Kicks>,
    /// Says what they would get now.
    pub decisions: Arc<dyn DecisionPoint>,
    /// Reads the log.
    pub feed: Arc<dyn RevocationFeed>,
    /// Where is told what was done.
    pub board: Arc<dyn Board>,
    /// The other shims.
    pub peers: Arc<Peers>,
    /// How.
    pub settings: EnforcementSettings,
    /// The longest a session may live.
    pub max_session: Duration,
    /// The cluster's configured name.
    pub cluster: String,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What was done.
    pub counters: Arc<Counters>,
    /// What is under way.
    pub tasks: TaskTracker,
    /// Cancelled once it is known for the first time who is connected, and whose sessions fall to this shim. Before, nothing is
    /// acknowledged: there may be sessions that an entry concerns and that were not found yet.
    pub found: CancellationToken,
    /// How many take-overs are under way.
    pub taking_over: AtomicUsize,
}

impl Enforcer {
    /// Takes the log in until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut positions = self.feed.positions();
        loop {
            let position = *positions.borrow_and_update();
            if position.revision().is_some() {
                self.take_what_there_is();
            }
            tokio::select! {
                changed = positions.changed() => if changed.is_err() { stop.cancelled().await },
                () = stop.cancelled() => return,
            }
        }
    }

    /// Takes in everything that was applied by now.
    fn take_what_there_is(self: &Arc<Self>) {
        loop {
            let Some(applied) = self.registry.applied() else {
                self.make_up(None);
                return;
            };
            match self.feed.after(&applied, BATCH) {
                Ok(entries) if entries.is_empty() => return,
                Ok(entries) => {
                    for entry in entries {
                        self.take(Arc::new(entry));
                    }
                }
                Err(Missed) => {
                    self.make_up(Some(applied));
                    return;
                }
            }
        }
    }

    /// Takes in one entry.
    fn take(self: &Arc<Self>, entry: Arc<LogEntry>) {
        let struck = self.registry.take(&entry);
        self.begin(entry, struck);
    }

    /// Begins to carry out one entry.
    fn begin(self: &Arc<Self>, entry: Arc<LogEntry>, struck: Struck) {
        Counters::add(&self.counters.entries, 1);
        let enforcer = Arc::clone(self);
        self.tasks
            .spawn(async move { enforcer.carry_out(entry, struck).await });
    }

    /// Entries after `before` were missed, or none was read before. Those that the log still holds are carried out; and since there may
    /// have been others, every session is looked at that is not valid as of now.
    fn make_up(self: &Arc<Self>, before: Option<Revision>) {
        // Nothing, while it turns out to be another log: what it is then is told.
        let Some(held) = self.feed.held() else { return };
        let now = held.position;
        let Jumped { look, missed } = self.registry.jump(held);
        if let Some(before) = before {
            Counters::add(&self.counters.gaps, 1);
            warn!(
                from = %before,
                to = %now,
                entries = missed.len(),
                sessions = look.len(),
                "entries of the revocation log may have been missed, or it is another one now: those it has are carried out, and every \
                 session is looked at"
            );
        }
        for (entry, struck) in missed {
            self.begin(entry, struck);
        }
        if look.is_empty() {
            return;
        }
        // Those that were there before the log was read are held against all of it.
        let (close, look): (Vec<_>, Vec<_>) = look
            .into_iter()
            .partition(|key| before.is_none() && self.registry.is_closed_since(key, self.is_confirmed()));
        let enforcer = Arc::clone(self);
        self.tasks.spawn(async move {
            let job = Job::begin(EntryId([0; 16]), now);
            job.found(close.len().saturating_add(look.len()));
            let pace = Pace::Spread {
                over: enforcer.settings.spread,
            };
            tokio::join!(
                enforcer.close(close, Pace::Immediate, &job),
                enforcer.look_first(look, pace, &job)
            );
            info!(
                closed = job.closed(),
                spared = job.spared_count(),
                "every session was looked at"
            );
        });
    }

    /// Carries out one entry, and tells of it.
    async fn carry_out(self: Arc<Self>, entry: Arc<LogEntry>, struck: Struck) {
        let job = Job::begin(entry.id, entry.revision);
        let effect = entry.change.effect();
        let pace = effect.pace.unwrap_or(Pace::Spread {
            over: self.settings.spread,
        });
        let measure = effect.measure;
        job.found(struck.mine.len());
        let alone = struck.others.is_empty();
        job.waits_for(struck.others.len());
        let mine = async {
            match measure {
                Measure::Kick => self.close(struck.mine, pace, &job).await,
                Measure::Recheck => self.look_first(struck.mine, pace, &job).await,
            }
            job.own_is_done();
            // Others wait for this word, as this one waits for theirs.
            if !alone {
                self.tell(&job, 0).await;
            }
        };
        let others = self.look_after_others(&entry, struck.others, pace, &job);
        {
            let work = async { tokio::join!(mine, others) };
            tokio::pin!(work);
            // Before others step in: they leave it to whoever is seen to be at it.
            let mut next = self.settings.take_over_after / 2;
            loop {
                tokio::select! {
                    _ = &mut work => break,
                    () = tokio::time::sleep(next) => self.tell(&job, 0).await,
                }
                next = TOLD_EVERY;
            }
        }
        let mut told = tokio::time::Instant::now();
        while !self.is_settled(&entry, measure) {
            if told.elapsed() >= TOLD_EVERY {
                self.tell(&job, 1).await;
                told = tokio::time::Instant::now();
            }
            tokio::time::sleep(SETTLED_EVERY).await;
        }
        self.tell(&job, 0).await;
        if job.closed() > 0 || job.spared_count() > 0 {
            info!(
                revision = %entry.revision,
                closed = job.closed(),
                spared = job.spared_count(),
                took_ms = u64::try_from(job.took().as_millis()).unwrap_or(u64::MAX),
                "a revocation was carried out"
            );
        }
    }

    /// Whether nothing is left to do for an entry, beside what was found when it came: sessions that were found or taken over
    /// since are held against it too.
    fn is_settled(&self, entry: &Arc<LogEntry>, measure: Measure) -> bool {
        self.found.is_cancelled()
            && self.taking_over.load(Ordering::SeqCst) == 0
            && !(measure == Measure::Kick && self.registry.is_left(entry))
    }

    /// Tells what was done, with `more` sessions pending than are known.
    async fn tell(&self, job: &Job, more: u64) {
        if !self.found.is_cancelled() {
            return;
        }
        let mut done = job.acknowledgement(self.registry.me(), &self.cluster, self.kicks.unreachable());
        done.pending = done.pending.saturating_add(more);
        let deadline = Deadline::after(TELL_WITHIN);
        if let Err(error) = self.board.acknowledge(&done, deadline).await {
            warn!(%error, "what was carried out could not be told");
        }
    }

    /// Closes `sessions` at `pace`. They are in `job` already.
    async fn close(&self, sessions: Vec<SessionKey>, pace: Pace, job: &Job) {
        let count = u32::try_from(sessions.len()).unwrap_or(u32::MAX).max(1);
        let step = pace.over() / count;
        // Paced ones wait for their turn, so they must not take the places of others.
        let at_once = if step.is_zero() {
            CLOSED_AT_ONCE
        } else {
            sessions.len().max(1)
        };
        let begun = tokio::time::Instant::now();
        futures::stream::iter(sessions.into_iter().zip(0_u32..))
            .for_each_concurrent(at_once, |(key, place)| async move {
                if !step.is_zero() {
                    tokio::time::sleep_until(begun + step * place).await;
                }
                self.close_one(&key, job).await;
            })
            .await;
    }

    async fn close_one(&self, key: &SessionKey, job: &Job) {
        let closed = self.kicks.close(key).await;
        let counter = match closed {
            Closed::Kicked => &self.counters.closed,
            Closed::Gone => &self.counters.gone,
        };
        Counters::add(counter, 1);
        job.ended(closed);
    }

    /// Whether the log is known to be read to its end.
    pub fn is_confirmed(&self) -> bool {
        matches!(*self.feed.positions().borrow(), Position::Confirmed(_))
    }
}
