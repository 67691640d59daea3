//! Redis away, in every way: calls end in time, and everything comes back by itself.

use std::time::Duration;

use futures::future::join_all;
use natsgate_core::Deadline;
use natsgate_devkit::RedisServer;
use natsgate_store::RedisError;
use natsgate_store::redis::{LinkState, RedisSettings};
use tokio::time::Instant;

use super::support::*;

/// How much longer than its bound a call may take on a machine that is busy with other things. Generous: what is being
/// told apart is "ends" from "waits for Redis".
const SLACK: Duration = Duration::from_secs(20);

#[tokio::test]
async fn it_is_made_without_redis_and_works_once_redis_is_there() {
    let mut server = RedisServer::start().await.unwrap();
    server.kill().unwrap();
    let redis = to(&server);
    until_down(&redis).await;
    let error = set(&redis, "k", "v").await.unwrap_err();
    assert!(matches!(error, RedisError::NotConnected { .. }), "{error}");
    assert_eq!(redis.counters().round_trips, 0);
    server.restart().await.unwrap();
    until_it_works(&redis).await;
}

#[tokio::test]
async fn it_comes_back_after_redis_was_killed_and_restarted() {
    let mut server = RedisServer::start().await.unwrap();
    let redis = to(&server);
    for _ in 0..3 {
        until_it_works(&redis).await;
        server.kill().unwrap();
        until_down(&redis).await;
        server.restart().await.unwrap();
    }
    until_it_works(&redis).await;
    assert_eq!(redis.state(), LinkState::Up);
}

#[tokio::test]
async fn a_connection_that_redis_closes_is_made_anew() {
    let server = RedisServer::start().await.unwrap();
    let redis = to(&server);
    set(&redis, "k", "v").await.unwrap();
    server.raw(&["CLIENT", "KILL", "TYPE", "normal"]).await.unwrap();
    until("another connection was made", async || {
        redis.counters().connected == 2
    })
    .await;
    until_it_works(&redis).await;
}

#[tokio::test]
async fn a_thousand_calls_at_a_frozen_redis_end_and_later_ones_fail_at_once() {
    let server = RedisServer::start().await.unwrap();
    let mut settings = RedisSettings::url(server.url());
    settings.max_in_flight = 100;
    let redis = connect(&settings);
    until("a write goes through", async || {
        set(&redis, "k", "v").await.is_ok()
    })
    .await;
    let sent_before = redis.counters().round_trips;

    server.suspend().unwrap();
    let began = Instant::now();
    let results = join_all((0..1000).map(|_| get(&redis, "k"))).await;
    assert!(
        began.elapsed() < settings.command_timeout + SLACK,
        "{:?}",
        began.elapsed()
    );
    assert!(results.iter().all(Result::is_err));
    // What was sent is bounded, so what waits in memory and sockets is.
    let sent = redis.counters().round_trips - sent_before;
    assert!(
        sent <= 100,
        "{sent} calls were sent to a server that answers none"
    );

    // From then on nothing is sent, whether the server is still being asked for a sign of life or given up already.
    let results = join_all((0..1000).map(|_| get(&redis, "k"))).await;
    for result in results {
        assert!(
            matches!(result, Err(RedisError::NotConnected { .. })),
            "{result:?}"
        );
    }
    assert_eq!(redis.counters().round_trips - sent_before, sent);
    until_down(&redis).await;

    server.resume().unwrap();
    until("it is all there again", async || {
        get(&redis, "k")
            .await
            .is_ok_and(|value| value.as_deref() == Some("v"))
    })
    .await;
}

#[tokio::test]
async fn calls_that_are_given_up_early_pile_nothing_up_either() {
    let server = RedisServer::start().await.unwrap();
    let mut settings = RedisSettings::url(server.url());
    settings.max_in_flight = 10;
    // Longer than any of the calls below: none of them waits its whole time.
    settings.command_timeout = Duration::from_secs(10);
    let redis = connect(&settings);
    until("a write goes through", async || {
        set(&redis, "k", "v").await.is_ok()
    })
    .await;
    let sent_before = redis.counters().round_trips;
    server.suspend().unwrap();
    let mut ping = redis::cmd("GET");
    ping.arg("k");
    for _ in 0..50 {
        let deadline = Deadline::after(Duration::from_millis(5));
        let call = redis.command::<Option<String>>("k", &ping, deadline);
        assert!(call.await.is_err());
    }
    let sent = redis.counters().round_trips - sent_before;
    assert!(sent <= 20, "{sent} calls were sent to a server that answers none");
    server.resume().unwrap();
    until_it_works(&redis).await;
}

#[tokio::test]
async fn a_call_ends_by_its_own_deadline_when_that_is_sooner() {
    let server = RedisServer::start().await.unwrap();
    let mut settings = RedisSettings::url(server.url());
    settings.command_timeout = Duration::from_secs(10);
    let redis = connect(&settings);
    until("a write goes through", async || {
        set(&redis, "k", "v").await.is_ok()
    })
    .await;
    server.suspend().unwrap();
    let mut get = redis::cmd("GET");
    get.arg("k");
    let began = Instant::now();
    let deadline = Deadline::after(Duration::from_millis(20));
    let error = redis
        .command::<Option<String>>("k", &get, deadline)
        .await
        .unwrap_err();
    assert!(
        began.elapsed() < settings.command_timeout,
        "{:?}",
        began.elapsed()
    );
    assert!(matches!(error, RedisError::TimedOut { .. }), "{error}");
    assert!(!error.had_no_effect());
    server.resume().unwrap();
    until_it_works(&redis).await;
}

#[tokio::test]
async fn a_primary_that_became_a_replica_is_left_and_its_writes_are_refused() {
    let first = RedisServer::start().await.unwrap();
    let second = RedisServer::start().await.unwrap();
    let redis = to(&first);
    set(&redis, "k", "v").await.unwrap();
    first.demote(&second).await.unwrap();
    // Refused by Redis, or not even sent; never taken.
    until_down(&redis).await;
    let error = set(&redis, "k", "w").await.unwrap_err();
    assert!(error.had_no_effect(), "{error}");
    assert!(error.to_string().contains("not a primary"), "{error}");
    first.promote().await.unwrap();
    until_it_works(&redis).await;
}

#[tokio::test]
async fn dropping_the_last_clone_closes_every_connection() {
    let server = RedisServer::start().await.unwrap();
    let redis = to(&server);
    let lane = redis.lane();
    let mut bell = redis.doorbell("bell");
    rung(&mut bell).await;
    set(&lane, "k", "v").await.unwrap();
    let clone = redis.clone();
    drop((redis, lane));
    set(&clone, "k", "v").await.unwrap();
    drop(clone);
    // The one that asks is left.
    until("all connections but one are closed", async || {
        server.info("clients", "connected_clients").await.as_deref() == Some("1")
    })
    .await;
    assert!(bell.changed().await.is_err());
}
