//! Shims look after one another's sessions.

use std::sync::atomic::Ordering;

use crate::scene::{Scene, membership, person, project, sums, until};

#[tokio::test]
async fn two_shims_close_each_its_own_and_say_so() {
    let scene = Scene::new().await;
    let shims = [scene.shim().await, scene.shim().await];
    let mut apollo = Vec::new();
    let mut gemini = Vec::new();
    for number in 0..20 {
        let (name, project, list) = match number % 2 {
            0 => (format!("a{number}"), "apollo", &mut apollo),
            _ => (format!("g{number}"), "gemini", &mut gemini),
        };
        scene.decisions.set(&name, &[project]);
        list.push(scene.connect(&name).await);
    }
    let entry = scene.revoke(project("apollo")).await;
    for session in &apollo {
        session.closed().await;
    }
    let done = scene.done(entry, 2).await;
    assert_eq!(sums(&done), (10, 0), "{done:?}");
    for session in &gemini {
        assert!(session.is_open().await);
    }
    for shim in shims {
        shim.stop().await;
    }
}

#[tokio::test]
async fn a_shim_that_starts_learns_what_another_knew() {
    let scene = Scene::new().await;
    for (name, project) in [("alice", "apollo"), ("bob", "gemini")] {
        scene.decisions.set(name, &[project]);
    }
    let first = scene.shim().await;
    let (alice, bob) = (scene.connect("alice").await, scene.connect("bob").await);
    until("both are told of", async || {
        first.counters.sessions.load(Ordering::Relaxed) == 2
    })
    .await;
    first.stop().await;
    let second = scene.shim().await;
    until("they are taken over", async || {
        second.counters.taken_over.load(Ordering::Relaxed) == 2
    })
    .await;
    // It knows what each rests on: a resource's revocation closes those it is about.
    let entry = scene.revoke(project("apollo")).await;
    alice.closed().await;
    assert_eq!(sums(&scene.done(entry, 1).await), (1, 0));
    // And what each was granted: who loses nothing is left alone.
    let entry = scene.revoke(membership("bob", "gemini")).await;
    assert_eq!(sums(&scene.done(entry, 1).await), (0, 1));
    assert!(bob.is_open().await);
    second.stop().await;
}

#[tokio::test]
async fn what_was_revoked_while_no_shim_was_there_is_carried_out_by_the_next() {
    let scene = Scene::new().await;
    for name in ["alice", "bob"] {
        scene.decisions.set(name, &["apollo"]);
    }
    let first = scene.shim().await;
    let (alice, bob) = (scene.connect("alice").await, scene.connect("bob").await);
    first.stop().await;
    scene.revoke(person("alice")).await;
    let second = scene.shim().await;
    alice.closed().await;
    until("bob was judged", async || {
        second.counters.taken_over.load(Ordering::Relaxed) == 2
    })
    .await;
    assert!(bob.is_open().await);
    second.stop().await;
}
