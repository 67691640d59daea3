//! Limits beside subjects.

use natsgate_core::{Clock, SystemClock};
use natsgate_proto::v1;
use serde_json::{Value, json};

use crate::gate::{Gate, granted};

fn limited(limits: Value) -> v1::Grant {
    granted(json!([{
        "name": "all",
        "publish": { "allow": [">"] },
        "subscribe": { "allow": [">"] },
        "limits": limits,
    }]))
}

#[tokio::test]
async fn other_kinds_of_connection_are_refused() {
    for gate in Gate::all().await {
        for (kinds, enters) in [
            (json!(["STANDARD"]), true),
            (json!(["WEBSOCKET", "STANDARD"]), true),
            (json!(["IN_PROCESS", "STANDARD"]), true),
            (json!(["WEBSOCKET"]), false),
            (json!(["IN_PROCESS"]), false),
            (json!(["LEAFNODE", "LEAFNODE_WS", "MQTT", "MQTT_WS"]), false),
        ] {
            let entered = gate.enter(limited(json!({ "connection_types": kinds }))).await;
            assert_eq!(entered.is_ok(), enters, "{}: {kinds}", gate.name);
        }
    }
}

#[tokio::test]
async fn explore_limits() {
    for gate in Gate::all().await {
        let e = gate.enter(limited(json!({ "source_networks": ["10.0.0.0/8"] }))).await;
        println!("{}: src 10/8 entered {}", gate.name, e.is_ok());
        let mut w = gate.entered(limited(json!({ "subscriptions": 2 }))).await;
        for i in 0..4 { println!("{}: sub {i} of 2: {:?}", gate.name, w.subscribe(&format!("s.{i}"), None).await); }
        let mut w = gate.entered(limited(json!({ "payload": 10 }))).await;
        w.publish("a", None, 11).await;
        println!("{}: payload 11 of 10: {:?}", gate.name, w.heard().await);
    }
}

#[tokio::test]
async fn a_session_is_closed_when_its_grant_expires() {
    for gate in Gate::all().await {
        let mut grant = limited(json!({ "data": 1_000_000 }));
        let seconds = SystemClock.unix_seconds() + 2;
        grant.expires_at = Some(prost_types::Timestamp { seconds, nanos: 0 });
        let mut wire = gate.entered(grant).await;
        let heard = wire.until_closed().await;
        assert_eq!(heard.errors, ["'User Authentication Expired'"], "{}", gate.name);
        assert!(SystemClock.unix_seconds() >= seconds, "{}", gate.name);
    }
}
