//! Follows the revocation log and judges facts by it: the one implementation of [`Freshness`].
//!
//! A task asks the log's end at every tick and reads what is new, at once when the doorbell rings or somebody asks. What
//! it knows is a `View`; how it reads is in `round`, what it appends again after a loss in `again`, and how others read entry
//! by entry what it has applied in `feed`.

mod again;
mod feed;
mod history;
mod index;
mod round;
#[cfg(test)]
mod tests;
mod view;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use natsgate_core::{
    Appended, ClaimsStanding, Clock, Concern, Deadline, EntryId, Freshness, Idempotency, LogError, NewEntry,
    PolicyGeneration, Position, Revision, RevocationLog, Unavailable,
};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::view::View;
use super::settings::FollowerSettings;

/// Follows a revocation log for one instance. When the last reference is dropped the following ends.
pub struct Follower {
    shared: Arc<Shared>,
    _ends_the_tasks: DropGuard,
}

/// What the handle and the tasks have in common.
struct Shared {
    log: Arc<dyn RevocationLog>,
    settings: FollowerSettings,
    clock: Arc<dyn Clock>,
    /// `None` until the log was read to its end for the first time.
    view: RwLock<Option<View>>,
    /// Somebody wants the log to be read now.
    ring: Notify,
    /// How far somebody wants it to be read.
    wanted: AtomicU64,
    /// Somebody wants its end to be confirmed, too.
    confirmation_wanted: AtomicBool,
    /// How many ticks began.
    ticks_begun: AtomicU64,
    /// Ticks up to this one confirm nothing: they may have been answered before something was appended here.
    confirms_nothing: AtomicU64,
    progress: watch::Sender<Progress>,
    position: watch::Sender<Position>,
}

/// What those who wait wait for.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// How far the log is applied; `None` if nothing that was applied counts.
    applied: Option<Revision>,
    /// The number of the tick that was last followed to the log's end.
    confirmed_tick: u64,
}

impl Follower {
    /// Begins to follow `log`. Must be called within a tokio runtime.
    pub fn start(
        log: Arc<dyn RevocationLog>,
        settings: FollowerSettings,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let shared = Arc::new(Shared {
            log,
            settings,
            clock,
            view: RwLock::new(None),
            ring: Notify::new(),
            wanted: AtomicU64::new(0),
            confirmation_wanted: AtomicBool::new(false),
            ticks_begun: AtomicU64::new(0),
            confirms_nothing: AtomicU64::new(0),
            progress: watch::Sender::new(Progress::default()),
            position: watch::Sender::new(Position::Unknown),
        });
        let end = CancellationToken::new();
        tokio::spawn(
            end.clone()
                .run_until_cancelled_owned(round::follow(shared.clone())),
        );
        tokio::spawn(
            end.clone()
                .run_until_cancelled_owned(watch_position(shared.clone())),
        );
        Arc::new(Self {
            shared,
            _ends_the_tasks: end.drop_guard(),
        })
    }

    /// How far the log is applied, as it changes: for health ("ready" is not [`Position::Unknown`]).
    pub fn positions(&self) -> watch::Receiver<Position> {
        self.shared.position.subscribe()
    }

    /// Appends `entry`, again if need be until `deadline`, and applies it here.
    ///
    /// If it stands in the log but could not be read back in time, this instance counts as degraded until it has: it never
    /// goes on with facts from before what it has itself appended.
    ///
    /// # Errors
    /// [`LogError`]; after [`LogError::Unavailable`] nobody knows whether it stands in the log: append it again with the
    /// same idempotency, or the same [`EntryId`] if it has none.
    pub async fn append(&self, entry: NewEntry, deadline: Deadline) -> Result<Appended, LogError> {
        let entry = NewEntry {
            idempotency: Some(entry.idempotency.clone().unwrap_or_else(|| once(&entry.id))),
            ..entry
        };
        let appended = self.shared.append(&entry, deadline).await?;
        if !appended.repeated
            && let Some(view) = self.shared.write().as_mut()
        {
            view.appended(entry, &appended.revision);
        }
        if self.shared.catch_up(appended.revision, deadline).await.is_err() {
            self.shared.degrade();
        }
        Ok(appended)
    }
}

