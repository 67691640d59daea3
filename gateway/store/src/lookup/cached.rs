//! One look-up through the tiers: what is at hand, whom to wait for, when to begin a fetch, what may be served.
//!
//! The one rule behind it: an answer goes out only if nothing that this instance has applied by then, and that concerns
//! it, is newer than the answer's stamp. Everything else decides about speed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use natsgate_core::{Concern, Deadline, Failure, Lookup, Position, Revision, Source, Unavailable};

use super::back_off::{BackOff, Lately};
use super::counters::{Counters, LookupCounts};
use super::entry::Entry;
use super::flights::{Flight, Flights, Landed, Landing, Tier};
use super::flying::Purpose;
use super::key::Key;
use super::settings::SourceCacheSettings;
use super::standing::{Standing, Times};
use super::tiers::LookupTiers;
use super::trouble::Trouble;

/// How many fetches one look-up waits for, each voided by a revocation that came meanwhile, before it gives up.
const MAX_ROUNDS: u32 = 4;

/// The shortest pause while a source that lags behind catches up with a revocation.
const SHORTEST_LAG_PAUSE: Duration = Duration::from_millis(10);

/// A [`Source`] behind the tiers. Clones share everything.
pub struct Cached<S: Source> {
    pub(super) inner: Arc<Inner<S>>,
}

impl<S: Source> Clone for Cached<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

pub(super) struct Inner<S: Source> {
    pub(super) tiers: Arc<LookupTiers>,
    pub(super) source: S,
    pub(super) times: Times,
    pub(super) fetch_timeout: Duration,
    pub(super) flights: Flights<S::Fact>,
    pub(super) back_off: BackOff,
    pub(super) counters: Counters,
    pub(super) trouble: Trouble,
}

/// What a kept entry is good for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// Nothing that concerns it was revoked; its age allows this.
    Counts(Standing),
    /// It may not be used now: whether something was revoked cannot be told.
    Unconfirmed,
    /// Something that concerns it was revoked since.
    Superseded,
}

/// What a source can know of by now, however far it lags behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// What the stamp of a fetch says, which has the lag in it.
    WhatIsStamped,
    /// Everything that was applied when the look-up came.
    WhateverWasApplied,
}

/// What a look-up that found nothing to use does next.
enum Step<S: Source> {
    Done(Arc<Entry<S::Fact>>),
    Wait(Landing<S::Fact>),
}

impl<S: Source> Cached<S> {
    pub(super) fn new(tiers: Arc<LookupTiers>, source: S, settings: &SourceCacheSettings) -> Self {
        Self {
            inner: Arc::new(Inner {
                tiers,
                source,
                times: Times::new(settings.times(), settings.refresh_ahead),
                fetch_timeout: settings.fetch_timeout,
                flights: Flights::new(),
                back_off: BackOff::new(),
                counters: Counters::default(),
                trouble: Trouble::default(),
            }),
        }
    }

    /// What these caches did.
    pub fn counts(&self) -> LookupCounts {
        self.inner.counters.read()
    }

    /// The source behind them.
    pub fn source(&self) -> &S {
        &self.inner.source
    }
}

impl<S: Source> fmt::Debug for Cached<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("source", &self.inner.source.name())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<S: Source> Lookup<S::Query, S::Fact> for Cached<S> {
    async fn look_up(&self, query: &S::Query, deadline: Deadline) -> Result<S::Fact, Failure> {
        let inner = &self.inner;
        let key = Key::of(&inner.tiers.digests, &inner.source, query);
        let entry = match inner.at_hand(key, query) {
            Some(entry) => entry,
            None => inner.fetched(key, query, deadline).await?,
        };
        entry.answer()
    }
}

impl<S: Source> Inner<S> {
    /// What `entry`, out of a cache, is good for.
    pub(super) fn worth(&self, entry: &Entry<S::Fact>) -> Worth {
        let freshness = &self.tiers.freshness;
        // In this order: what was made good by the time the position was confirmed is then looked at.
        let position = freshness.position();
        if freshness.superseded(&entry.stamp, &entry.concerns) {
            return Worth::Superseded;
        }
        match position {
            Position::Confirmed(_) => Worth::Counts(self.times.standing(entry, self.tiers.clock.now())),
            Position::Unknown | Position::Degraded(_) => Worth::Unconfirmed,
        }
    }

