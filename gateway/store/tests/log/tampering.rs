//! Somebody who can write to Redis does.

use natsgate_core::{Deadline, EntryId, Freshness, NewEntry, Revision, RevocationLog};
use natsgate_devkit::RedisServer;
use redis::aio::MultiplexedConnection;
use serde_json::json;

use crate::support::{Instance, about, once, redis as settings, revocation, soon};

const STREAM: &str = "{forged}:log";
const HEAD: &str = "{forged}:log:head";

/// What the log was before it was tampered with.
type Stream = Vec<(String, Vec<(String, Vec<u8>)>)>;

struct Victim {
    redis: MultiplexedConnection,
    instance: Instance,
    settings: natsgate_store::RedisSettings,
    ids: Vec<EntryId>,
    before: Revision,
    _server: RedisServer,
}

impl Victim {
    async fn new() -> Self {
        let server = RedisServer::start().await.unwrap();
        let settings = settings(json!({ "url": server.url() }), "forged");
        let instance = Instance::start(&settings).await;
        let mut ids = Vec::new();
        let mut before = instance.confirmed().await;
        for who in ["alice", "bob", "carol", "dave"] {
            let (id, revision) = instance.revoke(who).await;
            (before, ids) = (revision, [ids, vec![id]].concat());
        }
        let client = redis::Client::open(server.url()).unwrap();
        Self {
            redis: client.get_multiplexed_async_connection().await.unwrap(),
            instance,
            settings,
            ids,
            before,
            _server: server,
        }
    }

    async fn run<T: redis::FromRedisValue>(&mut self, command: &mut redis::Cmd) -> T {
        command.query_async(&mut self.redis).await.unwrap()
    }

    async fn stream(&mut self) -> Stream {
        self.run(redis::cmd("XRANGE").arg(STREAM).arg("-").arg("+")).await
    }

    /// Puts another stream in the place of the log's, at once.
    async fn put_stream(&mut self, stream: &Stream) {
        let mut pipeline = redis::pipe();
        pipeline.atomic().cmd("DEL").arg(STREAM).ignore();
        for (id, fields) in stream {
            let mut command = redis::cmd("XADD");
            command.arg(STREAM).arg(id);
            for (name, value) in fields {
                command.arg(name).arg(value);
            }
            pipeline.add_command(command).ignore();
        }
        let () = pipeline.query_async(&mut self.redis).await.unwrap();
    }

    /// It is noticed: a new epoch begins, nothing stamped before counts, and the log holds what was really revoked.
    async fn notices(&mut self, what: &str) {
        let after = self.instance.in_another_epoch(self.before, what).await;
        assert!(
            self.instance.follower.superseded(&self.before, &about("nobody")),
            "{what}"
        );
        self.instance.holds(&self.ids).await;
        let newcomer = Instance::start(&self.settings).await;
        let early = Revision::new(after.epoch, newcomer.entries().await[0].predecessor);
        for who in ["alice", "bob", "carol", "dave"] {
            assert!(newcomer.follower.superseded(&early, &about(who)), "{what}: {who}");
        }
    }
}

#[tokio::test]
async fn an_entry_put_in_by_hand_is_never_believed() {
    let mut victim = Victim::new().await;
    let forged = ["XADD", STREAM, "99-1", "t", "0", "e", "an entry, honestly"];
    let _id: String = victim.run(redis::cmd(forged[0]).arg(&forged[1..])).await;
    victim.notices("an entry put in by hand").await;
}

#[tokio::test]
async fn a_real_entry_put_in_a_second_time_is_not_believed() {
    let mut victim = Victim::new().await;
    let mut stream = victim.stream().await;
    let copy = stream[1].1.clone();
    stream.push(("5-1".to_owned(), copy));
    victim.put_stream(&stream).await;
    victim.notices("a real entry copied to the end").await;
}