/// What makes the append of an entry without a key of its own happen once.
fn once(id: &EntryId) -> Idempotency {
    let mut key = [0; 32];
    for (to, from) in key.iter_mut().zip(b"entry by its id:".iter().chain(&id.0)) {
        *to = *from;
    }
    Idempotency { key, body: key }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, Option<View>> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Option<View>> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn position(&self) -> Position {
        let now = Instant::now();
        self.read().as_ref().map_or(Position::Unknown, |view| {
            view.position(now, self.settings.max_lag)
        })
    }

    /// Until a tick that begins after now nothing is confirmed.
    fn degrade(&self) {
        {
            let mut view = self.write();
            let begun = self.ticks_begun.load(Ordering::SeqCst);
            self.confirms_nothing.fetch_max(begun, Ordering::SeqCst);
            if let Some(view) = view.as_mut() {
                view.confirmed_at = None;
            }
        }
        self.announce();
    }

    /// Nothing that was applied counts any more.
    fn void(&self) {
        if let Some(view) = self.write().as_mut() {
            view.void = true;
        }
        self.progress.send_modify(|progress| progress.applied = None);
        self.announce();
    }

    /// Tells whoever watches where it stands.
    fn announce(&self) {
        let position = self.position();
        self.position
            .send_if_modified(|known| std::mem::replace(known, position) != position);
    }

    async fn append(&self, entry: &NewEntry, deadline: Deadline) -> Result<Appended, LogError> {
        loop {
            let mut progress = self.progress.subscribe();
            let failed = match deadline.bound(self.log.append(entry, deadline)).await {
                Ok(Err(failed @ LogError::Unavailable { .. })) => failed,
                Ok(done) => return done,
                Err(_passed) => LogError::Unavailable {
                    doing: "appending to the revocation log".to_owned(),
                    cause: "the request's deadline passed; look at what the log runs on".to_owned(),
                },
            };
            // An epoch that ended, or a primary that is being replaced: the next tick that gets through tells.
            let before = progress.borrow_and_update().confirmed_tick;
            self.confirmation_wanted.store(true, Ordering::SeqCst);
            self.ring.notify_one();
            let next = progress.wait_for(|progress| progress.confirmed_tick > before);
            if !matches!(deadline.bound(next).await, Ok(Ok(_progress))) {
                return Err(failed);
            }
        }
    }

    async fn catch_up(&self, revision: Revision, deadline: Deadline) -> Result<(), Unavailable> {
        let mut progress = self.progress.subscribe();
        let begun_before = self.ticks_begun.load(Ordering::SeqCst);
        let done = |progress: &Progress| {
            progress.applied.is_some_and(|applied| {
                applied.includes(&revision)
                    || (applied.epoch != revision.epoch && progress.confirmed_tick > begun_before)
            })
        };
        let now = *progress.borrow_and_update();
        if done(&now) {
            return Ok(());
        }
        if now.applied.is_some_and(|applied| applied.epoch == revision.epoch) {
            self.wanted.fetch_max(revision.sequence, Ordering::SeqCst);
        } else {
            self.confirmation_wanted.store(true, Ordering::SeqCst);
        }
        self.ring.notify_one();
        let caught_up = matches!(deadline.bound(progress.wait_for(done)).await, Ok(Ok(_progress)));
        caught_up.then_some(()).ok_or_else(|| {
            Unavailable::new(
                "the revocation log was not followed to the revision asked for in time: is what it runs on in reach?",
            )
        })
    }
}

#[async_trait]
impl Freshness for Follower {
    fn position(&self) -> Position {
        self.shared.position()
    }

    fn stamp(&self, lag: Duration) -> Option<Revision> {
        let now = Instant::now();
        let max_lag = self.shared.settings.max_lag;
        self.shared.read().as_ref()?.stamp(now, max_lag, lag)
    }

    fn superseded(&self, stamp: &Revision, concerns: &[Concern]) -> bool {
        // Before anything was read nothing is known, and so nothing counts.
        self.shared
            .read()
            .as_ref()
            .is_none_or(|view| view.superseded(stamp, concerns))
    }

    fn claims(&self, issued_at: Option<SystemTime>, concerns: &[Concern]) -> ClaimsStanding {
        let since = issued_at
            .and_then(|at| at.checked_sub(self.shared.settings.clock_skew))
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let now = Instant::now();
        let view = self.shared.read();
        view.as_ref().map_or(ClaimsStanding::Unknown, |view| {
            let confirmed = matches!(
                view.position(now, self.shared.settings.max_lag),
                Position::Confirmed(_)
            );
            view.claims(since, concerns, confirmed)
        })
    }

    fn policy(&self) -> Option<PolicyGeneration> {
        self.shared.read().as_ref()?.policy().cloned()
    }

    async fn catch_up(&self, revision: Revision, deadline: Deadline) -> Result<(), Unavailable> {
        self.shared.catch_up(revision, deadline).await
    }
}

/// Says so when the position ages out of being confirmed, which nothing else would notice.
async fn watch_position(shared: Arc<Shared>) {
    let mut positions = shared.position.subscribe();
    loop {
        positions.mark_unchanged();
        shared.announce();
        let began = shared.read().as_ref().and_then(|view| view.confirmed_at);
        let still_confirmed = matches!(shared.position(), Position::Confirmed(_));
        match began.and_then(|began| began.checked_add(shared.settings.max_lag)) {
            // A moment more: at the very end of `max_lag` it is still confirmed.
            Some(end) if still_confirmed => {
                tokio::time::sleep_until(end + Duration::from_millis(1)).await;
            }
            _ => {
                if positions.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}
