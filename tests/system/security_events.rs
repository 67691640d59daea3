//! Events from outside: a certified provider tells natsgate that somebody logged out, a directory that somebody left.

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use natsgate_core::{Clock, SystemClock};
use natsgate_devkit::{LOGOUT_CLIENT, OidcProvider, OidcProviderOptions};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Folder, Gateway, command, decision_section, free_port, install_crypto};

const SECRET: &str = "no-secret-but-one-for-tests-0123456789";

/// The `decision` section with back-channel logout and a webhook, listening for events on `port`.
fn config(issuer: &str, listen: u16, port: u16) -> String {
    let hook = json!({
        "name": "directory",
        "secrets": ["${DIRECTORY_SECRET}"],
        "revokes": [{
            "when": [{"pointer": "/event", "equals": "user.disabled"}],
            "selector": {"principal": {"issuer": issuer, "subject": {"pointer": "/user/id"}}},
        }],
    });
    format!(
        "{}  http: {{ listen: 127.0.0.1:{port} }}\n  backchannel_logout:\n    - {{ provider: test, audiences: [{LOGOUT_CLIENT}], \
         require_type: true }}\n  webhooks:\n    - {hook}\n",
        decision_section(issuer, Some(listen))
    )
}

/// The events of the audit, by what they name.
fn revoked(gateway: &Gateway, name: &str) -> Vec<Value> {
    let lines = gateway.lines("natsgate::audit");
    let events = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .filter(|event| event["outcome"] == "revoked" && event.get(name).is_some())
        .collect()
}

#[tokio::test]
async fn a_certified_provider_logs_somebody_out_and_a_directory_disables_somebody() {
    install_crypto();
    let (listen, port) = (free_port(), free_port());
    let options = OidcProviderOptions {
        backchannel_logout_uri: Some(format!("http://127.0.0.1:{port}/backchannel-logout")),
        ..Default::default()
    };
    let provider = OidcProvider::start(options).await.unwrap();
    let issuer = provider.issuer();
    let folder = Folder::new(&format!(
        "log: {{ format: json }}\n{}",
        config(issuer, listen, port).replace("${DIRECTORY_SECRET}", SECRET)
    ));
    let gateway = Gateway::start_in(folder, "decision", "the decision service listens").await;

    provider.log_out("alice", "session-1").await.unwrap();
    let told = revoked(&gateway, "issuer");
    assert_eq!(told.len(), 1, "{told:?}");
    for (field, value) in [
        ("by", "provider_session"),
        ("issuer", issuer),
        ("id", "session-1"),
        ("actor", "backchannel-logout:test"),
    ] {
        assert_eq!(told[0][field], value, "{told:?}");
    }

    let body = r#"{"event": "user.disabled", "user": {"id": "bob"}}"#;
    for (secret, status) in [("another", 401), (SECRET, 200), (SECRET, 409)] {
        let answer = call(port, secret, body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    let told = revoked(&gateway, "subject");
    assert_eq!(told.len(), 1, "{told:?}");
    for (field, value) in [
        ("by", "principal"),
        ("issuer", issuer),
        ("subject", "bob"),
        ("actor", "webhook:directory"),
    ] {
        assert_eq!(told[0][field], value, "{told:?}");
    }

    let mut gateway = gateway;
    gateway.process.stop().await.unwrap();
    let logs = gateway.process.logs();
    assert!(
        logs.contains("no longer listening for events that revoke"),
        "{logs}"
    );
    assert!(logs.contains("an event from outside was refused"), "{logs}");
    assert!(!logs.contains(SECRET) && !logs.contains("eyJ"), "{logs}");
}

/// Calls the webhook `directory`, signed with `secret` at one time of this test.
async fn call(port: u16, secret: &str, body: &str) -> String {
    static NOW: LazyLock<i64> = LazyLock::new(|| SystemClock.unix_seconds());
    let timestamp = *NOW;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hmac::sign(&key, format!("{timestamp}.{body}").as_bytes());
    let signature = data_encoding::HEXLOWER.encode(signature.as_ref());
    let head = format!(
        "POST /webhooks/directory HTTP/1.1\r\nHost: natsgate\r\nContent-Type: application/json\r\nX-Signature: \
         sha256={signature}\r\nX-Timestamp: {timestamp}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn what_cannot_work_is_said_before_anything_is_started() {
    let issuer = "https://login.example";
    let good = config(issuer, 7222, 8443).replace("${DIRECTORY_SECRET}", SECRET);
    let check = |config: &str| {
        let output = command(Folder::new(config).path(), &["check-config"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains(SECRET), "{said}");
        (output.status.code(), said)
    };
    assert_eq!(check(&good).0, Some(0), "{}", check(&good).1);
    for (from, to, expected) in [
        (
            "127.0.0.1:8443",
            "0.0.0.0:8443",
            "decision.http.listen: 0.0.0.0:8443 is reachable",
        ),
        (
            "  http: { listen: 127.0.0.1:8443 }\n",
            "",
            "decision.http: is missing",
        ),
        (
            "provider: test",
            "provider: tset",
            "decision.backchannel_logout[tset].provider: there is no provider",
        ),
        (
            "[natsgate-cli]",
            "[]",
            "decision.backchannel_logout[test].audiences: must name",
        ),
        (
            "require_type: true",
            "max_age: 2h",
            "decision.backchannel_logout[test].max_age: must be 1h",
        ),
        (
            SECRET,
            "short",
            "decision.webhooks[0].secrets: has one of less than 32 bytes",
        ),
        (
            "/user/id",
            "user/id",
            "decision.webhooks[0].revokes[0].selector.subject.pointer: must be a JSON pointer",
        ),
        ("\"selector\":", "\"selector_\":", "unknown field"),
        (
            "\"name\":\"directory\"",
            "\"name\":\"a b\"",
            "decision.webhooks[0].name: ",
        ),
        (
            "\"issuer\":\"https://login.example\"",
            "\"issuer\":\"https://login.example/\"",
            "decision.webhooks[0].revokes[0].selector.issuer: is the issuer of none",
        ),
        (
            "decision:\n",
            "store: { log: { retention: 4m } }\ndecision:\n",
            "max_age: is too long for store.log.retention",
        ),
        (
            "{ listen: 127.0.0.1:8443 }",
            "{ listen: 127.0.0.1:8443, tls: { cert_file: none.pem, key_file: none.key } }",
            "decision.http.tls.cert_file: ",
        ),
    ] {
        assert!(good.contains(from), "{from}: {good}");
        let (code, said) = check(&good.replacen(from, to, 1));
        assert_eq!(code, Some(64), "{from}: {said}");
        assert!(said.contains(expected), "{from}: {said}");
    }
    let nothing = good.split("  backchannel_logout:").next().unwrap();
    let (code, said) = check(nothing);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("decision.http: is of no use"), "{said}");
}
