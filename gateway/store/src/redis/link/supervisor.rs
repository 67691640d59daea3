//! Makes a link's connection, looks after it, and replaces it, for as long as the link lives.
//!
//! Every second, and whenever a call went without an answer, the server is asked what it is (HELLO). No answer within
//! `command_timeout`: the connection is dropped and counts as dead until another was made. Another answer than "primary":
//! it is replaced too, so that a primary that was demoted is left soon after.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Bell, Connection, Shared, State};
use crate::redis::address::Address;
use crate::redis::backoff::Backoff;
use crate::redis::dial::{How, Role};
use crate::redis::sentinel::Sentinels;
use crate::redis::topology::Topology;

/// How often a server is asked what it is.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How often the sentinels are asked whether the primary is still theirs.
const SENTINEL_CHECK: Duration = Duration::from_secs(3);

/// A connection that lived this long was a good one: after its loss another is made at once.
const SETTLED: Duration = Duration::from_secs(2);

/// Which server a link leads to.
#[derive(Debug, Clone)]
pub(in crate::redis) enum Whom {
    /// The one at this address, which must be a primary.
    Primary(Address),
    /// The one at this address, whatever it is: a Cluster's nodes say for each key whether it is theirs.
    Node(Address),
    /// The primary that the sentinels name.
    Sentinel(Arc<Sentinels>),
    /// The node of a Cluster that a key with this name would live on.
    OwnerOf(Arc<Topology>, String),
}

/// Why a connection is no more.
enum End {
    /// The other side closed it, or it became another's replica: another can be had at once.
    Lost(String),
    /// The server does not answer: it may take a while.
    Dead(String),
}

pub(super) struct Supervisor {
    how: Arc<How>,
    whom: Whom,
    bell: Option<Bell>,
    shared: Arc<Shared>,
    number: u64,
}

impl Supervisor {
    pub(super) fn new(how: Arc<How>, whom: Whom, bell: Option<Bell>, shared: Arc<Shared>) -> Self {
        Self {
            how,
            whom,
            bell,
            shared,
            number: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new();
        let mut told_down = false;
        loop {
            let closed = Arc::new(Notify::new());
            match self.connect(closed.clone()).await {
                Ok((connection, address)) => {
                    tracing::info!(server = %address, subscribed = self.bell.is_some(), "connected to Redis");
                    told_down = false;
                    let began = Instant::now();
                    let end = self.serve(connection, &address, &closed).await;
                    if began.elapsed() >= SETTLED {
                        backoff.reset();
                    }
                    match end {
                        End::Lost(cause) => {
                            tracing::warn!(server = %address, cause, "the connection to Redis was lost");
                            self.shared.state.send_replace(State::Connecting);
                        }
                        End::Dead(cause) => {
                            tracing::warn!(server = %address, cause, "Redis does not answer");
                            told_down = true;
                            self.shared.state.send_replace(State::Down(cause));
                        }
                    }
                    if began.elapsed() >= SETTLED {
                        continue;
                    }
                }
                Err(cause) => {
                    if !told_down {
                        tracing::warn!(cause, "Redis cannot be reached; trying for as long as it takes");
                        told_down = true;
                    }
                    if let Whom::OwnerOf(topology, _) = &self.whom {
                        topology.look_again();
                    }
                    self.shared.state.send_replace(State::Down(cause));
                }
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// A connection to the server that is to be spoken to now, and which that is.
    async fn connect(&self, closed: Arc<Notify>) -> Result<(MultiplexedConnection, Address), String> {
        let address = match &self.whom {
            Whom::Primary(address) | Whom::Node(address) => address.clone(),
            Whom::Sentinel(sentinels) => sentinels.primary().await?,
            Whom::OwnerOf(topology, key) => topology.owner(key).await?,
        };
        let bell = self.bell.clone();
        let pushed = move |info: PushInfo| match info.kind {
            PushKind::Disconnection => closed.notify_one(),
            PushKind::Message => {
                if let Some(bell) = &bell {
                    bell.published(info.data);
                }
            }
            _ => {}
        };
        let mut connection = self.how.dial(&address, pushed).await?;
        let role = self
            .how
            .role(&mut connection, self.how.connect_timeout)
            .await
            .map_err(|problem| match problem {
                Some(problem) => format!("{address}: {problem}"),
                None => format!("{address} took the connection and does not answer"),
            })?;
        if role == Role::Replica && self.wants_a_primary() {
            return Err(format!("{address} is not a primary: it would take no writes"));
        }
        if let Some(bell) = &self.bell {
            tokio::time::timeout(self.how.connect_timeout, connection.subscribe(&bell.channel))
                .await
                .map_err(|_elapsed| format!("{address} did not answer to SUBSCRIBE"))?
                .map_err(|error| crate::redis::error::clean(format!("{address}: SUBSCRIBE: {error}")))?;
        }
        Ok((connection, address))
    }

    fn wants_a_primary(&self) -> bool {
        matches!(self.whom, Whom::Primary(_) | Whom::Sentinel(_))
    }

    /// Lets calls use `connection` until it is to be replaced, and says why.
    async fn serve(
        &mut self,
        mut connection: MultiplexedConnection,
        address: &Address,
        closed: &Notify,
    ) -> End {
        self.number = self.number.wrapping_add(1);
        self.shared.unanswered.store(0, Ordering::Relaxed);
        self.shared.meter.connected.fetch_add(1, Ordering::Relaxed);
        self.shared.state.send_replace(State::Up(Connection {
            number: self.number,
            connection: connection.clone(),
        }));
        self.bell.iter().for_each(Bell::subscribed);

        let mut heartbeat = tokio::time::interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let successor = self.successor(address);
        tokio::pin!(successor);
        loop {
            tokio::select! {
                () = closed.notified() => return End::Lost("it was closed".to_owned()),
                other = &mut successor => return End::Lost(format!("the sentinels name {other} now")),
                () = self.shared.probe.notified() => {}
                _ = heartbeat.tick() => {}
            }
            // What waits on this connection has a bound of its own, and asks for a sign of life when that has passed.
            if self.shared.blocking.load(Ordering::Relaxed) > 0 {
                continue;
            }
            match self.how.role(&mut connection, self.how.command_timeout).await {
                Ok(Role::Replica) if self.wants_a_primary() => {
                    return End::Lost("it is no longer a primary".to_owned());
                }
                Ok(_) => self.shared.lives(),
                Err(None) => {
                    return End::Dead(format!(
                        "{address} did not answer within {:?}",
                        self.how.command_timeout
                    ));
                }
                Err(Some(problem)) => return End::Lost(problem),
            }
        }
    }

    /// Ends once the sentinels name another server than `address`: a primary that was cut off from them still takes
    /// itself for one. Sentinels that do not answer are no reason to leave.
    async fn successor(&self, address: &Address) -> Address {
        let Whom::Sentinel(sentinels) = &self.whom else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(SENTINEL_CHECK).await;
            match sentinels.primary().await {
                Ok(named) if named != *address => return named,
                _ => {}
            }
        }
    }
}
