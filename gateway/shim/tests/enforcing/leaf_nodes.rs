//! Leaf nodes come through the callout too, and are closed like clients once they are connected.

use natsgate_devkit::{NatsServer, NatsServerOptions};

use crate::scene::{Scene, person, sums, until};

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn a_leaf_node_is_closed() {
    let port = free_port();
    let scene = Scene::with(&format!("leafnodes {{ listen: \"127.0.0.1:{port}\" }}")).await;
    scene.decisions.set("edge", &["apollo"]);
    let shim = scene.shim().await;
    // `edge` is its password, which the test's decisions take for its name.
    let remote = format!(
        "leafnodes {{ reconnect: 3600, remotes: [ {{ url: \"nats-leaf://leaf:edge@127.0.0.1:{port}\" }} ] }}"
    );
    let leaf = NatsServer::start(NatsServerOptions {
        config: remote,
        ..Default::default()
    })
    .await
    .unwrap();
    until("the leaf node is connected", async || {
        scene.nats.logs().contains("Leafnode connection created")
            && shim.counters.sessions.load(std::sync::atomic::Ordering::Relaxed) == 1
    })
    .await;
    let entry = scene.revoke(person("edge")).await;
    assert_eq!(sums(&scene.done(entry, 1).await), (1, 0));
    assert!(
        scene.nats.logs().contains("Leafnode connection closed: Kicked"),
        "{}",
        scene.nats.logs()
    );
    drop(leaf);
    shim.stop().await;
}
