use serde_json::json;

use super::*;
use crate::{ClaimsToSign, EncodeError, KeyPair, NO_LIMIT, Permission, encode};

#[test]
fn a_scoped_user_is_written_without_permissions_and_limits() {
    let body = UserBody::scoped("A1").tagged(["project:apollo"]);
    let json = serde_json::to_value(&body).unwrap();
    assert_eq!(json, json!({"issuer_account": "A1", "tags": ["project:apollo"]}));
    assert_eq!(serde_json::from_value::<UserBody>(json).unwrap(), body);
}

#[test]
fn an_unlimited_user_is_written_with_all_three_limits() {
    let json = serde_json::to_value(UserBody::unlimited()).unwrap();
    assert_eq!(json, json!({"subs": -1, "data": -1, "payload": -1}));
}

#[test]
fn limits_that_are_absent_are_zero() {
    let body: UserBody =
        serde_json::from_value(json!({"pub": {"allow": ["a"]}, "type": "user", "version": 2})).unwrap();
    let limits = UserPermissionLimits {
        publish: Permission {
            allow: vec!["a".into()],
            deny: vec![],
        },
        ..UserPermissionLimits::default()
    };
    assert_eq!(body, UserBody::with(limits));
}

#[test]
fn a_user_of_nothing_but_empty_fields_is_a_scoped_one() {
    for json in [
        json!({}),
        json!({"pub": {}, "sub": {}, "type": "user"}),
        json!({"subs": 0, "src": null, "times": []}),
    ] {
        assert_eq!(
            serde_json::from_value::<UserBody>(json).unwrap().rights,
            UserRights::Scoped
        );
    }
}

#[test]
fn source_networks_are_read_from_a_list_or_a_text() {
    for (src, expected) in [
        (
            json!(["192.0.2.0/24", "::1/128"]),
            vec!["192.0.2.0/24", "::1/128"],
        ),
        (
            json!("192.0.2.0/24, 2001:DB8::/32,"),
            vec!["192.0.2.0/24", "2001:db8::/32"],
        ),
        (json!(""), vec![]),
        (json!(null), vec![]),
    ] {
        let limits: UserPermissionLimits = serde_json::from_value(json!({"src": src})).unwrap();
        assert_eq!(limits.source_networks, expected);
    }
    assert!(serde_json::from_value::<UserPermissionLimits>(json!({"src": 5})).is_err());
}

#[test]
fn what_a_server_would_refuse_is_not_signed() {
    let (account, user) = (
        KeyPair::generate(Role::Account).unwrap(),
        KeyPair::generate(Role::User).unwrap(),
    );
    let mut scoped_of_nobody = UserBody::scoped("");
    scoped_of_nobody.issuer_account = None;
    for body in [
        scoped_of_nobody,
        UserBody::with(UserPermissionLimits::default()),
        UserBody::unlimited().of_account(user.public_key()),
        UserBody::unlimited().of_account(""),
    ] {
        let result = encode(ClaimsToSign::new(user.public_key(), body.clone()), &account, 1);
        assert!(
            matches!(result, Err(EncodeError::Inconsistent { .. })),
            "{body:?}: {result:?}"
        );
    }
    // One limit that is not zero makes it a user with own rights.
    let limits = UserPermissionLimits {
        subs: NO_LIMIT,
        ..UserPermissionLimits::default()
    };
    encode(
        ClaimsToSign::new(user.public_key(), UserBody::with(limits)),
        &account,
        1,
    )
    .unwrap();
}
