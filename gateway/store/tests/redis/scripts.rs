//! Scripts, pipelines, and waiting for replicas.

use std::time::Duration;

use natsgate_devkit::RedisServer;
use natsgate_store::redis::{RedisSettings, Script};
use redis::Value;

use super::support::*;

#[tokio::test]
async fn a_script_that_waits_says_how_many_replicas_have_what_it_wrote() {
    let primary = RedisServer::start().await.unwrap();
    let replica = primary.start_replica().await.unwrap();
    let redis = to(&primary).lane();
    let script = Script::new("return redis.call('INCR', KEYS[1])");
    // Twice: unknown to the server, and known.
    for expected in 1..=2 {
        let (count, replicas): (u32, u32) = redis
            .script_then_wait(&script, &["k"], &[], 1, PATIENCE, later())
            .await
            .unwrap();
        assert_eq!((count, replicas), (expected, 1));
        let there = replica.raw(&["GET", "k"]).await.unwrap();
        assert_eq!(there, Value::BulkString(expected.to_string().into_bytes()));
    }

    replica.suspend().unwrap();
    let (count, replicas): (u32, u32) = redis
        .script_then_wait(&script, &["k"], &[], 1, Duration::from_millis(20), later())
        .await
        .unwrap();
    assert_eq!((count, replicas), (3, 0));
}

#[tokio::test]
async fn waiting_for_replicas_holds_up_nobody_on_another_lane() {
    let primary = RedisServer::start().await.unwrap();
    let redis = to(&primary);
    let lane = redis.lane();
    let script = Script::new("return redis.call('INCR', KEYS[1])");
    let waiting = tokio::spawn(async move {
        lane.script_then_wait::<u32>(&script, &["k"], &[], 1, PATIENCE, later())
            .await
    });
    until("the script ran and waits", async || {
        primary.info("clients", "blocked_clients").await.as_deref() == Some("1")
    })
    .await;
    assert_eq!(get(&redis, "k").await.unwrap().as_deref(), Some("1"));
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test]
async fn a_long_wait_for_replicas_is_not_taken_for_a_frozen_server() {
    let primary = RedisServer::start().await.unwrap();
    let redis = connect(&RedisSettings::url(primary.url()));
    let script = Script::new("return redis.call('INCR', KEYS[1])");
    until_it_works(&redis).await;
    let connected = redis.counters().connected;
    // Longer than it takes the supervisor to ask for a sign of life and give the server up.
    let within = Duration::from_millis(2500);
    let (count, replicas): (u32, u32) = redis
        .script_then_wait(&script, &["k"], &[], 1, within, later())
        .await
        .unwrap();
    assert_eq!((count, replicas), (1, 0));
    assert_eq!(redis.counters().connected, connected);
}

#[tokio::test]
async fn calls_that_wait_for_replicas_take_turns_and_none_is_lost() {
    let primary = RedisServer::start().await.unwrap();
    let mut settings = patient(RedisSettings::url(primary.url()));
    settings.command_timeout = Duration::from_secs(1);
    let redis = connect(&settings);
    until_it_works(&redis).await;
    let script = Script::new("return redis.call('INCR', KEYS[1])");
    let within = Duration::from_millis(500);
    let call = || redis.script_then_wait::<u32>(&script, &["k"], &[], 1, within, later());
    let answers = futures::future::try_join_all((0..5).map(|_| call()))
        .await
        .unwrap();
    let counts: std::collections::BTreeSet<u32> = answers.iter().map(|(count, _)| *count).collect();
    assert_eq!(counts, (1..=5).collect());
}

#[tokio::test]
async fn an_error_of_one_command_is_told_in_its_place() {
    let server = RedisServer::start().await.unwrap();
    let redis = to(&server);
    let mut pipeline = redis::pipe();
    pipeline.cmd("SET").arg("k").arg("v");
    pipeline.cmd("INCR").arg("k");
    pipeline.cmd("GET").arg("k");
    let answers = redis.pipeline("k", &pipeline, later()).await.unwrap();
    assert!(matches!(
        answers.as_slice(),
        [Value::Okay, Value::ServerError(_), Value::BulkString(_)]
    ));

    let script = Script::new("return redis.error_reply('MINE and what is wrong')");
    let error = redis
        .script::<u32>(&script, &["k"], &[], later())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("MINE"), "{error}");
    let error = redis
        .lane()
        .script_then_wait::<u32>(&script, &["k"], &[], 0, PATIENCE, later())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("MINE"), "{error}");
}

#[tokio::test]
async fn an_error_repeats_no_argument() {
    let server = RedisServer::start().await.unwrap();
    let redis = to(&server);
    let mut unknown = redis::cmd("NONSENSE");
    unknown.arg("alice@example.com");
    let error = redis.command::<Value>("k", &unknown, later()).await.unwrap_err();
    assert_eq!(error.code(), Some("ERR"));
    assert!(!format!("{error} {error:?}").contains("alice"), "{error:?}");

    set(&redis, "k", "alice@example.com").await.unwrap();
    let mut get = redis::cmd("GET");
    get.arg("k");
    let error = redis.command::<u32>("k", &get, later()).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("alice"), "{error:?}");
}
