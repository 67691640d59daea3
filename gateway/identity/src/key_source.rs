//! A provider's keys, kept: fetched once however many wait, refreshed in the background, good for a while without the
//! provider, fetched again for an unknown key at most once per cool-down, and before they are used again after a
//! revocation that concerns the provider or one of them.
//!
//! A fetch is a task of its own with its own bound. Who waits for it waits only until his own deadline, and leaving does
//! not end it. What decides is the state under one lock; the lock is never held across an await.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use natsgate_core::{Clock, Concern, Deadline, DenialReason, Failure, Revision, Unavailable};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::algorithm::Algorithm;
use crate::discovery::{Endpoint, endpoint_url};
use crate::documents::{self, Accept, Documents};
use crate::fetch::FetchError;
use crate::keys::{Found, Key, KeySet};
use crate::settings::oidc::OidcSettings;

/// The first pause after a failed fetch; it doubles with every further one.
const FIRST_BACK_OFF: Duration = Duration::from_millis(500);

/// The longest pause after a failed fetch.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(5);

/// How many fetches one lookup waits for, at most.
const MAX_ROUNDS: u32 = 3;

/// The keys of one provider.
#[derive(Clone)]
pub(crate) struct KeySource {
    shared: Arc<Shared>,
}

struct Shared {
    provider: String,
    issuer: String,
    endpoint: Endpoint,
    allow_http: bool,
    refresh_after: Duration,
    keep_for: Duration,
    cool_down: Duration,
    fetch_timeout: Duration,
    /// How far in the future a fetch may seem to lie before the clock is taken to have been set back.
    skew: Duration,
    documents: Documents,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// Closed when the running fetch ends, however it ends.
    running: Option<watch::Receiver<()>>,
    /// How many fetches were begun.
    begun: u64,
    failure: Option<FetchFailure>,
    /// When the last fetch for an unknown key succeeded.
    refetched_at: Option<SystemTime>,
}

struct Held {
    keys: Arc<KeySet>,
    /// When the fetch began that brought them.
    fetched_at: SystemTime,
    /// The revision that was applied before that.
    stamp: Option<Revision>,
    /// What they are about, beside the provider: each of them.
    concerns: Vec<Concern>,
    /// Which fetch of this instance brought them from the provider itself; `None` if they came out of the cache.
    fetch: Option<u64>,
}

struct FetchFailure {
    at: SystemTime,
    in_a_row: u32,
    error: FetchError,
}

/// Why a fetch is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// There are no keys, or old ones: what another instance fetched will do.
    Refresh,
    /// A key is unknown: only the provider itself can tell.
    UnknownKey,
}

/// What a lookup does next.
enum Step {
    Done(Vec<Arc<Key>>),
    Wait(watch::Receiver<()>),
}

