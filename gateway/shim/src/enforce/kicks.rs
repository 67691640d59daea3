//! Closing sessions until they are closed.
//!
//! One attempt at a time for a connection, however many entries of the log want it closed. Only a success ends it, or the
//! server's own "no such client"; no responders and time-outs mean that the server is out of reach, not that the client is
//! gone, so they are tried again. A leaf node is not found by its server while it is in its callout: it is kicked until it
//! is seen gone.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use natsgate_core::SessionKey;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::evict::{Evictor, Kicked, NotKicked};
use crate::sessions::{Registry, Target};

/// Pause before the second attempt; doubled for every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Pause between the kicks of a leaf node.
const LEAF_PAUSE: Duration = Duration::from_millis(200);

/// A leaf node that was asked about longer ago than this is not in its callout any more. Longer than any auth timeout that
/// lets a callout work.
const CALLOUT_AT_MOST: Duration = Duration::from_secs(12);

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
    /// The servers that are out of reach.
    unreachable: Mutex<HashSet<String>>,
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

    /// The servers that are out of reach and have sessions to close.
    pub fn unreachable(&self) -> Vec<String> {
        let wanted: BTreeSet<String> = lock(&self.under_way)
            .keys()
            .map(|key| key.server_id.clone())
            .collect();
        let unreachable = lock(&self.unreachable);
        wanted
            .into_iter()
            .filter(|server| unreachable.contains(server))
            .collect()
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
                    self.not_reached(&key.server_id, &cause.to_string());
                }
            }
            if self.registry.get(key).is_none() {
                // Its own server's word: an event, a list, or a farewell; or another server of its name is there.
                return gone(closed, unanswered);
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// The server answered.
    fn reached(&self, server_id: &str) {
        if lock(&self.unreachable).remove(server_id) {
            info!(server = server_id, "a server is within reach again");
        }
    }

    /// The server did not answer.
    fn not_reached(&self, server_id: &str, cause: &str) {
        if lock(&self.unreachable).insert(server_id.to_owned()) {
            warn!(
                server = server_id,
                cause, "sessions cannot be closed: their server is out of reach; trying again"
            );
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // No change made under these locks can be left half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
