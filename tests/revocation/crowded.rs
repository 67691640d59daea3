//! The crowd by itself.

use std::sync::Arc;

use natsgate_faults::crowd::held_by;
use natsgate_faults::{Right, SiteOptions};

use crate::scene::{PATIENCE, Scene};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_knows_what_it_may_do_and_when_it_was_closed() {
    let mut scene = Scene::new(SiteOptions::default()).await;
    scene.site.members.add("alice", "apollo");
    let clients = scene.join("alice", 30);
    scene.all_in(&clients).await;
    let rights: Arc<[Right]> = [Right::of_project("apollo"), Right::of_project("gemini")].into();
    for held in held_by(&clients, &rights, PATIENCE).await {
        let held = held.expect("it is connected");
        assert!(held.all(0) && !held.any(1), "{held:?}");
    }

    let kicked = clients[7].look(|view| view.open().unwrap().clone());
    assert!(scene.site.system.kick(&kicked.server_id, kicked.client_id).await);
    let closed = || clients[7].look(|view| view.lives[0].closed.is_some() && view.open().is_some());
    assert!(
        scene.crowd.until(PATIENCE, closed).await,
        "it was not closed, or did not come back"
    );
    assert!(!scene.site.system.kick(&kicked.server_id, kicked.client_id).await);
    let others = clients.iter().enumerate().filter(|(index, _)| *index != 7);
    for (_, client) in others {
        assert_eq!(client.look(|view| view.lives.len()), 1);
    }
    assert_eq!(scene.site.system.kicked(), 1);
}
