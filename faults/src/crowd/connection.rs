//! One connection over plain TCP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::right::{Answers, Held, Right, questions};
use super::wire::{Said, take};

/// How long a server may take to let a client in, or not: longer than any callout.
const LET_IN_WITHIN: Duration = Duration::from_secs(15);

/// How much is read at once. A connection that is let in is told little.
const READ: usize = 512;

/// What a connected client is to do.
pub(super) enum Order {
    /// Try these rights and say what it has of them.
    Try {
        rights: Arc<[Right]>,
        answer: oneshot::Sender<Held>,
    },
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Over {
    /// The server says that it may not come in.
    Refused,
    /// It was closed without that.
    Closed(#[allow(dead_code, reason = "for whoever debugs")] String),
}

/// A connection that was let in.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    pub(super) server_id: Arc<str>,
    pub(super) client_id: u64,
    /// The last error it was told.
    last_word: Option<String>,
}

impl Connection {
    /// Connects with `token`, and waits until it is let in or not.
    pub(super) async fn open(address: SocketAddr, name: &str, token: &SecretString) -> Result<Self, Over> {
        match tokio::time::timeout(LET_IN_WITHIN, Self::come_in(address, name, token)).await {
            Ok(opened) => opened,
            Err(_elapsed) => Err(Over::Closed("the server did not say".into())),
        }
    }

    async fn come_in(address: SocketAddr, name: &str, token: &SecretString) -> Result<Self, Over> {
        let closed = |error: std::io::Error| Over::Closed(error.to_string());
        let stream = TcpStream::connect(address).await.map_err(closed)?;
        stream.set_nodelay(true).map_err(closed)?;
        let mut connection = Self {
            stream,
            buffer: BytesMut::new(),
            server_id: "".into(),
            client_id: 0,
            last_word: None,
        };
        let hello = serde_json::json!({
            "auth_token": token.expose_secret(), "name": name, "lang": "rust", "version": "0", "protocol": 1,
            "verbose": false, "pedantic": false, "echo": true, "headers": true, "no_responders": true,
        });
        loop {
            let Some(said) = connection.hear().await.map_err(closed)? else {
                return Err(match &connection.last_word {
                    Some(error) if error.starts_with("Authorization Violation") => Over::Refused,
                    word => Over::Closed(format!("{word:?}")),
                });
            };
            match said {
                Said::Info(info) if connection.server_id.is_empty() => {
                    connection.server_id = info.server_id.into();
                    connection.client_id = info.client_id;
                    let lines = format!("CONNECT {hello}\r\nPING\r\n");
                    connection.say(lines.as_bytes()).await.map_err(closed)?;
                }
                // It takes the lines in order: it has let the client in.
                Said::Pong => break,
                _ => {}
            }
        }
        // The greeting is long, and what comes later short.
        if connection.buffer.is_empty() {
            connection.buffer = BytesMut::new();
        }
        Ok(connection)
    }

    /// Stays until the socket closes, doing as it is told; the last error it was told.
    pub(super) async fn stay(&mut self, orders: &mut mpsc::UnboundedReceiver<Order>) -> Option<String> {
        loop {
            tokio::select! {
                heard = self.hear() => if !matches!(heard, Ok(Some(_))) { break },
                order = orders.recv() => match order {
                    Some(Order::Try { rights, answer }) => match self.attempt(&rights).await {
                        Some(held) => drop(answer.send(held)),
                        None => break,
                    },
                    None => break,
                },
            }
        }
        // Whoever waits for an answer hears that there is none.
        while orders.try_recv().is_ok() {}
        self.last_word.take()
    }

    async fn attempt(&mut self, rights: &[Right]) -> Option<Held> {
        self.say(&questions(rights)).await.ok()?;
        let mut answers = Answers::default();
        loop {
            match self.hear().await.ok()?? {
                Said::Pong => break,
                Said::Error(error) => answers.errors.push(error),
                Said::Message(subject) => answers.messages.push(subject),
                _ => {}
            }
        }
        Some(Held {
            connection: (self.server_id.to_string(), self.client_id),
            ..answers.held(rights)
        })
    }

    /// The next thing the server says; `None` if it closed. PING is answered. Nothing that was said is lost if this is
    /// dropped; a PONG may be, of which a server misses several before it minds.
    async fn hear(&mut self) -> std::io::Result<Option<Said>> {
        loop {
            if let Some(said) = take(&mut self.buffer) {
                match &said {
                    Said::Ping => self.say(b"PONG\r\n").await?,
                    Said::Error(error) => self.last_word = Some(error.clone()),
                    _ => {}
                }
                return Ok(Some(said));
            }
            self.buffer.reserve(READ);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn say(&mut self, lines: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(lines).await
    }
}
