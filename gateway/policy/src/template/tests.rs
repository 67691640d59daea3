//! What templates accept, refuse and make of values.

use std::cell::OnceCell;
use std::time::UNIX_EPOCH;

use natsgate_core::{Connection, Identity, Membership, Principal};
use serde_json::{Value, json};

use super::*;
use crate::facts::Facts;

const ANYWHERE: Scope = Scope { membership: true };

fn render(source: &str, claims: Value, id: &str) -> Result<String, RenderError> {
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
        server_name: "n1".to_owned(),
        user_nkey: "UABC".to_owned(),
        client_id: 7,
        ..Connection::default()
    };
    let membership = Membership {
        kind: "project".to_owned(),
        id: id.to_owned(),
        role: "member".to_owned(),
    };
    let facts = Facts {
        identity: &identity,
        memberships: &[],
        connection: &connection,
        now: UNIX_EPOCH,
    };
    let digest = OnceCell::new();
    Template::parse(source, ANYWHERE)
        .unwrap()
        .render(&Values::new(facts, Some(&membership), &digest))
        .map(|subject| subject.as_str().to_owned())
}

#[test]
fn every_variable_is_rendered() {
    for (source, subject) in [
        ("projects.{membership.id}.in.>", "projects.apollo.in.>"),
        ("{membership.kind}.*.{membership.role}", "project.*.member"),
        ("u.{principal.subject}-{connection.client_id}", "u.alice-7"),
        ("u.{ principal.digest }", "u.ilbqg7noem5kuqcg6ue2zzlzwm"),
        (
            "u.{principal.issuer|base64url}",
            "u.aHR0cHM6Ly9pZC5leGFtcGxlLmNvbQ",
        ),
        (
            "{provider}.{connection.cluster}.{connection.server_name}",
            "corp.east.n1",
        ),
        ("u.{connection.user_nkey}", "u.UABC"),
        ("t.{claims.tenant}.{claims.nested.id}", "t.acme.-42"),
        ("t.{claims[\"https://example.com/x\"].y}", "t.z"),
        ("t.{claims.email | base64url}", "t.YUBiLmM"),
        ("plain", "plain"),
    ] {
        let claims = json!({
            "tenant": "acme", "email": "a@b.c", "nested": {"id": -42}, "https://example.com/x": {"y": "z"},
        });
        let rendered = render(source, claims, "apollo");
        if source.contains("digest") {
            assert_eq!(rendered.unwrap().len(), subject.len());
        } else {
            assert_eq!(rendered.as_deref(), Ok(subject), "{source}");
        }
    }
}

#[test]
fn a_value_that_breaks_out_of_its_token_is_refused() {
    for bad in [
        "*",
        ">",
        "a.b",
        "",
        "a b",
        "a\0",
        "a\r\nPUB x",
        "x*",
        &"x".repeat(257),
    ] {
        let refused = render("projects.{membership.id}.>", json!({}), bad).unwrap_err();
        assert!(matches!(refused, RenderError::Unsafe { .. }), "{bad:?}");
        assert!(bad.len() < 3 || !refused.to_string().contains(bad), "{refused}");
    }
}

#[test]
fn a_value_at_the_head_of_a_subject_does_not_lead_into_nats_own_subjects() {
    for bad in ["$SYS", "_INBOX", "$JS"] {
        for source in ["{membership.id}.>", "{membership.id}x.>"] {
            let refused = render(source, json!({}), bad);
            assert!(
                matches!(
                    refused,
                    Err(RenderError::Unsafe {
                        why: UnsafeToken::Reserved,
                        ..
                    })
                ),
                "{bad}"
            );
        }
        assert_eq!(
            render("a.{membership.id}", json!({}), bad),
            Ok(format!("a.{bad}"))
        );
        assert_eq!(render("a{membership.id}", json!({}), bad), Ok(format!("a{bad}")));
    }
    // Two values side by side: the first is not empty, so only it begins the subject.
    assert_eq!(
        render("{provider}{membership.id}", json!({}), "$x"),
        Ok("corp$x".to_owned())
    );
}

