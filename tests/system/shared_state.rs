//! Decision services that share a Redis: what one has looked up the others know, nothing old is served, and Redis may go
//! and come back.

mod members;
mod revocations;
pub mod scene;

use std::time::Duration;

use natsgate_core::Revision;
use natsgate_devkit::{RedisServer, TokenSpec, assert_nothing_in_the_clear};
use secrecy::ExposeSecret;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::harness::{POLICY, provider};
use members::Members;
use scene::{Instance, LOG, SERVICE, until};

#[tokio::test]
async fn what_one_has_looked_up_the_others_have_with_one_round_trip() {
    let redis = RedisServer::start().await.unwrap();
    let provider = provider().await;
    let members = Members::start(&[("alice@example.com", "apollo"), ("bob@example.com", "gemini")]).await;
    let config = scene::decision(provider.issuer(), &redis.url(), &members.source());
    let (one, other) = (Instance::start(&config).await, Instance::start(&config).await);
    let token = |subject: &str| provider.issue(TokenSpec::new(subject)).unwrap();
    let (alice, bob) = (token("alice@example.com"), token("bob@example.com"));

    // Bob first, at both: keys are loaded, connections made.
    for instance in [&one, &other] {
        assert_eq!(instance.allowed(&bob).await, ["projects.gemini.in.>"]);
    }
    assert_eq!(members.asked(), 1);
    assert_eq!(one.allowed(&alice).await, ["projects.apollo.in.>"]);
    assert_eq!(members.asked(), 2);

    // The fact is written behind the answer's back.
    let fetches = provider.fetches();
    let gets = scene::gets(&redis).await;
    until(
        async || scene::cached(&redis).await >= 2,
        "alice's memberships are in Redis",
    )
    .await;
    for _ in 0..3 {
        assert_eq!(one.allowed(&alice).await, ["projects.apollo.in.>"]);
    }
    assert_eq!(scene::gets(&redis).await, gets, "in process: no call at all");
    assert_eq!(other.allowed(&alice).await, ["projects.apollo.in.>"]);
    assert_eq!(scene::gets(&redis).await, gets + 1, "from Redis: one round trip");
    assert_eq!(members.asked(), 2);
    assert_eq!(provider.fetches(), fetches);

    // Whoever reads Redis learns nothing of anybody.
    let dump = redis.dump().await.unwrap();
    assert!(dump.len() > 3, "{}", dump.len());
    assert_nothing_in_the_clear(
        &dump,
        &[
            "alice@example.com",
            "bob@example.com",
            "example.com",
            "apollo",
            "gemini",
            "backend",
            provider.issuer(),
            scene::SECRET,
            alice.expose_secret(),
        ],
    );
}

#[tokio::test]
async fn without_redis_decisions_go_on_short_and_from_the_sources_and_recover_by_themselves() {
    let mut redis = RedisServer::start().await.unwrap();
    let provider = provider().await;
    let members = Members::start(&[("alice", "apollo")]).await;
    let config = scene::decision(provider.issuer(), &redis.url(), &members.source());
    let instance = Instance::start(&config).await;
    let alice = provider
        .issue(TokenSpec::new("alice").ttl(Duration::from_secs(3600)))
        .unwrap();
    assert_eq!(instance.allowed(&alice).await, ["projects.apollo.in.>"]);
    assert_eq!(instance.health(LOG).await, ServingStatus::Serving);
    let long = instance.long_grant(&provider, "alice").await;
    let epoch = long.as_of.parse::<Revision>().unwrap().epoch;

    for frozen in [true, false] {
        match frozen {
            true => redis.suspend().unwrap(),
            false => redis.kill().unwrap(),
        }
        until(
            async || instance.health(LOG).await == ServingStatus::NotServing,
            "health says that the log is out of reach",
        )
        .await;
        assert_eq!(instance.health(SERVICE).await, ServingStatus::Serving);

        // The truth is asked, every time, and what it says holds for a short time.
        members.set("alice", &["gemini"]);
        let asked = members.asked();
        let grant = instance.grant(&alice).await;
        assert_eq!(scene::publishes(&grant), ["projects.gemini.in.>"]);
        assert!(scene::life(&grant) <= Duration::from_secs(300));
        instance.grant(&alice).await;
        assert_eq!(members.asked(), asked + 2);
        members.set("alice", &["apollo"]);

        match frozen {
            true => redis.resume().unwrap(),
            false => redis.restart().await.unwrap(),
        }
        until(
            async || instance.health(LOG).await == ServingStatus::Serving,
            "health says that the log is within reach again",
        )
        .await;
        if !frozen {
            let older = instance.grant(&alice).await;
            assert!(
                scene::life(&older) <= Duration::from_secs(300),
                "it may have been revoked in what was lost"
            );
        }
        let grant = instance.long_grant(&provider, "alice").await;
        assert_eq!(scene::publishes(&grant), ["projects.apollo.in.>"]);
        let now = grant.as_of.parse::<Revision>().unwrap().epoch;
        assert_eq!(now == epoch, frozen, "an emptied Redis is another epoch");
    }
}

