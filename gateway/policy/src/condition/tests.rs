//! What conditions accept, refuse and answer.

use std::time::{Duration, UNIX_EPOCH};

use natsgate_core::{Connection, Identity, Membership, Principal};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::inspect::FUNCTIONS;
use super::*;

fn one(text: &str, membership: bool) -> Result<Condition, String> {
    let written = Written {
        text: text.to_owned(),
        membership,
    };
    compile(vec![written]).pop().unwrap()
}

fn holds(text: &str, claims: Json) -> Result<bool, String> {
    let condition = one(text, true).unwrap_or_else(|e| panic!("{text}: {e}"));
    let identity = Identity {
        principal: Principal::new("https://id.example.com", "alice"),
        provider: "corp".to_owned(),
        claims: claims.as_object().unwrap().clone(),
        issued_at: None,
        expires_at: UNIX_EPOCH,
        evidence: natsgate_core::Evidence::SignedToken { key_id: None },
    };
    let connection = Connection {
        cluster: "east".to_owned(),
        server_tags: vec!["region:eu".to_owned()],
        mqtt_id: "dev-1".to_owned(),
        ..Connection::default()
    };
    let facts = Facts {
        identity: &identity,
        memberships: &[],
        connection: &connection,
        now: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
    };
    let membership = Membership {
        kind: "project".to_owned(),
        id: "apollo".to_owned(),
        role: "member".to_owned(),
    };
    let mut context = context(&Arc::new(environment()));
    bind(&mut context, &facts, &[&membership], condition.used);
    bind_membership(&mut context, &membership);
    condition.holds(&context, &facts).map_err(|e| e.to_string())
}

#[test]
fn every_variable_can_be_asked() {
    for text in [
        "claims.email_verified && claims.level >= 3 && claims.level == 3.0",
        "'ops' in claims.groups && claims.groups.exists(g, g.startsWith('o'))",
        "claims['https://example.com/tenant'] == 'acme'",
        "has(claims.email_verified) && !has(claims.nothing) && claims.nested.deep == null",
        "principal.issuer == 'https://id.example.com' && principal.subject == 'alice' && size(principal.digest) == 26",
        "provider == 'corp'",
        "memberships.exists(m, m.kind == 'project' && m.id == 'apollo' && m.role in ['member', 'owner'])",
        "membership.id == 'apollo'",
        "connection.cluster == 'east' && 'region:eu' in connection.server_tags && connection.mqtt_id == 'dev-1'",
        "now > timestamp('2023-01-01T00:00:00Z') && now.getFullYear() == 2023",
        "now - timestamp('2023-11-14T00:00:00Z') < duration('24h')",
        "claims.email.matches('^[a-z]+@example[.]com$')",
        "type(claims.level) == int && type(claims.big) == uint",
        "claims.groups.filter(g, g != 'ops').size() == 1 && claims.groups.map(g, g + '!')[0] == 'ops!'",
    ] {
        let claims = json!({
            "email_verified": true, "level": 3, "big": u64::MAX, "groups": ["ops", "dev"], "email": "a@example.com",
            "https://example.com/tenant": "acme", "nested": {"deep": null},
        });
        assert_eq!(holds(text, claims), Ok(true), "{text}");
    }
}

#[test]
fn what_cannot_be_evaluated_is_an_error_that_holds_no_value() {
    for (text, says) in [
        (
            "claims.missing == 'x'",
            "claims.missing is not there; ask with has(claims.missing)",
        ),
        (
            "claims.nested.missing == 'x'",
            "claims.nested.missing is not there",
        ),
        (
            "claims[claims.secret] == 'x'",
            "something it looks up is not there",
        ),
        ("claims.secret", "neither true nor false"),
        ("claims.secret && true", "another type"),
        ("claims.secret > 3", "another type"),
        ("!claims.secret", "another type"),
        ("int(claims.secret) == 3", "int does not take"),
        ("timestamp(claims.secret) < now", "timestamp does not take"),
        ("1 / claims.zero == 1", "divides by zero"),
        ("9223372036854775807 + claims.one > 0", "too large"),
        ("claims.list[7] == 'x'", "fewer elements"),
        ("claims.list[-1] == 'x'", "fewer elements"),
        ("claims.secret.exists(x, x == 'y')", "another type"),
        ("{claims.secret: 1, claims.secret: 2} == {}", "another type"),
    ] {
        let claims = json!({"secret": "hunter2", "zero": 0, "one": 1, "list": ["a"], "nested": {}});
        let error = holds(text, claims).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
        assert!(!error.contains("hunter2"), "{text}: {error}");
    }
}

