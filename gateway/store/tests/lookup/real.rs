//! The caches with a real Redis between instances, and with followers of one log.

use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{
    Cache, Change, Clock, Deadline, EntryId, Freshness, Lookup, NewEntry, Position, RevocationLog, Selector,
    SystemClock,
};
use natsgate_devkit::{RedisServer, assert_nothing_in_the_clear};
use natsgate_store::redis::{RedisCache, RedisConnection, RedisSettings};
use natsgate_store::{
    Cached, Follower, FollowerSettings, InProcessLog, LogSettings, LookupSettings, LookupTiers, Secrets,
};

use crate::support::rig::{SECOND, times};
use crate::support::source::{HandSource, Handle, page};

/// As long as anything may take that is waited for. Never how long something takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn later() -> Deadline {
    Deadline::after(PATIENCE)
}

/// Waits until `true`; what is waited for tells nobody when it happens.
async fn until(what: impl Fn() -> bool) {
    let seen = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap();
}

struct Shop {
    server: RedisServer,
    log: Arc<dyn RevocationLog>,
    source: Arc<HandSource>,
}

struct Instance {
    redis: RedisConnection,
    follower: Arc<Follower>,
    lookup: Cached<Handle>,
}

impl Shop {
    async fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (source, _calls) = HandSource::new("pages of alice@example.com", Duration::ZERO);
        source.answer_with(|_| Ok(page("the text of alice@example.com")));
        Self {
            server: RedisServer::start().await.unwrap(),
            log: Arc::new(InProcessLog::new(&LogSettings::default(), None, clock)),
            source,
        }
    }

    async fn instance(&self) -> Instance {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let secrets = Secrets::new("0123456789abcdef0123456789abcdef".into(), Vec::new()).unwrap();
        let redis = RedisConnection::new(&RedisSettings::url(self.server.url())).unwrap();
        let cache = RedisCache::new(redis.clone(), &secrets, 100_000).unwrap();
        let cache: Arc<dyn Cache> = Arc::new(cache);
        // A busy machine is no lost log.
        let settings = FollowerSettings {
            max_lag: PATIENCE,
            ..FollowerSettings::default()
        };
        let follower = Follower::start(self.log.clone(), settings, clock.clone());
        let settings = LookupSettings {
            shared_timeout: SECOND,
            ..LookupSettings::default()
        };
        let digests = secrets.key_digests("lookups").unwrap();
        let tiers = LookupTiers::new(&settings, Some(cache), digests, follower.clone(), clock).unwrap();
        until(|| matches!(follower.position(), Position::Confirmed(_))).await;
        Instance {
            redis,
            follower,
            lookup: tiers.cached(Handle(self.source.clone()), &times()).unwrap(),
        }
    }
}

impl Instance {
    async fn text(&self, number: u32) -> String {
        self.lookup.look_up(&number, later()).await.unwrap().text
    }

    fn trips(&self) -> u64 {
        self.redis.counters().round_trips
    }
}

fn revoked(number: u32) -> NewEntry {
    NewEntry {
        id: EntryId([7; 16]),
        at: SystemClock.now(),
        change: Change::revoked(
            Selector::Resource {
                kind: "number".to_owned(),
                id: number.to_string(),
            },
            "a test",
            "a test",
        ),
        idempotency: None,
    }
}

#[tokio::test]
async fn out_of_redis_is_one_round_trip_and_out_of_memory_is_none() {
    let shop = Shop::new().await;
    let (one, other) = (shop.instance().await, shop.instance().await);
    one.text(1).await;
    until(|| one.trips() == 2).await;
    for _ in 0..10 {
        other.text(1).await;
        one.text(1).await;
    }
    assert_eq!((one.trips(), other.trips(), shop.source.asked()), (2, 1, 1));
}

#[tokio::test]
async fn a_revocation_voids_what_is_in_memory_and_in_redis_and_nothing_lies_there_in_the_clear() {
    let shop = Shop::new().await;
    let (one, other) = (shop.instance().await, shop.instance().await);
    for instance in [&one, &other] {
        instance.text(1).await;
        until(|| one.trips() >= 2).await;
    }
    shop.source.answer_with(|_| Ok(page("new")));
    let appended = one.follower.append(revoked(1), later()).await.unwrap();
    assert_eq!(one.text(1).await, "new");
    other.follower.catch_up(appended.revision, later()).await.unwrap();
    assert_eq!(other.text(1).await, "new");
    assert!((2..=3).contains(&shop.source.asked()), "{}", shop.source.asked());

    let dump = shop.server.dump().await.unwrap();
    assert!(!dump.is_empty());
    assert_nothing_in_the_clear(&dump, &["alice@example.com", "the text", "new", "fetched_at"]);
}

#[tokio::test]
async fn what_was_put_into_redis_by_hand_is_not_believed() {
    let shop = Shop::new().await;
    let one = shop.instance().await;
    shop.source.answer_with(|number| Ok(page(&number.to_string())));
    one.text(1).await;
    until(|| one.trips() == 2).await;
    let dump = shop.server.dump().await.unwrap();
    let (first, _) = dump.first().unwrap().clone();
    one.text(2).await;
    until(|| one.trips() == 4).await;
    let dump = shop.server.dump().await.unwrap();
    let (second, _) = dump.iter().find(|(key, _)| *key != first).unwrap().clone();

    // One answer in the place of another.
    shop.server
        .raw(&["COPY", &first, &second, "REPLACE"])
        .await
        .unwrap();
    assert_eq!(shop.instance().await.text(2).await, "2");
    assert_eq!(shop.source.asked(), 3);
    shop.server.raw(&["SET", &first, "nonsense"]).await.unwrap();
    assert_eq!(shop.instance().await.text(1).await, "1");
    assert_eq!(shop.source.asked(), 4);
}

#[tokio::test]
async fn without_redis_answers_come_from_the_source_and_redis_is_used_again_when_it_is_back() {
    let mut shop = Shop::new().await;
    let one = shop.instance().await;
    shop.server.suspend().unwrap();
    one.text(1).await;
    assert_eq!(shop.source.asked(), 1);
    shop.server.resume().unwrap();
    shop.server.kill().unwrap();
    one.text(2).await;
    assert_eq!(shop.source.asked(), 2);
    shop.server.restart().await.unwrap();
    let other = shop.instance().await;
    // Whatever number: some time after the restart what one instance fetched is shared with the other.
    let shared = async {
        for number in 10.. {
            one.text(number).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            other.text(number).await;
            if other.lookup.counts().shared_hits > 0 {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, shared).await.unwrap();
}
