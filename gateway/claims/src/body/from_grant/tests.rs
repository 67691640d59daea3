use std::time::Duration;

use natsgate_core::{ConnectionType, Permissions, Subject, TimeWindows};

use super::*;

fn subject(text: &str) -> Subject {
    Subject::parse(text).unwrap()
}

fn granting(permissions: &Permissions) -> UserPermissionLimits {
    UserPermissionLimits::granting(permissions, &Limits::default())
}

#[test]
fn a_grant_of_nothing_denies_everything() {
    let limits = granting(&Permissions::default());
    for permission in [&limits.publish, &limits.subscribe] {
        assert!(permission.allow.is_empty());
        assert_eq!(permission.deny, [">"]);
    }
    assert_eq!(limits.responses, None);
    assert_eq!(
        (limits.subs, limits.data, limits.payload),
        (NO_LIMIT, NO_LIMIT, NO_LIMIT)
    );
    assert!(!limits.bearer_token);
}

#[test]
fn one_direction_allowed_leaves_the_other_closed() {
    let mut permissions = Permissions::default();
    permissions.publish.allow = vec![subject("a.>")];
    permissions.publish.deny = vec![subject("a.b")];
    permissions.subscribe.deny = vec![SubscribeSubject {
        subject: subject("c"),
        queue: None,
    }];
    let limits = granting(&permissions);
    assert_eq!(
        (limits.publish.allow, limits.publish.deny),
        (vec!["a.>".into()], vec!["a.b".into()])
    );
    assert_eq!(
        (limits.subscribe.allow, limits.subscribe.deny),
        (vec![], vec![">".into()])
    );
}

#[test]
fn queue_groups_follow_after_a_space() {
    let mut permissions = Permissions::default();
    permissions.subscribe.allow = vec![
        SubscribeSubject {
            subject: subject("q.>"),
            queue: Some(subject("workers.*")),
        },
        SubscribeSubject {
            subject: subject("p"),
            queue: None,
        },
    ];
    assert_eq!(granting(&permissions).subscribe.allow, ["q.> workers.*", "p"]);
}

#[test]
fn beside_a_denied_queue_group_a_plain_denial_names_all_of_them() {
    let entry = |text: &str, queue: Option<&str>| SubscribeSubject {
        subject: subject(text),
        queue: queue.map(subject),
    };
    let mut permissions = Permissions::default();
    permissions.subscribe.allow = vec![entry(">", None)];
    permissions.subscribe.deny = vec![entry("a", None), entry("b", None)];
    assert_eq!(granting(&permissions).subscribe.deny, ["a", "b"]);
    permissions.subscribe.deny.push(entry("c", Some("q")));
    assert_eq!(
        granting(&permissions).subscribe.deny,
        ["a", "b", "c q", "a >", "b >"]
    );
}

#[test]
fn a_window_past_midnight_names_its_morning_once_more() {
    let written = |start: &str, end: &str| -> Vec<String> {
        let window = TimeWindow {
            start: start.parse().unwrap(),
            end: end.parse().unwrap(),
        };
        let ranges = time_ranges(&window);
        ranges
            .map(|range| format!("{}-{}", range.start, range.end))
            .collect()
    };
    assert_eq!(
        written("22:00:00", "06:00:00"),
        ["22:00:00-06:00:00", "00:00:00-06:00:00"]
    );
    assert_eq!(written("22:00:00", "00:00:00"), ["22:00:00-00:00:00"]);
    assert_eq!(written("06:00:00", "22:00:00"), ["06:00:00-22:00:00"]);
}

#[test]
fn what_32_bits_do_not_hold_is_no_longer_unlimited() {
    for limit in [1 << 31, u64::from(u32::MAX), (1 << 32) + 5, u64::MAX] {
        let limits = Limits {
            subscriptions: Some(limit),
            payload: Some(limit),
            ..Limits::default()
        };
        let carried = UserPermissionLimits::granting(&Permissions::default(), &limits);
        assert_eq!(
            (carried.subs, carried.payload),
            (i64::from(i32::MAX), i64::from(i32::MAX))
        );
    }
}

#[test]
fn response_permissions_never_become_the_server_s_defaults() {
    let with = |max_messages, ttl| {
        granting(&Permissions {
            responses: Some(Responses { max_messages, ttl }),
            ..Permissions::default()
        })
        .responses
    };
    let expected = |max_messages, ttl_nanoseconds| {
        Some(ResponsePermission {
            max_messages,
            ttl_nanoseconds,
        })
    };
    assert_eq!(with(5, Some(Duration::from_secs(2))), expected(5, 2_000_000_000));
    assert_eq!(with(1, None), expected(1, NO_LIMIT));
    assert_eq!(with(1, Some(Duration::ZERO)), expected(1, 1));
    assert_eq!(with(1, Some(Duration::MAX)), expected(1, i64::MAX));
    assert_eq!(with(0, None), None);
}

#[test]
fn every_limit_is_carried_over() {
    let limits = Limits {
        subscriptions: Some(0),
        payload: Some(1024),
        data: Some(u64::MAX),
        connection_types: Some(vec![ConnectionType::Websocket, ConnectionType::LeafnodeWs]),
        source_networks: Some(vec!["192.0.2.0/24".parse().unwrap()]),
        times: Some(TimeWindows {
            windows: vec![TimeWindow {
                start: "08:00:00".parse().unwrap(),
                end: "18:00:30".parse().unwrap(),
            }],
            location: Some("Europe/Berlin".into()),
        }),
    };
    let carried = UserPermissionLimits::granting(&Permissions::default(), &limits);
    assert_eq!((carried.subs, carried.payload, carried.data), (0, 1024, i64::MAX));
    assert_eq!(carried.allowed_connection_types, ["WEBSOCKET", "LEAFNODE_WS"]);
    assert_eq!(carried.source_networks, ["192.0.2.0/24"]);
    assert_eq!(carried.times[0].start, "08:00:00");
    assert_eq!(carried.times[0].end, "18:00:30");
    assert_eq!(carried.times_location.as_deref(), Some("Europe/Berlin"));
}
