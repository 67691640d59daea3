//! Whatever a token and a membership source say: no subject leaves its template's own pattern, and nothing panics.
//!
//! The patterns are judged here by a reading of their own, not by the crate's.

#![allow(clippy::unwrap_used, reason = "all of this file is a test")]

use std::time::{Duration, UNIX_EPOCH};

use natsgate_core::{Connection, Identity, Membership, Principal};
use natsgate_policy::{Facts, Policy, PolicyDocument, RuleOutcome};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// A token of a template, as this test understands it.
#[derive(Debug, Clone)]
enum Token {
    Literal(String),
    Any,
    /// Text, a value, text.
    Value(String, &'static str, String),
}

/// A template: tokens, and perhaps a final `>`.
#[derive(Debug, Clone)]
struct Shape {
    tokens: Vec<Token>,
    tail: bool,
}

impl Shape {
    fn source(&self) -> String {
        let mut tokens: Vec<String> = self
            .tokens
            .iter()
            .map(|token| match token {
                Token::Literal(text) => text.clone(),
                Token::Any => "*".to_owned(),
                Token::Value(before, value, after) => format!("{before}{{{value}}}{after}"),
            })
            .collect();
        tokens.extend(self.tail.then(|| ">".to_owned()));
        tokens.join(".")
    }

