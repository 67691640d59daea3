//! What every store must do when it is read: order, pages, filters, and texts kept as they are.

use natsgate_core::{MembershipFilter, MembershipWrite, Names, Principal, Reach};

use super::{Store, apply, delete, everything, ids, keys, put, soon};

pub(super) async fn pages_follow_the_keys_and_lose_nothing(store: &Store) {
    let names: Vec<String> = (0..25).map(|n| format!("p{n:02}")).collect();
    apply(store, names.iter().rev().map(|id| put("alice", id)).collect()).await;
    let filter = everything();
    let mut seen = Vec::new();
    let mut after = None;
    for round in 0..10 {
        let page = store.list(&filter, after.as_ref(), 10, soon()).await.unwrap();
        seen.extend(page.records.into_iter().map(|record| record.key.membership.id));
        if round == 0 {
            // Beside the pages already read: what stays is listed once, in order, whatever comes and goes.
            apply(
                store,
                vec![put("aaron", "x"), put("alice", "p10a"), delete("alice", "p11")],
            )
            .await;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut expected = names.clone();
    expected.insert(11, "p10a".into());
    assert_eq!(seen, expected);
    // Exactly full is not followed by another page.
    let page = store.list(&filter, None, 27, soon()).await.unwrap();
    assert_eq!((page.records.len(), page.next), (27, None));
}

pub(super) async fn a_list_keeps_to_the_filter_and_the_reach(store: &Store) {
    let mut other = put("alice", "a");
    other.key.principal.issuer = "https://other.example".into();
    let mut device = put("bob", "a");
    device.key.membership.kind = "device".into();
    device.key.membership.role = "owner".into();
    apply(
        store,
        vec![
            put("alice", "a"),
            put("alice", "eu-1"),
            put("bob", "eu_1"),
            device,
            other,
        ],
    )
    .await;
    apply(store, vec![delete("alice", "a")]).await;

    let all = MembershipFilter::within(Reach::everything());
    let named = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter()
            .map(|(s, i)| ((*s).to_owned(), (*i).to_owned()))
            .collect()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        keys(store, &all).await,
        named(&[("alice", "eu-1"), ("bob", "a"), ("bob", "eu_1"), ("alice", "a")])
    );
    for (filter, expected) in [
        (
            MembershipFilter {
                deleted: true,
                kind: some("project"),
                id: some("a"),
                ..all.clone()
            },
            named(&[("alice", "a"), ("alice", "a")]),
        ),
        (
            MembershipFilter {
                issuer: some("https://other.example"),
                ..all.clone()
            },
            named(&[("alice", "a")]),
        ),
        (
            MembershipFilter {
                subject: some("bob"),
                ..all.clone()
            },
            named(&[("bob", "a"), ("bob", "eu_1")]),
        ),
        (
            MembershipFilter {
                issuer: some("https://idp.example"),
                subject: some("bob"),
                ..all.clone()
            },
            named(&[("bob", "a"), ("bob", "eu_1")]),
        ),
        (
            MembershipFilter {
                issuer: some("https://idp.example"),
                subject: some("bo"),
                ..all.clone()
            },
            named(&[]),
        ),
        (
            MembershipFilter {
                kind: some("device"),
                ..all.clone()
            },
            named(&[("bob", "a")]),
        ),
        (
            MembershipFilter {
                role: some("owner"),
                ..all.clone()
            },
            named(&[("bob", "a")]),
        ),
        (
            MembershipFilter {
                role: some("owner"),
                kind: some("project"),
                ..all.clone()
            },
            named(&[]),
        ),
    ] {
        assert_eq!(keys(store, &filter).await, expected, "{filter:?}");
    }

    let only = |names: &[&str]| Names::Only(names.iter().map(|name| (*name).to_owned()).collect());
    for (reach, expected) in [
        (Reach::nothing(), named(&[])),
        (
            Reach {
                issuers: only(&["https://other.example"]),
                ..Reach::everything()
            },
            named(&[("alice", "a")]),
        ),
        (
            Reach {
                kinds: only(&["device"]),
                ..Reach::everything()
            },
            named(&[("bob", "a")]),
        ),
        (
            Reach {
                roles: only(&["owner", "x"]),
                ..Reach::everything()
            },
            named(&[("bob", "a")]),
        ),
        // A prefix is no pattern.
        (
            Reach {
                id_prefixes: only(&["eu_"]),
                ..Reach::everything()
            },
            named(&[("bob", "eu_1")]),
        ),
        (
            Reach {
                id_prefixes: only(&["eu%", "e*", "E"]),
                ..Reach::everything()
            },
            named(&[]),
        ),
        (
            Reach {
                id_prefixes: only(&["eu-", "eu_"]),
                ..Reach::everything()
            },
            named(&[("alice", "eu-1"), ("bob", "eu_1")]),
        ),
        (
            Reach {
                roles: Names::none(),
                ..Reach::everything()
            },
            named(&[]),
        ),
    ] {
        let filter = MembershipFilter::within(reach);
        assert_eq!(keys(store, &filter).await, expected, "{filter:?}");
    }
}

pub(super) async fn texts_are_kept_to_the_letter(store: &Store) {
    let hostile = [
        "'; DROP SCHEMA natsgate; --",
        "\\",
        "\"{}\"",
        "%_*>.",
        " a ",
        "A",
        "a",
        "ä",
        "a\u{308}",
        "ß",
        "日本",
        "$1",
        "NULL",
        &"x".repeat(256),
    ];
    apply(store, hostile.iter().map(|text| put(text, text)).collect()).await;
    for text in hostile {
        assert_eq!(ids(store, text).await, [text], "{text:?}");
    }
    let listed: Vec<String> = keys(store, &everything())
        .await
        .into_iter()
        .map(|(_, id)| id)
        .collect();
    let mut sorted = hostile.map(str::to_owned);
    sorted.sort();
    assert_eq!(listed, sorted, "by bytes, in every store");
    // As long as they may be, and not to be made shorter.
    let long = |bytes: usize| -> String {
        std::iter::repeat_with(|| char::from(rand::random_range(b'!'..=b'~')))
            .take(bytes)
            .collect()
    };
    let mut longest = put(
        &long(MembershipWrite::MAX_SUBJECT),
        &long(MembershipWrite::MAX_NAME),
    );
    longest.key.principal.issuer = long(MembershipWrite::MAX_ISSUER);
    longest.key.membership.kind = long(MembershipWrite::MAX_NAME);
    longest.key.membership.role = long(MembershipWrite::MAX_NAME);
    apply(store, vec![longest.clone()]).await;
    let found = store.of(&longest.key.principal, soon()).await.unwrap();
    assert_eq!(found, [longest.key.membership]);
    // No record can have this name; asking for it is no error.
    assert_eq!(ids(store, "a\0").await, Vec::<String>::new());
    let filter = MembershipFilter {
        subject: Some("a\0".into()),
        ..everything()
    };
    assert_eq!(keys(store, &filter).await, []);
}

pub(super) async fn neighbours_are_told_apart(store: &Store) {
    let mut split = put("c", "split");
    split.key.principal = Principal::new("https://idp.exampleb", "c");
    apply(
        store,
        vec![put("bc", "whole"), split, put("b", "short"), put("bcd", "long")],
    )
    .await;
    assert_eq!(ids(store, "bc").await, ["whole"]);
    assert_eq!(ids(store, "b").await, ["short"]);
    assert_eq!(ids(store, "c").await, Vec::<String>::new());
}
