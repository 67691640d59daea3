//! A client that says and hears the NATS protocol line by line.
//!
//! The server answers one connection's lines in order. So whatever it had to say about a line stands before the PONG to
//! a later PING, and nothing here needs to wait for something that may not come.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Bounds a test that hangs; decides nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
pub struct Wire {
    stream: BufReader<TcpStream>,
    sid: u64,
}

/// What the server said before a PONG.
#[derive(Debug, Default)]
pub struct Heard {
    /// The texts of its errors.
    pub errors: Vec<String>,
    /// Messages.
    pub messages: Vec<Delivered>,
    /// Whether it closed the connection instead of answering.
    pub closed: bool,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    pub subject: String,
    pub reply: Option<String>,
}

impl Wire {
    /// Connects to `port`; `who` makes what identifies the client in CONNECT of the server's nonce.
    ///
    /// # Errors
    /// What the server said before it closed the connection.
    pub async fn connect(port: u16, who: impl FnOnce(&str) -> Value) -> Result<Self, Heard> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut wire = Self {
            stream: BufReader::new(stream),
            sid: 0,
        };
        let mut line = String::new();
        wire.stream.read_line(&mut line).await.unwrap();
        let info: Value = serde_json::from_str(line.strip_prefix("INFO ").unwrap()).unwrap();
        let who = who(info["nonce"].as_str().unwrap_or_default());
        let mut connect = json!({
            "verbose": false, "pedantic": false, "lang": "test", "version": "1", "protocol": 1, "headers": true,
        });
        connect
            .as_object_mut()
            .unwrap()
            .extend(who.as_object().unwrap().clone());
        wire.say(&format!("CONNECT {connect}")).await;
        let heard = wire.heard().await;
        if heard.closed { Err(heard) } else { Ok(wire) }
    }

    /// Says one line. That the server may have hung up is seen when listening.
    pub async fn say(&mut self, line: &str) {
        let _ = self
            .stream
            .get_mut()
            .write_all(format!("{line}\r\n").as_bytes())
            .await;
    }

    /// Everything the server says until it has dealt with all that was said.
    pub async fn heard(&mut self) -> Heard {
        self.say("PING").await;
        self.listen(|line| line == "PONG").await
    }

    /// Everything the server says until it closes the connection.
    pub async fn until_closed(&mut self) -> Heard {
        self.listen(|_| false).await
    }

    async fn listen(&mut self, end: impl Fn(&str) -> bool) -> Heard {
        tokio::time::timeout(PATIENCE, async {
            let mut heard = Heard::default();
            loop {
                let mut line = String::new();
                if !matches!(self.stream.read_line(&mut line).await, Ok(1..)) {
                    heard.closed = true;
                    return heard;
                }
                let line = line.trim_end();
                if end(line) {
                    return heard;
                } else if line == "PING" {
                    self.say("PONG").await;
                } else if let Some(error) = line.strip_prefix("-ERR ") {
                    heard.errors.push(error.to_owned());
                } else if let Some(message) = line.strip_prefix("MSG ") {
                    heard.messages.push(self.message(message).await);
                } else {
                    assert!(
                        line.starts_with("INFO ") || line == "PONG",
                        "the server said {line:?}"
                    );
                }
            }
        })
        .await
        .expect("the server says nothing")
    }

    async fn message(&mut self, line: &str) -> Delivered {
        let words: Vec<&str> = line.split(' ').collect();
        let (reply, size) = match words.as_slice() {
            [_, _, size] => (None, size),
            [_, _, reply, size] => (Some((*reply).to_owned()), size),
            _ => panic!("MSG {line}"),
        };
        let mut payload = vec![0; size.parse::<usize>().unwrap() + 2];
        self.stream.read_exact(&mut payload).await.unwrap();
        Delivered {
            subject: words[0].to_owned(),
            reply,
        }
    }

    /// Subscribes, and leaves it so.
    pub async fn subscribe(&mut self, subject: &str, queue: Option<&str>) -> Heard {
        self.sid += 1;
        let queue = queue.map(|queue| format!("{queue} ")).unwrap_or_default();
        self.say(&format!("SUB {subject} {queue}{}", self.sid)).await;
        self.heard().await
    }

    /// Whether the server lets it subscribe.
    pub async fn may_subscribe(&mut self, subject: &str, queue: Option<&str>) -> bool {
        let heard = self.subscribe(subject, queue).await;
        self.say(&format!("UNSUB {}", self.sid)).await;
        permitted(&heard, "Permissions Violation for Subscription")
    }

    /// Whether the server lets it publish.
    pub async fn may_publish(&mut self, subject: &str) -> bool {
        self.publish(subject, None, 0).await;
        permitted(&self.heard().await, "Permissions Violation for Publish")
    }

    /// Publishes `size` bytes.
    pub async fn publish(&mut self, subject: &str, reply: Option<&str>, size: usize) {
        let reply = reply.map(|reply| format!("{reply} ")).unwrap_or_default();
        let payload = "x".repeat(size);
        self.say(&format!("PUB {subject} {reply}{size}\r\n{payload}"))
            .await;
    }
}

/// No error, or the one that says no: anything else is not what is being tested.
fn permitted(heard: &Heard, no: &str) -> bool {
    match heard.errors.as_slice() {
        [] if !heard.closed => true,
        [error] if error.contains(no) && !heard.closed => false,
        _ => panic!("{heard:?}"),
    }
}
