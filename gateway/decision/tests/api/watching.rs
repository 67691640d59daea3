//! Watching what is revoked.

use std::time::Duration;

use natsgate_core::Clock;
use natsgate_core::{
    Announcer, Change, EntryId, Freshness, Membership, NewEntry, PolicyGeneration, Principal,
};
use natsgate_proto::v1;
use natsgate_proto::v1::watch_revocations_response::Change as Told;
use natsgate_store::LogSettings;
use tonic::{Code, Streaming};

use crate::desk::{Desk, ISSUER, Options, alice, ban, revoke, soon};
use crate::service::{fields, reason};

type Stream = Streaming<v1::WatchRevocationsResponse>;

async fn watch(desk: &Desk, name: &'static str, after: &str) -> Result<Stream, tonic::Status> {
    let request = v1::WatchRevocationsRequest { after: after.into() };
    Ok(desk
        .revoking(name)
        .await
        .watch_revocations(request)
        .await?
        .into_inner())
}

async fn next(stream: &mut Stream) -> Result<v1::WatchRevocationsResponse, tonic::Status> {
    let next = tokio::time::timeout(Duration::from_secs(20), stream.message());
    next.await.unwrap().map(Option::unwrap)
}

async fn append(desk: &Desk, change: Change) {
    let entry = NewEntry {
        id: EntryId(std::array::from_fn(|_| 9)),
        at: desk.clock.now(),
        change,
        idempotency: None,
    };
    Announcer::append(&*desk.log.follower, entry, soon())
        .await
        .unwrap();
}

#[tokio::test]
async fn watching_begins_where_the_log_ends_and_tells_everything_in_order() {
    let desk = Desk::start().await;
    let mut ops = desk.revoking("ops").await;
    let before = ops.revoke(revoke("k0", alice())).await.unwrap().into_inner();
    let mut stream = watch(&desk, "ops", "").await.unwrap();
    let begun = next(&mut stream).await.unwrap();
    assert_eq!(
        (begun.revision, begun.id, begun.change),
        (before.revision.clone(), String::new(), None)
    );

    let banned = ops.revoke(ban("k1", alice())).await.unwrap().into_inner();
    let lift = v1::LiftBanRequest {
        idempotency_key: "k2".into(),
        ban: banned.id.clone(),
        reason: String::new(),
    };
    let lifted = ops.lift_ban(lift).await.unwrap().into_inner();
    let told = next(&mut stream).await.unwrap();
    assert_eq!(
        (told.revision.clone(), told.id),
        (banned.revision, banned.id.clone())
    );
    match told.change.unwrap() {
        Told::Revoked(revoked) => {
            let by = revoked.selector.unwrap().selector.unwrap();
            assert_eq!((by, revoked.actor, revoked.banned), (alice(), "ops".into(), true));
        }
        other => panic!("{other:?}"),
    }
    let told_next = next(&mut stream).await.unwrap();
    assert_eq!(told_next.revision, lifted.revision);
    assert!(matches!(told_next.change, Some(Told::BanLifted(lifted)) if lifted.ban == banned.id));

    // Resumed, it goes on after that.
    let mut resumed = watch(&desk, "ops", &told.revision).await.unwrap();
    assert_eq!(next(&mut resumed).await.unwrap().revision, told.revision);
    assert_eq!(next(&mut resumed).await.unwrap().revision, lifted.revision);
}

