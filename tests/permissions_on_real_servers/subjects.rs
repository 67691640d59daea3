//! Subjects, queue groups and denials.

use natsgate_devkit::NatsVersion;
use natsgate_proto::v1::SubscribeSubject;
use serde_json::{Value, json};

use crate::gate::{Gate, granted};

/// Whether `pattern` matches `name`, token by token.
fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.split('.'), name.split('.'));
    loop {
        match (pattern.next(), name.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(p), Some(n)) if p == "*" || p == n => {}
            _ => return false,
        }
    }
}

/// Whether an entry of a policy's subscribe list is about a subscription: one without a queue group is about all, one
/// with a queue group about that group.
fn concerns(entry: &Value, subject: &str, queue: Option<&str>) -> bool {
    match entry.as_str() {
        Some(pattern) => matches(pattern, subject),
        None => {
            let group = entry["queue"].as_str().unwrap();
            matches(entry["subject"].as_str().unwrap(), subject)
                && queue.is_some_and(|queue| matches(group, queue))
        }
    }
}

#[tokio::test]
async fn a_session_may_subscribe_to_exactly_what_is_allowed_and_not_denied() {
    let q = |subject: &str, queue: &str| json!({ "subject": subject, "queue": queue });
    let policies = [
        (json!(["jobs.>", q("jobs.a", "workers")]), json!([])),
        (json!(["jobs.a", q("jobs.>", "workers")]), json!([])),
        (json!(["jobs.*", q("*.a", "workers")]), json!([])),
        (json!([q("jobs.>", "v1.*"), q("jobs.a", "workers")]), json!([])),
        (
            json!([q(">", "workers"), "jobs.a", q("jobs.*", "v1.>")]),
            json!([]),
        ),
        (json!([">"]), json!(["jobs.a"])),
        (json!([q("jobs.>", ">")]), json!(["jobs.a"])),
        (json!(["jobs.>"]), json!([q("jobs.a", "workers")])),
        (json!([">"]), json!(["jobs.a", q("jobs.>", "workers")])),
        (
            json!([">", q("jobs.a", "v1.x")]),
            json!(["*.a", q("jobs.>", "v1.*")]),
        ),
        (json!([q("jobs.>", "workers"), "x.a"]), json!([q("jobs.a", ">")])),
    ];
    let subjects = ["jobs.a", "jobs.b", "x.a", "other"];
    let queues = [None, Some("workers"), Some("v1.x"), Some("v2"), Some("a..b")];
    for gate in Gate::all().await {
        for (allow, deny) in &policies {
            let grant = granted(json!([{ "name": "all", "subscribe": { "allow": allow, "deny": deny } }]));
            let mut wire = gate.entered(grant).await;
            let any = |list: &Value, subject, queue| {
                list.as_array()
                    .unwrap()
                    .iter()
                    .any(|entry| concerns(entry, subject, queue))
            };
            for subject in subjects {
                for queue in queues {
                    let expected = any(allow, subject, queue) && !any(deny, subject, queue);
                    let may = wire.may_subscribe(subject, queue).await;
                    assert_eq!(
                        may, expected,
                        "{}: {subject} in queue group {queue:?}, with allow {allow} and deny {deny}",
                        gate.name
                    );
                }
            }
        }
    }
}

/// Why a policy's grants say of some subjects that they are for every queue group. If this fails, a server does better.
#[tokio::test]
async fn an_allow_list_as_it_stands_is_no_union_to_a_server() {
    for gate in Gate::all().await {
        let mut grant = granted(json!([{ "name": "all", "subscribe": { "allow": ["jobs.a"] } }]));
        let workers = SubscribeSubject {
            subject: "jobs.>".into(),
            queue: "workers".into(),
        };
        grant.permissions.as_mut().unwrap().subscribe_allow.push(workers);
        let mut wire = gate.entered(grant).await;
        for (queue, allowed) in [(None, true), (Some("workers"), true), (Some("v2"), false)] {
            assert_eq!(
                wire.may_subscribe("jobs.a", queue).await,
                allowed,
                "{}: {queue:?}",
                gate.name
            );
        }
    }
}

