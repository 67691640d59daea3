//! Only who loses something is closed.

use std::sync::atomic::Ordering;

use natsgate_core::{Change, Membership, PolicyGeneration};

use crate::scene::{Scene, membership, principal, sums};

fn member(id: &str) -> Membership {
    Membership {
        kind: "project".into(),
        id: id.into(),
        role: "member".into(),
    }
}

#[tokio::test]
async fn who_loses_nothing_is_left_alone() {
    let scene = Scene::new().await;
    scene.decisions.set("alice", &["apollo"]);
    let shim = scene.shim().await;
    let alice = scene.connect("alice").await;
    // Another source still has it.
    let entry = scene.revoke(membership("alice", "apollo")).await;
    assert_eq!(sums(&scene.done(entry, 1).await), (0, 1));
    // She gets more: when she next comes.
    scene.decisions.set("alice", &["apollo", "gemini"]);
    let given = |given: &[&str], taken: &[&str]| Change::MembershipsChanged {
        principal: principal("alice"),
        given: given.iter().map(|id| member(id)).collect(),
        taken: taken.iter().map(|id| member(id)).collect(),
        actor: "a test".into(),
    };
    let entry = scene.append(given(&["gemini"], &[])).await;
    assert_eq!(sums(&scene.done(entry, 1).await), (0, 1));
    assert!(alice.is_open().await);
    // What she was given meanwhile and loses again she never had.
    scene.decisions.set("alice", &["apollo"]);
    let entry = scene.append(given(&[], &["gemini"])).await;
    assert_eq!(sums(&scene.done(entry, 1).await), (0, 1));
    assert!(alice.is_open().await);
    scene.decisions.set("alice", &["gemini"]);
    let entry = scene.append(given(&["gemini"], &["apollo"])).await;
    alice.closed().await;
    assert_eq!(sums(&scene.done(entry, 1).await), (1, 0));
    shim.stop().await;
}

#[tokio::test]
async fn a_policy_closes_those_it_gives_less() {
    let scene = Scene::new().await;
    let shim = scene.shim().await;
    let mut sessions = Vec::new();
    for number in 0..20 {
        let name = format!("user{number}");
        scene.decisions.set(&name, &["apollo", "gemini"]);
        sessions.push(scene.connect(&name).await);
    }
    for number in 0..3 {
        scene.decisions.set(&format!("user{number}"), &["gemini"]);
    }
    let policy = PolicyGeneration {
        generation: 2,
        digest: "two".into(),
    };
    let entry = scene.append(Change::PolicyChanged { policy }).await;
    assert_eq!(sums(&scene.done(entry, 1).await), (3, 17));
    for (number, session) in sessions.iter().enumerate() {
        if number < 3 {
            session.closed().await;
        } else {
            assert!(session.is_open().await, "{number}");
        }
    }
    assert_eq!(scene.decisions.rechecked.load(Ordering::SeqCst), 20);
    shim.stop().await;
}

#[tokio::test]
async fn what_cannot_be_compared_is_closed() {
    let scene = Scene::new().await;
    scene.decisions.set("alice", &["apollo"]);
    let shim = scene.shim().await;
    let alice = scene.connect("alice").await;
    *scene.decisions.can_recheck.lock().unwrap() = false;
    let entry = scene.revoke(membership("alice", "apollo")).await;
    alice.closed().await;
    assert_eq!(sums(&scene.done(entry, 1).await), (1, 0));
    assert_eq!(shim.counters.incomparable.load(Ordering::Relaxed), 1);
    shim.stop().await;
}
