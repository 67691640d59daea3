//! Whoever only reads the log: follows at once, confirms by others' ticks, and changes nothing.

use std::sync::Arc;

use natsgate_core::{
    Freshness, LogError, Missed, Position, Revision, RevocationFeed, RevocationLog, SystemClock, Witness,
};
use natsgate_devkit::{RedisCluster, RedisServer};
use natsgate_store::{
    Follower, FollowerSettings, LogSettings, RedisConnection, RedisSettings, Secrets, WatchedLog,
};
use serde_json::json;

use crate::support::{Instance, PATIENCE, eventually, redis as settings, revocation, secrets, soon};

const SECRET: &str = "a secret of thirty-two bytes or more";
const HEAD: &str = "{watched}:log:head";
const STREAM: &str = "{watched}:log";

fn at(server: &RedisServer) -> RedisSettings {
    settings(json!({ "url": server.url() }), "watched")
}

struct Watcher {
    connection: RedisConnection,
    log: Arc<WatchedLog>,
    follower: Arc<Follower>,
}

impl Watcher {
    fn begin(redis: &RedisSettings) -> Self {
        Self::with(redis, FollowerSettings::default(), &secrets(&[SECRET]))
    }

    fn with(redis: &RedisSettings, settings: FollowerSettings, secrets: &Secrets) -> Self {
        let connection = RedisConnection::new(redis).unwrap();
        let log = Arc::new(WatchedLog::new(&connection, secrets).unwrap());
        let follower = Follower::start(log.clone(), settings, Arc::new(SystemClock));
        Self {
            connection,
            log,
            follower,
        }
    }

    async fn until(&self, wanted: impl FnMut(&Position) -> bool) -> Position {
        let mut positions = RevocationFeed::positions(&*self.follower);
        let wait = tokio::time::timeout(PATIENCE, positions.wait_for(wanted)).await;
        *wait.expect("the position was not reached").unwrap()
    }

    async fn confirmed(&self) -> Revision {
        let position = self
            .until(|position| matches!(position, Position::Confirmed(_)))
            .await;
        position.revision().unwrap()
    }

    async fn reaches(&self, revision: Revision) {
        self.until(|position| position.revision().is_some_and(|now| now.includes(&revision)))
            .await;
    }

    /// Waits until a tick is answered with an error that says this.
    async fn is_told(&self, what: &str) {
        eventually(what, async || {
            let answer = self.log.tick(None, soon()).await;
            answer.is_err_and(|error| error.to_string().contains(what))
        })
        .await;
    }
}

async fn follows(redis: &RedisSettings) {
    let instance = Instance::start(redis).await;
    let (_alice, early) = instance.revoke("alice").await;
    let watcher = Watcher::begin(redis);
    let start = watcher.confirmed().await;
    assert_eq!(start, early);
    let (bob, _) = instance.revoke("bob").await;
    let (carol, end) = instance.revoke("carol").await;
    watcher.reaches(end).await;
    let read = watcher.follower.after(&start, 10).unwrap();
    assert_eq!(
        read.iter().map(|entry| entry.id).collect::<Vec<_>>(),
        [bob, carol]
    );
    assert_eq!(read, instance.entries().await[1..]);
    assert_eq!(watcher.confirmed().await, end);
}

#[tokio::test]
async fn what_others_append_is_read_in_order() {
    let server = RedisServer::start().await.unwrap();
    follows(&at(&server)).await;
}

#[tokio::test]
async fn in_a_cluster_too() {
    let cluster = RedisCluster::start().await.unwrap();
    follows(&settings(
        json!({ "cluster": { "nodes": cluster.addresses() } }),
        "watched",
    ))
    .await;
}

#[tokio::test]
async fn an_entry_is_applied_one_round_trip_after_it_was_announced() {
    const ENTRIES: u64 = 20;
    let server = RedisServer::start().await.unwrap();
    let instance = Instance::start(&at(&server)).await;
    // The first tick only: what is applied after it came by the bell.
    let settings = FollowerSettings {
        tick: PATIENCE * 10,
        ..FollowerSettings::default()
    };
    let watcher = Watcher::with(&at(&server), settings, &secrets(&[SECRET]));
    watcher.confirmed().await;
    eventually("it hears", async || watcher.connection.hears()).await;
    let (_id, warm) = instance.revoke("somebody").await;
    watcher.reaches(warm).await;
    let before = watcher.connection.counters().round_trips;
    for number in 0..ENTRIES {
        let (_id, revision) = instance.revoke(&format!("user {number}")).await;
        watcher.reaches(revision).await;
    }
    let taken = watcher.connection.counters().round_trips - before;
    // One more for the ring that told of the subscription, should it have come so late.
    assert!(taken <= ENTRIES + 1, "{taken} round trips for {ENTRIES} entries");
}

#[tokio::test]
async fn it_writes_nothing_and_begins_no_epoch() {
    let server = RedisServer::start().await.unwrap();
    let watcher = Watcher::begin(&at(&server));
    watcher
        .is_told("a decision service has to begin the next epoch")
        .await;
    let refused = watcher
        .log
        .append(&revocation("alice"), soon())
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("read only"), "{refused}");
    assert!(!watcher.log.takes_appends());
    assert_eq!(watcher.follower.position(), Position::Unknown);
    assert_eq!(server.dump().await.unwrap(), []);
    let instance = Instance::start(&at(&server)).await;
    assert_eq!(watcher.confirmed().await, instance.confirmed().await);
}

