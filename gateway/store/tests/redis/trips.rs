//! Round trips are counted, not assumed.

use natsgate_core::{Cache, CacheKey};
use natsgate_devkit::RedisServer;
use natsgate_store::redis::{RedisCache, Script};

use super::support::*;

#[tokio::test]
async fn a_cache_hit_a_miss_and_a_write_are_one_round_trip_each() {
    let server = RedisServer::start().await.unwrap();
    let redis = to(&server);
    let cache = RedisCache::new(redis.clone(), &secrets(), 1000).unwrap();
    let (there, absent) = (CacheKey::new("test", b"1"), CacheKey::new("test", b"2"));
    cache.put(&there, "v".into(), PATIENCE).await.unwrap();
    assert_eq!(redis.counters().round_trips, 1);
    assert!(cache.get(&there).await.unwrap().is_some());
    assert_eq!(redis.counters().round_trips, 2);
    assert!(cache.get(&absent).await.unwrap().is_none());
    assert_eq!(redis.counters().round_trips, 3);
    assert_eq!(redis.counters().connected, 1);

    // Redis' own count agrees: beside what a connection says of itself, only these.
    let commands = server.raw(&["INFO", "commandstats"]).await.unwrap();
    let commands = format!("{commands:?}");
    for expected in ["cmdstat_get:calls=2,", "cmdstat_set:calls=1,"] {
        assert!(commands.contains(expected), "{commands}");
    }
}

#[tokio::test]
async fn a_script_takes_one_more_round_trip_the_first_time_and_after_redis_forgot_it() {
    let server = RedisServer::start().await.unwrap();
    let redis = to(&server);
    let script = Script::new("return redis.call('INCR', KEYS[1])");
    let run = async || redis.script::<u32>(&script, &["k"], &[], later()).await.unwrap();
    assert_eq!(run().await, 1);
    assert_eq!(redis.counters().round_trips, 2);
    assert_eq!(run().await, 2);
    assert_eq!(redis.counters().round_trips, 3);
    server.raw(&["SCRIPT", "FLUSH"]).await.unwrap();
    assert_eq!(run().await, 3);
    assert_eq!(redis.counters().round_trips, 5);
}

#[tokio::test]
async fn a_script_that_waits_takes_one_round_trip_always() {
    let server = RedisServer::start().await.unwrap();
    let lane = to(&server).lane();
    let script = Script::new("return redis.call('INCR', KEYS[1])");
    for trips in 1..=2 {
        let (count, _): (u64, u32) = lane
            .script_then_wait(&script, &["k"], &[], 0, PATIENCE, later())
            .await
            .unwrap();
        assert_eq!((count, lane.counters().round_trips), (trips, trips));
    }
}
