//! Sessions that another shim answered: looked after when that one does not, and taken over when it is gone.
//!
//! Of such a session nothing is known here but its name: whom it is for, what it is valid as of, who answered. That is enough to
//! see that its shim has done what an entry asks for (it acknowledged), or to close it. More precise is what its shim told
//! the board of it; where that is missing, what cannot be compared is closed.

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use natsgate_core::{Acknowledgement, Deadline, EntryId, LogEntry, Measure, Pace, Revision, SessionKey};
use tokio::time::Instant;
use tracing::{debug, info};

use super::details;
use super::job::Job;
use super::peers_at_work::PeersAtWork;
use super::{Counters, Enforcer};
use crate::sessions::{Owner, Session, Touch};

/// How often it is looked whether its shim has done it, beside whenever somebody acknowledges.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// More entries than this are not held against sessions one by one: the sessions are rechecked.
const MOST_ENTRIES: usize = 10_000;

/// How long asking the board may take.
const ASK_WITHIN: Duration = Duration::from_secs(1);

impl Enforcer {
    /// Sees to it that an entry is carried out for `sessions` of other shims.
    pub(super) async fn look_after_others(
        &self,
        entry: &Arc<LogEntry>,
        mut sessions: Vec<(SessionKey, Touch)>,
        pace: Pace,
        job: &Job,
    ) {
        if sessions.is_empty() {
            return;
        }
        let measure = entry.change.effect().measure;
        let mut bell = self.board.acknowledged();
        let patience = Instant::now() + self.delay(entry.id);
        let mut at_work = PeersAtWork::default();
        loop {
            let done = self.acknowledged(entry.id).await;
            at_work.hear(&done);
            sessions.retain(|(key, _)| self.is_left(key, entry, &done));
            if Instant::now() >= patience {
                let is_worked_on = |(key, _): &(SessionKey, Touch)| {
                    let owner = self.registry.owner(key);
                    owner.is_some_and(|owner| at_work.includes(key, &owner))
                };
                let (worked_on, left) = sessions.into_iter().partition(is_worked_on);
                sessions = worked_on;
                sessions.extend(self.step_in(entry, left, measure, pace, job).await);
            }
            job.waits_for(sessions.len());
            if sessions.is_empty() {
                return;
            }
            let wake = if Instant::now() < patience {
                patience
            } else {
                Instant::now() + LOOK_EVERY
            };
            tokio::select! {
                () = tokio::time::sleep_until(wake) => {}
                changed = bell.changed() => if changed.is_err() { tokio::time::sleep_until(wake).await },
            }
        }
    }

    /// What shims have said of `entry`; nothing if that cannot be learned.
    async fn acknowledged(&self, entry: EntryId) -> Vec<Acknowledgement> {
        let asked = self
            .board
            .acknowledgements(entry, Deadline::after(ASK_WITHIN))
            .await;
        asked.unwrap_or_default()
    }

    /// Whether `entry` is still to be carried out for the session `key`, by somebody else than its shim.
    fn is_left(&self, key: &SessionKey, entry: &LogEntry, done: &[Acknowledgement]) -> bool {
        match self.registry.owner_of_older(key, &entry.revision) {
            // Gone; valid as of then; or taken over meanwhile, and judged then.
            None | Some(Owner::Me) => false,
            Some(owner) => !was_done(done, &owner),
        }
    }