#[test]
fn what_cannot_be_right_is_refused_when_compiled() {
    for (text, says) in [
        ("", "not CEL"),
        ("claims.a ==", "not CEL"),
        ("claims.a = 1", "not CEL"),
        ("claim.a == 1", "no variable claim"),
        ("claims.g.exists(x, y == 1)", "no variable y"),
        ("claims.g.exists(x, x == 1) && x == 1", "no variable x"),
        ("principal.name == 'a'", "principal has no field name"),
        ("connection.ip == 'a'", "connection has no field ip"),
        ("lower(claims.a) == 'a'", "no function lower"),
        ("claims.a.lowerAscii() == 'a'", "no function lowerAscii"),
        ("claims.g.exists(x)", "no function exists"),
        ("claims.?a == 1", "unsupported syntax"),
        ("optional.of(1) == 1", "no function of"),
        ("claims.a.matches(claims.b)", "must be written out"),
        ("claims.a.matches('(')", "cannot be used"),
        ("claims.a.matches('(\\\\w{100}){1000}')", "cannot be used"),
        ("'true'", "neither true nor false"),
        ("[1]", "neither true nor false"),
        ("google.rpc.Status{code: 1} == 1", "no messages"),
        (
            "claims.a.all(a, claims.b.all(b, claims.c.all(c, true)))",
            "lists within lists",
        ),
    ] {
        let refused = one(text, false).unwrap_err();
        assert!(refused.contains(says), "{text}: {refused}");
    }
    assert!(
        one("membership.id == 'a'", false)
            .unwrap_err()
            .contains("for_each")
    );
    assert!(
        one(&format!("{}true", " ".repeat(2048)), false)
            .unwrap_err()
            .contains("longer than")
    );
}

#[test]
fn loop_variables_may_have_any_name() {
    assert_eq!(
        holds("claims.g.exists(claims, claims == 1)", json!({"g": [1]})),
        Ok(true)
    );
    assert_eq!(
        holds("claims.g.all(a, claims.g.exists(b, a == b))", json!({"g": [1]})),
        Ok(true)
    );
}

#[test]
fn the_cost_grows_with_the_lists_within_lists() {
    let cost = |text| one(text, false).unwrap().cost(100);
    assert_eq!(cost("claims.a == 1"), 1);
    assert_eq!(cost("claims.a in claims.b"), 1);
    assert_eq!(cost("claims.a.exists(x, x == 1)"), 100);
    assert_eq!(cost("claims.a.exists(x, x in ['a', 'b'])"), 100);
    assert_eq!(cost("claims.a.exists(x, x in claims.b)"), 10_000);
    assert_eq!(cost("claims.a.all(a, claims.b.exists(b, a == b))"), 10_000);
    assert_eq!(
        cost("claims.a.map(x, x) == [] || claims.a.filter(x, x == 1) == []"),
        100
    );
    assert_eq!(cost("claims.a.exists(x, x.matches('a'))"), 10_000);
    assert_eq!(cost("claims.a.map(x, x + x) == []"), 10_000);
}

/// Texts that nest as deep as they can in `length` bytes, in every way there is to nest.
fn nests(length: usize) -> Vec<String> {
    let around = |open: &str, inner: &str, close: &str| {
        let levels = (length - inner.len()) / (open.len() + close.len());
        format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
    };
    vec![
        around("(", "true", ")"),
        around("[", "1", "]"),
        around("{1:", "1", "}"),
        around("!", "true", ""),
        around("!(", "true", ")"),
        around("-", "claims.a", ""),
        around("int(", "1", ")"),
        around("", "claims", ".a"),
        around("", "claims", "[0]"),
        around("", "claims", ".size()"),
        around("claims[", "1", "]"),
        around("true?true:", "true", ""),
        around("true||", "true", ""),
        around("1+", "1", ""),
        around("1==", "1", ""),
        around("true&&(", "true", ")"),
        around("", "claims.a", ".map(x,x)"),
        around("[1].map(x,", "1", ")"),
    ]
}

