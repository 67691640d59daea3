//! Sees to it that everything written is announced: appends to the revocation log what the store still has pending.
//!
//! Every instance runs one. An announcement that two of them append is one entry, by its name.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use natsgate_core::{
    Announced, Announcement, Announcer, BanStore, BanStoreError, Clock, Deadline, LogError, MembershipStore,
    MembershipStoreError,
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

/// How often the store is looked at without being told to: what another instance left behind is found so.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often what is old is purged.
const PURGE_EVERY: Duration = Duration::from_secs(60 * 60);

/// How long one round may take.
const ROUND_WITHIN: Duration = Duration::from_secs(30);

/// How many announcements are read at once.
const BATCH: usize = 100;

/// The longest wait after a failure.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);

/// How the announcing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayState {
    /// Not known yet.
    Starting,
    /// Everything written was announced when it was looked last.
    Done,
    /// Something is not announced, or the store could not be asked.
    Behind,
}

/// Announces what the store has pending.
pub struct Relay {
    store: Arc<dyn MembershipStore>,
    bans: Option<Arc<dyn BanStore>>,
    log: Arc<dyn Announcer>,
    clock: Arc<dyn Clock>,
    look: Notify,
    state: watch::Sender<RelayState>,
}

impl Relay {
    /// A relay from `store` to `log`. Nothing runs until [`Self::run`] does.
    pub fn new(store: Arc<dyn MembershipStore>, log: Arc<dyn Announcer>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Self::with_bans(store, None, log, clock)
    }

    /// The same, which also purges `bans`: those of the same store, whose announcements are among its own.
    pub fn with_bans(
        store: Arc<dyn MembershipStore>,
        bans: Option<Arc<dyn BanStore>>,
        log: Arc<dyn Announcer>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            bans,
            log,
            clock,
            look: Notify::new(),
            state: watch::Sender::new(RelayState::Starting),
        })
    }

    /// How it goes.
    pub fn state(&self) -> watch::Receiver<RelayState> {
        self.state.subscribe()
    }

    /// Looks at the store at once.
    pub(crate) fn look(&self) {
        self.look.notify_one();
    }

    /// Appends `announcements`, and notes in the store that they stand in the log.
    ///
    /// # Errors
    /// [`LogError`]: some of them may stand there; nothing is lost.
    pub(crate) async fn announce(
        &self,
        announcements: &[Announcement],
        deadline: Deadline,
    ) -> Result<Vec<Announced>, LogError> {
        let mut announced = Vec::with_capacity(announcements.len());
        let mut failure = None;
        for announcement in announcements {
            let appended = deadline
                .bound(self.log.append(announcement.entry(), deadline))
                .await;
            match appended {
                Ok(Ok(appended)) => announced.push(Announced {
                    id: announcement.id,
                    revision: appended.revision,
                    confirmed: appended.confirmed,
                }),
                Ok(Err(error @ LogError::Unavailable { .. })) => {
                    failure = Some(error);
                    break;
                }
                // This one cannot be announced; the others can.
                Ok(Err(error)) => {
                    failure.get_or_insert(error);
                }
                Err(passed) => {
                    failure = Some(LogError::Unavailable {
                        doing: "announcing pushed memberships".to_owned(),
                        cause: passed.to_string(),
                    });
                    break;
                }
            }
        }
        if !announced.is_empty() {
            let noted = self.store.done(&announced, self.clock.now(), deadline).await;
            if let Err(error) = noted {
                // They are announced all the same, and will be again: that is the same entry.
                debug!(%error, "what was announced could not be noted");
                self.look();
            }
        }
        failure.map_or(Ok(announced), Err)
    }

    /// Announces what is pending: now, whenever it is told to, and every two seconds; purges what is older than
    /// `retention` every hour, and bans that ended so long ago. Until `stop`.
    ///
    /// `retention` bounds how long an idempotency key is remembered; it must not be shorter than the log's own.
    pub async fn run(&self, retention: Duration, stop: CancellationToken) {
        let upkeep = async { tokio::join!(self.keep_announcing(), self.keep_purging(retention)) };
        tokio::select! {
            _ = upkeep => {}
            () = stop.cancelled() => {}
        }
    }

    async fn keep_announcing(&self) {
        let mut back_off = Duration::ZERO;
        loop {
            let before = *self.state.borrow();
            match self.round().await {
                Ok(()) => {
                    if before == RelayState::Behind {
                        info!("all pushed memberships and bans are announced again");
                    }
                    self.state.send_replace(RelayState::Done);
                    back_off = Duration::ZERO;
                }
                Err(what) => {
                    if before == RelayState::Behind {
                        debug!(what, "pushed memberships or bans are still not announced");
                    } else {
                        warn!(
                            what,
                            "pushed memberships or bans are written and cannot be announced; trying again"
                        );
                    }
                    self.state.send_replace(RelayState::Behind);
                    let longer = (back_off * 2).max(Duration::from_millis(250));
                    back_off = longer.min(LONGEST_BACK_OFF);
                }
            }
            if back_off.is_zero() {
                tokio::select! {
                    () = self.look.notified() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            } else {
                tokio::time::sleep(back_off).await;
            }
        }
    }

    /// Announces everything that is pending now.
    async fn round(&self) -> Result<(), String> {
        let deadline = Deadline::after(ROUND_WITHIN);
        loop {
            let pending = self.store.pending(BATCH, deadline).await;
            let pending = pending.map_err(|error: MembershipStoreError| error.to_string())?;
            if pending.is_empty() {
                return Ok(());
            }
            let announced = self.announce(&pending, deadline).await;
            announced.map_err(|error| error.to_string())?;
            // Noted as done, or else read again and again.
            let left = self.store.pending(1, deadline).await;
            let left = left.map_err(|error| error.to_string())?;
            if left.first().map(|one| one.id) == pending.first().map(|one| one.id) {
                return Err("what was announced could not be noted in the store".to_owned());
            }
        }
    }

    async fn keep_purging(&self, retention: Duration) {
        loop {
            if let Some(before) = self.clock.now().checked_sub(retention) {
                self.purge_bans(before).await;
                match self.store.purge(before, Deadline::after(ROUND_WITHIN)).await {
                    Ok(purged) => debug!(?purged, "what was old among pushed memberships is purged"),
                    Err(error @ MembershipStoreError::Damaged(_)) => {
                        error!(%error, "pushed memberships cannot be purged");
                    }
                    Err(error) => debug!(%error, "pushed memberships could not be purged; trying again"),
                }
            }
            tokio::time::sleep(PURGE_EVERY).await;
        }
    }

    /// Forgets bans that ended before `before`.
    async fn purge_bans(&self, before: SystemTime) {
        let Some(bans) = &self.bans else { return };
        match bans.purge_bans(before, Deadline::after(ROUND_WITHIN)).await {
            Ok(purged) => debug!(purged, "bans that ended are purged"),
            Err(error @ BanStoreError::Damaged(_)) => error!(%error, "bans cannot be purged"),
            Err(error) => debug!(%error, "bans could not be purged; trying again"),
        }
    }
}
