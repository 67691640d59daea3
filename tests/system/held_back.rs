//! A way to a server on which what a client sends can be held back, at a moment that the test chooses. What the server sends goes
//! through at once.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::harness::PATIENCE;

/// How the way is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Gate {
    Open,
    /// Shut before the first bytes that have this text in them.
    ShutAt(Arc<str>),
    Shut,
}

/// The way. Shut with the value.
pub struct HeldBack {
    address: String,
    gate: Arc<watch::Sender<Gate>>,
    listening: JoinHandle<()>,
}

impl HeldBack {
    /// An open way to the server at `server` (`127.0.0.1:4222`).
    pub async fn before(server: &str) -> Self {
        let server = server.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let gate = Arc::new(watch::Sender::new(Gate::Open));
        let listening = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let server = TcpStream::connect(&server).await.unwrap();
                    tokio::spawn(carry(client, server, Arc::clone(&gate)));
                }
            }
        });
        Self {
            address,
            gate,
            listening,
        }
    }

    /// Where it begins.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Holds back what is sent from now on.
    pub fn hold(&self) {
        self.gate.send_replace(Gate::Shut);
    }

    /// Holds back what has `text` in it, and what is sent after that.
    pub fn hold_at(&self, text: &str) {
        self.gate.send_replace(Gate::ShutAt(text.into()));
    }

    /// Waits until it is shut.
    pub async fn held(&self) {
        let mut gate = self.gate.subscribe();
        let shut = gate.wait_for(|gate| *gate == Gate::Shut);
        let shut = tokio::time::timeout(PATIENCE, shut).await;
        shut.expect("nothing was to be held back").unwrap();
    }

    /// Lets everything through again.
    pub fn release(&self) {
        self.gate.send_replace(Gate::Open);
    }
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn carry(client: TcpStream, server: TcpStream, gate: Arc<watch::Sender<Gate>>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::spawn(async move {
        let _ended = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    let mut watching = gate.subscribe();
    let mut bytes = vec![0; 65_536];
    while let Ok(length) = from_client.read(&mut bytes).await {
        if length == 0 {
            break;
        }
        let sent = &bytes[..length];
        gate.send_if_modified(|gate| {
            let shuts = matches!(gate, Gate::ShutAt(text) if contains(sent, text.as_bytes()));
            if shuts {
                *gate = Gate::Shut;
            }
            shuts
        });
        if watching.wait_for(|gate| *gate != Gate::Shut).await.is_err() {
            break;
        }
        if to_server.write_all(sent).await.is_err() {
            break;
        }
    }
    drop(to_server);
    let _ended = answers.await;
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
