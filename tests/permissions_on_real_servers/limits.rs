//! Limits beside subjects.
//!
//! To a session that came through the callout no server known to us applies `subs`, `payload`, `src` and
//! `allowed_connection_types` of its user JWT: it forgets the JWT once it has taken permissions, times and expiry from it
//! (`processClientOrLeafCallout`). What a user JWT says of them is therefore tried with a client that logs in with that
//! JWT, and that nothing of it holds behind the callout is tried too: whoever promises these limits has to keep them
//! otherwise.

use futures::future::join_all;
use natsgate_core::{Clock, SystemClock};
use natsgate_proto::v1;
use serde_json::{Value, json};

use crate::gate::{Gate, granted};
use crate::wire::Wire;

fn limited(limits: Value) -> v1::Grant {
    granted(json!([{
        "name": "all",
        "publish": { "allow": [">"] },
        "subscribe": { "allow": [">"] },
        "limits": limits,
    }]))
}

/// Of five subscriptions, how many `wire` may make.
async fn subscriptions(wire: &mut Wire) -> usize {
    let mut made = 0;
    for number in 0..5 {
        let heard = wire.subscribe(&format!("s.{number}"), None).await;
        made += usize::from(heard.errors.is_empty() && !heard.closed);
    }
    made
}

/// Whether `wire` may publish `size` bytes.
async fn may_send(wire: &mut Wire, size: usize) -> bool {
    wire.publish("a", None, size).await;
    let heard = wire.heard().await;
    assert!(
        heard.errors.is_empty() || heard.errors == ["'Maximum Payload Violation'"],
        "{heard:?}"
    );
    heard.errors.is_empty()
}

const KINDS: [(&[&str], bool); 6] = [
    (&["STANDARD"], true),
    (&["WEBSOCKET", "STANDARD"], true),
    (&["IN_PROCESS", "STANDARD"], true),
    (&["WEBSOCKET"], false),
    (&["IN_PROCESS"], false),
    (&["LEAFNODE", "LEAFNODE_WS", "MQTT", "MQTT_WS"], false),
];

const NETWORKS: [(&[&str], bool); 4] = [
    (&["127.0.0.0/8"], true),
    (&["10.0.0.0/8", "127.0.0.1/32"], true),
    (&["10.0.0.0/8"], false),
    (&["::1/128"], false),
];

#[tokio::test]
async fn a_user_jwt_s_limits_hold_for_whoever_logs_in_with_it() {
    for gate in Gate::all().await {
        for (kinds, enters) in KINDS {
            let Some(entered) = gate.log_in(&limited(json!({ "connection_types": kinds }))).await else {
                continue;
            };
            assert_eq!(entered.is_ok(), enters, "{}: {kinds:?}", gate.name);
        }
        for (networks, enters) in NETWORKS {
            let Some(entered) = gate
                .log_in(&limited(json!({ "source_networks": networks })))
                .await
            else {
                continue;
            };
            assert_eq!(entered.is_ok(), enters, "{}: {networks:?}", gate.name);
        }
        let Some(wire) = gate
            .log_in(&limited(json!({ "subscriptions": 2, "payload": 10 })))
            .await
        else {
            continue;
        };
        let mut wire = wire.unwrap();
        assert_eq!(subscriptions(&mut wire).await, 2, "{}", gate.name);
        assert!(may_send(&mut wire, 10).await, "{}", gate.name);
        assert!(!may_send(&mut wire, 11).await, "{}", gate.name);
    }
}

#[tokio::test]
async fn limits_beyond_32_bits_are_neither_cut_off_nor_unlimited() {
    for gate in Gate::all().await {
        for limit in [
            i32::MAX as u64,
            1 << 31,
            u64::from(u32::MAX),
            1 << 32,
            (1 << 32) + 2,
            u64::MAX,
        ] {
            // A policy would be refused; a decision service of another make may say so all the same.
            let mut grant = limited(json!({ "subscriptions": 2 }));
            grant.limits = Some(v1::Limits {
                subscriptions: Some(limit),
                payload: Some(limit),
                ..v1::Limits::default()
            });
            let Some(wire) = gate.log_in(&grant).await else {
                continue;
            };
            let mut wire = wire.unwrap();
            assert_eq!(subscriptions(&mut wire).await, 5, "{}: {limit}", gate.name);
            assert!(may_send(&mut wire, 100).await, "{}: {limit}", gate.name);
        }
    }
}

/// If this fails, a server does better, and natsgate may rely on it there.
#[tokio::test]
async fn no_server_holds_a_session_of_the_callout_to_these_limits() {
    for gate in Gate::all().await {
        let mut wire = gate
            .entered(limited(json!({
                "subscriptions": 2,
                "payload": 10,
                "connection_types": ["WEBSOCKET"],
                "source_networks": ["10.0.0.0/8"],
            })))
            .await;
        assert_eq!(subscriptions(&mut wire).await, 5, "{}", gate.name);
        assert!(may_send(&mut wire, 11).await, "{}", gate.name);
    }
}

#[tokio::test]
async fn a_session_is_closed_when_its_grant_expires() {
    let gates = Gate::all().await;
    join_all(gates.iter().map(async |gate| {
        let mut grant = limited(json!({ "data": 1_000_000 }));
        let seconds = SystemClock.unix_seconds() + 2;
        grant.expires_at = Some(prost_types::Timestamp { seconds, nanos: 0 });
        let heard = gate.entered(grant).await.until_closed().await;
        assert_eq!(heard.errors, ["'User Authentication Expired'"], "{}", gate.name);
        assert!(SystemClock.unix_seconds() >= seconds, "{}: too early", gate.name);
    }))
    .await;
}
