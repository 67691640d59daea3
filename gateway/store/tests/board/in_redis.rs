//! What lies in Redis: read by nobody, forged by nobody, gone after its time.

use std::time::Duration;

use natsgate_core::{Board, Deadline, EntryId};
use natsgate_devkit::{RedisServer, assert_nothing_in_the_clear};
use natsgate_store::{RedisBoard, RedisConnection, RedisSettings, Secrets};
use redis::aio::MultiplexedConnection;
use secrecy::SecretString;

use crate::support::*;

const NAMES: [&str; 12] = [
    "shim-1",
    "east",
    "alice",
    "alice@example.com",
    "https://idp.example",
    "NSERVER",
    "NUNREACHABLE",
    "nats-1",
    "APP",
    "192.0.2.17",
    "dashboard",
    "Kicked",
];

struct Rig {
    server: RedisServer,
    connection: RedisConnection,
    board: RedisBoard,
    raw: MultiplexedConnection,
}

impl Rig {
    async fn new() -> Self {
        let server = RedisServer::start().await.unwrap();
        let mut settings = RedisSettings::url(server.url());
        settings.command_timeout = Duration::from_secs(10);
        let connection = RedisConnection::new(&settings).unwrap();
        let secrets = Secrets::new(SecretString::from("x".repeat(32)), Vec::new()).unwrap();
        let client = redis::Client::open(server.url()).unwrap();
        Self {
            board: RedisBoard::new(&connection, &secrets).unwrap(),
            raw: client.get_multiplexed_async_connection().await.unwrap(),
            connection,
            server,
        }
    }

    /// Tells of everything there is.
    async fn fill(&self) {
        self.board
            .present(&presence("shim-1", "east"), soon())
            .await
            .unwrap();
        self.board
            .present(&presence("shim-2", "east"), soon())
            .await
            .unwrap();
        for shim in ["shim-1", "shim-2"] {
            self.board.acknowledge(&done(shim, 1, 0), soon()).await.unwrap();
        }
        let events = [there(1, Some("alice")), there(2, None), over(3)];
        self.board.tell("east", &events, soon()).await.unwrap();
    }

    async fn run<T: redis::FromRedisValue>(&mut self, words: &[&[u8]]) -> T {
        let mut command = redis::cmd(std::str::from_utf8(words[0]).unwrap());
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query_async(&mut self.raw).await.unwrap()
    }

    /// The keys there are that begin so, behind the prefix.
    async fn keys(&mut self, begin: &str) -> Vec<String> {
        let pattern = format!("{{natsgate}}:shim:{begin}*");
        self.run(&[b"KEYS", pattern.as_bytes()]).await
    }

    /// How many shims, acknowledgements, sessions and clusters are found.
    async fn found(&self) -> (usize, usize, usize, usize) {
        (
            self.board.shims(soon()).await.unwrap().len(),
            self.board
                .acknowledgements(EntryId([1; 16]), soon())
                .await
                .unwrap()
                .len(),
            all(&self.board, "east", 10).await.len(),
            self.board.clusters(soon()).await.unwrap().len(),
        )
    }
}

#[tokio::test]
async fn nothing_can_be_read_in_what_lies_there_nor_in_what_is_published() {
    let rig = Rig::new().await;
    let mut messages = rig.connection.messages("{natsgate}:shim:events");
    // It ends when the subscription is made.
    let ended = async { while messages.recv().await.is_ok() {} };
    tokio::time::timeout(PATIENCE, ended)
        .await
        .expect("it never ended");
    let mut messages = rig.connection.messages("{natsgate}:shim:events");
    rig.fill().await;
    let dump = rig.server.dump().await.unwrap();
    assert!(dump.len() >= 7, "{dump:?}");
    assert!(dump.iter().all(|(key, _)| key.starts_with("{natsgate}:shim:")));
    assert_nothing_in_the_clear(&dump, &NAMES);
    let mut published = Vec::new();
    for _event in 0..3 {
        let message = tokio::time::timeout(PATIENCE, messages.recv()).await.unwrap();
        published.push(("a message".to_owned(), message.unwrap().to_vec()));
    }
    assert_nothing_in_the_clear(&published, &NAMES);
}

