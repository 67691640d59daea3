//! Which nats-servers there are, as the system account knows them.
//!
//! A server signs authorization requests with a key it made for itself at its start, so the signature alone says
//! nothing: anybody can make such a key. Only a server answers in the system account under its own id.

use std::time::Duration;

use async_nats::Client;
use futures::StreamExt;
use moka::future::Cache;
use natsgate_core::Deadline;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::nats::is_connected;

/// Servers send STATSZ every few seconds (30 at the most); one not heard of for this long is asked again.
const KNOWN_FOR: Duration = Duration::from_secs(300);

/// More servers than any deployment has; forged ids never get in here.
const MOST_SERVERS: u64 = 100_000;

/// How long a server may take to say its own id, before it is asked again.
const LOOKUP_TIME: Duration = Duration::from_millis(500);

/// Pause before a server is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// How often nobody has to be there before a server is unknown: that a new one answers takes a moment to be known
/// throughout a cluster.
const ABSENCES: u32 = 5;

/// The servers of the deployment.
#[derive(Clone)]
pub struct Servers {
    system: Client,
    known: Cache<String, ()>,
}

/// Why a server is not known.
#[derive(Debug)]
pub enum NotKnown {
    /// Nobody of that id is in the system account.
    Unknown,
    /// That could not be found out.
    Unanswered(String),
}

#[derive(Deserialize)]
struct ServerIdentity {
    id: String,
}

#[derive(Deserialize)]
struct Event {
    server: ServerIdentity,
}

impl Servers {
    /// The servers that `system`, a connection into the system account, sees.
    pub fn new(system: Client) -> Self {
        Self {
            system,
            known: Cache::builder()
                .max_capacity(MOST_SERVERS)
                .time_to_live(KNOWN_FOR)
                .build(),
        }
    }

    /// Follows the servers' events until `stop`.
    pub async fn follow(self, stop: CancellationToken) {
        let (Ok(mut alive), Ok(mut gone)) = (
            self.system.subscribe("$SYS.SERVER.*.STATSZ").await,
            self.system.subscribe("$SYS.SERVER.*.SHUTDOWN").await,
        ) else {
            warn!("the system account's server events cannot be followed; servers are looked up one by one");
            return;
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(message) = alive.next() => if let Some(id) = server_id(&message) {
                    self.known.insert(id, ()).await;
                },
                Some(message) = gone.next() => if let Some(id) = server_id(&message) {
                    debug!(server = id, "a server shut down");
                    self.known.invalidate(&id).await;
                },
                else => return,
            }
        }
    }

    /// Whether `id`, a server's public key, is a server's; asks it if it was not heard of lately.
    ///
    /// # Errors
    /// [`NotKnown`].
    pub async fn check(&self, id: &str, deadline: Deadline) -> Result<(), NotKnown> {
        if self.known.get(id).await.is_some() {
            return Ok(());
        }
        let mut absences = 0;
        loop {
            let failure = match self.ask(id, deadline).await {
                Ok(()) => return Ok(()),
                Err(NotKnown::Unknown) => {
                    absences += 1;
                    if absences == ABSENCES {
                        return Err(NotKnown::Unknown);
                    }
                    NotKnown::Unknown
                }
                Err(failure) => failure,
            };
            if deadline.remaining() <= RETRY_PAUSE {
                return Err(match failure {
                    NotKnown::Unknown => NotKnown::Unanswered("nobody of that id was there in time".into()),
                    unanswered => unanswered,
                });
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Asks the server once.
    async fn ask(&self, id: &str, deadline: Deadline) -> Result<(), NotKnown> {
        if !is_connected(&self.system) {
            return Err(NotKnown::Unanswered("the system connection is down".into()));
        }
        let asked = self
            .system
            .request(format!("$SYS.REQ.SERVER.{id}.IDZ"), "".into());
        let answer = match deadline.or_sooner(LOOKUP_TIME).bound(asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.kind() == async_nats::RequestErrorKind::NoResponders => {
                return Err(NotKnown::Unknown);
            }
            Ok(Err(error)) => return Err(NotKnown::Unanswered(error.to_string())),
            Err(_) => return Err(NotKnown::Unanswered("no answer in time".into())),
        };
        match serde_json::from_slice::<ServerIdentity>(&answer.payload) {
            Ok(identity) if identity.id == id => {
                self.known.insert(id.to_owned(), ()).await;
                Ok(())
            }
            _ => Err(NotKnown::Unknown),
        }
    }
}

/// The server an event is about; `None` if subject and body do not name the same one.
fn server_id(message: &async_nats::Message) -> Option<String> {
    let named = message.subject.split('.').nth(2)?;
    let event: Event = serde_json::from_slice(&message.payload).ok()?;
    (event.server.id == named).then_some(event.server.id)
}
