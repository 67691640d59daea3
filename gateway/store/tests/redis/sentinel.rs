//! A primary that sentinels name.

use natsgate_devkit::RedisSentinels;
use natsgate_store::redis::RedisSettings;
use redis::Value;
use tokio::time::Instant;

use super::support::*;

#[tokio::test]
async fn after_a_failover_the_new_primary_is_found_by_itself() {
    let mut servers = RedisSentinels::start().await.unwrap();
    let redis = to_sentinels(&servers);
    let mut bell = redis.doorbell("bell");
    until_it_works(&redis).await;
    rung(&mut bell).await;
    servers.primary.raw(&["SET", "where", "primary"]).await.unwrap();
    assert_eq!(get(&redis, "where").await.unwrap().as_deref(), Some("primary"));

    servers.primary.kill().unwrap();
    let began = Instant::now();
    until_down(&redis).await;
    until_it_works(&redis).await;
    eprintln!("writes again {:?} after the primary was killed", began.elapsed());
    servers.replica.raw(&["SET", "where", "replica"]).await.unwrap();
    assert_eq!(get(&redis, "where").await.unwrap().as_deref(), Some("replica"));
    rung(&mut bell).await;
    bell.mark_unchanged();
    servers.replica.raw(&["PUBLISH", "bell", "x"]).await.unwrap();
    rung(&mut bell).await;
}

#[tokio::test]
async fn a_primary_that_was_frozen_while_another_took_over_is_not_written_to_when_it_thaws() {
    let servers = RedisSentinels::start().await.unwrap();
    let redis = connect(&RedisSettings::sentinel(
        RedisSentinels::MASTER,
        servers.addresses(),
    ));
    until_it_works(&redis).await;
    servers.primary.suspend().unwrap();
    servers.wait_for_failover().await.unwrap();
    until_it_works(&redis).await;
    servers.primary.resume().unwrap();
    until("a write goes through", async || {
        set(&redis, "after", "v").await.is_ok()
    })
    .await;
    let there = servers.replica.raw(&["GET", "after"]).await.unwrap();
    assert_eq!(there, Value::BulkString(b"v".to_vec()));
}

#[tokio::test]
async fn one_frozen_sentinel_of_three_holds_nobody_up() {
    let servers = RedisSentinels::start().await.unwrap();
    servers.suspend_sentinel(0).unwrap();
    // The first call waits for the first connection, for ten seconds at most; the frozen sentinel may take thirty.
    let redis = to_sentinels(&servers);
    set(&redis, "k", "v").await.unwrap();
}

/// As if the network between them had gone: the sentinels can no longer log in at the primary, but we are still connected.
async fn cut_off(servers: &RedisSentinels) {
    let client = redis::Client::open(servers.primary.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut ask = async |words: &[&str]| -> Value {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await.unwrap()
    };
    let clients: String = redis::from_redis_value(ask(&["CLIENT", "LIST"]).await).unwrap();
    ask(&["CONFIG", "SET", "requirepass", "cut off"]).await;
    for client in clients
        .lines()
        .filter(|client| client.contains(" name=sentinel-"))
    {
        let id = client
            .split(' ')
            .find_map(|field| field.strip_prefix("id="))
            .unwrap();
        ask(&["CLIENT", "KILL", "ID", id]).await;
    }
}

#[tokio::test]
async fn a_primary_that_is_cut_off_from_its_sentinels_is_left_for_the_one_they_name() {
    let servers = RedisSentinels::start().await.unwrap();
    let redis = to_sentinels(&servers);
    until_it_works(&redis).await;
    cut_off(&servers).await;
    servers.wait_for_failover().await.unwrap();
    until("writes reach the new primary", async || {
        let _either_of_them = set(&redis, "after", "v").await;
        let there = servers.replica.raw(&["GET", "after"]).await.unwrap();
        there == Value::BulkString(b"v".to_vec())
    })
    .await;
}

#[tokio::test]
async fn an_unknown_name_is_told_with_the_setting() {
    let servers = RedisSentinels::start().await.unwrap();
    let redis = connect(&patient(RedisSettings::sentinel(
        "no-such-primary",
        servers.addresses(),
    )));
    until_down(&redis).await;
    let error = set(&redis, "k", "v").await.unwrap_err().to_string();
    assert!(error.contains("redis.sentinel.master"), "{error}");
}
