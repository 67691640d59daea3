//! Redis Cluster: keys spread over nodes, nodes that go, slots that move.

use std::time::Duration;

use natsgate_core::{Cache, CacheKey};
use natsgate_devkit::RedisCluster;
use natsgate_store::redis::{RedisCache, RedisSettings, Script};
use redis::Value;
use tokio::time::Instant;

use super::support::*;

/// Keys for each of the three nodes of the start, in their order.
async fn keys_of(cluster: &RedisCluster) -> [String; 3] {
    let mut keys = [String::new(), String::new(), String::new()];
    for number in 0.. {
        let key = format!("key-{number}");
        let owner = cluster.owner(&key).await.unwrap().port();
        let at = cluster
            .primaries
            .iter()
            .position(|node| node.port() == owner)
            .unwrap();
        keys[at] = key;
        if keys.iter().all(|key| !key.is_empty()) {
            break;
        }
    }
    keys
}

#[tokio::test]
async fn cache_entries_are_spread_over_all_nodes() {
    let cluster = RedisCluster::start().await.unwrap();
    // One node is enough to find the others.
    let redis = connect(&patient(RedisSettings::cluster(vec![
        cluster.primaries[1].address(),
    ])));
    let cache = RedisCache::new(redis.clone(), &secrets(), 1000).unwrap();
    let key = |number: u32| CacheKey::new("test", &number.to_be_bytes());
    for number in 0..60 {
        cache.put(&key(number), "v".into(), PATIENCE).await.unwrap();
    }
    for number in 0..60 {
        assert_eq!(cache.get(&key(number)).await.unwrap().unwrap(), "v");
    }
    assert_eq!(redis.counters().round_trips, 120);
    for node in &cluster.primaries {
        assert!(!node.dump().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn scripts_and_pipelines_go_to_where_their_keys_live() {
    let cluster = RedisCluster::start().await.unwrap();
    let redis = to_cluster(&cluster);
    let script = Script::new("return redis.call('INCR', KEYS[1]) + redis.call('INCR', KEYS[2])");
    for key in keys_of(&cluster).await {
        let (one, other) = (format!("{{{key}}}:1"), format!("{{{key}}}:2"));
        let sum: u32 = redis
            .script(&script, &[&one, &other], &[], later())
            .await
            .unwrap();
        assert_eq!(sum, 2);
        let (sum, replicas): (u32, u32) = redis
            .script_then_wait(&script, &[&one, &other], &[], 0, PATIENCE, later())
            .await
            .unwrap();
        assert_eq!((sum, replicas), (4, 0));
        let mut pipeline = redis::pipe();
        pipeline.cmd("GET").arg(&one);
        pipeline.cmd("GET").arg(&other);
        let answers = redis.pipeline(&one, &pipeline, later()).await.unwrap();
        assert_eq!(
            answers,
            [Value::BulkString(b"2".to_vec()), Value::BulkString(b"2".to_vec())]
        );
    }
}

#[tokio::test]
async fn a_killed_node_concerns_its_own_keys_only_and_its_replica_takes_over() {
    let mut cluster = RedisCluster::start_with_replicas().await.unwrap();
    let redis = to_cluster(&cluster);
    let keys = keys_of(&cluster).await;
    for key in &keys {
        set(&redis, key, "before").await.unwrap();
    }
    let replicated = cluster.primaries[0].raw(&["WAIT", "0", "0"]).await;
    assert!(replicated.is_ok());
    cluster.primaries[0].kill().unwrap();
    let began = Instant::now();
    assert_eq!(get(&redis, &keys[1]).await.unwrap().as_deref(), Some("before"));
    assert_eq!(get(&redis, &keys[2]).await.unwrap().as_deref(), Some("before"));
    assert!(get(&redis, &keys[0]).await.is_err());
    until("the replica has taken over", async || {
        set(&redis, &keys[0], "after").await.is_ok()
    })
    .await;
    eprintln!("writes again {:?} after a node was killed", began.elapsed());
    let there = cluster.replicas[0].raw(&["GET", &keys[0]]).await.unwrap();
    assert_eq!(there, Value::BulkString(b"after".to_vec()));
}

#[tokio::test]
async fn a_frozen_node_concerns_its_own_keys_only() {
    let cluster = RedisCluster::start().await.unwrap();
    let mut settings = patient(RedisSettings::cluster(cluster.addresses()));
    settings.command_timeout = Duration::from_secs(2);
    let redis = connect(&settings);
    let keys = keys_of(&cluster).await;
    for key in &keys {
        set(&redis, key, "v").await.unwrap();
    }
    cluster.primaries[0].suspend().unwrap();
    assert!(get(&redis, &keys[0]).await.is_err());
    // Sooner than the Cluster itself notices, which then refuses all keys until the node is back.
    for key in &keys[1..] {
        match get(&redis, key).await {
            Ok(value) => assert_eq!(value.as_deref(), Some("v")),
            Err(error) => assert_eq!(error.code(), Some("CLUSTERDOWN"), "{error}"),
        }
    }
    until_down(&redis).await;
    cluster.primaries[0].resume().unwrap();
    for key in &keys {
        until("the key can be read again", async || {
            get(&redis, key).await.is_ok()
        })
        .await;
    }
}

#[tokio::test]
async fn a_slot_that_moves_is_followed_while_it_moves_and_afterwards() {
    let cluster = RedisCluster::start().await.unwrap();
    let redis = to_cluster(&cluster);
    let keys = keys_of(&cluster).await;
    let (from, to) = (&cluster.primaries[0], &cluster.primaries[1]);
    // Two keys of one slot: one has arrived, one has not.
    let (arrived, left) = (format!("{{{}}}:1", keys[0]), format!("{{{}}}:2", keys[0]));
    set(&redis, &arrived, "v").await.unwrap();
    set(&redis, &left, "v").await.unwrap();

    let text = |value: Value| -> String { redis::from_redis_value(value).unwrap() };
    let number: u16 =
        redis::from_redis_value(from.raw(&["CLUSTER", "KEYSLOT", &arrived]).await.unwrap()).unwrap();
    let slot = number.to_string();
    let from_id = text(from.raw(&["CLUSTER", "MYID"]).await.unwrap());
    let to_id = text(to.raw(&["CLUSTER", "MYID"]).await.unwrap());
    to.raw(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id])
        .await
        .unwrap();
    from.raw(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id])
        .await
        .unwrap();
    let port = to.port().to_string();
    from.raw(&["MIGRATE", "127.0.0.1", &port, &arrived, "0", "5000"])
        .await
        .unwrap();

    let script = Script::new("return redis.call('APPEND', KEYS[1], ARGV[1])");
    for key in [&arrived, &left] {
        assert_eq!(get(&redis, key).await.unwrap().as_deref(), Some("v"));
        let length: u32 = redis.script(&script, &[key], &[b"w"], later()).await.unwrap();
        assert_eq!(length, 2);
    }

    from.raw(&["MIGRATE", "127.0.0.1", &port, &left, "0", "5000"])
        .await
        .unwrap();
    for node in [to, from, &cluster.primaries[2]] {
        node.raw(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id])
            .await
            .unwrap();
    }
    for key in [&arrived, &left] {
        assert_eq!(get(&redis, key).await.unwrap().as_deref(), Some("vw"));
    }
    // Once the move is known, it costs nothing.
    until("the topology was learned anew", async || {
        let before = redis.counters().round_trips;
        let _value = get(&redis, &arrived).await;
        redis.counters().round_trips == before + 1
    })
    .await;
}

#[tokio::test]
async fn it_is_made_without_any_node_and_works_once_they_are_there() {
    let mut cluster = RedisCluster::start().await.unwrap();
    let redis = to_cluster(&cluster);
    let key = keys_of(&cluster).await[0].clone();
    set(&redis, &key, "v").await.unwrap();
    for node in &mut cluster.primaries {
        node.kill().unwrap();
    }
    let late = to_cluster(&cluster);
    for connection in [&redis, &late] {
        let error = set(connection, &key, "v").await.unwrap_err();
        assert!(
            !matches!(error, natsgate_store::RedisError::Refused { .. }),
            "{error}"
        );
    }
    for node in &mut cluster.primaries {
        node.restart().await.unwrap();
    }
    for connection in [&redis, &late] {
        until("the Cluster takes writes again", async || {
            set(connection, &key, "v").await.is_ok()
        })
        .await;
    }
}