    /// Whether `subject` is this template with something harmless in each value's place.
    fn allows(&self, subject: &str) -> bool {
        let mut texts: Vec<&str> = subject.split('.').collect();
        if self.tail && texts.pop() != Some(">") {
            return false;
        }
        texts.len() == self.tokens.len()
            && self
                .tokens
                .iter()
                .zip(texts)
                .enumerate()
                .all(|(index, (token, text))| match token {
                    Token::Literal(literal) => text == literal,
                    Token::Any => text == "*",
                    Token::Value(before, _, after) => {
                        let value = text
                            .strip_prefix(before.as_str())
                            .and_then(|t| t.strip_suffix(after.as_str()));
                        let reserved = index == 0 && text.starts_with(['$', '_']);
                        value.is_some_and(|v| !v.is_empty()) && text.chars().all(harmless) && !reserved
                    }
                })
    }
}

fn harmless(c: char) -> bool {
    !matches!(c, '.' | '*' | '>') && !c.is_whitespace() && !c.is_control()
}

const VALUES: [&str; 9] = [
    "claims.a",
    "claims.b",
    "claims.o.x",
    "claims[\"https://example.com/t\"]",
    "claims.a | base64url",
    "membership.id",
    "membership.role",
    "principal.subject",
    "connection.cluster",
];

fn any_token() -> impl Strategy<Value = Token> {
    let text = || select(vec!["", "", "x", "p-", "7"]).prop_map(str::to_owned);
    prop_oneof![
        "[a-z0-9-]{1,4}".prop_map(Token::Literal),
        Just(Token::Any),
        (text(), select(VALUES.to_vec()), text()).prop_map(|(a, value, b)| Token::Value(a, value, b)),
        (text(), select(VALUES.to_vec()), text()).prop_map(|(a, value, b)| Token::Value(a, value, b)),
    ]
}

fn any_shape() -> impl Strategy<Value = Shape> {
    (prop::collection::vec(any_token(), 1..4), any::<bool>())
        .prop_map(|(tokens, tail)| Shape { tokens, tail })
}

fn one_token() -> impl Strategy<Value = Shape> {
    any_token()
        .prop_filter("an account has no wildcard", |t| !matches!(t, Token::Any))
        .prop_map(|token| Shape {
            tokens: vec![token],
            tail: false,
        })
}

/// A text that marks itself, so that it is noticed where no value belongs.
const MARK: &str = "hunter2";

fn any_text() -> impl Strategy<Value = String> {
    let nasty = vec![
        "",
        ".",
        "*",
        ">",
        "a.b",
        "a.>",
        "*.x",
        " ",
        "a b",
        "\0",
        "a\0b",
        "\r\nPUB x 0\r\n",
        "\t",
        "\u{a0}",
        "\u{2028}",
        "$SYS",
        "$SYS.REQ",
        "$G",
        "_INBOX",
        "_",
        "$",
        "{claims.a}",
        "}",
        "{{name()}}",
        "..",
        ".a",
        "a.",
        "é",
        "😀",
        "\u{202e}",
        "\u{feff}",
    ];
    prop_oneof![
        6 => "[a-zA-Z0-9-]{1,8}",
        2 => select(nasty).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => (any::<String>(), any::<String>()).prop_map(|(a, b)| format!("{a}{MARK}{b}")),
        1 => (200_usize..2000).prop_map(|n| "y".repeat(n)),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        12 => any_text().prop_map(Value::from),
        2 => any::<i64>().prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => prop::collection::vec(any_text(), 0..3).prop_map(Value::from),
        1 => any_text().prop_map(|text| json!({"x": text})),
    ]
}

fn any_claims() -> impl Strategy<Value = Map<String, Value>> {
    let names = ["a", "b", "https://example.com/t"];
    let claims = prop::collection::vec(prop::option::weighted(0.95, any_value()), names.len());
    (claims, any_value()).prop_map(move |(values, nested)| {
        let mut claims = Map::new();
        for (name, value) in names.iter().zip(values) {
            claims.extend(value.map(|v| ((*name).to_owned(), v)));
        }
        claims.insert("o".to_owned(), json!({ "x": nested }));
        claims
    })
}

fn any_membership() -> impl Strategy<Value = Membership> {
    (any_text(), any_text()).prop_map(|(id, role)| Membership {
        kind: "project".to_owned(),
        id,
        role,
    })
}

#[derive(Debug, Clone)]
struct Case {
    account: Shape,
    publish_allow: Shape,
    publish_deny: Option<Shape>,
    subscribe_allow: Vec<(Shape, Option<Shape>)>,
    subscribe_deny: Option<Shape>,
    claims: Map<String, Value>,
    memberships: Vec<Membership>,
    subject: String,
}

fn any_case() -> impl Strategy<Value = Case> {
    let places = (
        one_token(),
        any_shape(),
        prop::option::of(any_shape()),
        prop::collection::vec((any_shape(), prop::option::of(any_shape())), 0..3),
        prop::option::of(any_shape()),
    );
    let facts = (
        any_claims(),
        prop::collection::vec(any_membership(), 1..4),
        any_text(),
    );
    (places, facts).prop_map(
        |(
            (account, publish_allow, publish_deny, subscribe_allow, subscribe_deny),
            (claims, memberships, subject),
        )| Case {
            account,
            publish_allow,
            publish_deny,
            subscribe_allow,
            subscribe_deny,
            claims,
            memberships,
            subject,
        },
    )
}

impl Case {
    fn policy(&self) -> Policy {
        let subscribe: Vec<Value> = self
            .subscribe_allow
            .iter()
            .map(|(subject, queue)| match queue {
                None => json!(subject.source()),
                Some(queue) => json!({"subject": subject.source(), "queue": queue.source()}),
            })
            .collect();
        let deny = |shape: &Option<Shape>| shape.iter().map(Shape::source).collect::<Vec<_>>();
        let document: PolicyDocument = serde_json::from_value(json!({
            "version": 1,
            "rules": [{
                "name": "generated",
                "for_each": {"membership": {"kind": "project"}},
                "account": self.account.source(),
                "publish": {"allow": [self.publish_allow.source()], "deny": deny(&self.publish_deny)},
                "subscribe": {"allow": subscribe, "deny": deny(&self.subscribe_deny)},
            }],
        }))
        .unwrap();
        Policy::compile(&document).unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn no_value_makes_a_subject_outside_its_template(case in any_case()) {
        let identity = Identity {
            principal: Principal::new("https://id.example.com", case.subject.clone()),
            provider: "corp".to_owned(),
            claims: case.claims.clone(),
            issued_at: None,
            expires_at: UNIX_EPOCH + Duration::from_secs(1),
            evidence: natsgate_core::Evidence::SignedToken { key_id: None },
        };
        let connection = Connection { cluster: "east".to_owned(), ..Connection::default() };
        let evaluation = case.policy().evaluate(&Facts {
            identity: &identity,
            memberships: &case.memberships,
            connection: &connection,
            now: UNIX_EPOCH,
        });
        for trace in &evaluation.trace {
            match &trace.outcome {
                RuleOutcome::Denied(denial) => prop_assert!(!denial.to_string().contains(MARK), "{}", denial),
                RuleOutcome::NotMatched(why) => prop_assert!(!why.contains(MARK), "{}", why),
                RuleOutcome::Matched { gives, takes } => {
                    prop_assert!(!gives.iter().chain(takes.iter()).any(|line| line.contains(MARK)));
                }
            }
        }
        let Ok(grant) = evaluation.outcome else { return Ok(()) };
        let permissions = grant.rights.own().unwrap();
        prop_assert!(case.account.allows(&grant.account), "account {:?}", grant.account);
        prop_assert!(!permissions.publish.allow.is_empty());
        for subject in &permissions.publish.allow {
            prop_assert!(case.publish_allow.allows(subject.as_str()), "publish.allow {:?}", subject);
        }
        for subject in &permissions.publish.deny {
            let shape = case.publish_deny.as_ref().unwrap();
            prop_assert!(shape.allows(subject.as_str()), "publish.deny {:?}", subject);
        }
        for entry in &permissions.subscribe.allow {
            let fits = case.subscribe_allow.iter().any(|(subject, queue)| {
                subject.allows(entry.subject.as_str())
                    && match (queue, &entry.queue) {
                        (None, None) => true,
                        // A plain entry written out for every queue group.
                        (None, Some(any)) => any.as_str() == ">",
                        (Some(queue), Some(group)) => queue.allows(group.as_str()),
                        (Some(_), None) => false,
                    }
            });
            prop_assert!(fits, "subscribe.allow {:?}", entry);
        }
        for entry in &permissions.subscribe.deny {
            let shape = case.subscribe_deny.as_ref().unwrap();
            prop_assert!(shape.allows(entry.subject.as_str()) && entry.queue.is_none(), "subscribe.deny {:?}", entry);
        }
    }
}
