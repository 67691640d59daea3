//! What users rely on: how rules add up, and that what cannot be known is never to anybody's advantage.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use natsgate_core::{Connection, DenialReason, Identity, Principal};
use serde_json::{Value, json};

use super::*;

mod rights;

const NOW: u64 = 1_700_000_000;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

struct Case {
    policy: Policy,
    claims: Value,
    memberships: Vec<Membership>,
    expires: u64,
}

/// A policy of `rules`, for the default account APP.
fn case(rules: Value) -> Case {
    let document = json!({"version": 1, "account": "APP", "rules": rules});
    of(document)
}

fn of(document: Value) -> Case {
    Case {
        policy: Policy::compile(&serde_json::from_value(document).unwrap()).unwrap(),
        claims: json!({}),
        memberships: Vec::new(),
        expires: NOW + 3600,
    }
}

impl Case {
    fn claims(mut self, claims: Value) -> Self {
        self.claims = claims;
        self
    }

    fn member(mut self, kind: &str, id: &str, role: &str) -> Self {
        self.memberships.push(Membership {
            kind: kind.to_owned(),
            id: id.to_owned(),
            role: role.to_owned(),
        });
        self
    }

    fn evaluate(&self) -> Evaluation {
        let identity = Identity {
            principal: Principal::new("https://id.example.com", "alice"),
            provider: "corp".to_owned(),
            claims: self.claims.as_object().unwrap().clone(),
            issued_at: None,
            expires_at: at(self.expires),
            evidence: natsgate_core::Evidence::SignedToken { key_id: None },
        };
        self.policy.evaluate(&Facts {
            identity: &identity,
            memberships: &self.memberships,
            connection: &Connection::default(),
            now: at(NOW),
        })
    }

    fn grant(&self) -> Grant {
        self.evaluate().outcome.unwrap()
    }

    fn denial(&self) -> Denial {
        self.evaluate().outcome.unwrap_err()
    }

    fn reason(&self) -> DenialReason {
        self.denial().reason
    }

