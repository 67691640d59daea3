//! One fetch, from its stamp to its end: a task of its own with its own bound, whoever waits for it or leaves.
//!
//! The stamp is taken before anything is asked. That is what makes everything else right.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures::FutureExt;
use natsgate_core::{Deadline, Failure, Revision, Source, Unavailable};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::cached::{Inner, Waited, Worth};
use super::entry::{Entry, Said};
use super::envelope;
use super::flights::{Flight, Landed, Landing, Running, Tier};
use super::key::Key;
use super::shared::Shared;
use super::standing::Standing;

/// What a fetch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Somebody needs an answer: another instance's will do.
    Lookup(Waited),
    /// Somebody had an answer, and the next one shall have a newer.
    Background,
}

/// A fetch on its way.
struct Flying<S: Source> {
    inner: Arc<Inner<S>>,
    key: Key,
    query: S::Query,
    purpose: Purpose,
    number: u64,
    stamp: Revision,
    /// Whether the answer may be kept, and what is kept may be used.
    confirmed: bool,
    began: SystemTime,
    end: watch::Sender<Option<Landed<S::Fact>>>,
    _permit: OwnedSemaphorePermit,
}

/// An entry and how it is written down.
type Written<F> = (Arc<Entry<F>>, Bytes);

impl<S: Source> Inner<S> {
    /// Begins a fetch of `query`. `running` is the locked table.
    pub(super) fn begin(
        self: &Arc<Self>,
        running: &mut Running<S::Fact>,
        key: Key,
        query: &S::Query,
        purpose: Purpose,
    ) -> Result<Landing<S::Fact>, Unavailable> {
        let Ok(permit) = Arc::clone(&self.tiers.fetches).try_acquire_owned() else {
            self.counters.refused.add();
            return Err(self.no_answer("is not asked: too many fetches are running (`lookups.max_fetches`)"));
        };
        let freshness = &self.tiers.freshness;
        let confirmed = freshness.stamp(self.source.lag());
        // Not good enough to keep the answer, but to see that something was applied since.
        let Some(stamp) = confirmed.or_else(|| freshness.position().revision()) else {
            return Err(self.not_caught_up());
        };
        let lags = !self.source.lag().is_zero();
        if confirmed.is_none() && lags && purpose != Purpose::Lookup(Waited::WhateverWasApplied) {
            return Err(self.no_answer("was about to be asked when the revocation log was lost: try again"));
        }
        let (end, landing) = watch::channel(None);
        let number = running.next();
        running.begin(
            key,
            Flight {
                number,
                stamp,
                confirmed: confirmed.is_some(),
                began: Instant::now(),
                landing: landing.clone(),
            },
        );
        self.counters.fetches.add();
        let flying = Flying {
            inner: Arc::clone(self),
            key,
            query: query.clone(),
            purpose,
            number,
            stamp,
            confirmed: confirmed.is_some(),
            began: self.tiers.clock.now(),
            end,
            _permit: permit,
        };
        tokio::spawn(flying.fly());
        Ok(landing)
    }
}

/// Cut off, or ended long ago: nobody shall wait for it. Dropping `end` wakes those who do.
impl<S: Source> Drop for Flying<S> {
    fn drop(&mut self) {
        self.inner.flights.lock().end(&self.key, self.number);
    }
}

impl<S: Source> Flying<S> {
    async fn fly(self) {
        let inner = &self.inner;
        let deadline = Deadline::after(inner.fetch_timeout);
        let shared = inner.tiers.shared.as_ref().filter(|_| self.confirmed);
        let old = match shared {
            None => None,
            Some(shared) => caught(self.ask_shared(shared)).await.flatten(),
        };
        if let Some((entry, bytes)) = &old
            && self.will_do(entry)
        {
            inner.counters.shared_hits.add();
            self.land(
                Landed::Answer(Arc::clone(entry), Tier::Shared),
                Some((entry, bytes)),
            );
            return;
        }

        match self.ask_source(deadline).await {
            Ok(said) => {
                inner.back_off.answered(&self.key);
                let asked = inner.source.concerns(&self.query);
                let entry = Arc::new(Entry::new(said, self.stamp, self.began, asked));
                let bytes = self.kept_as(&entry);
                let keep = bytes.as_ref().map(|bytes| (&entry, bytes));
                self.land(Landed::Answer(Arc::clone(&entry), Tier::Source), keep);
                // Everybody has his answer; this is for the other instances.
                if let (Some(shared), Some(bytes)) = (shared, bytes) {
                    self.to_shared(shared, &entry, bytes).await;
                }
            }
            Err(error) => {
                inner.counters.failed.add();
                inner.back_off.failed(self.key);
                if let Some(times) = inner.trouble.again() {
                    let source = inner.source.name();
                    tracing::warn!(source, %error, times, "a source of facts does not answer");
                }
                let keep = old.as_ref().map(|(entry, bytes)| (entry, bytes));
                let old = old.as_ref().map(|(entry, _)| Arc::clone(entry));
                self.land(Landed::Failed(error, old), keep);
            }
        }
    }

