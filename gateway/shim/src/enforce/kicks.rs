//! Closing sessions until they are closed.
//!
//! One attempt at a time for a connection, however many entries of the log want it closed. Only a success ends it, or the
//! server's own "no such client"; no responders and time-outs mean that the server is out of reach, not that the client is
//! gone, so they are tried again. A leaf node is not found by its server while it is in its callout: it is kicked until it
//! is seen gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use natsgate_core::SessionKey;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::evict::{Evictor, Kicked, NotKicked};
use crate::sessions::{Registry, Target};

/// Pause before the second attempt; doubled for every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Pause between the kicks of a leaf node.
const LEAF_PAUSE: Duration = Duration::from_millis(200);

/// A leaf node that was asked about longer ago than this is not in its callout any more. Longer than any auth timeout that
/// lets a callout work.
const CALLOUT_AT_MOST: Duration = Duration::from_secs(12);

/// A server that was out of reach for so long is given up: it is down, and its connections with it. Should it come back
/// with the same id, its connections are listed again, and judged by their names.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// This shim closed it.
    Kicked,
    /// It was gone already, or its server is.
    Gone,
}

/// Closes sessions.
pub struct Kicks {
    evictor: Option<Evictor>,
    registry: Arc<Registry>,
    under_way: Mutex<HashMap<SessionKey, watch::Receiver<Option<Closed>>>>,
    /// Since when servers are out of reach.
    unreachable: Mutex<HashMap<String, Instant>>,
}

impl Kicks {
    /// Over `evictor`; without one nothing can be closed, and everything stays pending.
    pub fn new(evictor: Option<Evictor>, registry: Arc<Registry>) -> Arc<Self> {
        Arc::new(Self {
            evictor,
            registry,
            under_way: Mutex::default(),
            unreachable: Mutex::default(),
        })
    }

    /// The sessions.
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// Closes the session `key`, however long it takes.
    pub async fn close(self: &Arc<Self>, key: &SessionKey) -> Closed {
        let Some(mut ended) = self.begin(key) else {
            return Closed::Gone;
        };
        match ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.unwrap_or(Closed::Gone),
            // The task ended without a word: the process is ending.
            Err(_) => Closed::Gone,
        }
    }

    /// How many are under way.
    pub fn pending(&self) -> usize {
        lock(&self.under_way).len()
    }

    /// The servers that are out of reach.
    pub fn unreachable(&self) -> Vec<String> {
        let mut servers: Vec<String> = lock(&self.unreachable).keys().cloned().collect();
        servers.sort();
        servers
    }

    /// Joins the attempt that is under way, or begins one; `None` if there is nothing to close.
    fn begin(self: &Arc<Self>, key: &SessionKey) -> Option<watch::Receiver<Option<Closed>>> {
        let mut under_way = lock(&self.under_way);
        if let Some(running) = under_way.get(key) {
            return Some(running.clone());
        }
        let target = self.registry.doom(key)?;
        let (end, ended) = watch::channel(None);
        under_way.insert(key.clone(), ended.clone());
        let kicks = Arc::clone(self);
        tokio::spawn(async move {
            let closed = kicks.until_closed(&target).await;
            kicks
                .registry
                .gone(&target.key, if closed == Closed::Kicked { "Kicked" } else { "" });
            lock(&kicks.under_way).remove(&target.key);
            // Nobody may wait any more.
            let _ = end.send(Some(closed));
        });
        Some(ended)
    }

    async fn until_closed(&self, target: &Target) -> Closed {
        let Some(evictor) = &self.evictor else {
            return std::future::pending().await;
        };
        let key = &target.key;
        let mut pause = FIRST_PAUSE;
        let mut closed = Closed::Gone;
        // A kick that was not answered in time may have closed it all the same: what is gone afterwards is taken for closed.
        let mut unanswered = false;
        let gone = |closed, unanswered| if unanswered { Closed::Kicked } else { closed };
        loop {
            match evictor.once(&key.server_id, key.client_id).await {
                Ok(Kicked::Closed) if !target.leaf => {
                    self.reached(&key.server_id);
                    return Closed::Kicked;
                }
                Ok(Kicked::Closed) => {
                    self.reached(&key.server_id);
                    closed = Closed::Kicked;
                    tokio::time::sleep(LEAF_PAUSE).await;
                    continue;
                }
                Ok(_) => {
                    self.reached(&key.server_id);
                    let may_come = target.leaf
                        && target.in_callout
                        && closed == Closed::Gone
                        && target.since.elapsed() < CALLOUT_AT_MOST;
                    if !may_come {
                        return gone(closed, unanswered);
                    }
                    tokio::time::sleep(LEAF_PAUSE).await;
                    continue;
                }
                Err(cause) => {
                    unanswered |= matches!(cause, NotKicked::Unanswered(_));
                    if self.lost(&key.server_id, &cause.to_string()) {
                        return closed;
                    }
                }
            }
            if self.registry.get(key).is_none() {
                // Its own server's word: an event, a list, or a farewell.
                return gone(closed, unanswered);
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// The server answered.
    fn reached(&self, server_id: &str) {
        if lock(&self.unreachable).remove(server_id).is_some() {
            info!(server = server_id, "a server is within reach again");
        }
    }

    /// The server did not answer; true if that has been so for too long.
    fn lost(&self, server_id: &str, cause: &str) -> bool {
        let now = Instant::now();
        let since = {
            let mut unreachable = lock(&self.unreachable);
            match unreachable.get(server_id) {
                Some(since) => *since,
                None => {
                    warn!(
                        server = server_id,
                        cause, "sessions cannot be closed: their server is out of reach; trying again"
                    );
                    unreachable.insert(server_id.to_owned(), now);
                    now
                }
            }
        };
        if now.saturating_duration_since(since) < LOST_AFTER {
            return false;
        }
        let sessions = self.registry.server_gone(server_id, "");
        if sessions > 0 {
            warn!(
                server = server_id,
                sessions,
                "a server is given up after a minute out of reach; should it come back, its sessions are judged anew"
            );
        }
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // No change made under these locks can be left half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
