use serde_json::json;

use super::*;

fn rules(rules: Value) -> Result<Rules, String> {
    let rules: Vec<RevokeRule> = serde_json::from_value(rules).map_err(|error| error.to_string())?;
    Rules::new("hook", "revokes", &rules).map_err(|error| error.to_string())
}

fn one(selector: Value) -> Value {
    json!([{ "selector": selector }])
}

#[test]
fn every_selector_is_filled_from_constants_and_from_the_document() {
    let event =
        json!({"a": {"b/c": ["x", "y"], "n": 42, "big": u64::MAX, "digits": "7", "neg": -1}, "~": "t"});
    let at = |pointer: &str| json!({ "pointer": pointer });
    let principal = Principal::new("iss", "x");
    for (selector, expected) in [
        (
            json!({"principal": {"issuer": "iss", "subject": at("/a/b~1c/0")}}),
            Selector::Principal {
                principal: principal.clone(),
            },
        ),
        (
            json!({"membership": {"issuer": "iss", "subject": at("/a/b~1c/0"), "kind": "project", "id": at("/a/n")}}),
            Selector::Membership {
                principal,
                kind: "project".into(),
                id: "42".into(),
            },
        ),
        (
            json!({"resource": {"kind": "project", "id": at("/~0")}}),
            Selector::Resource {
                kind: "project".into(),
                id: "t".into(),
            },
        ),
        (
            json!({"role": {"kind": at("/a/b~1c/0"), "role": at("/a/b~1c/1")}}),
            Selector::Role {
                kind: "x".into(),
                role: "y".into(),
            },
        ),
        (
            json!({"rule": {"name": "r"}}),
            Selector::Rule { name: "r".into() },
        ),
        (
            json!({"session": {"server_id": "S", "client_id": at("/a/big")}}),
            Selector::Session {
                server_id: "S".into(),
                client_id: u64::MAX,
            },
        ),
        (
            json!({"session": {"server_id": "S", "client_id": at("/a/digits")}}),
            Selector::Session {
                server_id: "S".into(),
                client_id: 7,
            },
        ),
        (
            json!({"session": {"server_id": "S", "client_id": 5}}),
            Selector::Session {
                server_id: "S".into(),
                client_id: 5,
            },
        ),
        (
            json!({"account": {"name": at("/a/neg")}}),
            Selector::Account { name: "-1".into() },
        ),
        (
            json!({"provider": {"issuer": "iss"}}),
            Selector::Provider { issuer: "iss".into() },
        ),
        (
            json!({"signing_key": {"issuer": "iss", "key_id": "k"}}),
            Selector::SigningKey {
                issuer: "iss".into(),
                key_id: "k".into(),
            },
        ),
        (
            json!({"token": {"issuer": "iss", "token_id": at("/a/n")}}),
            Selector::Token {
                issuer: "iss".into(),
                token_id: "42".into(),
            },
        ),
        (
            json!({"provider_session": {"issuer": "iss", "session_id": at("/a/b~1c/1")}}),
            Selector::ProviderSession {
                issuer: "iss".into(),
                session_id: "y".into(),
            },
        ),
    ] {
        let rules = rules(one(selector)).unwrap();
        assert_eq!(rules.revocations(&event).unwrap(), [(expected, "webhook hook")]);
    }
}

#[test]
fn what_is_not_there_or_no_text_fills_nothing() {
    let event = json!({
        "object": {}, "list": ["x"], "null": null, "yes": true, "half": 1.5, "empty": "", "control": "a\u{0}b",
        "long": "x".repeat(1025), "minus": -1, "words": "seven", "plus": "+7",
    });
    for place in [
        "/none", "/object", "/list", "/list/1", "/null", "/yes", "/half", "/empty", "/control", "/long",
    ] {
        let rules = rules(one(
            json!({"principal": {"issuer": "iss", "subject": {"pointer": place}}}),
        ))
        .unwrap();
        let refused = rules.revocations(&event).unwrap_err();
        assert_eq!(refused.refusal, Refusal::Unmappable, "{place}");
        let shown = refused.shown.unwrap();
        assert!(shown.starts_with("revokes[0].selector.subject: "), "{shown}");
        assert!(!shown.contains("seven") && !shown.contains("xx"), "{shown}");
    }
    for place in ["/none", "/minus", "/words", "/plus", "/empty", "/half", "/null"] {
        let rules = rules(one(
            json!({"session": {"server_id": "S", "client_id": {"pointer": place}}}),
        ))
        .unwrap();
        let refused = rules.revocations(&event).unwrap_err();
        assert_eq!(refused.refusal, Refusal::Unmappable, "{place}");
    }
}