#[tokio::test]
async fn everything_ends_by_itself() {
    let mut rig = Rig::new().await;
    rig.fill().await;
    for key in rig.keys("").await {
        let left: i64 = rig.run(&[b"PTTL", key.as_bytes()]).await;
        assert!(left > 0, "{key} has {left} ms left");
    }
    let key = rig.keys("done:").await.remove(0);
    let left: i64 = rig.run(&[b"PTTL", key.as_bytes()]).await;
    assert!((3_000_000..=3_600_000).contains(&left), "{left}");
}

#[tokio::test]
async fn who_has_not_said_so_for_ten_seconds_by_the_servers_clock_is_not_there() {
    let mut rig = Rig::new().await;
    rig.fill().await;
    assert_eq!(rig.board.shims(soon()).await.unwrap().len(), 2);
    let (here, presences) = (b"{natsgate}:shim:here", b"{natsgate}:shim:presences");
    let members: Vec<Vec<u8>> = rig.run(&[b"ZRANGE", here, b"0", b"-1"]).await;
    let _: i64 = rig.run(&[b"ZINCRBY", here, b"-10001", &members[0]]).await;
    let _: i64 = rig.run(&[b"ZINCRBY", here, b"-5000", &members[1]]).await;
    let left = rig.board.shims(soon()).await.unwrap();
    assert_eq!(left.len(), 1);
    // What is over is cleared away by whoever says next that he is there.
    rig.board.present(&left[0], soon()).await.unwrap();
    let kept: i64 = rig.run(&[b"HLEN", presences]).await;
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn that_a_session_is_gone_is_remembered_for_a_minute() {
    let mut rig = Rig::new().await;
    rig.board.tell("east", &[over(1), over(2)], soon()).await.unwrap();
    let gone = rig.keys("gone:").await.remove(0);
    let members: Vec<Vec<u8>> = rig.run(&[b"ZRANGE", gone.as_bytes(), b"0", b"-1"]).await;
    for member in &members {
        let _: i64 = rig.run(&[b"ZINCRBY", gone.as_bytes(), b"-50000", member]).await;
    }
    rig.board.tell("east", &[there(1, None)], soon()).await.unwrap();
    assert_eq!(all(&rig.board, "east", 10).await.len(), 0);
    for member in &members {
        let _: i64 = rig.run(&[b"ZINCRBY", gone.as_bytes(), b"-10001", member]).await;
    }
    rig.board.tell("east", &[there(9, None)], soon()).await.unwrap();
    let kept: i64 = rig.run(&[b"ZCARD", gone.as_bytes()]).await;
    assert_eq!(kept, 0);
}

#[tokio::test]
async fn what_was_altered_moved_or_forged_is_passed_over_and_the_rest_is_there() {
    let mut rig = Rig::new().await;
    rig.fill().await;
    assert_eq!(rig.found().await, (2, 2, 2, 1));
    let hashes = ["presences", "done:", "sessions:"];
    // The one's value under the other's name.
    for begin in hashes {
        let key = rig.keys(begin).await.remove(0);
        let all: Vec<(Vec<u8>, Vec<u8>)> = rig.run(&[b"HGETALL", key.as_bytes()]).await;
        let _: i64 = rig.run(&[b"HSET", key.as_bytes(), &all[0].0, &all[1].1]).await;
    }
    assert_eq!(rig.found().await, (1, 1, 1, 1));
    // And nonsense under a name of its own.
    let now: Vec<String> = rig.run(&[b"TIME"]).await;
    let now = format!("{}000", now[0]);
    for (begin, when) in [
        ("presences", Some("here")),
        ("names", Some("clusters")),
        ("done:", None),
        ("sessions:", None),
    ] {
        let key = rig.keys(begin).await.remove(0);
        for value in [b"".as_slice(), b"k", b"a session, honestly"] {
            let _: i64 = rig.run(&[b"HSET", key.as_bytes(), value, value]).await;
            if let Some(when) = when {
                let when = format!("{{natsgate}}:shim:{when}");
                let _: i64 = rig.run(&[b"ZADD", when.as_bytes(), now.as_bytes(), value]).await;
            }
        }
    }
    assert_eq!(rig.found().await, (1, 1, 1, 1));
    // An event that nobody told of.
    let mut listener = Listener::begin(&rig.board).await;
    let channel = b"{natsgate}:shim:events";
    for message in [b"".as_slice(), b"an event, honestly", &[b'g'; 200]] {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel).arg(message);
        let _: i64 = publish.query_async(&mut rig.raw.clone()).await.unwrap();
    }
    rig.board.tell("east", &[over(7)], soon()).await.unwrap();
    assert_eq!(listener.hears().await, over(7));
}

