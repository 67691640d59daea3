//! Where what a session may do is written: in rules, in a template, in the account's defaults, and only in one of them.

use natsgate_core::{DenialReason, Rights};
use serde_json::{Value, json};

use super::{Case, case, giving};

fn member_of_each_project() -> Value {
    json!({
        "name": "members",
        "for_each": {"membership": {"kind": "project"}},
        "template": {"name": "member", "tags": {"project": "{membership.id}"}},
    })
}

/// The template and its tags as they would stand in the user JWT.
fn template(case: &Case) -> (String, Vec<String>) {
    match case.grant().rights {
        Rights::Template(used) => {
            let tags = used.tags.iter();
            let tags =
                tags.flat_map(|(name, values)| values.iter().map(move |value| format!("{name}:{value}")));
            (used.template.to_string(), tags.collect())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn tags_of_all_memberships_add_up() {
    let case = case(json!([member_of_each_project()]))
        .member("project", "zeus", "member")
        .member("project", "apollo", "owner")
        .member("project", "apollo", "member")
        .member("device", "d1", "owner");
    let tags = vec!["project:apollo".to_owned(), "project:zeus".to_owned()];
    assert_eq!(template(&case), ("member".to_owned(), tags));
}

#[test]
fn a_template_alone_lets_in_and_without_it_nobody_is() {
    let rules = json!([member_of_each_project()]);
    assert_eq!(case(rules).reason(), DenialReason::NoRuleMatched);
    let rules = json!([{"name": "all", "template": {"name": "everybody"}}]);
    assert_eq!(template(&case(rules)), ("everybody".to_owned(), Vec::new()));
    let rules = json!([{"name": "all", "account_defaults": true, "limits": {"subscriptions": 3}}]);
    let grant = case(rules).grant();
    assert_eq!(
        (grant.rights, grant.limits.subscriptions),
        (Rights::AccountDefaults, Some(3))
    );
}

#[test]
fn what_cannot_be_in_two_places_is_denied_whoever_comes_first() {
    let everybody = || json!({"name": "template", "template": {"name": "everybody"}});
    for other in [
        giving(),
        json!({"name": "denies", "publish": {"deny": ["secret.>"]}}),
        json!({"name": "denies too", "subscribe": {"deny": ["secret.>"]}}),
        json!({"name": "answers", "responses": {}}),
        json!({"name": "another", "template": {"name": "member"}}),
        json!({"name": "defaults", "account_defaults": true}),
        json!({"name": "subscriptions", "limits": {"subscriptions": 1}}),
        json!({"name": "payload", "limits": {"payload": 1}}),
        json!({"name": "data", "limits": {"data": 1}}),
        json!({"name": "times", "limits": {"times": {"windows": [{"start": "08:00:00", "end": "09:00:00"}]}}}),
    ] {
        for rules in [json!([everybody(), other]), json!([other, everybody()])] {
            assert_eq!(
                case(rules.clone()).reason(),
                DenialReason::RightsConflict,
                "{rules}"
            );
        }
    }
    let rules = json!([giving(), {"name": "defaults", "account_defaults": true}]);
    assert_eq!(case(rules).reason(), DenialReason::RightsConflict);
    // The same template twice is one.
    let rules = json!([everybody(), {"name": "again", "template": {"name": "everybody"}}]);
    assert_eq!(template(&case(rules)).0, "everybody");
}

#[test]
fn what_the_shim_holds_may_stand_beside_a_template() {
    let rules = json!([member_of_each_project(), {"name": "bounds", "limits": {
        "connection_types": ["STANDARD"], "source_networks": ["10.0.0.0/8"], "expires_in": "10s",
    }}]);
    let grant = case(rules).member("project", "apollo", "member").grant();
    assert!(grant.limits.connection_types.is_some() && grant.limits.source_networks.is_some());
}

#[test]
fn a_tags_value_is_checked_like_any_other() {
    for bad in ["a.b", "*", ">", "", "a b", "a\nb"] {
        let case = case(json!([member_of_each_project()])).member("project", bad, "member");
        assert_eq!(case.reason(), DenialReason::UnsafeValue, "{bad:?}");
    }
    let case = case(json!([{"name": "t", "template": {"name": "m", "tags": {"tenant": "{claims.tenant}"}}}]));
    assert_eq!(case.reason(), DenialReason::MissingValue);
}

#[test]
fn too_many_tags_are_denied() {
    let mut case = case(json!([member_of_each_project()]));
    for number in 0..=super::sum::MAX_SUBJECTS {
        case = case.member("project", &number.to_string(), "member");
    }
    assert_eq!(case.reason(), DenialReason::PolicyError);
}

#[test]
fn an_explanation_names_the_template_and_its_tags() {
    let case = case(json!([member_of_each_project()])).member("project", "apollo", "member");
    assert!(
        case.explain().contains("template member project:{membership.id}"),
        "{}",
        case.explain()
    );
}
