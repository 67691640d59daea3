//! Sentinel replaces a primary whose last write its replica never got.

use natsgate_core::{ClaimsStanding, Clock, Freshness, SystemClock};
use natsgate_devkit::RedisSentinels;
use serde_json::json;

use crate::support::{Instance, about, eventually, redis};

#[tokio::test]
async fn a_write_that_a_failover_lost_is_appended_again_by_who_knows_of_it() {
    let mut servers = RedisSentinels::start().await.unwrap();
    let how = json!({ "sentinel": { "master": RedisSentinels::MASTER, "nodes": servers.addresses() } });
    let redis = redis(how, "failover");
    let (survivor, other) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let issued = SystemClock.now();
    let (alice, _) = survivor.revoke("alice").await;
    servers.replica.wait_for_replication().await.unwrap();

    // The replica is cut off: it cannot log on to its primary any more.
    for setting in [["masteruser", "nobody"], ["masterauth", "wrong"]] {
        let command = ["CONFIG", "SET", setting[0], setting[1]];
        servers.replica.raw(&command).await.unwrap();
    }
    servers
        .primary
        .raw(&["CLIENT", "KILL", "TYPE", "replica"])
        .await
        .unwrap();
    eventually("the replica is cut off", async || {
        let link = servers.replica.info("replication", "master_link_status").await;
        link.as_deref() == Some("down")
    })
    .await;
    let (bob, before) = survivor.revoke("bob").await;
    other
        .follower
        .catch_up(before, crate::support::soon())
        .await
        .unwrap();
    servers.primary.kill().unwrap();

    for instance in [&survivor, &other] {
        instance.in_another_epoch(before, "failed over by Sentinel").await;
        assert!(instance.follower.superseded(&before, &about("carol")));
        assert_eq!(instance.standing("bob", issued), ClaimsStanding::Superseded);
        instance.holds(&[alice, bob]).await;
        let entries = instance.entries().await;
        let epochs: Vec<bool> = entries
            .iter()
            .map(|entry| entry.revision.epoch == before.epoch)
            .collect();
        assert_eq!(
            epochs,
            [true, false],
            "alice's was taken over, bob's appended again"
        );
        eventually("older tokens count again", async || {
            instance.standing("carol", issued) == ClaimsStanding::Current
        })
        .await;
    }
    let newcomer = Instance::start(&redis).await;
    assert_eq!(newcomer.standing("bob", issued), ClaimsStanding::Superseded);
}
