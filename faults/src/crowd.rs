//! Many clients, each one task over plain TCP: thousands of them fit into a test.
//!
//! A client connects with a token, answers PING, knows when its socket closed and what it was told before, and comes back
//! like a normal client if it is told to. What it may do is found out by doing it ([`Right`]).

mod client;
mod connection;
mod right;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use secrecy::SecretString;
use tokio::sync::{Semaphore, watch};

pub use client::{Client, Life, View};
pub use right::{Held, Right};

/// A token to connect with, and what tells it from others.
#[derive(Debug, Clone)]
pub struct Token {
    /// The token.
    pub secret: SecretString,
    /// Its `jti`.
    pub id: Arc<str>,
    /// When it was issued, in seconds since the Unix epoch: its `iat`, or a second less.
    pub issued_at: i64,
}

/// How a client comes by its token; asked before every connect.
pub type Tokens = Arc<dyn Fn() -> Token + Send + Sync>;

/// Who a client is.
pub struct Persona {
    /// Its name in reports, and what it calls itself to the server.
    pub name: String,
    /// What it connects with.
    pub tokens: Tokens,
    /// Whether it comes back when its connection closes, or it is not let in.
    pub comes_back: bool,
}

/// Where clients connect, and how many at once.
pub struct Crowd {
    shared: Arc<Shared>,
}

/// What all clients of a crowd share.
struct Shared {
    servers: Vec<SocketAddr>,
    /// Those inside their callout: more at once than two cores decide in time would only be given back.
    turns: Semaphore,
    /// Counts what happened to any of them.
    changes: watch::Sender<u64>,
}

impl Shared {
    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

impl Crowd {
    /// A crowd for these servers, of which `at_once` are in their callout at the most.
    pub fn new(servers: Vec<SocketAddr>, at_once: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                servers,
                turns: Semaphore::new(at_once),
                changes: watch::Sender::new(0),
            }),
        }
    }

    /// A new client that connects to the server of index `first`, and to the next ones when it comes back.
    pub fn join(&self, persona: Arc<Persona>, first: usize) -> Client {
        Client::start(Arc::clone(&self.shared), persona, first)
    }

    /// Waits until `done`, looking again whenever something happened to any client; false if that took longer than
    /// `patience`.
    pub async fn until(&self, patience: Duration, mut done: impl FnMut() -> bool) -> bool {
        let mut changes = self.shared.changes.subscribe();
        let waiting = async {
            loop {
                changes.borrow_and_update();
                if done() {
                    return;
                }
                // Changes come in heaps, and looking at thousands of clients for each would be most of the work.
                tokio::time::sleep(Duration::from_millis(5)).await;
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(patience, waiting).await.is_ok()
    }
}

/// What each of `clients` holds of `rights` now: `None` for one that is not connected, or whose server did not say within
/// `patience`.
pub async fn held_by<'a>(
    clients: impl IntoIterator<Item = &'a Client>,
    rights: &Arc<[Right]>,
    patience: Duration,
) -> Vec<Option<Held>> {
    let asked = clients
        .into_iter()
        .map(|client| client.held_within(rights, patience));
    join_all(asked).await
}