    /// The time for the shims that answered is over. Those that are concerned for certain are closed; of the others the board
    /// may know more. Returns those of which nothing is known as long as their shims are there.
    async fn step_in(
        &self,
        entry: &Arc<LogEntry>,
        sessions: Vec<(SessionKey, Touch)>,
        measure: Measure,
        pace: Pace,
        job: &Job,
    ) -> Vec<(SessionKey, Touch)> {
        if sessions.is_empty() {
            return sessions;
        }
        let certain = |touch: &Touch| *touch == Touch::Yes && measure == Measure::Kick;
        let (concerned, unclear): (Vec<_>, Vec<_>) =
            sessions.into_iter().partition(|(_, touch)| certain(touch));
        let mut close: Vec<SessionKey> = concerned.into_iter().map(|(key, _)| key).collect();
        let keys: Vec<SessionKey> = unclear.iter().map(|(key, _)| key.clone()).collect();
        self.learn(&keys).await;
        let mut look = Vec::new();
        let mut left = Vec::new();
        for (key, _) in unclear {
            let Some(against) = self.registry.against(&key) else {
                // Too old to be judged: that is the take-over's business.
                left.push((key, Touch::Maybe));
                continue;
            };
            let touch = against
                .iter()
                .find(|(one, _)| one.id == entry.id)
                .map_or(Touch::No, |(_, touch)| *touch);
            let known = self
                .registry
                .get(&key)
                .is_some_and(|session| session.facts.is_some());
            match touch {
                Touch::No => {}
                Touch::Yes if measure == Measure::Kick => close.push(key),
                _ if known => look.push(key),
                _ => left.push((key, Touch::Maybe)),
            }
        }
        if !close.is_empty() || !look.is_empty() {
            info!(
                revision = %entry.revision,
                sessions = close.len().saturating_add(look.len()),
                "the shims that answered these sessions have not carried out a revocation: this one does"
            );
        }
        job.found(close.len().saturating_add(look.len()));
        tokio::join!(self.close(close, pace, job), self.look_first(look, pace, job));
        left
    }

    /// Learns from the board what is known of the sessions `keys`.
    async fn learn(&self, keys: &[SessionKey]) {
        if keys.is_empty() {
            return;
        }
        let asked = self
            .board
            .look_up(&self.cluster, keys, Deadline::after(ASK_WITHIN))
            .await;
        let records = match asked {
            Ok(records) => records,
            Err(error) => {
                debug!(%error, "what the board knows of other shims' sessions could not be learned");
                return;
            }
        };
        for record in records {
            // What it was granted was true as of then, whatever its name says: its shim may have looked at it since.
            if let Some(facts) = details::read(&record.details) {
                self.registry
                    .renew(&record.key, record.as_of, record.policy_generation, facts);
            }
        }
    }

