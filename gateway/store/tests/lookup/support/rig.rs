//! One instance's caches with everything round them, and a second instance beside it where two are needed.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{Cache, Deadline, Failure, Lookup};
use natsgate_devkit::MockClock;
use natsgate_store::{Cached, KeyDigests, LookupSettings, LookupTiers, Secrets, SourceCacheSettings};
use tokio::task::JoinHandle;

use super::cache::HandCache;
use super::freshness::HandFreshness;
use super::source::{Calls, HandSource, Handle, Page};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A deadline that no test means to reach.
pub(crate) fn ample() -> Deadline {
    Deadline::after(SECOND * 600)
}

/// The outcome of `work`, which must not hang. Time is paused, so that waiting costs none.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SECOND * 3600, work).await.expect("it hangs")
}

/// Lets every task run that can.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn digests() -> KeyDigests {
    Secrets::new("0123456789abcdef0123456789abcdef".into(), Vec::new())
        .unwrap()
        .key_digests("lookups")
        .unwrap()
}

/// Fresh for 40 s, stale for 60 s more, "no" for 5 s; a fetch may take 20 s.
pub(crate) fn times() -> SourceCacheSettings {
    SourceCacheSettings {
        fresh: SECOND * 40,
        stale_if_error: SECOND * 60,
        negative: SECOND * 5,
        fetch_timeout: SECOND * 20,
        refresh_ahead: false,
    }
}

pub(crate) struct Rig {
    pub(crate) clock: MockClock,
    pub(crate) freshness: Arc<HandFreshness>,
    pub(crate) shared: Arc<HandCache>,
    pub(crate) source: Arc<HandSource>,
    pub(crate) calls: Calls,
    pub(crate) tiers: Arc<LookupTiers>,
    pub(crate) lookup: Cached<Handle>,
}

impl Rig {
    /// A source without lag, the times of [`times`].
    pub(crate) fn new() -> Self {
        Self::with(&LookupSettings::default(), &times(), Duration::ZERO)
    }

    pub(crate) fn with(settings: &LookupSettings, times: &SourceCacheSettings, lag: Duration) -> Self {
        let clock = MockClock::from_now();
        let freshness = Arc::new(HandFreshness::new());
        let shared = Arc::new(HandCache::new());
        let (source, calls) = HandSource::new("pages", lag);
        let cache: Arc<dyn Cache> = shared.clone();
        let tiers = LookupTiers::new(
            settings,
            Some(cache),
            digests(),
            freshness.clone(),
            Arc::new(clock.clone()),
        )
        .unwrap();
        let lookup = tiers.cached(Handle(source.clone()), times).unwrap();
        Self {
            clock,
            freshness,
            shared,
            source,
            calls,
            tiers,
            lookup,
        }
    }

    /// Another instance: caches of its own, its own reading of the log, the same clock, source and shared cache.
    pub(crate) fn neighbour(&self) -> (Cached<Handle>, Arc<HandFreshness>) {
        let freshness = Arc::new(HandFreshness::new());
        let cache: Arc<dyn Cache> = self.shared.clone();
        let tiers = LookupTiers::new(
            &LookupSettings::default(),
            Some(cache),
            digests(),
            freshness.clone(),
            Arc::new(self.clock.clone()),
        )
        .unwrap();
        let lookup = tiers.cached(Handle(self.source.clone()), &times()).unwrap();
        (lookup, freshness)
    }

    pub(crate) async fn look_up(&self, number: u32) -> Result<Page, Failure> {
        soon(self.lookup.look_up(&number, ample())).await
    }

    /// The text of what is found.
    pub(crate) async fn text(&self, number: u32) -> String {
        self.look_up(number).await.unwrap().text
    }

    /// Looks up in a task of its own, which has begun to wait when this returns.
    pub(crate) async fn begin(&self, number: u32, deadline: Deadline) -> JoinHandle<Result<Page, Failure>> {
        let lookup = self.lookup.clone();
        let task = tokio::spawn(async move { lookup.look_up(&number, deadline).await });
        settle().await;
        task
    }

    /// Lets time pass on both clocks.
    pub(crate) async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        tokio::time::advance(time).await;
        settle().await;
    }
}

/// What a task that [`Rig::begin`] began comes to.
pub(crate) async fn outcome(task: JoinHandle<Result<Page, Failure>>) -> Result<Page, Failure> {
    soon(task).await.unwrap()
}