#[test]
fn no_condition_overflows_the_stack_of_an_ordinary_thread() {
    for text in nests(MAX_CONDITION_BYTES) {
        drop(one(&text, false));
    }
    // Every depth that compiles also runs, on half the stack that a thread of the runtime has.
    let mut ran = 0;
    for length in 10..160 {
        for text in nests(length) {
            let Ok(condition) = one(&text, false) else {
                continue;
            };
            let run = move || {
                let mut context = context(&Arc::new(environment()));
                context.add_variable_from_value("claims", Vec::<Value>::new());
                drop(condition.program.execute(&context));
            };
            std::thread::Builder::new()
                .stack_size(1 << 20)
                .spawn(run)
                .unwrap()
                .join()
                .unwrap();
            ran += 1;
        }
    }
    assert!(ran > 100, "{ran}");
}

/// Expressions of every operator and function, over claims that anybody could have.
fn any_expression() -> impl Strategy<Value = String> {
    let atom = prop::sample::select(vec![
        "claims.s",
        "claims.t",
        "claims.i",
        "claims.min",
        "claims.max",
        "claims.u",
        "claims.f",
        "claims.b",
        "claims.n",
        "claims.l",
        "claims.o",
        "claims",
        "claims.none",
        "now",
        "memberships",
        "membership",
        "connection",
        "0",
        "-1",
        "9223372036854775807",
        "18446744073709551615u",
        "1.5e308",
        "''",
        "b'\\xff'",
        "[]",
        "{}",
        "{'a': 1}",
        "true",
        "null",
        "duration('9223372036s')",
        "duration('-1ns')",
        "timestamp('0001-01-01T00:00:00Z')",
        "timestamp('9999-12-31T23:59:59Z')",
        "double('NaN')",
        "double('inf')",
        "int",
        "'Europe/Berlin'",
        "'é'",
    ])
    .prop_map(str::to_owned);
    atom.prop_recursive(4, 24, 3, |inner| {
        let operators = vec!["+", "-", "*", "/", "%", "==", "!=", "<", ">=", "&&", "||", "in"];
        let functions = FUNCTIONS.to_vec();
        let macros = vec!["all", "exists", "exists_one", "map", "filter"];
        prop_oneof![
            (inner.clone(), prop::sample::select(operators), inner.clone())
                .prop_map(|(a, operator, b)| format!("({a}) {operator} ({b})")),
            (prop::sample::select(functions.clone()), inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (inner.clone(), prop::sample::select(functions.clone()))
                .prop_map(|(a, f)| format!("({a}).{f}()")),
            (inner.clone(), prop::sample::select(functions), inner.clone())
                .prop_map(|(a, f, b)| format!("({a}).{f}({b})")),
            (inner.clone(), prop::sample::select(macros), inner.clone())
                .prop_map(|(a, m, b)| format!("({a}).{m}(x, (x) == ({b}))")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a}) ? ({b}) : ({c})")),
            inner.clone().prop_map(|a| format!("-({a})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            inner.prop_map(|a| format!("[{a}, {{{a}: {a}}}]")),
        ]
    })
}

proptest! {
    #[test]
    fn no_condition_panics(text in any_expression()) {
        let claims = json!({
            "s": "text", "t": "é\0😀", "i": 3, "min": i64::MIN, "max": i64::MAX, "u": u64::MAX, "f": -0.0, "b": true,
            "n": null, "l": [1, "a", [2.5, null], {"x": []}], "o": {"a": {"b": "c"}},
        });
        if let Ok(condition) = one(&text, true) {
            drop(condition);
            drop(holds(&text, claims));
        }
    }
}