    /// What the shared cache has, if it counts.
    async fn ask_shared(&self, shared: &Shared) -> Option<Written<S::Fact>> {
        let inner = &self.inner;
        let bytes = match shared.get(&self.key.shared::<S::Fact>()).await {
            Ok(bytes) => bytes?,
            Err(_) => {
                inner.counters.shared_errors.add();
                return None;
            }
        };
        let Some(entry) = envelope::read(&bytes, inner.source.concerns(&self.query)) else {
            inner.counters.unreadable.add();
            return None;
        };
        match inner.worth(&entry) {
            Worth::Counts(Standing::Over) => None,
            Worth::Counts(_) => Some((Arc::new(entry), bytes)),
            Worth::Unconfirmed => {
                inner.counters.unconfirmed.add();
                None
            }
            Worth::Superseded => {
                inner.counters.voided.add();
                None
            }
        }
    }

    /// Whether another instance's answer is new enough for what this fetch is for.
    fn will_do(&self, entry: &Entry<S::Fact>) -> bool {
        match self.inner.worth(entry) {
            Worth::Counts(Standing::Fresh) => true,
            Worth::Counts(Standing::Due) => self.purpose != Purpose::Background,
            _ => false,
        }
    }

    /// What the source says; within this fetch's bound, whatever the source makes of it.
    async fn ask_source(&self, deadline: Deadline) -> Result<Said<S::Fact>, Unavailable> {
        let inner = &self.inner;
        inner.counters.asked.add();
        let fetch = caught(inner.source.fetch(&self.query, deadline));
        let Ok(fetched) = deadline.bound(fetch).await else {
            let took = inner.fetch_timeout;
            return Err(inner.no_answer(&format!("did not answer within {took:?} (`fetch_timeout`)")));
        };
        match fetched {
            Some(Ok(fact)) => Ok(Said::Fact(fact)),
            Some(Err(Failure::Denied(denial))) => Ok(Said::Denied(denial)),
            Some(Err(Failure::Unavailable(error))) => Err(error),
            None => {
                Err(inner.no_answer("could not be asked because of a mistake in natsgate: please report it"))
            }
        }
    }

    /// How `entry` is written down, if it is to be kept at all.
    fn kept_as(&self, entry: &Entry<S::Fact>) -> Option<Bytes> {
        if !self.confirmed || self.ttl(entry).is_zero() {
            return None;
        }
        let bytes = envelope::write(entry)?;
        if bytes.len() > self.inner.tiers.max_fact_bytes {
            self.inner.counters.too_large.add();
            return None;
        }
        Some(Bytes::from(bytes))
    }

    fn ttl(&self, entry: &Entry<S::Fact>) -> std::time::Duration {
        self.inner.times.left(entry, self.inner.tiers.clock.now())
    }

    /// Ends the fetch: keeps what is to be kept, and tells everybody.
    fn land(&self, landed: Landed<S::Fact>, keep: Option<(&Arc<Entry<S::Fact>>, &Bytes)>) {
        let inner = &self.inner;
        let mut running = inner.flights.lock();
        if let Some((entry, bytes)) = keep
            && self.is_better(entry)
        {
            let ttl = self.ttl(entry);
            inner
                .tiers
                .memory
                .put(self.key, Arc::clone(entry), bytes.len(), ttl);
        }
        running.end(&self.key, self.number);
        drop(running);
        self.end.send_replace(Some(landed));
    }

    /// Whether `entry` is worth keeping in place of what memory has: an older fetch may end after a newer one.
    fn is_better(&self, entry: &Entry<S::Fact>) -> bool {
        let inner = &self.inner;
        if inner.worth(entry) == Worth::Superseded {
            return false;
        }
        let Some(kept) = inner.tiers.memory.get::<S::Fact>(&self.key) else {
            return true;
        };
        inner.worth(&kept) == Worth::Superseded || kept.fetched_at <= entry.fetched_at
    }

    async fn to_shared(&self, shared: &Shared, entry: &Entry<S::Fact>, bytes: Bytes) {
        let ttl = self.ttl(entry);
        if ttl.is_zero() || self.inner.worth(entry) == Worth::Superseded {
            return;
        }
        let key = self.key.shared::<S::Fact>();
        let put = shared.put(&key, bytes, ttl);
        if !matches!(caught(put).await, Some(Ok(()))) {
            self.inner.counters.shared_errors.add();
        }
    }
}

/// What `work` comes to; `None` if it panics.
async fn caught<T>(work: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(work).catch_unwind().await.ok()
}
