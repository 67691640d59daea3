//! What nats-server itself says of connections, by the system account, and closing them by it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{Client, RequestErrorKind};
use futures::StreamExt;
use serde::Deserialize;
use tokio::task::JoinHandle;

use crate::nats::Nats;

/// A connection is gone.
#[derive(Debug, Clone)]
pub struct Gone {
    /// When that was heard.
    pub at: Instant,
    /// Why, in the server's words.
    pub reason: String,
}

type Seen = Arc<Mutex<HashMap<(String, u64), Vec<Gone>>>>;

/// A connection into the system account that follows how connections of the account APP end.
pub struct System {
    /// The connection.
    pub client: Client,
    gone: Seen,
    following: JoinHandle<()>,
}

#[derive(Deserialize)]
struct Event {
    server: Server,
    client: Connection,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
struct Server {
    id: String,
}

#[derive(Deserialize)]
struct Connection {
    id: u64,
}

impl System {
    /// Connects, and waits until all servers hear one another.
    pub async fn of(nats: &Nats) -> Self {
        let client = Nats::options(&nats.keys.system_user)
            .retry_on_initial_connect()
            .connect(nats.urls())
            .await
            .unwrap();
        let mut events = client.subscribe("$SYS.ACCOUNT.APP.DISCONNECT").await.unwrap();
        let gone = Seen::default();
        let following = tokio::spawn({
            let gone = Arc::clone(&gone);
            async move {
                while let Some(message) = events.next().await {
                    let Ok(event) = serde_json::from_slice::<Event>(&message.payload) else {
                        continue;
                    };
                    let end = Gone {
                        at: Instant::now(),
                        reason: event.reason,
                    };
                    lock(&gone)
                        .entry((event.server.id, event.client.id))
                        .or_default()
                        .push(end);
                }
            }
        });
        let system = Self {
            client,
            gone,
            following,
        };
        let count = nats.servers.len();
        crate::until("the servers are a cluster", || async {
            system.servers().await.len() == count
        })
        .await;
        system
    }

    /// The ids of the servers that answer.
    pub async fn servers(&self) -> Vec<String> {
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.unwrap();
        self.client
            .publish_with_reply("$SYS.REQ.SERVER.PING.IDZ", inbox, "".into())
            .await
            .unwrap();
        let mut servers = Vec::new();
        let patience = Duration::from_millis(300);
        while let Ok(Some(answer)) = tokio::time::timeout(patience, answers.next()).await {
            if let Ok(server) = serde_json::from_slice::<Server>(&answer.payload) {
                servers.push(server.id);
            }
        }
        servers
    }

    /// How connections ended so far, by server and connection id. One that ended twice would be there twice.
    pub fn ended(&self) -> HashMap<(String, u64), Vec<Gone>> {
        lock(&self.gone).clone()
    }

    /// Forgets how connections ended.
    pub fn forget(&self) {
        lock(&self.gone).clear();
    }

    /// How many connections were kicked so far.
    pub fn kicked(&self) -> usize {
        lock(&self.gone)
            .values()
            .flatten()
            .filter(|gone| gone.reason == "Kicked")
            .count()
    }

    /// Closes one connection, as often as it takes; false if it was not there.
    pub async fn kick(&self, server_id: &str, client_id: u64) -> bool {
        kick(&self.client, server_id, client_id).await
    }
}

/// Closes one connection by `client`, which is in the system account, as often as it takes; false if it was not there.
pub async fn kick(client: &Client, server_id: &str, client_id: u64) -> bool {
    loop {
        let body = format!("{{\"cid\":{client_id}}}");
        let subject = format!("$SYS.REQ.SERVER.{server_id}.KICK");
        match client.request(subject, body.into()).await {
            Ok(answer) => {
                let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
                return answer.get("error").is_none();
            }
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(_) => {}
        }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.following.abort();
    }
}

fn lock(gone: &Seen) -> MutexGuard<'_, HashMap<(String, u64), Vec<Gone>>> {
    gone.lock().unwrap_or_else(PoisonError::into_inner)
}