    fn explain(&self) -> String {
        let trace = self.evaluate().trace;
        trace
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn own(grant: &Grant) -> &natsgate_core::Permissions {
    grant.rights.own().unwrap()
}

fn texts(subjects: &[natsgate_core::Subject]) -> Vec<&str> {
    subjects.iter().map(natsgate_core::Subject::as_str).collect()
}

/// A rule that gives, so that a case is about the other rules.
fn giving() -> Value {
    json!({"name": "giving", "publish": {"allow": ["a"]}})
}

#[test]
fn allows_and_denies_of_all_matching_rules_add_up_sorted_and_once() {
    let grant = case(json!([
        {"name": "one", "publish": {"allow": ["b", "a"], "deny": ["x"]}, "subscribe": {"allow": ["s"]}},
        {"name": "two", "publish": {"allow": ["a", "c"], "deny": ["a"]},
         "subscribe": {"allow": [{"subject": "j", "queue": "w"}], "deny": ["s"]}},
        {"name": "no", "when": "false", "publish": {"allow": ["never"], "deny": ["b"]}},
    ]))
    .grant();
    assert_eq!(texts(&own(&grant).publish.allow), ["a", "b", "c"]);
    assert_eq!(texts(&own(&grant).publish.deny), ["a", "x"]);
    let subscribe: Vec<(&str, Option<&str>)> = own(&grant)
        .subscribe
        .allow
        .iter()
        .map(|e| {
            (
                e.subject.as_str(),
                e.queue.as_ref().map(natsgate_core::Subject::as_str),
            )
        })
        .collect();
    assert_eq!(subscribe, [("j", Some("w")), ("s", None)]);
    assert_eq!(own(&grant).subscribe.deny.len(), 1);
    assert_eq!(own(&grant).responses, None);
}

#[test]
fn a_rule_is_repeated_for_each_membership_of_its_kind_and_role() {
    let rules = json!([{
        "name": "members",
        "for_each": {"membership": {"kind": "project", "role": ["member", "owner"]}},
        "publish": {"allow": ["projects.{membership.id}.>"]},
    }]);
    let case = case(rules)
        .member("project", "zeus", "owner")
        .member("project", "apollo", "member")
        .member("project", "apollo", "member")
        .member("project", "secret", "guest")
        .member("device", "d1", "member");
    assert_eq!(
        texts(&own(&case.grant()).publish.allow),
        ["projects.apollo.>", "projects.zeus.>"]
    );
}

#[test]
fn each_rule_that_matched_is_named_once() {
    let each = json!({
        "name": "each",
        "for_each": {"membership": {"kind": "project", "role": "member"}},
        "publish": {"allow": ["p.{membership.id}.>"]},
    });
    let never = json!({"name": "never", "when": "false", "publish": {"allow": ["never"]}});
    let all = json!({"name": "all", "publish": {"allow": ["all"]}});
    let case = case(json!([each, never, all]))
        .member("project", "a", "member")
        .member("project", "b", "member");
    let evaluation = case.evaluate();
    assert_eq!(evaluation.matched().collect::<Vec<_>>(), ["each", "all"]);
}

#[test]
fn without_a_role_every_role_fits() {
    let rules = json!([{
        "name": "any", "for_each": {"membership": {"kind": "project"}},
        "publish": {"allow": ["p.{membership.role}"]},
    }]);
    let grant = case(rules)
        .member("project", "a", "x")
        .member("project", "a", "y")
        .grant();
    assert_eq!(texts(&own(&grant).publish.allow), ["p.x", "p.y"]);
}

#[test]
fn nobody_gets_in_without_a_rule_that_allows_something() {
    let members = json!({
        "name": "members", "for_each": {"membership": {"kind": "project"}}, "publish": {"allow": ["a"]},
    });
    assert_eq!(case(json!([members])).reason(), DenialReason::NoRuleMatched);
    let taking =
        json!({"name": "taking", "publish": {"allow": [], "deny": ["x"]}, "limits": {"expires_in": "1h"}});
    assert_eq!(
        case(json!([members, taking])).reason(),
        DenialReason::NoRuleMatched
    );
    let answering = json!({"name": "answering", "responses": {}});
    assert_eq!(
        case(json!([members, answering])).reason(),
        DenialReason::NoRuleMatched
    );
}

#[test]
fn a_condition_that_cannot_be_evaluated_gives_nothing() {
    let broken = json!({"name": "broken", "when": "claims.admin", "publish": {"allow": [">"]}});
    for claims in [
        json!({}),
        json!({"admin": "true"}),
        json!({"admin": 1}),
        json!({"admin": null}),
    ] {
        let case = case(json!([giving(), broken])).claims(claims.clone());
        assert_eq!(texts(&own(&case.grant()).publish.allow), ["a"], "{claims}");
        assert!(
            case.explain()
                .contains("broken: no match: its condition could not be evaluated")
        );
    }
}

#[test]
fn a_condition_that_cannot_be_evaluated_and_might_have_taken_something_denies() {
    for taking in [
        json!({"name": "t", "when": "claims.blocked", "publish": {"deny": ["x"]}}),
        json!({"name": "t", "when": "claims.blocked", "subscribe": {"allow": ["s"], "deny": ["x"]}}),
        json!({"name": "t", "when": "claims.blocked", "limits": {"payload": 10}}),
        json!({"name": "t", "when": "claims.blocked", "limits": {"expires_in": "1m"}}),
    ] {
        let case = case(json!([giving(), taking]));
        assert_eq!(case.reason(), DenialReason::PolicyError);
        assert!(case.denial().detail.contains("rule \"t\""));
    }
}

#[test]
fn a_condition_that_cannot_be_evaluated_and_might_have_named_another_account_denies() {
    let named = |account: &str| {
        let rule =
            json!({"name": "n", "when": "claims.staff", "account": account, "publish": {"allow": ["s"]}});
        case(json!([giving(), rule]))
    };
    assert_eq!(named("STAFF").reason(), DenialReason::PolicyError);
    assert_eq!(named("{claims.unknown}").reason(), DenialReason::PolicyError);
    assert_eq!(named("APP").grant().account, "APP");
    assert_eq!(
        named("STAFF").claims(json!({"staff": false})).grant().account,
        "APP"
    );
}

#[test]
fn a_value_that_is_unsafe_or_missing_denies_everything() {
    let rules = |subject: &str| {
        json!([giving(), {
            "name": "members", "for_each": {"membership": {"kind": "project"}}, "subscribe": {"allow": [subject]},
        }])
    };
    for bad in ["*", ">", "a.b", "", "a b", "a\0b"] {
        let case = case(rules("p.{membership.id}.>"))
            .member("project", "fine", "m")
            .member("project", bad, "m");
        let denial = case.denial();
        assert_eq!(denial.reason, DenialReason::UnsafeValue, "{bad:?}");
        assert!(
            denial
                .detail
                .contains("rule \"members\": subscribe.allow \"p.{membership.id}.>\""),
            "{denial}"
        );
    }
    let case = case(rules("p.{claims.tenant}.>")).member("project", "fine", "m");
    assert_eq!(case.reason(), DenialReason::MissingValue);
    assert_eq!(
        case.claims(json!({"tenant": ["a"]})).reason(),
        DenialReason::MissingValue
    );
}

#[test]
fn queue_groups_are_checked_like_subjects() {
    let rules = json!([{
        "name": "q", "subscribe": {"allow": [{"subject": "jobs", "queue": "w.{claims.tenant}"}]},
    }]);
    let fine = case(rules.clone()).claims(json!({"tenant": "acme"})).grant();
    assert_eq!(
        own(&fine).subscribe.allow[0].queue.as_ref().unwrap().as_str(),
        "w.acme"
    );
    assert_eq!(
        case(rules).claims(json!({"tenant": ">"})).reason(),
        DenialReason::UnsafeValue
    );
}

#[test]
fn the_account_is_the_one_named_or_the_default_and_never_two() {
    let rule =
        |name: &str, account: &str| json!({"name": name, "account": account, "publish": {"allow": ["a"]}});
    assert_eq!(case(json!([giving()])).grant().account, "APP");
    assert_eq!(case(json!([giving(), rule("x", "X")])).grant().account, "X");
    assert_eq!(case(json!([rule("x", "X"), rule("y", "X")])).grant().account, "X");
    assert_eq!(
        case(json!([rule("x", "X"), rule("y", "Y")])).reason(),
        DenialReason::AccountConflict
    );
    let tenant = case(json!([rule("x", "T-{claims.tenant}")]));
    assert_eq!(tenant.claims(json!({"tenant": "acme"})).grant().account, "T-acme");
    for (bad, reason) in [
        (json!({"tenant": "$SYS"}), DenialReason::UnsafeValue),
        (json!({"tenant": "a.b"}), DenialReason::UnsafeValue),
        (json!({}), DenialReason::MissingValue),
    ] {
        assert_eq!(
            case(json!([rule("x", "{claims.tenant}")])).claims(bad).reason(),
            reason
        );
    }
    let none = of(json!({"version": 1, "rules": [
        giving(), {"name": "x", "when": "false", "account": "X", "publish": {"allow": ["a"]}},
    ]}));
    assert_eq!(none.reason(), DenialReason::PolicyError);
    let default = of(json!({"version": 1, "account": "{claims.tenant}", "rules": [giving()]}));
    assert_eq!(default.reason(), DenialReason::MissingValue);
    assert_eq!(default.claims(json!({"tenant": "acme"})).grant().account, "acme");
}

#[test]
fn an_account_conflict_does_not_tell_the_accounts() {
    let rules = json!([
        {"name": "x", "account": "{claims.a}", "publish": {"allow": ["a"]}},
        {"name": "y", "account": "{claims.b}", "publish": {"allow": ["a"]}},
    ]);
    let denial = case(rules)
        .claims(json!({"a": "hunter1", "b": "hunter2"}))
        .denial();
    assert_eq!(denial.reason, DenialReason::AccountConflict);
    assert!(!denial.detail.contains("hunter"), "{denial}");
}

#[test]
fn the_strictest_limit_holds() {
    let grant = case(json!([
        giving(),
        {"name": "x", "limits": {"subscriptions": 100, "payload": 10, "source_networks": ["10.0.0.0/8"]}},
        {"name": "y", "limits": {"subscriptions": 50, "data": 7, "source_networks": ["10.1.0.0/16"]}},
        {"name": "z", "when": "false", "limits": {"subscriptions": 1}},
    ]))
    .grant();
    let limits = grant.limits;
    assert_eq!(
        (limits.subscriptions, limits.payload, limits.data),
        (Some(50), Some(10), Some(7))
    );
    assert_eq!(limits.source_networks, Some(vec!["10.1.0.0/16".parse().unwrap()]));
    assert_eq!(limits.times, None);
}

#[test]
fn limits_that_leave_nothing_deny() {
    for (x, y) in [
        (
            json!({"connection_types": ["WEBSOCKET"]}),
            json!({"connection_types": ["STANDARD"]}),
        ),
        (
            json!({"source_networks": ["10.0.0.0/8"]}),
            json!({"source_networks": ["fd00::/8"]}),
        ),
        (
            json!({"times": {"windows": [{"start": "08:00:00", "end": "12:00:00"}]}}),
            json!({"times": {"windows": [{"start": "12:00:00", "end": "18:00:00"}]}}),
        ),
    ] {
        let case = case(json!([giving(), {"name": "x", "limits": x}, {"name": "y", "limits": y}]));
        assert_eq!(case.reason(), DenialReason::LimitsConflict);
        assert!(case.denial().detail.contains("rule \"y\""));
    }
}

#[test]
fn of_response_permissions_the_wider_holds() {
    let grant = case(json!([
        giving(),
        {"name": "x", "responses": {"max_messages": 5, "ttl": "1s"}},
        {"name": "y", "responses": {"max_messages": 1, "ttl": "5s"}},
    ]))
    .grant();
    let responses = own(&grant).responses.unwrap();
    assert_eq!(
        (responses.max_messages, responses.ttl),
        (5, Some(Duration::from_secs(5)))
    );
}

#[test]
fn a_session_ends_with_its_credential_or_sooner() {
    let rules = |period: &str| json!([giving(), {"name": "x", "limits": {"expires_in": period}}]);
    assert_eq!(case(rules("10m")).grant().expires_at, at(NOW + 600));
    assert_eq!(case(rules("2h")).grant().expires_at, at(NOW + 3600));
    assert_eq!(
        case(rules("500000000000years")).grant().expires_at,
        at(NOW + 3600)
    );
    let two = json!([giving(), {"name": "x", "limits": {"expires_in": "10m"}}, {"name": "y", "limits": {"expires_in": "5m"}}]);
    assert_eq!(case(two).grant().expires_at, at(NOW + 300));
    let mut expired = case(json!([giving()]));
    expired.expires = NOW;
    assert_eq!(expired.reason(), DenialReason::Expired);
    expired.expires = NOW + 1;
    assert!(expired.evaluate().outcome.is_ok());
}

#[test]
fn a_grant_that_would_be_too_large_is_denied_not_cut() {
    let rules = json!([{
        "name": "members", "for_each": {"membership": {"kind": "project"}}, "publish": {"allow": ["p.{membership.id}"]},
    }]);
    let with = |count: usize| {
        (0..count).fold(case(rules.clone()), |case, n| {
            case.member("project", &n.to_string(), "m")
        })
    };
    assert_eq!(
        own(&with(sum::MAX_SUBJECTS).grant()).publish.allow.len(),
        sum::MAX_SUBJECTS
    );
    assert_eq!(with(sum::MAX_SUBJECTS + 1).reason(), DenialReason::PolicyError);
}

#[test]
fn an_evaluation_that_would_take_too_long_is_denied() {
    let rules = json!([{
        "name": "loops", "when": "claims.a.all(x, claims.a.exists(y, x == y))", "publish": {"allow": ["a"]},
    }]);
    let list = |count: usize| json!({"a": (0..count).collect::<Vec<_>>()});
    assert!(case(rules.clone()).claims(list(100)).evaluate().outcome.is_ok());
    let denial = case(rules).claims(list(501)).denial();
    assert_eq!(denial.reason, DenialReason::PolicyError);
    assert!(denial.detail.contains("rule \"loops\""), "{denial}");
    let rules = json!([{
        "name": "loops", "when": "memberships.all(a, memberships.all(b, true))", "publish": {"allow": ["a"]},
    }]);
    let with = |count: usize| {
        (0..count).fold(case(rules.clone()), |case, n| {
            case.member("p", &n.to_string(), "m")
        })
    };
    assert!(with(100).evaluate().outcome.is_ok());
    assert_eq!(with(501).reason(), DenialReason::PolicyError);
}

#[test]
fn the_order_of_memberships_does_not_matter() {
    let rules = json!([{
        "name": "members", "for_each": {"membership": {"kind": "project"}},
        "when": "membership.id != 'no' && memberships[0].id == 'a'", "publish": {"allow": ["p.{membership.id}"]},
    }]);
    let one = case(rules.clone())
        .member("project", "b", "m")
        .member("project", "a", "m")
        .member("project", "no", "m");
    let other = case(rules)
        .member("project", "no", "m")
        .member("project", "a", "m")
        .member("project", "b", "m");
    assert_eq!(one.evaluate(), other.evaluate());
    assert_eq!(texts(&own(&one.grant()).publish.allow), ["p.a", "p.b"]);
}

fn whole() -> Case {
    case(json!([
        {
            "name": "project members",
            "for_each": {"membership": {"kind": "project", "role": "member"}},
            "when": "has(claims.email_verified) && claims.email_verified",
            "publish": {"allow": ["projects.{membership.id}.in.>"]},
            "subscribe": {"allow": [
                "projects.{membership.id}.>", {"subject": "jobs.{membership.id}.>", "queue": "workers"},
            ]},
            "responses": {"max_messages": 1, "ttl": "5s"},
        },
        {"name": "everybody", "subscribe": {"allow": ["_INBOX.{principal.digest}.>"], "deny": ["projects.*.audit"]},
         "limits": {
             "subscriptions": 100, "payload": 65536, "connection_types": ["WEBSOCKET", "STANDARD"],
             "source_networks": ["10.0.0.0/8"], "expires_in": "30m",
             "times": {"windows": [{"start": "08:00:00", "end": "18:00:00"}], "location": "Europe/Berlin"},
         }},
        {"name": "owners", "for_each": {"membership": {"kind": "project", "role": "owner"}},
         "publish": {"allow": ["projects.{membership.id}.admin"]}},
        {"name": "staff", "when": "claims.staff", "publish": {"allow": ["staff.>"]}},
    ]))
    .claims(json!({"email_verified": true}))
    .member("project", "zeus", "member")
    .member("project", "apollo", "member")
}

#[test]
fn an_explanation_tells_what_became_of_every_rule() {
    insta::assert_snapshot!(whole().explain(), @r#"
    project members (for member of project apollo): match
      publish projects.{membership.id}.in.>
      subscribe projects.{membership.id}.>
      subscribe jobs.{membership.id}.> queue workers
      responses 1 within 5s
    project members (for member of project zeus): match
      publish projects.{membership.id}.in.>
      subscribe projects.{membership.id}.>
      subscribe jobs.{membership.id}.> queue workers
      responses 1 within 5s
    everybody: match
      subscribe _INBOX.{principal.digest}.>
      deny subscribe projects.*.audit
      limit subscriptions 100
      limit payload 65536
      limit connection_types WEBSOCKET, STANDARD
      limit source_networks 10.0.0.0/8
      limit times 08:00:00 to 18:00:00 (Europe/Berlin)
      limit expires_in 30m
    owners: no match: there is no membership of its kind and role
    staff: no match: its condition could not be evaluated: claims.staff is not there; ask with has(claims.staff) first
    "#);
}

#[test]
fn an_explanation_goes_on_after_a_denial() {
    insta::assert_snapshot!(whole().member("project", "a.b", "member").explain(), @r#"
    project members (for member of project a.b): denied: unsafe_value: rule "project members": publish.allow "projects.{membership.id}.in.>": the value of {membership.id} must not stand there: it contains '.', which separates subject tokens; correct it where it comes from, or write it encoded with | base64url
    project members (for member of project apollo): match
      publish projects.{membership.id}.in.>
      subscribe projects.{membership.id}.>
      subscribe jobs.{membership.id}.> queue workers
      responses 1 within 5s
    project members (for member of project zeus): match
      publish projects.{membership.id}.in.>
      subscribe projects.{membership.id}.>
      subscribe jobs.{membership.id}.> queue workers
      responses 1 within 5s
    everybody: match
      subscribe _INBOX.{principal.digest}.>
      deny subscribe projects.*.audit
      limit subscriptions 100
      limit payload 65536
      limit connection_types WEBSOCKET, STANDARD
      limit source_networks 10.0.0.0/8
      limit times 08:00:00 to 18:00:00 (Europe/Berlin)
      limit expires_in 30m
    owners: no match: there is no membership of its kind and role
    staff: no match: its condition could not be evaluated: claims.staff is not there; ask with has(claims.staff) first
    "#);
}

#[test]
fn a_whole_grant_is_what_the_rules_say() {
    let grant = whole().grant();
    let whole = json!({
        "account": grant.account,
        "permissions": own(&grant),
        "limits": grant.limits,
        "seconds": grant.expires_at.duration_since(at(NOW)).unwrap().as_secs(),
    });
    insta::assert_snapshot!(serde_json::to_string_pretty(&whole).unwrap(), @r#"
    {
      "account": "APP",
      "limits": {
        "connection_types": [
          "STANDARD",
          "WEBSOCKET"
        ],
        "data": null,
        "payload": 65536,
        "source_networks": [
          "10.0.0.0/8"
        ],
        "subscriptions": 100,
        "times": {
          "location": "Europe/Berlin",
          "windows": [
            {
              "end": "18:00:00",
              "start": "08:00:00"
            }
          ]
        }
      },
      "permissions": {
        "publish": {
          "allow": [
            "projects.apollo.in.>",
            "projects.zeus.in.>"
          ],
          "deny": []
        },
        "responses": {
          "max_messages": 1,
          "ttl": {
            "nanos": 0,
            "secs": 5
          }
        },
        "subscribe": {
          "allow": [
            {
              "queue": null,
              "subject": "_INBOX.tdfn25jw2yfwdk7g5p6n5kijmu.>"
            },
            {
              "queue": "workers",
              "subject": "jobs.apollo.>"
            },
            {
              "queue": "workers",
              "subject": "jobs.zeus.>"
            },
            {
              "queue": null,
              "subject": "projects.apollo.>"
            },
            {
              "queue": null,
              "subject": "projects.zeus.>"
            }
          ],
          "deny": [
            {
              "queue": null,
              "subject": "projects.*.audit"
            }
          ]
        }
      },
      "seconds": 1800
    }
    "#);
}
