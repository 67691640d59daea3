//! A revocation that arrives while a decision is made: what was decided before is not given.

use std::sync::atomic::Ordering;

use natsgate_core::Selector;

use crate::scene::{Scene, Session, membership, person, until};

#[tokio::test]
async fn a_grant_from_before_a_revocation_is_asked_for_again() {
    let scene = Scene::new().await;
    scene.decisions.set("alice", &["apollo", "gemini"]);
    let shim = scene.shim().await;
    // The answer is known, and held back.
    let permits = scene.decisions.gate.available_permits();
    scene.decisions.gate.forget_permits(permits);
    let url = scene.nats.client_url().to_owned();
    let connecting = tokio::spawn(async move { Session::open(&url, "alice").await });
    until("it was asked", async || {
        scene.decisions.asked.load(Ordering::SeqCst) == 1
    })
    .await;
    scene.decisions.set("alice", &["gemini"]);
    let entry = scene.revoke(membership("alice", "apollo")).await;
    scene.done(entry, 1).await;
    scene.decisions.gate.add_permits(10);
    let alice = connecting.await.unwrap().expect("let in");
    assert_eq!(shim.counters.asked_again.load(Ordering::Relaxed), 1);
    // Whoever decides was told how much it has to know.
    let told = scene.decisions.told.lock().unwrap().clone();
    assert_eq!(told.len(), 2);
    assert_ne!(told[0], told[1]);
    assert!(alice.is_open().await);
    shim.stop().await;
}

#[tokio::test]
async fn one_that_does_not_concern_it_changes_nothing() {
    let scene = Scene::new().await;
    scene.decisions.set("alice", &["apollo"]);
    let shim = scene.shim().await;
    let permits = scene.decisions.gate.available_permits();
    scene.decisions.gate.forget_permits(permits);
    let url = scene.nats.client_url().to_owned();
    let connecting = tokio::spawn(async move { Session::open(&url, "alice").await });
    until("it was asked", async || {
        scene.decisions.asked.load(Ordering::SeqCst) == 1
    })
    .await;
    let entry = scene.revoke(person("bob")).await;
    scene.done(entry, 1).await;
    scene.decisions.gate.add_permits(10);
    connecting.await.unwrap().expect("let in");
    assert_eq!(shim.counters.asked_again.load(Ordering::Relaxed), 0);
    shim.stop().await;
}

#[tokio::test]
async fn a_connection_in_its_callout_can_be_closed_by_name() {
    let scene = Scene::new().await;
    scene.decisions.set("alice", &["apollo"]);
    let shim = scene.shim().await;
    // The first client's id tells the next one's.
    let first = scene.connect("alice").await;
    let info = first.client.server_info();
    let permits = scene.decisions.gate.available_permits();
    scene.decisions.gate.forget_permits(permits);
    let url = scene.nats.client_url().to_owned();
    let connecting = tokio::spawn(async move { Session::open(&url, "alice").await });
    until("it was asked", async || {
        scene.decisions.asked.load(Ordering::SeqCst) == 2
    })
    .await;
    let entry = scene
        .revoke(Selector::Session {
            server_id: info.server_id.clone(),
            client_id: info.client_id + 1,
        })
        .await;
    let done = scene.done(entry, 1).await;
    assert_eq!(done[0].closed, 1, "{done:?}");
    scene.decisions.gate.add_permits(10);
    assert!(connecting.await.unwrap().is_err());
    assert!(first.is_open().await);
    shim.stop().await;
}
