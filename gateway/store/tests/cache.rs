//! What every cache must do, done with each of them: in this process, in a Redis, in a Redis Cluster.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic; clippy.toml's leave for tests does not reach helpers in tests/"
)]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use natsgate_core::{Cache, CacheKey};
use natsgate_devkit::{MockClock, RedisCluster, RedisServer};
use natsgate_store::redis::{RedisCache, RedisConnection, RedisSettings};
use natsgate_store::{InProcessCache, Secrets};
use redis::Value;
use secrecy::SecretString;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// The largest value, roughly, that the caches here keep.
const MAX_BYTES: usize = 10_000;

/// A cache whose time can be moved.
trait Subject {
    type Cache: Cache;

    fn cache(&self) -> &Self::Cache;

    /// Lets `time` pass.
    fn pass(&self, time: Duration) -> impl Future<Output = ()>;
}

struct InProcess {
    cache: InProcessCache,
    clock: Arc<MockClock>,
}

impl Subject for InProcess {
    type Cache = InProcessCache;

    fn cache(&self) -> &InProcessCache {
        &self.cache
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}

fn in_process() -> InProcess {
    let clock = Arc::new(MockClock::from_now());
    let cache = InProcessCache::new(MAX_BYTES as u64, clock.clone());
    InProcess { cache, clock }
}

/// Redis keeps time itself, so time passes by shortening what every key has left.
struct InRedis {
    cache: RedisCache,
    servers: Vec<RedisServer>,
}

impl Subject for InRedis {
    type Cache = RedisCache;

    fn cache(&self) -> &RedisCache {
        &self.cache
    }

    async fn pass(&self, time: Duration) {
        let time = i64::try_from(time.as_millis()).unwrap();
        for server in &self.servers {
            for (key, _) in server.dump().await.unwrap() {
                let Value::Int(left) = server.raw(&["PTTL", &key]).await.unwrap() else {
                    panic!("PTTL answers a number");
                };
                assert!(left >= 0, "{key} would be kept for ever");
                let left = (left - time).to_string();
                server.raw(&["PEXPIRE", &key, &left]).await.unwrap();
            }
        }
    }
}

fn of(mut settings: RedisSettings, servers: Vec<RedisServer>) -> InRedis {
    // So long that a busy machine is not taken for a dead Redis.
    settings.command_timeout = Duration::from_secs(10);
    settings.connect_timeout = Duration::from_secs(30);
    let secrets = Secrets::new(SecretString::from("s".repeat(32)), Vec::new()).unwrap();
    let redis = RedisConnection::new(&settings).unwrap();
    let cache = RedisCache::new(redis, &secrets, MAX_BYTES).unwrap();
    InRedis { cache, servers }
}

async fn in_redis() -> InRedis {
    let server = RedisServer::start().await.unwrap();
    of(RedisSettings::url(server.url()), vec![server])
}

async fn in_cluster() -> InRedis {
    let cluster = RedisCluster::start().await.unwrap();
    of(RedisSettings::cluster(cluster.addresses()), cluster.primaries)
}

fn key(number: u32) -> CacheKey {
    CacheKey::new("test", &number.to_be_bytes())
}

async fn put(subject: &impl Subject, number: u32, value: &[u8], ttl: Duration) {
    let value = Bytes::copy_from_slice(value);
    subject.cache().put(&key(number), value, ttl).await.unwrap();
}

async fn get(subject: &impl Subject, number: u32) -> Option<Vec<u8>> {
    subject.cache().get(&key(number)).await.unwrap().map(Vec::from)
}

async fn what_was_never_put_is_not_there(subject: impl Subject) {
    assert_eq!(get(&subject, 1).await, None);
    put(&subject, 2, b"", HOUR).await;
    assert_eq!(get(&subject, 2).await.unwrap(), b"");
}

async fn an_entry_lives_for_its_own_time_and_no_longer(subject: impl Subject) {
    put(&subject, 1, b"one", HOUR).await;
    put(&subject, 2, b"two", HOUR * 2).await;
    subject.pass(HOUR - MINUTE).await;
    assert_eq!(get(&subject, 1).await.unwrap(), b"one");
    subject.pass(MINUTE).await;
    assert_eq!(get(&subject, 1).await, None);
    assert_eq!(get(&subject, 2).await.unwrap(), b"two");
}

async fn a_new_value_replaces_the_old_one_and_begins_a_new_time(subject: impl Subject) {
    put(&subject, 1, b"old", HOUR).await;
    subject.pass(HOUR / 2).await;
    put(&subject, 1, b"new", HOUR).await;
    subject.pass(HOUR / 2 + MINUTE).await;
    assert_eq!(get(&subject, 1).await.unwrap(), b"new");
    put(&subject, 1, b"brief", MINUTE).await;
    subject.pass(MINUTE).await;
    assert_eq!(get(&subject, 1).await, None);
}

async fn no_time_at_all_removes_what_was_there(subject: impl Subject) {
    put(&subject, 1, b"old", HOUR).await;
    put(&subject, 1, b"gone", Duration::ZERO).await;
    assert_eq!(get(&subject, 1).await, None);
}

async fn the_longest_time_there_is_can_be_asked_for(subject: impl Subject) {
    put(&subject, 1, b"one", Duration::MAX).await;
    assert_eq!(get(&subject, 1).await.unwrap(), b"one");
}

async fn a_value_that_is_too_large_is_not_kept_and_removes_what_was_there(subject: impl Subject) {
    put(&subject, 1, &[1; MAX_BYTES / 2], HOUR).await;
    assert_eq!(get(&subject, 1).await.unwrap(), [1; MAX_BYTES / 2]);
    put(&subject, 1, &[2; MAX_BYTES + 1], HOUR).await;
    assert_eq!(get(&subject, 1).await, None);
}

async fn keys_of_two_kinds_are_two_keys(subject: impl Subject) {
    let (one, other) = (CacheKey::new("one", b"k"), CacheKey::new("other", b"k"));
    subject.cache().put(&one, "1".into(), HOUR).await.unwrap();
    assert_eq!(subject.cache().get(&other).await.unwrap(), None);
}

/// Each of the tests above for each of the caches.
macro_rules! conformance {
    ($($test:ident)*) => {
        mod in_this_process {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::in_process()).await;
            })*
        }

        mod in_a_redis {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::in_redis().await).await;
            })*
        }

        mod in_a_cluster {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::in_cluster().await).await;
            })*
        }
    };
}

conformance! {
    what_was_never_put_is_not_there
    an_entry_lives_for_its_own_time_and_no_longer
    a_new_value_replaces_the_old_one_and_begins_a_new_time
    no_time_at_all_removes_what_was_there
    the_longest_time_there_is_can_be_asked_for
    a_value_that_is_too_large_is_not_kept_and_removes_what_was_there
    keys_of_two_kinds_are_two_keys
}
