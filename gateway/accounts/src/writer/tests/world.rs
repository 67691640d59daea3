//! Servers, a store and clocks that are only simulated: every call can be held up before and after what it
//! does.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use natsgate_core::{
    AccountAtServer, AccountServers, AccountServersError, AccountStore, AccountStoreError, Clock, Deadline,
    Fence, PushAnswer, ServerIdentity, Stored,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use super::oracle::Oracle;
use crate::testing::NOW;

/// Goes on at the next poll, whoever polls.
pub(super) async fn held_up() {
    let mut polled = false;
    poll_fn(|_| {
        let ready = polled;
        polled = true;
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// `iat` of a JWT, unverified.
pub(super) fn issued_at(jwt: &str) -> i64 {
    let payload = jwt.split('.').nth(1).unwrap();
    let payload = BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap();
    let payload = String::from_utf8(payload).unwrap();
    let (_, from) = payload.split_once("\"iat\":").unwrap();
    from.split(',').next().unwrap().parse().unwrap()
}

/// The wall clock that goes with tokio's.
pub(super) struct WorldClock(pub(super) Instant);

impl Clock for WorldClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW.unsigned_abs()) + self.0.elapsed()
    }
}

#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) up: bool,
    pub(super) kept: Option<String>,
    pub(super) in_force: Option<String>,
    /// Whether no push reaches it.
    pub(super) deaf: bool,
}

impl Server {
    fn takes(&mut self, jwt: &str) {
        self.kept = Some(jwt.to_owned());
        if self.in_force.is_some() {
            self.in_force = Some(jwt.to_owned());
        }
    }
}

/// The lease, as the store has it.
#[derive(Debug)]
pub(super) struct Lease {
    holder: String,
    pub(super) fence: Fence,
    pub(super) until: Instant,
}

pub(super) struct State {
    pub(super) rng: StdRng,
    /// Whether calls fail and pushes go astray.
    pub(super) chaos: bool,
    pub(super) servers: Vec<Server>,
    pub(super) newest: Fence,
    pub(super) lease: Option<Lease>,
    pub(super) stored: Option<Stored>,
    pub(super) oracle: Oracle,
}

/// Everything outside the writers.
pub(super) struct World {
    state: Mutex<State>,
    pub(super) start: Instant,
}