#[tokio::test]
async fn an_empty_allow_list_allows_nothing() {
    let everything = ["a", "a.b", "$SYS.REQ.USER.INFO", "_INBOX.a.b", "$JS.API.INFO"];
    for gate in Gate::all().await {
        let mut publisher = gate
            .entered(granted(json!([{ "name": "p", "publish": { "allow": ["a.>"] } }])))
            .await;
        let mut subscriber = gate
            .entered(granted(
                json!([{ "name": "s", "subscribe": { "allow": ["a.>"] } }]),
            ))
            .await;
        for subject in everything {
            let allowed = subject == "a.b";
            assert_eq!(
                publisher.may_publish(subject).await,
                allowed,
                "{}: {subject}",
                gate.name
            );
            assert!(
                !publisher.may_subscribe(subject, None).await,
                "{}: {subject}",
                gate.name
            );
            assert!(
                !publisher.may_subscribe(subject, Some("q")).await,
                "{}: {subject}",
                gate.name
            );
            assert!(!subscriber.may_publish(subject).await, "{}: {subject}", gate.name);
            assert_eq!(
                subscriber.may_subscribe(subject, None).await,
                allowed,
                "{}: {subject}",
                gate.name
            );
        }
        assert!(!publisher.may_subscribe(">", None).await, "{}", gate.name);
    }
}

#[tokio::test]
async fn deny_wins_over_allow_for_publishing() {
    for gate in Gate::all().await {
        let rules = json!([
            { "name": "one", "publish": { "allow": [">", "a.b"], "deny": ["a.*", "b.>"] } },
            { "name": "other", "publish": { "allow": ["a.c", "b.c.d"] } },
        ]);
        let mut wire = gate.entered(granted(rules)).await;
        for (subject, allowed) in [
            ("a.b", false),
            ("a.c", false),
            ("b.c.d", false),
            ("a.b.c", true),
            ("b", true),
            ("c", true),
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

/// What a subscription to `subject` gets of a message to `a.secret.x` and one to `a.b.x`, with `deny` beside `a.>`.
async fn gets(gate: &Gate, deny: &Value, subject: &str, queue: Option<&str>) -> Vec<String> {
    let grant = granted(json!([{ "name": "all", "subscribe": { "allow": ["a.>"], "deny": deny } }]));
    let mut wire = gate.entered(grant).await;
    let heard = wire.subscribe(subject, queue).await;
    assert!(heard.errors.is_empty(), "{}: {heard:?}", gate.name);
    let mut observer = gate.observer().await;
    for to in ["a.secret.x", "a.b.x"] {
        observer.publish(to, None, 1).await;
    }
    // What the observer published has been handed out before it hears this.
    assert!(observer.heard().await.errors.is_empty());
    wire.heard()
        .await
        .messages
        .into_iter()
        .map(|message| message.subject)
        .collect()
}

#[tokio::test]
async fn a_wildcard_subscription_gets_nothing_that_is_denied_by_one_of_its_own_subjects() {
    for gate in Gate::all().await {
        for deny in [
            json!(["a.secret.x"]),
            json!(["a.secret.>"]),
            json!(["a.secret.x", { "subject": "b", "queue": "z" }]),
        ] {
            for queue in [None, Some("q")] {
                assert_eq!(
                    gets(&gate, &deny, "a.>", queue).await,
                    ["a.b.x"],
                    "{}: {queue:?}, {deny}",
                    gate.name
                );
            }
        }
    }
}

/// A server looks at what it delivers to a wildcard subscription only if it finds, when the subscription is made, that
/// the two have something in common. Older servers find less. Nothing a user JWT says mends that; if this test fails,
/// a server does better.
#[tokio::test]
async fn on_older_servers_some_denials_do_not_reach_into_wildcard_subscriptions() {
    let queue = |subject: &str| json!([{ "subject": subject, "queue": "q" }]);
    // In each case: the versions that deliver what is denied.
    let old: &[NatsVersion] = &[NatsVersion::V2_10_25];
    let older: &[NatsVersion] = &[NatsVersion::V2_10_25, NatsVersion::V2_12_8];
    let cases = [
        (json!(["a.secret.>"]), "a.*.x", None, old),
        (json!(["a.secret.>"]), "a.*.x", Some("q"), old),
        (json!(["*.secret.x"]), "a.>", None, old),
        (queue("a.secret.x"), "a.>", Some("q"), older),
        (queue("a.secret.>"), "a.*.x", Some("q"), older),
    ];
    for gate in Gate::all().await {
        for (deny, subject, queue, delivered_by) in &cases {
            let leaks = delivered_by.contains(&gate.nats.version());
            let expected: &[&str] = if leaks {
                &["a.secret.x", "a.b.x"]
            } else {
                &["a.b.x"]
            };
            let got = gets(&gate, deny, subject, *queue).await;
            assert_eq!(got, expected, "{}: {subject} {queue:?}, {deny}", gate.name);
        }
    }
}