#[test]
fn only_strings_and_integers_are_rendered() {
    for (value, why) in [
        (json!(null), Missing::WrongType("null")),
        (json!(true), Missing::WrongType("a boolean")),
        (json!(1.0), Missing::WrongType("a number with a fraction")),
        (json!(["a"]), Missing::WrongType("a list")),
        (json!({"a": "b"}), Missing::WrongType("an object")),
    ] {
        let refused = render("t.{claims.x}", json!({"x": value}), "a").unwrap_err();
        assert_eq!(
            refused,
            RenderError::Missing {
                placeholder: "claims.x".to_owned(),
                why
            }
        );
    }
    for source in ["t.{claims.y}", "t.{claims.x.y}", "t.{claims.x.y | base64url}"] {
        let refused = render(source, json!({"x": "text"}), "a").unwrap_err();
        assert!(
            matches!(
                refused,
                RenderError::Missing {
                    why: Missing::Absent,
                    ..
                }
            ),
            "{source}"
        );
    }
    assert_eq!(
        render("t.{claims.x}", json!({"x": u64::MAX}), "a"),
        Ok(format!("t.{}", u64::MAX))
    );
}

#[test]
fn encoding_does_not_make_an_empty_or_endless_value_safe() {
    for bad in [String::new(), "x".repeat(200), "x".repeat(100_000)] {
        let refused = render("t.{claims.x | base64url}", json!({"x": bad}), "a");
        assert!(matches!(refused, Err(RenderError::Unsafe { .. })));
    }
}

#[test]
fn many_long_values_do_not_make_an_endless_subject() {
    let source = "{claims.x}.{claims.x}.{claims.x}.{claims.x}.{claims.x}";
    let refused = render(source, json!({"x": "y".repeat(256)}), "a");
    assert_eq!(refused, Err(RenderError::NotASubject(SubjectError::TooLong)));
}

#[test]
fn mistakes_are_found_at_their_place() {
    for (source, at, says) in [
        ("a.{principal.subject", Some(3), "without its '}'"),
        ("a.b}", Some(4), "without its '{'"),
        ("a.{{name()}}", Some(3), "nats-server's notation"),
        ("a.{}", Some(4), "expected a name"),
        ("a.{claims.}", Some(11), "expected a name"),
        ("é.{claims.a | upper}", Some(19), "base64url"),
        ("a.{claims.a | base64url | base64url}", Some(25), "expected '}'"),
        ("a.{claims}", Some(3), "no such variable"),
        ("a.{claim.x}", Some(3), "no such variable"),
        ("a.{membership.name}", Some(3), "no such variable"),
        ("a.{connection.mqtt_id}", Some(3), "says of itself"),
        ("a.{claims[0]}", Some(11), "quoted name"),
        ("a.{claims['']}", Some(13), "empty"),
        ("a.{claims['x}", Some(13), "does not end"),
        ("", None, "must not be empty"),
        ("a..b", None, "empty token"),
        ("a.>.b", None, "last token"),
        ("a.*{claims.x}", None, "stand alone"),
        ("a.{claims.x}>", None, "stand alone"),
        ("a b", None, "white space"),
        ("${claims.x}.>", None, "without '$'"),
        ("_{claims.x}", None, "without '$'"),
    ] {
        let wrong = Template::parse(source, ANYWHERE).unwrap_err();
        assert_eq!(wrong.at, at, "{source}: {wrong}");
        assert!(wrong.problem.contains(says), "{source}: {wrong}");
    }
    assert!(Template::parse(&"a".repeat(1025), ANYWHERE).is_err());
}

#[test]
fn a_membership_needs_a_rule_repeated_for_memberships() {
    let wrong = Template::parse("a.{membership.id}", Scope { membership: false }).unwrap_err();
    assert!(wrong.problem.contains("for_each"), "{wrong}");
}

#[test]
fn a_name_is_one_token() {
    for good in ["APP", "T-{claims.tenant}", "{claims.tenant}"] {
        assert!(Template::parse_name(good, ANYWHERE).is_ok(), "{good}");
    }
    for bad in ["a.b", "*", ">", "", "{claims.a}.{claims.b}"] {
        assert!(Template::parse_name(bad, ANYWHERE).is_err(), "{bad}");
    }
}