impl World {
    /// `servers` servers which all have `jwt`.
    pub(super) fn new(seed: u64, servers: usize, jwt: &str) -> Arc<Self> {
        let server = || Server {
            up: true,
            kept: Some(jwt.to_owned()),
            in_force: Some(jwt.to_owned()),
            deaf: false,
        };
        let state = State {
            rng: StdRng::seed_from_u64(seed),
            chaos: false,
            servers: (0..servers).map(|_| server()).collect(),
            newest: 0,
            lease: None,
            stored: None,
            oracle: Oracle::default(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            start: Instant::now(),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn now(&self) -> i64 {
        WorldClock(self.start).unix_seconds()
    }

    /// Somebody pushes `jwt`.
    pub(super) fn push_by_hand(&self, jwt: &str) {
        let mut state = self.state();
        let state = &mut *state;
        for server in state.servers.iter_mut().filter(|server| server.up) {
            if !(state.chaos && state.rng.random_bool(0.15)) {
                server.takes(jwt);
            }
        }
    }

    /// `to` merges what `from` keeps, as resolvers do: the newer by `iat`.
    pub(super) fn sync(&self, from: usize, to: usize) {
        let mut state = self.state();
        let (from, to) = (from % state.servers.len(), to % state.servers.len());
        let newer = state.servers[from].kept.clone().unwrap();
        let both = state.servers[from].up && state.servers[to].up;
        if both && issued_at(&newer) > issued_at(state.servers[to].kept.as_ref().unwrap()) {
            state.servers[to].takes(&newer);
        }
    }
}

impl State {
    fn astray(&mut self, probability: f64) -> bool {
        self.chaos && self.rng.random_bool(probability)
    }
}

/// The world, as one process reaches it.
pub(super) struct Reach {
    pub(super) world: Arc<World>,
    pub(super) process: usize,
}

impl Reach {
    async fn unavailable(&self, doing: &str) -> Result<(), AccountStoreError> {
        held_up().await;
        match self.world.state().astray(0.02) {
            false => Ok(()),
            true => Err(AccountStoreError::Unavailable {
                doing: doing.to_owned(),
                cause: "chaos".to_owned(),
            }),
        }
    }
}

fn lost(doing: &str) -> AccountServersError {
    AccountServersError {
        doing: doing.to_owned(),
        cause: "chaos".to_owned(),
    }
}

#[async_trait]
impl AccountServers for Reach {
    async fn roster(&self, _: Deadline) -> Result<Vec<ServerIdentity>, AccountServersError> {
        held_up().await;
        let state = self.world.state();
        let up = state.servers.iter().enumerate().filter(|(_, server)| server.up);
        let identity = |(index, _)| ServerIdentity {
            id: format!("{index}"),
            name: format!("n{index}"),
            version: "2.14.6".to_owned(),
        };
        Ok(up.map(identity).collect())
    }

    async fn look_up(&self, _: &str, _: Deadline) -> Result<Vec<String>, AccountServersError> {
        held_up().await;
        let found = {
            let mut state = self.world.state();
            // As the port says: nobody answering is an error, and not an account that nobody knows.
            if state.astray(0.02) || !state.servers.iter().any(|server| server.up) {
                return Err(lost("looking up"));
            }
            let up = state.servers.iter().filter(|server| server.up);
            let found: BTreeSet<String> = up.filter_map(|server| server.kept.clone()).collect();
            state.oracle.looked(self.process, &found);
            found
        };
        held_up().await;
        Ok(found.into_iter().collect())
    }

    async fn in_force(
        &self,
        server: &str,
        _: &str,
        _: Deadline,
    ) -> Result<AccountAtServer, AccountServersError> {
        held_up().await;
        let mut state = self.world.state();
        let found = state.servers[server.parse::<usize>().unwrap()].in_force.clone();
        let up = state.servers[server.parse::<usize>().unwrap()].up;
        if !up || state.astray(0.02) {
            return Err(lost("asking a server"));
        }
        state.oracle.asked(self.process, found.as_deref());
        Ok(found.map_or(AccountAtServer::NotLoaded, AccountAtServer::InForce))
    }

    async fn push(&self, jwt: &str, _: usize, _: Deadline) -> Result<Vec<PushAnswer>, AccountServersError> {
        let count = {
            let mut state = self.world.state();
            let state = &mut *state;
            let live = state.lease.as_ref().filter(|lease| lease.until > Instant::now());
            let live = live.map(|lease| lease.fence);
            state.oracle.pushing(self.process, jwt, live);
            state.servers.len()
        };
        let mut answers = Vec::new();
        for index in 0..count {
            held_up().await;
            let mut state = self.world.state();
            if !state.servers[index].up || state.servers[index].deaf || state.astray(0.15) {
                continue;
            }
            let there = state.servers[index].kept.clone();
            let newest = state.newest;
            state.oracle.overwriting(self.process, newest, there.as_deref());
            state.servers[index].takes(jwt);
            if !state.astray(0.1) {
                answers.push(PushAnswer {
                    server_id: format!("{index}"),
                    taken: Ok(()),
                });
            }
        }
        held_up().await;
        Ok(answers)
    }
}

#[async_trait]
impl AccountStore for Reach {
    async fn acquire(
        &self,
        _: &str,
        holder: &str,
        duration: Duration,
        _: Deadline,
    ) -> Result<Fence, AccountStoreError> {
        self.unavailable("acquiring").await?;
        let fence = {
            let mut state = self.world.state();
            let now = Instant::now();
            let held = state.lease.as_ref().filter(|lease| lease.until > now);
            if let Some(held) = held.filter(|held| held.holder != holder) {
                return Err(AccountStoreError::Held {
                    holder: held.holder.clone(),
                    remaining: held.until - now,
                });
            }
            state.newest += 1;
            let fence = state.newest;
            state.lease = Some(Lease {
                holder: holder.to_owned(),
                fence,
                until: now + duration,
            });
            state.oracle.acquired(self.process, fence);
            fence
        };
        self.unavailable("acquiring").await?;
        Ok(fence)
    }

    async fn renew(
        &self,
        _: &str,
        fence: Fence,
        duration: Duration,
        _: Deadline,
    ) -> Result<(), AccountStoreError> {
        self.unavailable("renewing").await?;
        {
            let mut state = self.world.state();
            let now = Instant::now();
            let held = state.lease.as_mut();
            let held = held.filter(|lease| lease.until > now && lease.fence == fence);
            held.ok_or(AccountStoreError::Lost { fence })?.until = now + duration;
        }
        self.unavailable("renewing").await
    }

    async fn release(&self, _: &str, fence: Fence, _: Deadline) -> Result<(), AccountStoreError> {
        self.unavailable("releasing").await?;
        let mut state = self.world.state();
        if state.lease.as_ref().is_some_and(|lease| lease.fence == fence) {
            state.lease = None;
        }
        Ok(())
    }

    async fn read(&self, _: &str, _: Deadline) -> Result<Option<Stored>, AccountStoreError> {
        self.unavailable("reading").await?;
        let stored = {
            let mut state = self.world.state();
            state.oracle.read(self.process);
            state.stored.clone()
        };
        self.unavailable("reading").await?;
        Ok(stored)
    }

    async fn write(
        &self,
        _: &str,
        fence: Fence,
        expected: Option<u64>,
        body: Bytes,
        _: Deadline,
    ) -> Result<u64, AccountStoreError> {
        self.unavailable("writing").await?;
        let version = {
            let mut state = self.world.state();
            let newest = state.newest;
            if fence != newest {
                state.oracle.refused();
                return Err(AccountStoreError::Fenced { fence, newest });
            }
            let found = state.stored.as_ref().map(|stored| stored.version);
            if found != expected {
                return Err(AccountStoreError::Conflict { expected, found });
            }
            let version = found.unwrap_or(0) + 1;
            state.oracle.written(self.process, fence, &body);
            state.stored = Some(Stored { version, body });
            version
        };
        self.unavailable("writing").await?;
        Ok(version)
    }
}