#[test]
fn all_rules_count_whose_conditions_all_hold_and_no_revocation_twice() {
    let account = |name: &str, when: Value| json!({"when": when, "selector": {"account": {"name": name}}, "reason": name});
    let is = |pointer: &str, equals: Value| json!({"pointer": pointer, "equals": equals});
    let rules = rules(json!([
        account("text", json!([is("/event", json!("off"))])),
        account("both", json!([is("/event", json!("off")), is("/n", json!(1))])),
        account("false", json!([is("/flag", json!(false))])),
        account("null", json!([is("/null", json!(null))])),
        account("text", json!([is("/n", json!(1))])),
        account("prefix", json!([is("/event", json!("of"))])),
        account("number", json!([is("/n", json!("1"))])),
    ]))
    .unwrap();
    let names = |event: Value| -> Vec<String> {
        let found = rules.revocations(&event).unwrap();
        found.iter().map(|(_, reason)| (*reason).to_owned()).collect()
    };
    assert_eq!(names(json!({"event": "off"})), ["text"]);
    assert_eq!(names(json!({"event": "off", "n": 1})), ["text", "both"]);
    assert_eq!(names(json!({"flag": false})), ["false"]);
    assert_eq!(names(json!({"null": null})), ["null"]);
    for nothing in [
        json!({}),
        json!([]),
        json!("off"),
        json!({"event": "OFF"}),
        json!(null),
    ] {
        assert!(names(nothing.clone()).is_empty(), "{nothing}");
    }
}

#[test]
fn rules_that_cannot_work_are_refused() {
    let long = "x".repeat(513);
    for (bad, hint) in [
        (json!([]), "revokes: must have at least one rule"),
        (json!([{}]), "missing field `selector`"),
        (one(json!({})), "expected"),
        (one(json!({"person": {}})), "unknown variant"),
        (
            one(json!({"principal": {"issuer": "i"}})),
            "missing field `subject`",
        ),
        (one(json!({"rule": {"name": "r", "more": 1}})), "unknown field"),
        (one(json!({"rule": {"name": 7}})), "expected a text, or { pointer"),
        (
            one(json!({"rule": {"name": {"pointer": "/a", "or": 1}}})),
            "expected a text, or { pointer",
        ),
        (
            one(json!({"session": {"server_id": "S", "client_id": "7"}})),
            "expected a whole number",
        ),
        (
            one(json!({"rule": {"name": ""}})),
            "revokes[0].selector.name: must not be empty",
        ),
        (
            one(json!({"provider": {"issuer": long}})),
            "revokes[0].selector.issuer: must have 512 bytes",
        ),
        (
            one(json!({"rule": {"name": {"pointer": "name"}}})),
            "revokes[0].selector.name.pointer: must be a JSON pointer",
        ),
        (
            one(json!({"rule": {"name": {"pointer": ""}}})),
            "selector.name.pointer: must be a JSON pointer",
        ),
        (
            one(json!({"rule": {"name": {"pointer": "/a~2"}}})),
            "neither `~0`",
        ),
        (one(json!({"rule": {"name": {"pointer": "/a~"}}})), "neither `~0`"),
        (
            one(json!({"session": {"server_id": "S", "client_id": {"pointer": "x"}}})),
            "selector.client_id.pointer: must be a JSON pointer",
        ),
        (
            json!([{"when": [{"pointer": "x", "equals": 1}], "selector": {"rule": {"name": "r"}}}]),
            "revokes[0].when[0].pointer: must be a JSON pointer",
        ),
        (
            json!([{"when": [{"pointer": "/x", "equals": [1]}], "selector": {"rule": {"name": "r"}}}]),
            "revokes[0].when[0].equals: must be a text",
        ),
        (
            json!([{"when": [{"pointer": "/x"}], "selector": {"rule": {"name": "r"}}}]),
            "missing field `equals`",
        ),
        (
            json!([{"selector": {"rule": {"name": "r"}}, "reason": "a\nb"}]),
            "revokes[0].reason: must have no control",
        ),
    ] {
        let error = rules(bad.clone()).err().unwrap_or_default();
        assert!(error.contains(hint), "{bad}: {error}");
    }
}
