//! Hearing of what is published, and of having been deaf.

use natsgate_devkit::{RedisCluster, RedisServer};
use natsgate_store::redis::RedisSettings;

use super::support::*;

const CHANNEL: &str = "{natsgate}:bell";

async fn publish(server: &RedisServer) {
    server.raw(&["PUBLISH", CHANNEL, "x"]).await.unwrap();
}

#[tokio::test]
async fn it_rings_when_subscribed_and_for_what_is_published() {
    let server = RedisServer::start().await.unwrap();
    let redis = to(&server);
    let mut bell = redis.doorbell(CHANNEL);
    rung(&mut bell).await;
    for _ in 0..3 {
        publish(&server).await;
        rung(&mut bell).await;
    }
    // Others on the same channel share the subscription.
    let mut second = redis.doorbell(CHANNEL);
    publish(&server).await;
    rung(&mut second).await;
    let subscribers = server.raw(&["PUBSUB", "NUMSUB", CHANNEL]).await.unwrap();
    assert!(format!("{subscribers:?}").contains("int(1)"), "{subscribers:?}");
    // What is published elsewhere rings nothing.
    rung(&mut bell).await;
    bell.mark_unchanged();
    server.raw(&["PUBLISH", "other", "x"]).await.unwrap();
    set(&redis, "k", "v").await.unwrap();
    assert!(!bell.has_changed().unwrap());
}

#[tokio::test]
async fn it_rings_after_every_gap_however_the_subscription_was_lost() {
    let mut server = RedisServer::start().await.unwrap();
    let redis = connect(&RedisSettings::url(server.url()));
    let mut bell = redis.doorbell(CHANNEL);
    rung(&mut bell).await;

    server.raw(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap();
    rung(&mut bell).await;

    server.restart().await.unwrap();
    rung(&mut bell).await;

    // Frozen: nothing is said, so only asking finds out.
    until("it hears", async || redis.hears()).await;
    bell.mark_unchanged();
    server.suspend().unwrap();
    until("it is known to be deaf", async || !redis.hears()).await;
    server.resume().unwrap();
    rung(&mut bell).await;
    until("it hears again", async || redis.hears()).await;
    bell.mark_unchanged();
    publish(&server).await;
    rung(&mut bell).await;
}

#[tokio::test]
async fn in_a_cluster_it_rings_wherever_it_is_published() {
    let cluster = RedisCluster::start().await.unwrap();
    let redis = to_cluster(&cluster);
    let mut bell = redis.doorbell(CHANNEL);
    rung(&mut bell).await;
    for node in cluster.nodes() {
        publish(node).await;
        rung(&mut bell).await;
    }
}