#[tokio::test]
async fn without_a_decision_service_nothing_is_confirmed() {
    let server = RedisServer::start().await.unwrap();
    let watcher = Watcher::begin(&at(&server));
    let instance = Instance::start(&at(&server)).await;
    watcher.confirmed().await;
    watcher.log.tick(None, soon()).await.unwrap();
    drop(instance);
    watcher
        .until(|position| matches!(position, Position::Degraded(_)))
        .await;
    watcher.is_told("no decision service has confirmed its end").await;
    // Nor by a clock that was set back since.
    server
        .raw(&["HSET", HEAD, "ticked", "99999999999999"])
        .await
        .unwrap();
    watcher.is_told("no decision service has confirmed its end").await;
    let _another = Instance::start(&at(&server)).await;
    watcher.confirmed().await;
}

#[tokio::test]
async fn a_tick_that_the_replicas_do_not_have_confirms_nothing() {
    let primary = RedisServer::start().await.unwrap();
    let mut replica = primary.start_replica().await.unwrap();
    let wary = LogSettings {
        replicas: 1,
        ..LogSettings::default()
    };
    let instance = Instance::begin(&at(&primary), &wary);
    let watcher = Watcher::begin(&at(&primary));
    assert_eq!(watcher.confirmed().await, instance.confirmed().await);
    replica.kill().unwrap();
    watcher
        .until(|position| matches!(position, Position::Degraded(_)))
        .await;
    watcher.is_told("no decision service has confirmed its end").await;
    let _replica = primary.start_replica().await.unwrap();
    watcher.confirmed().await;
}

#[tokio::test]
async fn it_goes_into_the_next_epoch_with_the_others_and_knows_that_it_may_have_missed_something() {
    let mut server = RedisServer::start().await.unwrap();
    let instance = Instance::start(&at(&server)).await;
    let watcher = Watcher::begin(&at(&server));
    let (alice, revision) = instance.revoke("alice").await;
    watcher.reaches(revision).await;
    server.restart().await.unwrap();
    let after = watcher
        .until(|position| matches!(position, Position::Confirmed(now) if now.epoch != revision.epoch))
        .await;
    assert_eq!(watcher.follower.after(&revision, 10), Err(Missed));
    // What the new epoch had lost it has again, and so has the watcher.
    instance.holds(&[alice]).await;
    let end = instance.entries().await[0].revision;
    watcher.reaches(end).await;
    let early = Revision::new(end.epoch, end.sequence - 1);
    let again = watcher.follower.after(&early, 10).unwrap();
    assert_eq!(again[0].id, alice);
    assert_eq!(after.revision().unwrap().epoch, end.epoch);
}

#[tokio::test]
async fn another_primary_is_not_believed_before_a_decision_service_has_seen_it() {
    let primary = RedisServer::start().await.unwrap();
    let instance = Instance::start(&at(&primary)).await;
    let replica = primary.start_replica().await.unwrap();
    let (_alice, revision) = instance.revoke("alice").await;
    replica.wait_for_replication().await.unwrap();
    let watcher = Watcher::begin(&at(&replica));
    eventually("a replica is refused", async || {
        watcher.log.tick(None, soon()).await.is_err()
    })
    .await;
    assert_eq!(watcher.follower.position(), Position::Unknown);
    drop(instance);
    replica.promote().await.unwrap();
    watcher.is_told("Redis is another primary").await;
    assert_eq!(watcher.follower.position(), Position::Unknown);
    let _instance = Instance::start(&at(&replica)).await;
    assert_ne!(watcher.confirmed().await.epoch, revision.epoch);
}

#[tokio::test]
async fn what_was_tampered_with_is_told_of_and_not_believed() {
    let server = RedisServer::start().await.unwrap();
    let instance = Instance::start(&at(&server)).await;
    for who in ["alice", "bob", "carol"] {
        instance.revoke(who).await;
    }
    let end = instance.confirmed().await;
    let watcher = Watcher::begin(&at(&server));
    watcher.confirmed().await;
    drop(instance);
    // Somebody who saw more of this epoch than it holds: it was set back.
    let ahead = Witness {
        applied: Revision::new(end.epoch, end.sequence + 1),
        complete_since: None,
    };
    let told = watcher.log.tick(Some(&ahead), soon()).await.unwrap_err();
    assert!(told.to_string().contains("it was set back"), "{told}");

    server.raw(&["XDEL", STREAM, "2-1"]).await.unwrap();
    let told = watcher.log.read(0, 10, soon()).await.unwrap_err();
    assert!(matches!(told, LogError::Damaged(_)), "{told}");
    server
        .raw(&["XADD", STREAM, "4-1", "t", "0", "e", "an entry, honestly"])
        .await
        .unwrap();
    let told = watcher.log.tick(None, soon()).await.unwrap_err();
    assert!(matches!(told, LogError::Damaged(_)), "{told}");
    watcher
        .until(|position| matches!(position, Position::Degraded(_)))
        .await;
    assert_eq!(watcher.follower.after(&end, 10), Err(Missed));

    server
        .raw(&["HSET", HEAD, "record", "a record, honestly"])
        .await
        .unwrap();
    watcher.is_told("does not open").await;
    server.raw(&["DEL", HEAD]).await.unwrap();
    server.raw(&["SET", HEAD, "not even a hash"]).await.unwrap();
    watcher.is_told("is missing").await;
}

#[tokio::test]
async fn a_watcher_with_another_secret_is_told_so() {
    let server = RedisServer::start().await.unwrap();
    let _instance = Instance::start(&at(&server)).await;
    let stranger = Watcher::with(
        &at(&server),
        FollowerSettings::default(),
        &secrets(&["another secret of thirty-two bytes or more"]),
    );
    stranger
        .is_told("sealed with a secret that is not configured here")
        .await;
}