#[tokio::test]
async fn an_instance_is_ready_only_once_it_has_read_the_log() {
    let mut redis = RedisServer::start().await.unwrap();
    redis.kill().unwrap();
    let provider = provider().await;
    let members = Members::start(&[("alice", "apollo")]).await;
    let instance = Instance::begin(
        &scene::decision(provider.issuer(), &redis.url(), &members.source()),
        &[],
        None,
    )
    .await;
    let alice = provider.issue(TokenSpec::new("alice")).unwrap();

    assert_eq!(instance.health(SERVICE).await, ServingStatus::NotServing);
    let refused = instance.authorize(&alice, "").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("revocation log"), "{refused}");

    redis.restart().await.unwrap();
    until(
        async || instance.health(SERVICE).await == ServingStatus::Serving,
        "health says that it serves",
    )
    .await;
    assert_eq!(instance.allowed(&alice).await, ["projects.apollo.in.>"]);
}

#[tokio::test]
async fn a_min_revision_nobody_can_read_is_no_answer_and_nonsense_is_an_error() {
    let redis = RedisServer::start().await.unwrap();
    let provider = provider().await;
    let members = Members::start(&[("alice", "apollo")]).await;
    let instance = Instance::start(&scene::decision(
        provider.issuer(),
        &redis.url(),
        &members.source(),
    ))
    .await;
    let alice = provider.issue(TokenSpec::new("alice")).unwrap();
    let as_of: Revision = instance.grant(&alice).await.as_of.parse().unwrap();

    let nonsense = instance.authorize(&alice, "yesterday").await.unwrap_err();
    assert_eq!(nonsense.code(), Code::InvalidArgument);
    assert!(instance.authorize(&alice, &as_of.to_string()).await.is_ok());
    // Another epoch's: the log is asked anew, and what it says is newer than whatever was before.
    let foreign = Revision::new(natsgate_core::Epoch::from_bytes([9; 16]), 1_000_000);
    let grant = instance.authorize(&alice, &foreign.to_string()).await.unwrap();
    assert!(grant.is_some());
    // Beyond the end of this one: nobody gave that out, or what gave it is lost.
    let beyond = Revision::new(as_of.epoch, as_of.sequence + 1_000_000);
    let refused = instance.authorize(&alice, &beyond.to_string()).await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn an_instance_with_an_older_policy_stops_deciding_once_a_newer_one_is_in_force() {
    let redis = RedisServer::start().await.unwrap();
    let provider = provider().await;
    let members = Members::start(&[("alice", "apollo")]).await;
    let config = scene::decision(provider.issuer(), &redis.url(), &members.source());
    let policy = |generation: u64, subject: &str| {
        let policy = POLICY.replace("version: 1", &format!("version: 1\ngeneration: {generation}"));
        [("policy.yaml", policy.replace(".in.>", subject))]
    };
    let alice = provider.issue(TokenSpec::new("alice")).unwrap();
    let old = Instance::start_as(&config, &policy(1, ".in.>"), None).await;
    // An instance alone with a new log waits whether others know of a newer policy.
    let granted = async |instance: &Instance| instance.authorize(&alice, "").await.is_ok();
    until(async || granted(&old).await, "the first policy is in force").await;
    assert_eq!(old.grant(&alice).await.policy_generation, 1);

    let new = Instance::start_as(&config, &policy(2, ".out.>"), None).await;
    until(async || granted(&new).await, "the second policy is in force").await;
    assert_eq!(new.allowed(&alice).await, ["projects.apollo.out.>"]);
    let refused = async |instance: &Instance| match instance.authorize(&alice, "").await {
        Err(status) => status.message().contains("generation"),
        Ok(_) => false,
    };
    until(async || refused(&old).await, "the old policy decides no more").await;
    assert!(!refused(&new).await);
    // Nor does another policy that calls itself the same.
    let other = Instance::start_as(&config, &policy(2, ".elsewhere.>"), None).await;
    until(
        async || refused(&other).await,
        "of two policies of one generation the first is in force",
    )
    .await;
    assert_eq!(new.allowed(&alice).await, ["projects.apollo.out.>"]);
}