    /// The answer this process has, without waiting for anything.
    fn at_hand(self: &Arc<Self>, key: Key, query: &S::Query) -> Option<Arc<Entry<S::Fact>>> {
        let entry = self.tiers.memory.get(&key)?;
        match self.worth(&entry) {
            Worth::Counts(Standing::Fresh) => {}
            Worth::Counts(Standing::Due) => self.refresh(key, query),
            Worth::Counts(Standing::Stale | Standing::Over) => return None,
            Worth::Unconfirmed => {
                self.counters.unconfirmed.add();
                return None;
            }
            Worth::Superseded => {
                self.counters.voided.add();
                return None;
            }
        }
        self.counters.in_process_hits.add();
        Some(entry)
    }

    /// Begins to fetch anew what is still good, unless somebody does or it lately failed.
    fn refresh(self: &Arc<Self>, key: Key, query: &S::Query) {
        let mut running = self.flights.lock();
        let refreshed = || {
            let entry = self.tiers.memory.get(&key);
            entry.is_none_or(|entry| self.worth(&entry) != Worth::Counts(Standing::Due))
        };
        if running.get(&key).is_some() || self.back_off.lately(&key) != Lately::Well || refreshed() {
            return;
        }
        // Too many fetches: this one can wait.
        if self.begin(&mut running, key, query, Purpose::Background).is_ok() {
            self.counters.in_background.add();
        }
    }

    /// The answer somebody has to wait for.
    async fn fetched(
        self: &Arc<Self>,
        key: Key,
        query: &S::Query,
        deadline: Deadline,
    ) -> Result<Arc<Entry<S::Fact>>, Unavailable> {
        // What the answer is about shows fully only in the answer: each one that does not count adds to it.
        let mut concerns = self.source.concerns(query);
        for _ in 0..MAX_ROUNDS {
            let waited = self.wait_for_lag(&concerns, deadline).await?;
            let mut landing = match self.step(key, query, &concerns, waited)? {
                Step::Done(entry) => return Ok(entry),
                Step::Wait(landing) => landing,
            };
            let landed = deadline.bound(landing.wait_for(Option::is_some)).await;
            let landed =
                landed.map_err(|_| self.no_answer("did not answer before the request's deadline"))?;
            let landed = landed.ok().and_then(|landed| landed.clone());
            match landed.ok_or_else(|| self.no_answer("was not asked to the end: natsgate is stopping"))? {
                Landed::Answer(entry, tier) if self.may_serve(&entry, tier) => return Ok(entry),
                Landed::Answer(entry, _) => concerns.extend_from_slice(&entry.concerns),
                Landed::Failed(error, old) => {
                    let kept = self.tiers.memory.get(&key);
                    let entry = self.stale(kept).or_else(|| self.stale(old)).ok_or(error)?;
                    self.counters.stale_served.add();
                    return Ok(entry);
                }
            }
        }
        Err(self.no_answer(&format!(
            "was asked {MAX_ROUNDS} times, and each time something that concerns the answer was revoked meanwhile"
        )))
    }

    /// Decides in one step, under the lock of the running fetches.
    fn step(
        self: &Arc<Self>,
        key: Key,
        query: &S::Query,
        concerns: &[Concern],
        waited: Waited,
    ) -> Result<Step<S>, Unavailable> {
        if self.tiers.freshness.position() == Position::Unknown {
            return Err(self.not_caught_up());
        }
        let mut running = self.flights.lock();
        let kept: Option<Arc<Entry<S::Fact>>> = self.tiers.memory.get(&key);
        // A fetch may have ended since this look-up found nothing.
        if let Some(entry) = &kept
            && let Worth::Counts(Standing::Fresh | Standing::Due) = self.worth(entry)
        {
            self.counters.in_process_hits.add();
            return Ok(Step::Done(Arc::clone(entry)));
        }
        let lately = self.back_off.lately(&key);
        if lately != Lately::Well
            && let Some(entry) = self.stale(kept)
        {
            let again = lately == Lately::Failing && running.get(&key).is_none();
            if again && self.begin(&mut running, key, query, Purpose::Background).is_ok() {
                self.counters.in_background.add();
            }
            self.counters.stale_served.add();
            return Ok(Step::Done(entry));
        }
        if let Some(flight) = running.get(&key)
            && self.may_join(flight, concerns)
        {
            self.counters.joins.add();
            return Ok(Step::Wait(flight.landing.clone()));
        }
        if let Lately::Pausing(pause) = lately {
            self.counters.backed_off.add();
            return Err(self.no_answer(&format!("failed a moment ago and is asked again in {pause:?}")));
        }
        self.begin(&mut running, key, query, Purpose::Lookup(waited))
            .map(Step::Wait)
    }

