//! Redis killed, frozen, emptied, set back.

use std::time::{Duration, Instant};

use natsgate_core::{
    ClaimsStanding, Clock, Deadline, Freshness, Head, LogError, NewEntry, Position, Revision, RevocationLog,
    SystemClock, Witness,
};
use natsgate_devkit::{RedisOptions, RedisServer, assert_nothing_in_the_clear};
use natsgate_store::LogSettings;
use serde_json::json;

use crate::support::{Instance, about, eventually, log_on, once, redis, revocation, soon, vouching};

const DEGRADED: fn(&Position) -> bool = |position| matches!(position, Position::Degraded(_));

#[tokio::test]
async fn two_instances_see_what_the_other_revokes() {
    let server = RedisServer::start().await.unwrap();
    let redis = redis(json!({ "url": server.url() }), "two");
    let (one, other) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let stamp = other.follower.stamp(Duration::ZERO).unwrap();
    let since = Instant::now();
    let (_id, revision) = one.revoke("alice").await;
    assert!(one.follower.superseded(&stamp, &about("alice")));
    let revoked = since.elapsed();
    other
        .until(|position| position.revision().is_some_and(|now| now.includes(&revision)))
        .await;
    println!(
        "revoked in {revoked:?}, known to another instance after {:?}",
        since.elapsed()
    );
    assert!(other.follower.superseded(&stamp, &about("alice")));
    assert!(!other.follower.superseded(&stamp, &about("bob")));
    other.follower.catch_up(revision, soon()).await.unwrap();

    let dump = server.dump().await.unwrap();
    assert!(dump.len() > 1);
    assert_nothing_in_the_clear(
        &dump,
        &["alice@example.com", "login.example.com", "no longer employed"],
    );
}

#[tokio::test]
async fn the_user_that_is_shipped_for_the_decision_service_may_do_all_that_the_log_needs() {
    const USERS: &str = include_str!("../../../../deploy/redis/users.acl");
    let options = RedisOptions {
        users: USERS.lines().map(str::to_owned).collect(),
        ..RedisOptions::default()
    };
    let server = RedisServer::start_as(options).await.unwrap();
    let user = USERS
        .lines()
        .find(|line| line.starts_with("user natsgate-decision "))
        .unwrap();
    let password = user.split(' ').find_map(|word| word.strip_prefix('>')).unwrap();
    let how = json!({ "url": server.url(), "username": "natsgate-decision", "password": password });
    let redis = redis(how, "natsgate");
    let settings = LogSettings {
        max_entries: 1,
        ..LogSettings::default()
    };
    let (one, other) = (
        Instance::begin(&redis, &settings),
        Instance::begin(&redis, &settings),
    );
    one.confirmed().await;
    other.confirmed().await;
    one.revoke("alice").await;
    let (_id, revision) = one.revoke("bob").await;
    other
        .until(|position| position.revision().is_some_and(|now| now.includes(&revision)))
        .await;
}

#[tokio::test]
async fn restarted_empty_it_gets_back_what_the_survivors_know() {
    let mut server = RedisServer::start().await.unwrap();
    let redis = redis(json!({ "url": server.url() }), "emptied");
    let survivor = Instance::start(&redis).await;
    let issued = SystemClock.now();
    let entry = NewEntry {
        idempotency: once(7, 7),
        ..revocation("alice")
    };
    survivor.follower.append(entry.clone(), soon()).await.unwrap();
    let before = survivor.confirmed().await;
    server.kill().unwrap();
    survivor.until(DEGRADED).await;
    assert_eq!(survivor.standing("bob", issued), ClaimsStanding::Unknown);
    assert_eq!(survivor.standing("alice", issued), ClaimsStanding::Superseded);
    server.restart().await.unwrap();
    survivor.in_another_epoch(before, "restarted empty").await;
    assert!(survivor.follower.superseded(&before, &about("bob")));
    assert_eq!(survivor.standing("alice", issued), ClaimsStanding::Superseded);
    survivor.holds(&[entry.id]).await;
    // The caller asks again, having heard nothing.
    let again = survivor.follower.append(entry.clone(), soon()).await.unwrap();
    assert!(again.repeated);
    // The survivor vouches for the time before, and so does the log to whoever comes new.
    eventually("older tokens count again", async || {
        survivor.standing("bob", issued) == ClaimsStanding::Current
    })
    .await;
    let newcomer = Instance::start(&redis).await;
    assert_eq!(newcomer.standing("alice", issued), ClaimsStanding::Superseded);
    assert_eq!(newcomer.standing("bob", issued), ClaimsStanding::Current);
}

