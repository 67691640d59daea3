//! What lies in Redis can be read by nobody and forged by nobody.

use natsgate_core::{Cache, CacheKey};
use natsgate_devkit::{RedisServer, assert_nothing_in_the_clear, in_the_clear};
use natsgate_store::Secrets;
use natsgate_store::redis::RedisCache;
use secrecy::SecretString;

use super::support::*;

const EMAIL: &str = "alice@example.com";
const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";

fn key(secrets: &Secrets) -> CacheKey {
    let digests = secrets.key_digests("cache").unwrap();
    digests.cache_key("memberships.1", &[b"backend", EMAIL.as_bytes()])
}

#[tokio::test]
async fn nothing_that_was_cached_can_be_read_in_keys_and_values() {
    let server = RedisServer::start().await.unwrap();
    let cache = RedisCache::new(to(&server), &secrets(), 10_000).unwrap();
    let value = format!("{{\"email\":\"{EMAIL}\",\"token\":\"{TOKEN}\"}}");
    cache
        .put(&key(&secrets()), value.clone().into(), PATIENCE)
        .await
        .unwrap();
    let dump = server.dump().await.unwrap();
    assert_eq!(dump.len(), 1);
    assert!(
        dump[0].0.starts_with("natsgate:c:memberships.1:"),
        "{}",
        dump[0].0
    );
    assert_nothing_in_the_clear(&dump, &[EMAIL, "alice", TOKEN, "eyJzdWIiOiJhbGljZSJ9"]);
    assert_eq!(cache.get(&key(&secrets())).await.unwrap().unwrap(), value);

    // The look-out itself finds what it should: a key that was digested without the secret gives guesses away.
    let careless = CacheKey::new("memberships.1", EMAIL.as_bytes());
    cache.put(&careless, "x".into(), PATIENCE).await.unwrap();
    server.raw(&["SET", "plain", EMAIL]).await.unwrap();
    assert_eq!(in_the_clear(&server.dump().await.unwrap(), &[EMAIL]).len(), 2);
}

#[tokio::test]
async fn an_entry_that_was_altered_moved_or_forged_is_not_there() {
    let server = RedisServer::start().await.unwrap();
    let cache = RedisCache::new(to(&server), &secrets(), 10_000).unwrap();
    let (first, second) = (CacheKey::new("test", b"1"), CacheKey::new("test", b"2"));
    let names = [&first, &second].map(|key| format!("natsgate:c:{key}"));

    cache.put(&first, "v".into(), PATIENCE).await.unwrap();
    server.raw(&["COPY", &names[0], &names[1]]).await.unwrap();
    assert_eq!(cache.get(&second).await.unwrap(), None, "put under another key");
    assert_eq!(cache.unopened(), 1);

    server.raw(&["SETRANGE", &names[0], "20", "x"]).await.unwrap();
    assert_eq!(cache.get(&first).await.unwrap(), None, "altered");
    server.raw(&["SET", &names[0], "admin"]).await.unwrap();
    assert_eq!(cache.get(&first).await.unwrap(), None, "forged");
    server.raw(&["SET", &names[0], ""]).await.unwrap();
    assert_eq!(cache.get(&first).await.unwrap(), None, "emptied");
    server.raw(&["DEL", &names[0]]).await.unwrap();
    server.raw(&["HSET", &names[0], "f", "v"]).await.unwrap();
    assert_eq!(cache.get(&first).await.unwrap(), None, "of another kind");
    assert_eq!(cache.unopened(), 5);

    cache.put(&first, "w".into(), PATIENCE).await.unwrap();
    assert_eq!(cache.get(&first).await.unwrap().unwrap(), "w");
}

#[tokio::test]
async fn secrets_are_exchanged_without_losing_what_is_there_and_strangers_read_nothing() {
    let secret = |letter: &str| SecretString::from(letter.repeat(32));
    let server = RedisServer::start().await.unwrap();
    let with = |current: &str, previous: &[&str]| {
        let previous = previous.iter().map(|letter| secret(letter)).collect();
        RedisCache::new(
            to(&server),
            &Secrets::new(secret(current), previous).unwrap(),
            1000,
        )
        .unwrap()
    };
    let key = CacheKey::new("test", b"k");
    with("a", &[]).put(&key, "v".into(), PATIENCE).await.unwrap();
    assert_eq!(with("b", &["a"]).get(&key).await.unwrap().unwrap(), "v");
    assert_eq!(with("b", &[]).get(&key).await.unwrap(), None);
    with("b", &["a"]).put(&key, "w".into(), PATIENCE).await.unwrap();
    assert_eq!(with("b", &[]).get(&key).await.unwrap().unwrap(), "w");
    assert_eq!(with("a", &[]).get(&key).await.unwrap(), None);
}
