//! Who is concerned is closed, and nobody else.

use std::sync::atomic::Ordering;

use natsgate_core::{Board, Change, Deadline, Pace, Selector};

use crate::scene::{PATIENCE, Scene, Session, person, project, sums, until};

#[tokio::test]
async fn a_person_s_sessions_are_closed_and_no_others() {
    let scene = Scene::new().await;
    for (name, projects) in [("alice", &["apollo"][..]), ("bob", &["apollo"])] {
        scene.decisions.set(name, projects);
    }
    let shim = scene.shim().await;
    let (one, two, bob) = (
        scene.connect("alice").await,
        scene.connect("alice").await,
        scene.connect("bob").await,
    );
    let entry = scene.revoke(person("alice")).await;
    one.closed().await;
    two.closed().await;
    assert_eq!(sums(&scene.done(entry, 1).await), (2, 0));
    assert!(bob.is_open().await);
    // She may come back, and what she gets then is not older than that.
    let again = Session::open(scene.nats.client_url(), "alice").await.unwrap();
    let entry = scene.revoke(person("bob")).await;
    bob.closed().await;
    assert_eq!(sums(&scene.done(entry, 1).await), (1, 0));
    assert!(again.is_open().await);
    shim.stop().await;
}

#[tokio::test]
async fn by_resource_by_account_and_by_session() {
    let scene = Scene::new().await;
    scene.decisions.set("alice", &["apollo"]);
    scene.decisions.set("bob", &["gemini"]);
    let shim = scene.shim().await;
    let (alice, bob) = (scene.connect("alice").await, scene.connect("bob").await);
    let entry = scene.revoke(project("apollo")).await;
    alice.closed().await;
    assert_eq!(sums(&scene.done(entry, 1).await), (1, 0));
    assert!(bob.is_open().await);

    let info = bob.client.server_info();
    let entry = scene
        .revoke(Selector::Session {
            server_id: info.server_id.clone(),
            client_id: info.client_id,
        })
        .await;
    bob.closed().await;
    assert_eq!(sums(&scene.done(entry, 1).await), (1, 0));

    let (alice, bob) = (scene.connect("alice").await, scene.connect("bob").await);
    let spread = Change::Revoked {
        selector: Selector::Account { name: "APP".into() },
        reason: String::new(),
        actor: String::new(),
        pace: Pace::Spread {
            over: std::time::Duration::from_millis(100),
        },
        ban: None,
    };
    let entry = scene.append(spread).await;
    alice.closed().await;
    bob.closed().await;
    assert_eq!(sums(&scene.done(entry, 1).await), (2, 0));
    let entry = scene.revoke(person("nobody")).await;
    assert_eq!(sums(&scene.done(entry, 1).await), (0, 0));
    shim.stop().await;
}

#[tokio::test]
async fn the_index_says_who_is_there() {
    let scene = Scene::new().await;
    scene.decisions.set("alice", &["apollo"]);
    let shim = scene.shim().await;
    let alice = scene.connect("alice").await;
    let listed = async || {
        let deadline = Deadline::after(PATIENCE);
        scene
            .board
            .sessions("test", None, 10, deadline)
            .await
            .unwrap()
            .sessions
    };
    until("alice is listed", async || listed().await.len() == 1).await;
    let record = listed().await.remove(0);
    assert_eq!(record.key.client_id, alice.client.server_info().client_id);
    assert_eq!(record.principal.unwrap().subject, "alice");
    assert!(record.as_of.is_some() && record.connected_at.is_some());
    until("it is counted", async || {
        shim.counters.sessions.load(Ordering::Relaxed) == 1
    })
    .await;
    drop(alice);
    until("she is gone", async || listed().await.is_empty()).await;
    shim.stop().await;
}
