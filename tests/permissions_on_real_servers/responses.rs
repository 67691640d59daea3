//! Answering requests without the right to publish.

use serde_json::{Value, json};

use crate::gate::{Gate, granted};
use crate::wire::Wire;

async fn asked(gate: &Gate, responses: Value) -> Wire {
    let rules = json!([{ "name": "service", "subscribe": { "allow": ["service"] }, "responses": responses }]);
    let mut wire = gate.entered(granted(rules)).await;
    assert!(wire.subscribe("service", None).await.errors.is_empty());
    let mut observer = gate.observer().await;
    observer.publish("service", Some("answers.1"), 1).await;
    observer.heard().await;
    let requests = wire.heard().await.messages;
    assert_eq!(requests[0].reply.as_deref(), Some("answers.1"), "{}", gate.name);
    wire
}

#[tokio::test]
async fn a_request_may_be_answered_as_often_as_granted_and_nothing_else_published() {
    for gate in Gate::all().await {
        let mut wire = asked(&gate, json!({ "max_messages": 2, "ttl": "1h" })).await;
        for (subject, allowed) in [
            ("answers.2", false),
            ("service", false),
            ("answers.1", true),
            ("answers.1", true),
            ("answers.1", false),
            ("answers.1", false),
        ] {
            assert_eq!(
                wire.may_publish(subject).await,
                allowed,
                "{}: {subject}",
                gate.name
            );
        }
    }
}

#[tokio::test]
async fn a_request_may_not_be_answered_after_its_time() {
    for gate in Gate::all().await {
        // The request's way to here alone takes longer.
        let mut wire = asked(&gate, json!({ "max_messages": 2, "ttl": "1ns" })).await;
        assert!(!wire.may_publish("answers.1").await, "{}", gate.name);
    }
}

#[tokio::test]
async fn a_request_may_not_be_answered_without_that_right() {
    for gate in Gate::all().await {
        let mut wire = asked(&gate, Value::Null).await;
        assert!(!wire.may_publish("answers.1").await, "{}", gate.name);
    }
}

#[tokio::test]
async fn a_permission_to_answer_without_an_end_has_none() {
    for gate in Gate::all().await {
        let mut grant = granted(json!([{
            "name": "service",
            "subscribe": { "allow": ["service"] },
            "responses": { "max_messages": 1, "ttl": "1ns" },
        }]));
        grant
            .permissions
            .as_mut()
            .unwrap()
            .responses
            .as_mut()
            .unwrap()
            .ttl = None;
        let mut wire = gate.entered(grant).await;
        wire.subscribe("service", None).await;
        let mut observer = gate.observer().await;
        observer.publish("service", Some("answers.1"), 1).await;
        observer.heard().await;
        wire.heard().await;
        assert!(wire.may_publish("answers.1").await, "{}", gate.name);
    }
}
