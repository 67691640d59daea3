//! nats-server as a child process: every pinned version starts, restarts on its ports, and is gone when dropped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic; clippy.toml's leave for tests does not reach helpers in tests/"
)]

use std::path::Path;
use std::time::Duration;

use natsgate_devkit::{ClusterOptions, DevkitError, NatsServer, NatsServerOptions, NatsVersion};

async fn connect(server: &NatsServer) -> async_nats::Client {
    async_nats::connect(server.client_url()).await.unwrap()
}

#[tokio::test]
async fn every_version_starts_and_says_which_it_is() {
    for version in NatsVersion::ALL {
        let server = NatsServer::start(NatsServerOptions {
            version,
            ..Default::default()
        })
        .await
        .unwrap();
        assert_eq!(connect(&server).await.server_info().version, version.as_str());
    }
}

#[tokio::test]
async fn several_servers_run_at_once_on_ports_of_their_own() {
    let start = || NatsServer::start(NatsServerOptions::default());
    let (a, b, c) = tokio::try_join!(start(), start(), start()).unwrap();
    let (a, b, c) = (connect(&a).await, connect(&b).await, connect(&c).await);
    let ids = [a, b, c].map(|client| client.server_info().server_id);
    assert!(
        ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2],
        "{ids:?}"
    );
}

#[tokio::test]
async fn a_restarted_server_keeps_its_ports_and_its_store() {
    let mut server = NatsServer::start(NatsServerOptions {
        websocket: Some("no_tls: true".to_owned()),
        monitoring: true,
        jetstream: true,
        name: Some("one".to_owned()),
        ..Default::default()
    })
    .await
    .unwrap();
    let urls = |server: &NatsServer| {
        [
            Some(server.client_url()),
            server.websocket_url(),
            server.monitoring_url(),
        ]
        .map(|url| url.unwrap().to_owned())
    };
    let (before, first_id, pid) = (
        urls(&server),
        connect(&server).await.server_info().server_id,
        server.id(),
    );
    std::fs::write(server.store_dir().join("kept"), "yes").unwrap();

    server.kill().unwrap();
    assert!(!server.is_running());
    server.restart().await.unwrap();

    assert_eq!(urls(&server), before);
    assert_ne!(server.id(), pid);
    let info = connect(&server).await.server_info();
    assert_ne!(info.server_id, first_id);
    assert_eq!(info.server_name, "one");
    assert!(server.store_dir().join("kept").exists());
}

#[tokio::test]
async fn a_dropped_server_leaves_no_process_and_no_file() {
    let server = NatsServer::start(NatsServerOptions::default()).await.unwrap();
    let (process, store) = (format!("/proc/{}", server.id().unwrap()), server.store_dir());
    assert!(Path::new(&process).exists() && store.exists());
    drop(server);
    assert!(!Path::new(&process).exists());
    assert!(!store.exists());
}

#[tokio::test]
async fn a_stopped_server_has_said_goodbye() {
    let mut server = NatsServer::start(NatsServerOptions::default()).await.unwrap();
    server.stop().await.unwrap();
    assert!(server.logs().contains("Server Exiting"), "{}", server.logs());
    assert!(async_nats::connect(server.client_url()).await.is_err());
}

#[tokio::test]
async fn a_refused_configuration_is_told_in_the_servers_words() {
    let options = NatsServerOptions {
        config: "no_such_setting: 1".to_owned(),
        ..Default::default()
    };
    let error = NatsServer::start(options).await.unwrap_err();
    assert!(matches!(error, DevkitError::Exited { .. }), "{error}");
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn servers_form_a_cluster() {
    let member = |routes| NatsServerOptions {
        cluster: Some(ClusterOptions {
            name: "three".to_owned(),
            routes,
        }),
        ..Default::default()
    };
    let first = NatsServer::start(member(Vec::new())).await.unwrap();
    let route = first.cluster_url().unwrap().to_owned();
    let second = NatsServer::start(member(vec![route])).await.unwrap();

    let (near, far) = (connect(&first).await, connect(&second).await);
    let mut heard = near.subscribe("across").await.unwrap();
    near.flush().await.unwrap();
    // The route forms in the background: publish until the interest has crossed it.
    let crossed = async {
        loop {
            far.publish("across", "hello".into()).await.unwrap();
            far.flush().await.unwrap();
            if let Ok(message) =
                tokio::time::timeout(Duration::from_millis(50), futures::StreamExt::next(&mut heard)).await
            {
                break message.unwrap();
            }
        }
    };
    let message = tokio::time::timeout(Duration::from_secs(30), crossed)
        .await
        .unwrap();
    assert_eq!(&message.payload[..], b"hello");
}