    /// Whether the answer of `flight` can be new enough for a look-up that comes now and is about `concerns`.
    fn may_join(&self, flight: &Flight<S::Fact>, concerns: &[Concern]) -> bool {
        let freshness = &self.tiers.freshness;
        let joinable = match freshness.position() {
            // One that began while the position was not confirmed began before something may have been made good.
            Position::Confirmed(_) => flight.confirmed,
            // Of a source that lags behind, a fetch that others began cannot be known to be new enough.
            Position::Degraded(_) => {
                self.source.lag().is_zero() && flight.began.elapsed() <= self.tiers.join_while_degraded
            }
            Position::Unknown => false,
        };
        joinable && self.nothing_newer(&flight.stamp, concerns)
    }

    /// Whether nothing was applied after `stamp` that is about `concerns`, as far as this instance has read the log.
    ///
    /// For what the source says now. A log that was lost or damaged makes everything kept void at once, but it takes nothing
    /// away from an answer that was asked for after all that is applied.
    fn nothing_newer(&self, stamp: &Revision, concerns: &[Concern]) -> bool {
        let freshness = &self.tiers.freshness;
        freshness.position().revision() == Some(*stamp) || !freshness.superseded(stamp, concerns)
    }

    /// Whether an answer that was waited for may go out: something may have been revoked since it was asked for.
    fn may_serve(&self, entry: &Entry<S::Fact>, tier: Tier) -> bool {
        let position = self.tiers.freshness.position();
        let served = match (tier, position) {
            (_, Position::Unknown) => false,
            (Tier::Source, _) => self.nothing_newer(&entry.stamp, &entry.concerns),
            (Tier::Shared, _) => matches!(self.worth(entry), Worth::Counts(_)),
        };
        if !served {
            match position {
                Position::Confirmed(_) => self.counters.voided.add(),
                Position::Unknown | Position::Degraded(_) => self.counters.unconfirmed.add(),
            }
        }
        served
    }

    /// `entry`, if it is good enough while the source cannot be asked.
    fn stale(&self, entry: Option<Arc<Entry<S::Fact>>>) -> Option<Arc<Entry<S::Fact>>> {
        entry.filter(|entry| {
            matches!(
                self.worth(entry),
                Worth::Counts(Standing::Fresh | Standing::Due | Standing::Stale)
            )
        })
    }

    /// Waits until the source can know of everything applied that is about `concerns`: before that no answer counts.
    async fn wait_for_lag(&self, concerns: &[Concern], deadline: Deadline) -> Result<Waited, Unavailable> {
        let lag = self.source.lag();
        if lag.is_zero() {
            return Ok(Waited::WhateverWasApplied);
        }
        let freshness = &self.tiers.freshness;
        let behind = || {
            let stamp = freshness.stamp(lag);
            stamp.map(|stamp| freshness.superseded(&stamp, concerns))
        };
        if behind() == Some(false) {
            return Ok(Waited::WhatIsStamped);
        }
        self.counters.waited_for_lag.add();
        let pause = (lag / 8).max(SHORTEST_LAG_PAUSE);
        let caught_up = async {
            loop {
                match behind() {
                    Some(true) => tokio::time::sleep(pause).await,
                    Some(false) => return Waited::WhatIsStamped,
                    // Since when something is applied cannot be told: the whole lag covers it.
                    None => {
                        tokio::time::sleep(lag).await;
                        return Waited::WhateverWasApplied;
                    }
                }
            }
        };
        deadline.bound(caught_up).await.map_err(|_| {
            self.no_answer(&format!(
                "may be {lag:?} behind, and so could not know of the latest revocation before the request's deadline"
            ))
        })
    }

    pub(super) fn not_caught_up(&self) -> Unavailable {
        self.no_answer("is not asked yet: this instance has not caught up with the revocation log")
    }

    pub(super) fn no_answer(&self, why: &str) -> Unavailable {
        Unavailable::new(format!("source `{}` {why}", self.source.name().escape_debug()))
    }
}
