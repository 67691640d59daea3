//! Mistakes in documents, each found and named.

use serde_json::{Value, json};

use super::*;

fn compiled(document: Value) -> Result<Policy, Vec<PolicyError>> {
    compile(&serde_json::from_value(document).unwrap())
}

fn with_rule(mut rule: Value) -> Vec<String> {
    rule.as_object_mut().unwrap().entry("name").or_insert(json!("r"));
    let document = json!({"version": 1, "account": "APP", "rules": [rule]});
    compiled(document)
        .err()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn all_mistakes_are_told_at_once_with_their_keys() {
    let errors = compiled(json!({
        "version": 2,
        "rules": [
            {"name": "", "publish": {"allow": ["a..b"], "deny": ["ok", "{nobody}"]}},
            {"name": "x", "for_each": {"membership": {"kind": [], "role": ""}}, "when": "nobody == 1",
             "account": "a.b", "subscribe": {"allow": ["{membership.id}", {"subject": "*x", "queue": "a b"}]}},
            {"name": "x", "responses": {"max_messages": 0}},
            {"name": "y"},
        ],
    }))
    .unwrap_err();
    let keys: Vec<&str> = errors.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "version",
            "rules[0].name",
            "rules[2].name",
            "rules[1].when",
            "rules[0].publish.allow[0]",
            "rules[0].publish.deny[1]",
            "rules[1].for_each.membership.kind",
            "rules[1].for_each.membership.role",
            "rules[1].account",
            "rules[1].subscribe.allow[1]",
            "rules[1].subscribe.allow[1].queue",
            "rules[2].responses.max_messages",
            "rules[3]",
        ]
    );
}

#[test]
fn a_policy_that_could_let_nobody_in_is_refused() {
    let errors = compiled(json!({"version": 1, "rules": []})).unwrap_err();
    let keys: Vec<&str> = errors.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(keys, ["rules", "account"]);
    let named_by_a_rule = json!({"version": 1, "rules": [{"name": "r", "account": "APP"}]});
    assert!(compiled(named_by_a_rule).is_ok());
}

#[test]
fn limits_that_would_mean_none_or_nonsense_are_refused() {
    for (limits, says) in [
        (json!({}), "rules[0].limits: limits nothing"),
        (
            json!({"subscriptions": 0}),
            "rules[0].limits.subscriptions: must be from 1 to 2147483647",
        ),
        (
            json!({"payload": 4_294_967_295_u64}),
            "rules[0].limits.payload: must be",
        ),
        (json!({"data": u64::MAX}), "rules[0].limits.data: must be"),
        (
            json!({"connection_types": []}),
            "rules[0].limits.connection_types: an empty list",
        ),
        (
            json!({"connection_types": ["standard"]}),
            "rules[0].limits.connection_types[0]: no such",
        ),
        (
            json!({"source_networks": []}),
            "rules[0].limits.source_networks: an empty list",
        ),
        (json!({"source_networks": ["10.0.0.1/8"]}), "write 10.0.0.0/8"),
        (
            json!({"source_networks": ["10.0.0.0/8", "here"]}),
            "rules[0].limits.source_networks[1]: \"here\" is not",
        ),
        (
            json!({"times": {"windows": []}}),
            "rules[0].limits.times.windows: an empty list",
        ),
        (
            json!({"times": {"windows": [{"start": "8:00", "end": "18:00:00"}]}}),
            "windows[0].start: a time of day",
        ),
        (
            json!({"times": {"windows": [{"start": "08:00:00", "end": "08:00:00"}]}}),
            "ends when it begins",
        ),
        (
            json!({"times": {"windows": [{"start": "08:00:00", "end": "09:00:00"}], "location": "Berlin"}}),
            "IANA",
        ),
        (
            json!({"expires_in": "0s"}),
            "rules[0].limits.expires_in: must be at least 1s",
        ),
    ] {
        let errors = with_rule(json!({"limits": limits}));
        assert!(errors.iter().any(|e| e.contains(says)), "{says}: {errors:?}");
    }
    let fine = json!({
        "subscriptions": 1, "payload": 1024, "data": 1, "connection_types": ["STANDARD"],
        "source_networks": ["10.0.0.0/8", "192.0.2.1", "fd00::/8"], "expires_in": "1h",
        "times": {"windows": [{"start": "22:00:00", "end": "06:00:00"}], "location": "Europe/Berlin"},
    });
    assert_eq!(with_rule(json!({"limits": fine})), Vec::<String>::new());
}

#[test]
fn response_permissions_must_be_possible() {
    assert!(with_rule(json!({"responses": {}})).is_empty());
    for bad in [
        json!({"ttl": "0s"}),
        json!({"ttl": "300years"}),
        json!({"max_messages": 0}),
    ] {
        assert_eq!(with_rule(json!({"responses": bad})).len(), 1);
    }
}

#[test]
fn a_rule_says_in_one_place_what_a_session_may_do() {
    let template = json!({"name": "member", "tags": {"project": "{claims.project}"}});
    assert_eq!(with_rule(json!({"template": template})), Vec::<String>::new());
    for (rule, says) in [
        (
            json!({"template": template, "publish": {"deny": ["a"]}}),
            "only one of these",
        ),
        (
            json!({"template": template, "responses": {}}),
            "only one of these",
        ),
        (
            json!({"template": template, "account_defaults": true}),
            "only one of these",
        ),
        (
            json!({"account_defaults": true, "subscribe": {"allow": ["a"]}}),
            "only one of these",
        ),
        (
            json!({"template": template, "limits": {"payload": 1}}),
            "rules[0].limits.payload: nats-server takes it",
        ),
        (
            json!({"template": {"name": "a.b"}}),
            "rules[0].template.name: a template's name has",
        ),
        (
            json!({"template": {"name": "a", "tags": {"A": "x"}}}),
            "rules[0].template.tags.A: a tag's name",
        ),
        (
            json!({"template": {"name": "a", "tags": {"a": "x.y"}}}),
            "rules[0].template.tags.a: a name is one token",
        ),
        (
            json!({"template": {"name": "a", "tags": {"a": "{membership.id}"}}}),
            "rules[0].template.tags.a",
        ),
    ] {
        let errors = with_rule(rule);
        assert!(
            errors.iter().any(|error| error.contains(says)),
            "{says}: {errors:?}"
        );
    }
}

#[test]
fn too_many_rules_are_refused() {
    let rules: Vec<Value> = (0..=MAX_RULES)
        .map(|n| json!({"name": n.to_string(), "publish": {"allow": ["a"]}}))
        .collect();
    let errors = compiled(json!({"version": 1, "account": "A", "rules": rules})).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
}

#[test]
fn the_digest_is_of_what_is_said_not_of_how() {
    let digest = |rule: Value| {
        let document = json!({"version": 1, "account": "APP", "rules": [rule]});
        compiled(document).unwrap().digest().to_owned()
    };
    let one = digest(json!({"name": "r", "publish": {"allow": ["a"]}, "limits": {"expires_in": "60m"}}));
    let same = digest(json!({
        "limits": {"expires_in": "1h", "payload": null}, "publish": {"deny": [], "allow": ["a"]}, "name": "r",
    }));
    let other = digest(json!({"name": "r", "publish": {"deny": ["a"]}, "limits": {"expires_in": "60m"}}));
    assert_eq!(one, same);
    assert_ne!(one, other);
    assert_eq!(one.len(), 64);
}

#[test]
fn a_policy_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Policy>();
}
