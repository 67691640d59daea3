use std::time::Duration;

use natsgate_claims::{
    Permission, ResponsePermission as WireResponses, SigningKey, TimeRange, UserPermissionLimits, UserScope,
};
use natsgate_core::{
    ConnectionType, ResponsePermission, Subject, SubscribeSubject, TimeOfDay, TimeWindow, TimeWindows,
};
use proptest::prelude::*;

use super::*;
use crate::testing::{account_key, generation, name, permissions, subject};

fn made(permissions: Permissions) -> Result<Template, TemplateError> {
    Template::new(name("t"), permissions, Limits::default())
}

fn queued(text: &str, queue: &str) -> SubscribeSubject {
    SubscribeSubject {
        subject: subject(text),
        queue: Some(subject(queue)),
    }
}

fn scope(key: SigningKey) -> UserScope {
    match key {
        SigningKey::Scoped(scope) => *scope,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_allow_denies_everything_in_the_scope() {
    let template = made(permissions(&["a"], &[])).unwrap();
    let scope = scope(template.to_signing_key(&account_key(), generation(3)));
    assert_eq!(scope.role, "natsgate.t.3");
    assert_eq!(scope.template.publish.allow, ["a"]);
    assert_eq!(scope.template.subscribe.allow, [""; 0]);
    assert_eq!(scope.template.subscribe.deny, [">"]);
    assert_eq!(
        (scope.template.subs, scope.template.data, scope.template.payload),
        (-1, -1, -1)
    );
    assert!(!scope.template.bearer_token);
}

/// To nats-server a plain entry beside one with a queue group is for no other group.
#[test]
fn a_plain_entry_is_for_every_queue_group() {
    let mut with = permissions(&[], &["jobs.>"]);
    with.subscribe.allow.push(queued("jobs.a", "workers"));
    let template = made(with).unwrap();
    let scope = scope(template.to_signing_key(&account_key(), generation(1)));
    assert_eq!(
        scope.template.subscribe.allow,
        ["jobs.>", "jobs.a workers", "jobs.> >"]
    );
    assert_eq!(Template::from_scope(name("t"), &scope).unwrap(), template);
}

#[test]
fn what_would_grant_nothing_or_everything_is_refused() {
    assert!(matches!(
        made(Permissions::default()),
        Err(TemplateError::GrantsNothing { .. })
    ));
    let mut denying = permissions(&["a"], &[]);
    denying.subscribe.deny.push(queued("x", "q"));
    assert!(matches!(
        made(denying),
        Err(TemplateError::DenyWithoutAllow {
            list: List::SubscribeDeny,
            ..
        })
    ));
}

#[test]
fn times_of_day_are_refused() {
    let time = |seconds| TimeOfDay::from_seconds(seconds).unwrap();
    let limits = Limits {
        times: Some(TimeWindows {
            windows: vec![TimeWindow {
                start: time(0),
                end: time(1),
            }],
            location: None,
        }),
        ..Limits::default()
    };
    let refused = Template::new(name("t"), permissions(&["a"], &[]), limits);
    assert!(matches!(refused, Err(TemplateError::Times { .. })));
}

#[test]
fn functions_are_checked_in_every_list() {
    for list in List::ALL {
        let mut with = permissions(&["a"], &["b"]);
        let bad = subject("x.{{name()}}");
        let queueless = SubscribeSubject {
            subject: bad.clone(),
            queue: None,
        };
        match list {
            List::PublishAllow => with.publish.allow.push(bad),
            List::PublishDeny => with.publish.deny.push(bad),
            List::SubscribeAllow => with.subscribe.allow.push(queueless),
            List::SubscribeDeny => with.subscribe.deny.push(queueless),
        }
        let error = made(with).unwrap_err();
        assert!(
            matches!(&error, TemplateError::Entry { list: found, why: EntryError::Function(FunctionError::Name), .. } if *found == list),
            "{error}"
        );
    }
}

/// nats-server drops entries with queue groups from a list that it expands.
#[test]
fn queue_groups_do_not_stand_beside_functions() {
    let mut beside = permissions(&["p.{{tag(x)}}"], &["s.{{tag(x)}}"]);
    beside.subscribe.allow.push(queued("jobs", "workers"));
    assert!(matches!(
        made(beside.clone()),
        Err(TemplateError::Entry {
            why: EntryError::QueueBesideFunction,
            ..
        })
    ));
    // In another list they may.
    beside.subscribe.allow = vec![queued("jobs", "workers")];
    made(beside.clone()).unwrap();
    beside.subscribe.allow = vec![queued("jobs", "{{tag(x)}}")];
    assert!(matches!(
        made(beside),
        Err(TemplateError::Entry {
            why: EntryError::FunctionInQueue,
            ..
        })
    ));
}

#[test]
fn a_list_is_bounded() {
    let subjects: Vec<String> = (0..=MAX_EXPANSIONS).map(|n| format!("s.{n}")).collect();
    let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
    assert!(matches!(
        made(permissions(&subjects, &[])),
        Err(TemplateError::TooManyEntries { entries: 4097, .. })
    ));
}

#[test]
fn errors_say_where() {
    let error = made(permissions(&["a.{{name()}}"], &[])).unwrap_err().to_string();
    assert!(
        error.starts_with("template t: publish.allow: \"a.{{name()}}\": {{name()}} is"),
        "{error}"
    );
}

#[test]
fn what_natsgate_does_not_write_is_not_read() {
    let good = made(permissions(&["a"], &["b"])).unwrap();
    let good = scope(good.to_signing_key(&account_key(), generation(1)));
    assert!(Template::from_scope(name("t"), &good).is_ok());
    for change in [
        (|l| l.bearer_token = true) as fn(&mut UserPermissionLimits),
        |l| l.proxy_required = true,
        |l| l.publish = Permission::default(),
        |l| {
            l.publish = Permission {
                allow: vec![],
                deny: vec!["a".into()],
            };
        },
        |l| l.publish.allow.push("a..b".into()),
        |l| l.publish.allow.push("a q".into()),
        |l| l.subscribe.allow.push("a q r".into()),
        |l| l.subs = -2,
        |l| l.times.push(TimeRange::default()),
        |l| l.source_networks.push("x".into()),
        |l| l.allowed_connection_types.push("CARRIER_PIGEON".into()),
        |l| l.responses = Some(WireResponses::default()),
        |l| {
            l.responses = Some(WireResponses {
                max_messages: -1,
                ttl_nanoseconds: 1,
            });
        },
        |l| {
            l.unknown = serde_json::from_value(serde_json::json!({"new": 1})).unwrap();
        },
    ] {
        let mut other = good.clone();
        change(&mut other.template);
        assert!(
            Template::from_scope(name("t"), &other).is_err(),
            "{:?}",
            other.template
        );
    }
    let mut everything_closed = good;
    everything_closed.template = UserPermissionLimits::granting(&Permissions::default(), &Limits::default());
    assert!(scope::is_closed(&everything_closed));
    assert!(Template::from_scope(name("t"), &everything_closed).is_err());
}

fn subjects() -> impl Strategy<Value = Subject> {
    let token = prop_oneof![
        "[a-c]{1,2}",
        Just("*".to_owned()),
        Just("{{tag(x)}}".to_owned()),
        Just("{{subject()}}".to_owned()),
    ];
    proptest::collection::vec(token, 1..4)
        .prop_map(|tokens| tokens.join("."))
        .prop_filter_map("a tag twice", |text| {
            function::tokens(&text).ok()?;
            Subject::parse(text).ok()
        })
}

fn subscribe_subjects() -> impl Strategy<Value = SubscribeSubject> {
    (subjects(), proptest::option::of("q[0-9]|>")).prop_map(|(subject, queue)| SubscribeSubject {
        subject,
        queue: queue.map(|queue| Subject::parse(queue).unwrap()),
    })
}

fn any_permissions() -> impl Strategy<Value = Permissions> {
    let list = || proptest::collection::vec(subjects(), 0..4);
    let queued = || proptest::collection::vec(subscribe_subjects(), 0..4);
    let responses = proptest::option::of((0u32..3, proptest::option::of(0u64..9)));
    (list(), list(), queued(), queued(), responses).prop_map(
        |(publish_allow, publish_deny, subscribe_allow, subscribe_deny, responses)| {
            let mut permissions = Permissions::default();
            permissions.publish.allow = publish_allow;
            permissions.publish.deny = publish_deny;
            permissions.subscribe.allow = subscribe_allow;
            permissions.subscribe.deny = subscribe_deny;
            permissions.responses = responses.map(|(max_messages, ttl)| ResponsePermission {
                max_messages,
                ttl: ttl.map(Duration::from_nanos),
            });
            permissions
        },
    )
}

fn any_limits() -> impl Strategy<Value = Limits> {
    (
        proptest::option::of(any::<u64>()),
        proptest::option::of(any::<u64>()),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(subscriptions, payload, websocket, network)| Limits {
            subscriptions,
            payload,
            data: payload,
            connection_types: websocket.then(|| vec![ConnectionType::Websocket]),
            source_networks: network.then(|| vec!["10.0.0.0/8".parse().unwrap()]),
            times: None,
        })
}

proptest! {
    #[test]
    fn a_template_is_read_back_as_it_was(permissions in any_permissions(), limits in any_limits()) {
        if let Ok(template) = Template::new(name("t"), permissions, limits) {
            let scope = scope(template.to_signing_key(&account_key(), generation(1)));
            prop_assert!(!scope::is_closed(&scope));
            let again = Template::from_scope(name("t"), &scope).unwrap();
            prop_assert!(template.difference(&again).is_empty());
            prop_assert_eq!(template, again);
        }
    }

    /// Never a list that a server takes for "everything", nor a queue group beside a function.
    #[test]
    fn a_scope_is_never_wider_than_its_template(permissions in any_permissions()) {
        if let Ok(template) = made(permissions) {
            let scope = scope(template.to_signing_key(&account_key(), generation(1)));
            for list in [&scope.template.publish, &scope.template.subscribe] {
                prop_assert!(!list.allow.is_empty() || list.deny == [">"]);
                for entries in [&list.allow, &list.deny] {
                    let expanded = entries.iter().any(|entry| entry.contains("{{"));
                    prop_assert!(!expanded || entries.iter().all(|entry| !entry.contains(' ')));
                }
            }
        }
    }
}
