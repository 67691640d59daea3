//! Closes one connection: `KICK` through the system account.
//!
//! It works on a connection still inside its auth callout, which is how a request that cannot be answered is given
//! back: closed without an error, so that the client tries again, where silence would become "Authorization
//! Violation". A kick is a request with a reply, always: nats-server ignores it otherwise, silently.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, RequestErrorKind};
use natsgate_core::Deadline;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

/// Kicks under way at once. So many that a connection's writes hold many of them: one at a time, each would cost every server on
/// its way a read and a write of its own.
const MOST_KICKS: usize = 2048;

/// How long the server may take for one.
const ANSWER_TIME: Duration = Duration::from_millis(500);

/// How long it may take where nobody waits for the answer: with many others before it.
const QUEUED_ANSWER_TIME: Duration = Duration::from_secs(2);

/// Pause before another attempt.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Closes connections.
#[derive(Clone)]
pub struct Evictor {
    system: Client,
    places: Arc<Semaphore>,
}

/// What became of a kick.
#[derive(Debug, PartialEq, Eq)]
pub enum Kicked {
    /// The server closed the connection.
    Closed,
    /// The server has no such connection: it is gone already.
    Gone,
    /// It is not known to be closed.
    Failed(String),
}

/// It is not known to be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotKicked {
    /// The kick did not reach the server.
    #[error("the server is out of reach")]
    OutOfReach,
    /// It may have: there was no answer, or none that can be read.
    #[error("{0}")]
    Unanswered(String),
}

#[derive(Serialize)]
struct Kick {
    cid: u64,
}

#[derive(Deserialize)]
struct Answer {
    error: Option<serde_json::Value>,
}

impl Evictor {
    /// An evictor over `system`, a connection into the system account.
    pub fn new(system: Client) -> Self {
        Self {
            system,
            places: Arc::new(Semaphore::new(MOST_KICKS)),
        }
    }

    /// Kicks client `client_id` off server `server_id`, trying until `deadline`.
    pub async fn kick(&self, server_id: &str, client_id: u64, deadline: Deadline) -> Kicked {
        let Ok(Ok(_place)) = deadline.bound(self.places.acquire()).await else {
            return Kicked::Failed("more kicks at once than can be carried out".into());
        };
        loop {
            let soon = deadline.or_sooner(ANSWER_TIME);
            let failure = match self.attempt(server_id, client_id, soon).await {
                Ok(kicked) => return kicked,
                Err(failure) => failure,
            };
            if deadline.remaining() <= RETRY_PAUSE {
                return Kicked::Failed(failure.to_string());
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Kicks once.
    ///
    /// # Errors
    /// Why it is not known whether the connection is closed.
    pub async fn once(&self, server_id: &str, client_id: u64) -> Result<Kicked, NotKicked> {
        // The semaphore is never closed.
        let _place = self.places.acquire().await.map_err(|_| NotKicked::OutOfReach)?;
        self.attempt(server_id, client_id, Deadline::after(QUEUED_ANSWER_TIME))
            .await
    }

    async fn attempt(
        &self,
        server_id: &str,
        client_id: u64,
        deadline: Deadline,
    ) -> Result<Kicked, NotKicked> {
        let unanswered = |why: String| Err(NotKicked::Unanswered(why));
        let body = match serde_json::to_vec(&Kick { cid: client_id }) {
            Ok(body) => body,
            Err(error) => return unanswered(error.to_string()),
        };
        let asked = self
            .system
            .request(format!("$SYS.REQ.SERVER.{server_id}.KICK"), body.into());
        match deadline.bound(asked).await {
            Ok(Ok(message)) => match serde_json::from_slice::<Answer>(&message.payload) {
                Ok(Answer { error: None }) => Ok(Kicked::Closed),
                Ok(Answer { error: Some(_) }) => Ok(Kicked::Gone),
                Err(_) => unanswered("the server's answer cannot be read".into()),
            },
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Err(NotKicked::OutOfReach),
            Ok(Err(error)) => unanswered(error.to_string()),
            Err(_) => unanswered("the server did not answer in time".into()),
        }
    }
}
