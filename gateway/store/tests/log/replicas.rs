//! Replicas: waited for, mistaken for the primary, missing, promoted by hand.

use natsgate_core::{Position, RevocationLog};
use natsgate_devkit::RedisServer;
use natsgate_store::LogSettings;
use serde_json::json;

use crate::support::{Instance, eventually, log_on, once, redis, revocation, soon};

#[tokio::test]
async fn an_append_is_confirmed_only_if_the_replicas_have_it() {
    let primary = RedisServer::start().await.unwrap();
    let mut replica = primary.start_replica().await.unwrap();
    let redis = redis(json!({ "url": primary.url() }), "wait");
    let settings = LogSettings {
        replicas: 1,
        ..LogSettings::default()
    };
    let instance = Instance::begin(&redis, &settings);
    instance.confirmed().await;
    let mut entry = revocation("alice");
    entry.idempotency = once(1, 1);
    let appended = instance.follower.append(entry.clone(), soon()).await.unwrap();
    assert!(appended.confirmed);
    replica.kill().unwrap();
    let unconfirmed = instance.follower.append(revocation("bob"), soon()).await.unwrap();
    assert!(!unconfirmed.confirmed);
    // What is repeated is confirmed no more than what is new: there is no replica to have it now.
    let again = instance.follower.append(entry, soon()).await.unwrap();
    assert!(again.repeated && !again.confirmed);
    // Nor is the log's end confirmed by a primary that may be the only one who takes itself for one.
    instance
        .until(|position| matches!(position, Position::Degraded(_)))
        .await;
    // It may have to wait behind the instance's own ticks.
    eventually("the tick says why", async || {
        let answer = instance.log.tick(None, soon()).await;
        answer.is_err_and(|error| error.to_string().contains("0 of 1 replicas"))
    })
    .await;
    let _replica = primary.start_replica().await.unwrap();
    instance.confirmed().await;
}

#[tokio::test]
async fn a_replica_confirms_nothing_until_it_is_promoted_and_then_in_a_new_epoch() {
    let primary = RedisServer::start().await.unwrap();
    let at_the_primary = redis(json!({ "url": primary.url() }), "promoted");
    let instance = Instance::start(&at_the_primary).await;
    let (alice, before) = instance.revoke("alice").await;
    let replica = primary.start_replica().await.unwrap();
    let at_the_replica = redis(json!({ "url": replica.url() }), "promoted");
    let misled = Instance::begin(&at_the_replica, &LogSettings::default());
    let refused = log_on(&at_the_replica, &LogSettings::default());
    for _try in 0..20 {
        refused.tick(None, soon()).await.unwrap_err();
        refused.append(&revocation("bob"), soon()).await.unwrap_err();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(
        natsgate_core::Freshness::position(&*misled.follower),
        Position::Unknown
    );
    replica.promote().await.unwrap();
    let after = misled.confirmed().await;
    assert_ne!(after.epoch, before.epoch);
    misled.holds(&[alice]).await;
}

#[tokio::test]
async fn a_primary_without_the_replicas_it_must_have_confirms_nothing() {
    let primary = RedisServer::start().await.unwrap();
    let redis = redis(json!({ "url": primary.url() }), "alone");
    let instance = Instance::start(&redis).await;
    let before = instance.confirmed().await;
    primary
        .raw(&["CONFIG", "SET", "min-replicas-to-write", "1"])
        .await
        .unwrap();
    instance
        .until(|position| matches!(position, Position::Degraded(_)))
        .await;
    let error = instance.log.tick(None, soon()).await.unwrap_err().to_string();
    assert!(error.contains("min-replicas-to-write"), "{error}");
    primary
        .raw(&["CONFIG", "SET", "min-replicas-to-write", "0"])
        .await
        .unwrap();
    assert_eq!(instance.confirmed().await, before);
}