impl KeySource {
    /// The keys of the provider of `settings`, found by way of `endpoint` among `documents`. Fetches nothing yet.
    pub(crate) fn new(
        settings: &OidcSettings,
        endpoint: Endpoint,
        documents: Documents,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                provider: settings.name.clone(),
                issuer: settings.issuer.clone(),
                endpoint,
                allow_http: settings.allow_http,
                refresh_after: settings.refresh_after,
                keep_for: settings.keep_for,
                cool_down: settings.cool_down,
                fetch_timeout: settings.fetch_timeout,
                skew: settings.leeway,
                documents,
                clock,
                state: Mutex::default(),
            }),
        }
    }

    /// The keys that may have signed a token with this `kid` and algorithm.
    ///
    /// # Errors
    /// [`DenialReason::UnknownKey`] and [`DenialReason::AlgorithmNotAllowed`] if the provider has none;
    /// [`Unavailable`] if that could not be found out before `deadline`.
    pub(crate) async fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        deadline: Deadline,
    ) -> Result<Vec<Arc<Key>>, Failure> {
        let arrival = self.shared.lock().begun;
        let mut rounds = 0;
        loop {
            match self.step(kid, algorithm, arrival, rounds)? {
                Step::Done(keys) => return Ok(keys),
                Step::Wait(running) => self.wait(running, deadline).await?,
            }
            rounds += 1;
        }
    }

    /// Makes sure that there are keys.
    ///
    /// # Errors
    /// [`Unavailable`] if there are none before `deadline`.
    pub(crate) async fn load(&self, deadline: Deadline) -> Result<usize, Unavailable> {
        let mut rounds = 0;
        loop {
            let running = match self.current(&mut self.shared.lock(), rounds)? {
                Current::Keys(held) => return Ok(held.len()),
                Current::Wait(running) => running,
            };
            self.wait(running, deadline).await?;
            rounds += 1;
        }
    }

    async fn wait(&self, mut running: watch::Receiver<()>, deadline: Deadline) -> Result<(), Unavailable> {
        let ended = async { while running.changed().await.is_ok() {} };
        deadline.bound(ended).await.map_err(|_| {
            Unavailable::new(format!(
                "the keys of provider `{}` ({}) did not arrive before the request's deadline",
                self.shared.provider,
                self.shared.shown_url()
            ))
        })
    }

    fn step(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        arrival: u64,
        rounds: u32,
    ) -> Result<Step, Failure> {
        let shared = &self.shared;
        let mut state = shared.lock();
        let keys = match self.current(&mut state, rounds)? {
            Current::Keys(keys) => keys,
            Current::Wait(running) => return Ok(Step::Wait(running)),
        };
        match keys.find(kid, algorithm) {
            Found::Keys(keys) => return Ok(Step::Done(keys)),
            Found::Unfit => {
                return Err(Failure::denied(
                    DenialReason::AlgorithmNotAllowed,
                    format!(
                        "the key of provider `{}` that the token names is not for its algorithm",
                        shared.provider
                    ),
                ));
            }
            Found::Nothing => {}
        }

        // Nothing: fetched anew since this lookup came, or so lately that asking again is not worth it?
        let now = shared.clock.now();
        let since_arrival = state
            .held
            .as_ref()
            .and_then(|held| held.fetch)
            .is_some_and(|fetch| fetch > arrival);
        let cooling = state
            .refetched_at
            .is_some_and(|at| within(at, shared.cool_down, now));
        if since_arrival || cooling {
            return Err(Failure::denied(
                DenialReason::UnknownKey,
                format!(
                    "provider `{}` has no key that the token could be signed with",
                    shared.provider
                ),
            ));
        }
        if let Some(running) = state.running() {
            return Ok(Step::Wait(running));
        }
        shared.may_fetch(&state, now, rounds)?;
        Ok(Step::Wait(shared.begin(&mut state, Purpose::UnknownKey)))
    }

    /// The keys to go by now, or the fetch to wait for. Begins a fetch where one is due.
    fn current(&self, state: &mut State, rounds: u32) -> Result<Current, Unavailable> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let age = state
            .held
            .as_ref()
            .filter(|held| !shared.documents.voided(held.stamp.as_ref(), &held.concerns))
            .and_then(|held| shared.age(held.fetched_at, now));
        if let (Some(held), Some(age)) = (&state.held, age)
            && age < shared.keep_for
        {
            let keys = Arc::clone(&held.keys);
            let due = age >= shared.refresh_after && state.running().is_none();
            if due && shared.may_fetch(state, now, 0).is_ok() {
                shared.begin(state, Purpose::Refresh);
            }
            return Ok(Current::Keys(keys));
        }
        if let Some(running) = state.running() {
            return Ok(Current::Wait(running));
        }
        shared.may_fetch(state, now, rounds)?;
        Ok(Current::Wait(shared.begin(state, Purpose::Refresh)))
    }
}

enum Current {
    Keys(Arc<KeySet>),
    Wait(watch::Receiver<()>),
}