#[tokio::test]
async fn without_a_survivor_who_may_vouch_older_tokens_are_unknown() {
    let mut server = RedisServer::start().await.unwrap();
    let redis = redis(json!({ "url": server.url() }), "unvouched");
    let settings = LogSettings {
        vouch_within: Duration::ZERO,
        ..LogSettings::default()
    };
    let survivor = Instance::begin(&redis, &settings);
    let before = survivor.confirmed().await;
    let issued = SystemClock.now();
    server.restart().await.unwrap();
    survivor
        .in_another_epoch(before, "restarted empty, nobody vouches")
        .await;
    survivor.revoke("alice").await;
    assert_eq!(survivor.standing("bob", issued), ClaimsStanding::Unknown);
    assert_eq!(
        survivor.standing("bob", SystemClock.now()),
        ClaimsStanding::Current
    );
    let newcomer = Instance::start(&redis).await;
    assert_eq!(newcomer.standing("bob", issued), ClaimsStanding::Unknown);
}

#[tokio::test]
async fn restarted_with_all_its_data_it_goes_on_in_a_new_epoch() {
    let arguments = ["--appendonly", "yes", "--appendfsync", "always"].map(str::to_owned);
    let mut server = RedisServer::start_with(arguments.to_vec()).await.unwrap();
    let redis = redis(json!({ "url": server.url() }), "persistent");
    let settings = LogSettings {
        vouch_within: Duration::from_millis(1),
        ..LogSettings::default()
    };
    let instance = Instance::begin(&redis, &settings);
    instance.confirmed().await;
    let issued = SystemClock.now();
    let (alice, before) = instance.revoke("alice").await;
    server.kill().unwrap();
    server.restart().await.unwrap();
    let after = instance
        .in_another_epoch(before, "killed, restarted with its data")
        .await;
    assert_eq!(
        after.sequence, before.sequence,
        "nothing was lost, nothing appended again"
    );
    assert!(instance.follower.superseded(&before, &about("bob")));
    instance.holds(&[alice]).await;
    // All that the instance had heard of is still there: it may vouch though it was long ago.
    eventually("older tokens count again", async || {
        instance.standing("bob", issued) == ClaimsStanding::Current
    })
    .await;
}

#[tokio::test]
async fn frozen_it_bounds_every_call_and_goes_on_where_it_was() {
    let server = RedisServer::start().await.unwrap();
    let redis = redis(json!({ "url": server.url() }), "frozen");
    let instance = Instance::start(&redis).await;
    let (_id, before) = instance.revoke("alice").await;
    server.suspend().unwrap();
    let since = Instant::now();
    let entry = revocation("bob");
    let error = instance
        .follower
        .append(entry.clone(), Deadline::after(Duration::from_secs(1)))
        .await
        .unwrap_err();
    assert!(matches!(error, LogError::Unavailable { .. }), "{error}");
    println!(
        "appending to a frozen Redis failed after {:?}: {error}",
        since.elapsed()
    );
    instance.until(DEGRADED).await;
    println!("degraded {:?} after the freeze", since.elapsed());
    assert_eq!(instance.follower.stamp(Duration::ZERO), None);
    server.resume().unwrap();
    let since = Instant::now();
    let after = instance.confirmed().await;
    println!("confirmed again {:?} after the thaw", since.elapsed());
    assert_eq!(after.epoch, before.epoch);
    // Whether bob's got in while frozen nobody knows; asked again it is there once.
    instance.follower.append(entry.clone(), soon()).await.unwrap();
    let entries = instance.entries().await;
    assert_eq!(entries.iter().filter(|held| held.id == entry.id).count(), 1);
}