#[tokio::test]
async fn altered_swapped_and_removed_entries_are_noticed() {
    type Tamper = fn(&mut Stream);
    let cases: [(&str, Tamper); 4] = [
        ("an entry altered", |stream| {
            let bytes = &mut stream[1].1.iter_mut().find(|(name, _)| name == "e").unwrap().1;
            let middle = bytes.len() - 20;
            bytes[middle] ^= 1;
        }),
        ("two entries swapped", |stream| {
            let (one, other) = (stream[1].1.clone(), stream[2].1.clone());
            (stream[1].1, stream[2].1) = (other, one);
        }),
        ("an entry taken out of the middle", |stream| {
            stream.remove(2);
        }),
        ("the last entry taken out", |stream| {
            stream.pop();
        }),
    ];
    for (what, tamper) in cases {
        let mut victim = Victim::new().await;
        let mut stream = victim.stream().await;
        tamper(&mut stream);
        victim.put_stream(&stream).await;
        // What nobody reads nobody notices: somebody new does, or whoever reads it again.
        let _newcomer = Instance::begin(&victim.settings, &natsgate_store::LogSettings::default());
        victim.notices(what).await;
    }
}

#[tokio::test]
async fn keys_deleted_by_hand_begin_a_new_epoch() {
    for (what, key) in [("the stream deleted", STREAM), ("the head deleted", HEAD)] {
        let mut victim = Victim::new().await;
        let deleted: i64 = victim.run(redis::cmd("DEL").arg(key)).await;
        assert_eq!(deleted, 1);
        victim.notices(what).await;
    }
    let mut victim = Victim::new().await;
    let () = victim.run(&mut redis::cmd("FLUSHALL")).await;
    victim.notices("everything deleted").await;
}

#[tokio::test]
async fn a_head_that_is_altered_or_no_head_at_all_begins_a_new_epoch() {
    let mut victim = Victim::new().await;
    let mut record: Vec<u8> = victim.run(redis::cmd("HGET").arg(HEAD).arg("record")).await;
    *record.last_mut().unwrap() ^= 1;
    let _: i64 = victim
        .run(redis::cmd("HSET").arg(HEAD).arg("record").arg(record))
        .await;
    victim.notices("the head altered").await;

    let mut victim = Victim::new().await;
    let () = victim
        .run(redis::cmd("SET").arg(HEAD).arg("something else"))
        .await;
    victim.notices("something else in the head's place").await;

    let mut victim = Victim::new().await;
    let () = victim
        .run(redis::cmd("SET").arg(STREAM).arg("something else"))
        .await;
    victim.notices("something else in the stream's place").await;
}

#[tokio::test]
async fn a_log_set_back_to_what_it_really_was_before_is_noticed_by_who_was_further() {
    let mut victim = Victim::new().await;
    let stream = victim.stream().await;
    let record: Vec<u8> = victim.run(redis::cmd("HGET").arg(HEAD).arg("record")).await;
    let (id, revision) = victim.instance.revoke("eve").await;
    (victim.before, victim.ids) = (revision, [victim.ids.clone(), vec![id]].concat());
    victim.put_stream(&stream).await;
    let _: i64 = victim
        .run(redis::cmd("HSET").arg(HEAD).arg("record").arg(record))
        .await;
    victim.notices("set back to an older state of its own").await;
}

#[tokio::test]
async fn an_idempotency_record_put_in_by_hand_does_not_swallow_a_revocation() {
    let mut victim = Victim::new().await;
    let entry = |key| NewEntry {
        idempotency: once(key, key),
        ..revocation("frank")
    };
    let first = entry(1);
    victim.instance.log.append(&first, soon()).await.unwrap();
    let keys: Vec<String> = victim.run(redis::cmd("KEYS").arg("*:once:*")).await;
    // Where they lie for which key cannot be known beforehand, so the worst is assumed: every record is another's.
    let second = entry(2);
    victim.instance.log.append(&second, soon()).await.unwrap();
    let mut all: Vec<String> = victim.run(redis::cmd("KEYS").arg("*:once:*")).await;
    all.retain(|key| !keys.contains(key));
    let stolen: Vec<u8> = victim.run(redis::cmd("GET").arg(&all[0])).await;
    for forged in [stolen, b"nonsense".to_vec()] {
        for key in &keys {
            let () = victim.run(redis::cmd("SET").arg(key).arg(&forged)).await;
        }
        let again = victim
            .instance
            .log
            .append(&first, Deadline::after(std::time::Duration::from_secs(5)));
        assert!(!again.await.unwrap().repeated);
    }
    assert_eq!(victim.instance.entries().await.len(), 4 + 2 + 2);
}