    /// Looks after the sessions of shims that are not there any more: takes over those that fall to this one.
    pub async fn take_over(self: &Arc<Self>) {
        let Some(present) = self.peers.present() else {
            return;
        };
        let me = self.registry.me();
        let orphans: Vec<SessionKey> = self
            .registry
            .others()
            .into_iter()
            .filter(|(key, owner)| {
                let gone = match owner {
                    Owner::Other(shim) => !present.iter().any(|one| one.shim == **shim),
                    _ => true,
                };
                gone && self
                    .peers
                    .heir(&present, &self.cluster, key)
                    .is_none_or(|heir| heir == me)
            })
            .map(|(key, _)| key)
            .collect();
        if orphans.is_empty() {
            return;
        }
        Counters::add(&self.counters.taken_over, orphans.len());
        info!(
            sessions = orphans.len(),
            "sessions whose shim is not there any more are taken over"
        );
        let owners: Vec<(SessionKey, Owner)> = orphans
            .iter()
            .filter_map(|key| Some((key.clone(), self.registry.get(key)?.owner)))
            .collect();
        for chunk in orphans.chunks(500) {
            self.learn(chunk).await;
        }
        let mut close = Vec::new();
        let mut look = Vec::new();
        let mut said: HashMap<EntryId, Vec<Acknowledgement>> = HashMap::new();
        let (since, older) = self.since_the_oldest(&orphans);
        for (key, owner) in owners {
            self.registry.hand_over(&key, Owner::Me);
            let reached = |session: Session| {
                let as_of = session.as_of()?;
                since.filter(|since| as_of.includes(since))
            };
            let against = self.registry.against(&key).or_else(|| {
                self.registry.get(&key).and_then(reached)?;
                Some(self.registry.against_these(&key, &older))
            });
            match against {
                // Of before an epoch: what the log still has of it is carried out, the rest made up for.
                None if self.registry.is_closed_since(&key, self.is_confirmed()) => close.push(key),
                None => look.push(key),
                Some(entries) if entries.is_empty() => {}
                Some(entries) => {
                    let known = self
                        .registry
                        .get(&key)
                        .is_some_and(|session| session.facts.is_some());
                    let mut open = false;
                    for (entry, touch) in &entries {
                        let kick = entry.change.effect().measure == Measure::Kick && *touch == Touch::Yes;
                        if kick || known {
                            open = true;
                            break;
                        }
                        if let Entry::Vacant(unknown) = said.entry(entry.id) {
                            unknown.insert(self.acknowledged(entry.id).await);
                        }
                        open |= !said.get(&entry.id).is_some_and(|said| was_done(said, &owner));
                    }
                    if !open {
                        continue;
                    }
                    let session = self.registry.get(&key);
                    let at_once = entries.iter().any(|(entry, touch)| {
                        let closes = session
                            .as_ref()
                            .is_some_and(|session| session.is_closed_by(*touch));
                        closes && entry.change.effect().measure == Measure::Kick
                    });
                    if at_once { close.push(key) } else { look.push(key) }
                }
            }
        }
        if close.is_empty() && look.is_empty() {
            return;
        }
        let Some(now) = self.registry.applied() else {
            return;
        };
        let enforcer = Arc::clone(self);
        self.taking_over.fetch_add(1, Ordering::SeqCst);
        self.tasks.spawn(async move {
            let job = Job::begin(EntryId([0; 16]), now);
            job.found(close.len().saturating_add(look.len()));
            let slowly = Pace::Spread {
                over: enforcer.settings.spread,
            };
            tokio::join!(
                enforcer.close(close, Pace::Immediate, &job),
                enforcer.look_first(look, slowly, &job)
            );
            info!(
                closed = job.closed(),
                spared = job.spared_count(),
                "sessions taken over were held against the revocation log"
            );
            enforcer.taking_over.fetch_sub(1, Ordering::SeqCst);
        });
    }

    /// The oldest position of this epoch's log that any of `sessions` is valid as of, and all that came after it: a shim that has
    /// just begun remembers nothing itself.
    fn since_the_oldest(&self, sessions: &[SessionKey]) -> (Option<Revision>, Vec<Arc<LogEntry>>) {
        let Some(applied) = self.registry.applied() else {
            return (None, Vec::new());
        };
        let positions = sessions
            .iter()
            .filter_map(|key| self.registry.get(key)?.as_of())
            .filter(|as_of| as_of.epoch == applied.epoch);
        let Some(oldest) = positions.min_by_key(|as_of| as_of.sequence) else {
            return (None, Vec::new());
        };
        match self.feed.after(&oldest, MOST_ENTRIES) {
            Ok(entries) if entries.len() < MOST_ENTRIES => {
                (Some(oldest), entries.into_iter().map(Arc::new).collect())
            }
            _ => (None, Vec::new()),
        }
    }

    /// How long the shims that answered are waited for: other shims do not look all at the same moment.
    fn delay(&self, entry: EntryId) -> Duration {
        let mut hash = DefaultHasher::new();
        self.registry.me().hash(&mut hash);
        entry.0.hash(&mut hash);
        let after = self.settings.take_over_after;
        let part = u32::try_from(hash.finish() % 256).unwrap_or(0);
        after + after * part / 256
    }
}

/// Whether the shim that answered says, among `said`, that it has carried it out for its own sessions.
fn was_done(said: &[Acknowledgement], owner: &Owner) -> bool {
    let Owner::Other(shim) = owner else {
        return false;
    };
    said.iter().any(|one| *one.shim == **shim && one.own_done)
}