impl State {
    /// The running fetch, if there is one.
    fn running(&mut self) -> Option<watch::Receiver<()>> {
        // A closed channel is a fetch that ended.
        self.running = self
            .running
            .take()
            .filter(|running| running.has_changed().is_ok());
        self.running.clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is whole at any moment, so a poisoned one is as good as another.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown_url(&self) -> String {
        crate::settings::url::shown(self.endpoint.url())
    }

    /// How old something fetched at `fetched_at` is; `None` if the clock was set back since, so that nobody knows.
    fn age(&self, fetched_at: SystemTime, now: SystemTime) -> Option<Duration> {
        match now.duration_since(fetched_at) {
            Ok(age) => Some(age),
            Err(ahead) if ahead.duration() <= self.skew => Some(Duration::ZERO),
            Err(_) => None,
        }
    }

    /// Whether a fetch may be begun: not while the last failure is fresh, and not for ever for one lookup.
    fn may_fetch(&self, state: &State, now: SystemTime, rounds: u32) -> Result<(), Unavailable> {
        let Some(failure) = &state.failure else {
            if rounds < MAX_ROUNDS {
                return Ok(());
            }
            return Err(Unavailable::new(format!(
                "the keys of provider `{}` were fetched {MAX_ROUNDS} times without a clear answer: try again",
                self.provider
            )));
        };
        let doubled = FIRST_BACK_OFF.saturating_mul(2_u32.saturating_pow(failure.in_a_row.saturating_sub(1)));
        if rounds < MAX_ROUNDS && !within(failure.at, doubled.min(LONGEST_BACK_OFF), now) {
            return Ok(());
        }
        Err(Unavailable::new(format!(
            "the keys of provider `{}` could not be had: {}. Check that the provider is up and can be reached from here",
            self.provider, failure.error
        )))
    }

    /// Begins a fetch in a task of its own.
    fn begin(self: &Arc<Self>, state: &mut State, purpose: Purpose) -> watch::Receiver<()> {
        let (ended, running) = watch::channel(());
        state.begun += 1;
        state.running = Some(running.clone());
        let number = state.begun;
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            shared.fetch(number, purpose).await;
            // The state is up to date before anybody is woken; a panic closes the channel too.
            drop(ended);
        });
        running
    }

    async fn fetch(&self, number: u64, purpose: Purpose) {
        let newer_than = self.lock().held.as_ref().map(|held| held.fetched_at);
        let fetched = timeout(self.fetch_timeout, self.keys(number, purpose, newer_than)).await;
        let fetched = fetched.unwrap_or_else(|_| {
            let took = self.fetch_timeout;
            Err(FetchError::new(
                self.endpoint.url(),
                format!("no answer within {took:?} (`fetch_timeout`)"),
            ))
        });
        let now = self.clock.now();
        let mut state = self.lock();
        match fetched {
            Ok(held) => {
                tracing::debug!(
                    provider = self.provider,
                    keys = held.keys.len(),
                    ?purpose,
                    "provider's keys fetched"
                );
                state.held = Some(held);
                state.failure = None;
                if purpose == Purpose::UnknownKey {
                    state.refetched_at = Some(now);
                }
            }
            Err(error) => {
                let in_a_row = state
                    .failure
                    .as_ref()
                    .map_or(0, |failure| failure.in_a_row)
                    .saturating_add(1);
                tracing::warn!(provider = self.provider, %error, in_a_row, "the provider's keys could not be fetched");
                state.failure = Some(FetchFailure {
                    at: now,
                    in_a_row,
                    error,
                });
            }
        }
    }

    async fn keys(
        &self,
        number: u64,
        purpose: Purpose,
        newer_than: Option<SystemTime>,
    ) -> Result<Held, FetchError> {
        let url = match &self.endpoint {
            Endpoint::Keys(url) => url.clone(),
            Endpoint::Discovery(url) => {
                let read =
                    |document: &[u8]| endpoint_url(document, "jwks_uri", &self.issuer, url, self.allow_http);
                self.documents
                    .get(documents::DISCOVERY, url, Accept::Cached, read, |_| Vec::new())
                    .await?
                    .value
            }
        };
        let accept = match purpose {
            Purpose::Refresh => Accept::CachedSince(newer_than),
            Purpose::UnknownKey => Accept::Fetched,
        };
        let read = |document: &[u8]| KeySet::parse(document, &self.provider);
        let concerns = |keys: &KeySet| {
            keys.ids()
                .map(|id| Concern::signing_key(&self.issuer, id))
                .collect()
        };
        let found = self
            .documents
            .get(documents::KEY_SET, &url, accept, read, concerns)
            .await?;
        Ok(Held {
            concerns: concerns(&found.value),
            keys: Arc::new(found.value),
            fetched_at: found.fetched_at,
            stamp: found.stamp,
            fetch: (!found.cached).then_some(number),
        })
    }
}

/// Whether less than `time` has passed since `since`. A clock set back ends every pause.
fn within(since: SystemTime, time: Duration, now: SystemTime) -> bool {
    now.duration_since(since).is_ok_and(|passed| passed < time)
}

#[cfg(test)]
mod tests;
