use serde_json::json;

use super::*;
use crate::{ClaimsToSign, EncodeError, KeyPair, UserPermissionLimits, encode};

/// Everything known at every level has a neighbour that is not, and kinds that are not known stand beside known ones.
fn from_the_future() -> Value {
    json!({
        "limits": {"subs": -1, "data": -1, "payload": -1, "conn": 4, "new_limit": 9_007_199_254_740_993_u64,
            "tiered_limits": {"R1": {"disk_storage": 5, "new": 1}}},
        "signing_keys": [
            "plain",
            {"kind": "user_scope", "key": "k", "role": "r", "description": "d", "new": [1], "template":
                {"pub": {"allow": ["x"]}, "subs": 0, "data": -1, "payload": -1, "new_right": {"deep": null}}},
            {"kind": "group_scope", "key": "k2", "members": ["a"]},
        ],
        "default_permissions": {"pub": {"deny": ["x"]}, "new": true},
        "authorization": {"auth_users": ["u"], "new": "x"},
        "imports": [{"name": "i", "new": 1}],
        "exports": [{"name": "e", "new": 1.5}],
        "mappings": {"a": [{"subject": "b", "new": []}]},
        "trace": {"dest": "t", "new": 1},
        "revocations": {"*": 5},
        "new_feature": {"type": "of its own", "version": 9},
    })
}

#[test]
fn what_is_not_known_survives_at_every_level() {
    let mut json = from_the_future();
    let body: AccountBody = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(&body).unwrap(), json);
    assert_eq!(body.unknown.names().collect::<Vec<_>>(), ["new_feature"]);
    // Type and version are the token's: they are not kept to be written twice.
    json["type"] = "account".into();
    json["version"] = 2.into();
    assert_eq!(serde_json::from_value::<AccountBody>(json).unwrap(), body);
}

#[test]
fn what_an_operator_has_that_is_not_known_survives() {
    let json = json!({"signing_keys": ["O1"], "new": {"a": 1}});
    let body: crate::OperatorBody = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(&body).unwrap(), json);
}

#[test]
fn a_template_s_absent_limits_are_none_and_its_zeros_are_zero() {
    let read = |template: Value| {
        let key = json!({"kind": "user_scope", "key": "k", "template": template});
        match serde_json::from_value(key).unwrap() {
            SigningKey::Scoped(scope) => scope.template,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read(json!({})), UserPermissionLimits::unlimited());
    assert_eq!(read(json!(null)), UserPermissionLimits::unlimited());
    let zero = UserPermissionLimits {
        subs: 0,
        ..UserPermissionLimits::unlimited()
    };
    assert_eq!(read(json!({"subs": 0})), zero);
    // Written as zero, not left out: Go would read that as no limit.
    let written = serde_json::to_value(SigningKey::scoped("k", "r", zero)).unwrap();
    assert_eq!(written["template"]["subs"], 0);
}

#[test]
fn an_account_s_absent_limits_are_zero() {
    assert_eq!(
        serde_json::from_value::<AccountBody>(json!({})).unwrap().limits,
        Limits::default()
    );
    assert_eq!(AccountBody::default().limits, Limits::unlimited());
    assert_eq!(Limits::default().conn, 0);
}

#[test]
fn nulls_are_nothing() {
    let json = json!({"imports": null, "limits": null, "signing_keys": null, "revocations": null,
        "default_permissions": null, "mappings": null, "authorization": null, "trace": null, "tags": null});
    let expected = AccountBody {
        limits: Limits::default(),
        ..AccountBody::default()
    };
    assert_eq!(serde_json::from_value::<AccountBody>(json).unwrap(), expected);
}

#[test]
fn what_a_server_would_refuse_is_not_signed() {
    let key = |role| KeyPair::generate(role).unwrap().public_key().to_owned();
    let (account, user) = (key(Role::Account), key(Role::User));
    let xkey = crate::XKeyPair::generate().unwrap().public_key().to_owned();
    let operator = KeyPair::generate(Role::Operator).unwrap();
    let with = |authorization| AccountBody {
        authorization,
        ..AccountBody::default()
    };
    let good = ExternalAuthorization {
        auth_users: vec![user.clone()],
        allowed_accounts: vec![account.clone()],
        xkey: Some(xkey),
        ..ExternalAuthorization::default()
    };
    let sign = |body| encode(ClaimsToSign::new(account.clone(), body), &operator, 1);
    sign(with(good.clone())).unwrap();
    let any = ExternalAuthorization {
        allowed_accounts: vec!["*".into()],
        ..good.clone()
    };
    sign(with(any)).unwrap();
    let bad = [
        with(ExternalAuthorization {
            auth_users: vec![],
            ..good.clone()
        }),
        with(ExternalAuthorization {
            auth_users: vec![account.clone()],
            ..good.clone()
        }),
        with(ExternalAuthorization {
            allowed_accounts: vec!["*".into(), account.clone()],
            ..good.clone()
        }),
        with(ExternalAuthorization {
            allowed_accounts: vec!["APP".into()],
            ..good.clone()
        }),
        with(ExternalAuthorization {
            xkey: Some(user.clone()),
            ..good
        }),
        AccountBody {
            signing_keys: vec![SigningKey::Plain(user.clone())],
            ..AccountBody::default()
        },
        AccountBody {
            signing_keys: vec![SigningKey::scoped(user, "r", UserPermissionLimits::unlimited())],
            ..AccountBody::default()
        },
    ];
    for body in bad {
        let result = sign(body.clone());
        assert!(
            matches!(result, Err(EncodeError::Inconsistent { .. })),
            "{body:?}"
        );
    }
}
