//! What the listener takes, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use natsgate_decision::HttpTls;
use natsgate_decision::security_events::Refusal;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;

use crate::log::Mood;
use crate::scene::{FORM, JSON, Options, Scene, listen, post, talk};

#[tokio::test]
async fn only_what_there_is_is_answered() {
    let scene = Scene::start().await;
    for path in [
        "/",
        "/backchannel-logout/",
        "/webhooks/",
        "/webhooks/none",
        "/webhooks/directory/",
        "/webhooks/Directory",
        "/webhooks/%64irectory",
        "//webhooks/directory",
        "/metrics",
    ] {
        let answer = scene.post(path, JSON, b"{}").await;
        assert_eq!(
            (answer.status, answer.error().0.as_str()),
            (404, "not_found"),
            "{path}"
        );
        assert!(!answer.body.contains("directory"), "{answer:?}");
    }
    assert_eq!(scene.counted("unknown"), [0, 0, 0, 9]);
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        for path in ["/backchannel-logout", "/webhooks/directory"] {
            let answer = scene
                .send(&format!("{method} {path} HTTP/1.1\r\nHost: natsgate\r\n"), b"")
                .await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert!(answer.head.contains("allow: post"), "{answer:?}");
        }
    }
    assert_eq!(scene.refused("webhook:directory", Refusal::Method), 5);
    assert_eq!(scene.refused("backchannel-logout", Refusal::Method), 5);
    assert!(scene.log.changes().await.is_empty());
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let scene = Scene::start().await;
    let token = scene.token(|spec| spec);
    let body = |more: usize| {
        let start = format!("logout_token={token}&x=");
        let filling = "x".repeat(64 * 1024 + more - start.len());
        format!("{start}{filling}")
    };
    let answer = scene.post("/backchannel-logout", FORM, body(1).as_bytes()).await;
    assert_eq!((answer.status, answer.error().0.as_str()), (413, "too_large"));
    // In pieces, with no length stated.
    let text = body(1);
    let chunked = format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
    let head = format!(
        "POST /backchannel-logout HTTP/1.1\r\nHost: natsgate\r\n{FORM}Transfer-Encoding: chunked\r\n"
    );
    assert_eq!(scene.send(&head, chunked.as_bytes()).await.status, 413);
    // Not read at all.
    let answer = scene
        .send(&post("/webhooks/directory", JSON, 1_000_000_000), b"")
        .await;
    assert_eq!(answer.status, 413);
    let large_head = format!("X-More: {}\r\n{FORM}", "x".repeat(20_000));
    assert_eq!(
        scene.post("/backchannel-logout", &large_head, b"").await.status,
        431
    );
    assert!(scene.log.changes().await.is_empty());
    assert_eq!(scene.refused("backchannel-logout", Refusal::TooLarge), 2);

    assert_eq!(
        scene
            .post("/backchannel-logout", FORM, body(0).as_bytes())
            .await
            .status,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_is_slow_is_not_waited_for() {
    let scene = Scene::start().await;
    // No head, half a head, half a body: time passes by itself where nothing else happens.
    for sent in ["", "POST /backchannel-logout HTTP/1.1\r\nHost: nats"] {
        let mut slow = scene.connect().await;
        slow.write_all(sent.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut slow, &mut heard)
            .await
            .unwrap();
        assert!(!heard.starts_with(b"HTTP/1.1 2"), "{heard:?}");
    }
    let head = post("/backchannel-logout", FORM, 100);
    let answer = scene.send(&head, b"logout_token=x").await;
    assert_eq!((answer.status, answer.error().0.as_str()), (408, "too_slow"));
    assert_eq!(scene.refused("backchannel-logout", Refusal::TooSlow), 1);
}

#[tokio::test]
async fn with_tls_nothing_else_is_spoken() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = HttpTls {
        certificate: made.cert.pem(),
        key: made.signing_key.serialize_pem().into(),
    };
    let scene = Scene::start_with(Options {
        tls: Some(tls),
        ..Options::default()
    })
    .await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(made.cert.der().to_vec())).unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").unwrap();
    let stream = connector.connect(name, scene.connect().await).await.unwrap();
    let body = format!("logout_token={}", scene.token(|spec| spec));
    let answer = talk(
        stream,
        &post("/backchannel-logout", FORM, body.len()),
        body.as_bytes(),
    )
    .await;
    assert_eq!(answer.status, 200, "{answer:?}");

    let mut plain = scene.connect().await;
    plain
        .write_all(post("/backchannel-logout", FORM, 0).as_bytes())
        .await
        .unwrap();
    let mut heard = Vec::new();
    let _end = tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut heard).await;
    assert!(!heard.starts_with(b"HTTP"), "{heard:?}");
    assert_eq!(scene.log.changes().await.len(), 1);
}

#[tokio::test]
async fn what_was_begun_is_finished_before_the_end() {
    let mut scene = Scene::start().await;
    scene.log.set(Mood::Holds);
    let body = format!("logout_token={}", scene.token(|spec| spec));
    let mut caller = scene.connect().await;
    let head = post("/backchannel-logout", FORM, body.len());
    caller
        .write_all(format!("{head}\r\n{body}").as_bytes())
        .await
        .unwrap();
    let idle = scene.connect().await;
    scene.log.called(1).await;
    scene.stop.cancel();
    // Whoever has asked nothing is let go at once.
    let mut heard = Vec::new();
    let mut idle = idle;
    let _end = tokio::io::AsyncReadExt::read_to_end(&mut idle, &mut heard).await;
    assert!(heard.is_empty());
    assert!(!scene.serving.is_finished());
    scene.log.set(Mood::Well);
    assert_eq!(listen(caller).await.status, 200);
    tokio::time::timeout(Duration::from_secs(20), &mut scene.serving)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(scene.log.changes().await.len(), 1);
    assert!(tokio::net::TcpStream::connect(scene.address).await.is_err());
}