#[tokio::test]
async fn what_is_not_the_caller_s_to_see_is_a_revision_and_no_more() {
    let desk = Desk::start().await;
    let mut stream = watch(&desk, "bot", "").await.unwrap();
    next(&mut stream).await.unwrap();
    let mut ops = desk.revoking("ops").await;
    let by_account = v1::selector::Selector::Account("APP".into());
    let hidden = ops.revoke(revoke("k1", by_account)).await.unwrap().into_inner();
    let told = next(&mut stream).await.unwrap();
    assert_eq!(
        (told.revision, told.id, told.change),
        (hidden.revision, hidden.id, None)
    );
    assert!(told.at.is_some());
    ops.revoke(revoke("k2", alice())).await.unwrap();
    assert!(matches!(
        next(&mut stream).await.unwrap().change,
        Some(Told::Revoked(_))
    ));

    let member = |id: &str| Membership {
        kind: "project".into(),
        id: id.into(),
        role: "member".into(),
    };
    append(
        &desk,
        Change::MembershipsChanged {
            principal: Principal::new(ISSUER, "alice"),
            given: vec![member("eu-1"), member("us-1")],
            taken: vec![],
            actor: "crm".into(),
        },
    )
    .await;
    match next(&mut stream).await.unwrap().change.unwrap() {
        Told::MembershipsChanged(changed) => {
            let given: Vec<_> = changed.given.into_iter().map(|one| one.id).collect();
            assert_eq!((given, changed.actor), (vec!["eu-1".to_owned()], "crm".into()));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn another_policy_is_told_to_everybody() {
    let desk = Desk::start().await;
    let mut stream = watch(&desk, "bot", "").await.unwrap();
    next(&mut stream).await.unwrap();
    let policy = PolicyGeneration {
        generation: 7,
        digest: "d".into(),
    };
    append(&desk, Change::PolicyChanged { policy }).await;
    match next(&mut stream).await.unwrap().change.unwrap() {
        Told::PolicyChanged(changed) => assert_eq!((changed.generation, changed.digest.as_str()), (7, "d")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn where_entries_are_missing_it_says_so_and_does_not_begin() {
    let desk = Desk::start_with(Options {
        log: LogSettings {
            max_entries: 2,
            ..LogSettings::default()
        },
        ..Options::default()
    })
    .await;
    let mut ops = desk.revoking("ops").await;
    let first = ops
        .revoke(revoke("k0", alice()))
        .await
        .unwrap()
        .into_inner()
        .revision;
    for number in 1..6 {
        ops.revoke(revoke(&format!("k{number}"), alice())).await.unwrap();
    }
    let other_epoch = format!("{}.1", "b".repeat(26).replace('b', "a"));
    let mut lost = watch(&desk, "ops", &other_epoch).await.map(drop).unwrap_err();
    assert_eq!(
        (lost.code(), reason(&lost)),
        (Code::OutOfRange, "REVISION_LOST".into())
    );
    // Trimmed entries are missed once a tick has told.
    let trimmed = async {
        loop {
            match watch(&desk, "ops", &first).await {
                Err(status) => break status,
                Ok(_) => tokio::task::yield_now().await,
            }
        }
    };
    lost = tokio::time::timeout(Duration::from_secs(20), trimmed)
        .await
        .unwrap();
    assert_eq!(
        (lost.code(), reason(&lost)),
        (Code::OutOfRange, "REVISION_LOST".into())
    );
    for bad in ["x", "1", ".", "aaa.1"] {
        let status = watch(&desk, "ops", bad).await.map(drop).unwrap_err();
        assert_eq!(fields(&status), ["after"], "{bad:?}");
    }
}

#[tokio::test]
async fn a_watch_ends_when_the_server_does_which_does_not_wait_for_it() {
    let mut desk = Desk::start().await;
    let mut stream = watch(&desk, "ops", "").await.unwrap();
    next(&mut stream).await.unwrap();
    desk.stop.cancel();
    let status = next(&mut stream).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::Unavailable, "STOPPING".into())
    );
    drop(stream);
    let stopped = desk.stopped.take().unwrap();
    tokio::time::timeout(Duration::from_secs(20), stopped)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn no_more_watch_at_once_than_may() {
    let desk = Desk::start_with(Options {
        limits: natsgate_decision::RevocationsLimits {
            max_watches: 1,
            ..Default::default()
        },
        ..Options::default()
    })
    .await;
    let mut first = watch(&desk, "ops", "").await.unwrap();
    next(&mut first).await.unwrap();
    let status = watch(&desk, "ops", "").await.map(drop).unwrap_err();
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::ResourceExhausted, "OVERLOADED".into())
    );
    // Revoking goes on all the same.
    desk.revoking("ops")
        .await
        .revoke(revoke("k", alice()))
        .await
        .unwrap();
    assert!(desk.log.follower.position().revision().is_some());
}