#[tokio::test]
async fn what_is_of_another_kind_is_nothing_and_is_replaced() {
    let mut rig = Rig::new().await;
    rig.fill().await;
    for key in rig.keys("").await {
        let _: redis::Value = rig.run(&[b"SET", key.as_bytes(), b"of another kind"]).await;
    }
    assert_eq!(rig.found().await, (0, 0, 0, 0));
    rig.board.leave("shim-9", soon()).await.unwrap();
    rig.fill().await;
    assert_eq!(rig.found().await, (2, 2, 2, 1));
}

#[tokio::test]
async fn a_redis_that_does_not_answer_holds_nobody_past_the_deadline() {
    let rig = Rig::new().await;
    rig.fill().await;
    rig.server.suspend().unwrap();
    let short = || Deadline::after(Duration::from_millis(100));
    let board = &rig.board;
    let told = board.tell("east", &[over(1)], short()).await.unwrap_err();
    assert_eq!(told.doing, "telling of sessions in Redis");
    board
        .present(&presence("shim-1", "east"), short())
        .await
        .unwrap_err();
    board
        .acknowledge(&done("shim-1", 1, 0), short())
        .await
        .unwrap_err();
    board.leave("shim-1", short()).await.unwrap_err();
    board.shims(short()).await.unwrap_err();
    board
        .acknowledgements(EntryId([1; 16]), short())
        .await
        .unwrap_err();
    board.sessions("east", None, 10, short()).await.unwrap_err();
    board.clusters(short()).await.unwrap_err();
    rig.server.resume().unwrap();
}

#[tokio::test]
async fn who_listened_while_the_subscription_was_lost_is_told_so() {
    let rig = Rig::new().await;
    let mut listener = Listener::begin(&rig.board).await;
    rig.server
        .raw(&["CLIENT", "KILL", "TYPE", "pubsub"])
        .await
        .unwrap();
    let told = tokio::time::timeout(PATIENCE, listener.next()).await.unwrap();
    assert_eq!(told, None);
    rig.board.tell("east", &[over(1)], soon()).await.unwrap();
    assert_eq!(listener.hears().await, over(1));
}

#[tokio::test]
async fn a_board_with_another_secret_sees_nothing_of_it() {
    let rig = Rig::new().await;
    rig.fill().await;
    let secrets = Secrets::new(SecretString::from("y".repeat(32)), Vec::new()).unwrap();
    let stranger = RedisBoard::new(&rig.connection, &secrets).unwrap();
    assert_eq!(stranger.shims(soon()).await.unwrap(), []);
    assert_eq!(stranger.clusters(soon()).await.unwrap(), Vec::<String>::new());
    let done = stranger.acknowledgements(EntryId([1; 16]), soon()).await.unwrap();
    assert_eq!(done, []);
    assert_eq!(all(&stranger, "east", 10).await.len(), 0);
}