#[tokio::test]
async fn set_back_to_an_old_snapshot_it_begins_a_new_epoch_and_gets_back_what_is_missing() {
    let mut server = RedisServer::start().await.unwrap();
    let redis = redis(json!({ "url": server.url() }), "snapshot");
    let instance = Instance::start(&redis).await;
    let (alice, _) = instance.revoke("alice").await;
    let snapshot = server.snapshot().await.unwrap();
    let (bob, before) = instance.revoke("bob").await;
    server.restart_from(&snapshot).await.unwrap();
    let after = instance
        .in_another_epoch(before, "restored from an old snapshot")
        .await;
    assert!(instance.follower.superseded(&before, &about("carol")));
    instance.holds(&[alice, bob]).await;
    let newcomer = Instance::start(&redis).await;
    let early = Revision::new(after.epoch, 1);
    assert!(newcomer.follower.superseded(&early, &about("bob")));
}

#[tokio::test]
async fn an_instance_without_the_secret_gets_nothing_and_spoils_nothing() {
    const OLD: &str = "the old secret, of thirty-two bytes too";
    const NEW: &str = "the new secret, of thirty-two bytes too";
    let server = RedisServer::start().await.unwrap();
    let redis = redis(json!({ "url": server.url() }), "secrets");
    let old = Instance::with_secrets(&redis, &[OLD]);
    let before = old.confirmed().await;
    // Before there is any entry, and after.
    let new = Instance::with_secrets(&redis, &[NEW]);
    let refused = async || {
        eventually("it says why", async || {
            let answer = new.log.tick(None, soon()).await;
            let error = answer.unwrap_err().to_string();
            error.contains("a secret that is not configured here")
        })
        .await;
    };
    refused().await;
    let (alice, _) = old.revoke("alice").await;
    refused().await;
    new.log.append(&revocation("bob"), soon()).await.unwrap_err();
    assert_eq!(new.follower.position(), Position::Unknown);

    // An exchange of secrets: first everybody knows both, then everybody seals with the new one.
    let both = Instance::with_secrets(&redis, &[OLD, NEW]);
    both.confirmed().await;
    let exchanged = Instance::with_secrets(&redis, &[NEW, OLD]);
    let (bob, _) = exchanged.revoke("bob").await;
    let (carol, _) = both.revoke("carol").await;
    both.holds(&[alice, bob, carol]).await;
    assert_eq!(both.confirmed().await.epoch, before.epoch);
    // Who was forgotten is degraded, and says why, rather than begin a log of his own.
    old.until(DEGRADED).await;
    let error = old.log.read(0, 100, soon()).await.unwrap_err().to_string();
    assert!(error.contains("a secret that is not configured here"), "{error}");
    assert_eq!(both.entries().await.len(), 3);
}

#[tokio::test]
async fn only_who_saw_the_old_epochs_end_and_was_told_of_the_new_one_may_vouch() {
    let arguments = ["--appendonly", "yes", "--appendfsync", "always"].map(str::to_owned);
    let mut server = RedisServer::start_with(arguments.to_vec()).await.unwrap();
    let log = log_on(&redis(json!({ "url": server.url() }), "vouching"), &vouching());
    let ticked = async |witness: Option<Witness>| {
        let mut answered = None;
        eventually("a tick is answered", async || {
            answered = log.tick(witness.as_ref(), soon()).await.ok();
            answered.is_some()
        })
        .await;
        answered.unwrap()
    };
    let old = ticked(None).await;
    log.append(&revocation("alice"), soon()).await.unwrap();
    let end = ticked(None).await;
    let witness = |head: &Head| {
        Some(Witness {
            applied: head.revision,
            complete_since: head.complete_since,
        })
    };
    server.restart().await.unwrap();
    // The first he hears of the new epoch: what it lacks he cannot know yet.
    let new = ticked(witness(&end)).await;
    assert_ne!(new.revision.epoch, end.revision.epoch);
    assert!(new.complete_since > end.complete_since);
    // Who had not seen alice's entry does not know what else he had not seen.
    assert_eq!(ticked(witness(&old)).await.complete_since, new.complete_since);
    let strange = Revision::new(natsgate_core::Epoch::from_bytes([9; 16]), 100);
    let stranger = Some(Witness {
        applied: strange,
        complete_since: None,
    });
    assert_eq!(ticked(stranger).await.complete_since, new.complete_since);
    assert_eq!(ticked(witness(&end)).await.complete_since, end.complete_since);
    assert_eq!(ticked(None).await.complete_since, end.complete_since);
}
