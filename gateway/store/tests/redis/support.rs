//! What several of the tests need.

use std::time::Duration;

use natsgate_core::Deadline;
use natsgate_devkit::{RedisCluster, RedisSentinels, RedisServer};
use natsgate_store::redis::{LinkState, RedisConnection, RedisSettings};
use natsgate_store::{RedisError, Secrets};
use secrecy::SecretString;
use tokio::sync::watch;

/// As long as anything may take that is waited for. Never how long something takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A deadline that plays no part.
pub(crate) fn later() -> Deadline {
    Deadline::after(PATIENCE)
}

/// With times so long that a busy machine is not taken for a dead Redis.
pub(crate) fn patient(mut settings: RedisSettings) -> RedisSettings {
    settings.command_timeout = Duration::from_secs(10);
    settings.connect_timeout = Duration::from_secs(30);
    settings
}

/// With times as in production: for tests in which Redis freezes, which is told by nothing but time.
pub(crate) fn connect(settings: &RedisSettings) -> RedisConnection {
    RedisConnection::new(settings).unwrap()
}

/// For tests in which it does not freeze.
pub(crate) fn to(server: &RedisServer) -> RedisConnection {
    connect(&patient(RedisSettings::url(server.url())))
}

pub(crate) fn to_cluster(cluster: &RedisCluster) -> RedisConnection {
    connect(&patient(RedisSettings::cluster(cluster.addresses())))
}

pub(crate) fn to_sentinels(servers: &RedisSentinels) -> RedisConnection {
    connect(&patient(RedisSettings::sentinel(
        RedisSentinels::MASTER,
        servers.addresses(),
    )))
}

pub(crate) fn secrets() -> Secrets {
    Secrets::new(SecretString::from("0123456789abcdef0123456789abcdef"), Vec::new()).unwrap()
}

pub(crate) async fn set(redis: &RedisConnection, key: &str, value: &str) -> Result<(), RedisError> {
    let mut set = redis::cmd("SET");
    set.arg(key).arg(value);
    redis.command::<redis::Value>(key, &set, later()).await.map(drop)
}

pub(crate) async fn get(redis: &RedisConnection, key: &str) -> Result<Option<String>, RedisError> {
    let mut get = redis::cmd("GET");
    get.arg(key);
    redis.command(key, &get, later()).await
}

/// Asks again and again, giving way in between, until `done` says so.
pub(crate) async fn until(what: &str, done: impl AsyncFn() -> bool) {
    let wait = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, wait).await.is_ok(),
        "it never came to this: {what}"
    );
}

/// Waits until writes go through again.
pub(crate) async fn until_it_works(redis: &RedisConnection) {
    until("Redis takes writes", async || {
        set(redis, "natsgate:test", "v").await.is_ok()
    })
    .await;
}

pub(crate) async fn until_down(redis: &RedisConnection) {
    until("the connection is known to be dead", async || {
        matches!(redis.state(), LinkState::Down(_))
    })
    .await;
}

/// Waits for the next ring that has not been seen.
pub(crate) async fn rung(bell: &mut watch::Receiver<u64>) {
    tokio::time::timeout(PATIENCE, bell.changed())
        .await
        .expect("nobody rang")
        .expect("the bell is gone");
}
