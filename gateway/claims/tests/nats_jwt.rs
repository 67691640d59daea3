//! What the `nats-jwt` crate signs is read with equal fields: fixtures made with it and ours can be mixed.

use nats_jwt::{KeyPair as OtherKeyPair, Token};
use natsgate_claims::*;

const NOW: i64 = 2_000_000_000;

#[test]
fn its_user_is_read() {
    let (account, signing, user) = (
        OtherKeyPair::new_account(),
        OtherKeyPair::new_account(),
        OtherKeyPair::new_user(),
    );
    let token = Token::new_user(account.public_key(), user.public_key())
        .name("alice")
        .max_subscriptions(10)
        .max_payload(0)
        .allow_publish("a.>")
        .deny_publish("a.b")
        .allow_subscribe("c")
        .deny_subscribe("d")
        .bearer_token(true)
        .expires(4_000_000_000)
        .sign(&signing);
    let claims = decode::<UserBody>(&token, NOW).unwrap();
    assert_eq!(claims.issuer, signing.public_key());
    assert_eq!(claims.subject, user.public_key());
    assert_eq!(claims.name.as_deref(), Some("alice"));
    assert_eq!(claims.expires_at, Some(4_000_000_000));
    let limits = UserPermissionLimits {
        publish: Permission {
            allow: vec!["a.>".into()],
            deny: vec!["a.b".into()],
        },
        subscribe: Permission {
            allow: vec!["c".into()],
            deny: vec!["d".into()],
        },
        subs: 10,
        payload: 0,
        bearer_token: true,
        ..UserPermissionLimits::unlimited()
    };
    assert_eq!(
        claims.body,
        UserBody::with(limits).of_account(account.public_key())
    );
}

#[test]
fn its_account_is_read() {
    let (operator, account, signing) = (
        OtherKeyPair::new_operator(),
        OtherKeyPair::new_account(),
        OtherKeyPair::new_account(),
    );
    let token = Token::new_account(account.public_key())
        .add_signing_key(&signing)
        .max_connections(5)
        .allow_wildcards(false)
        .deny_publish("x")
        .sign(&operator);
    let claims = decode::<AccountBody>(&token, NOW).unwrap();
    assert_eq!(claims.issuer, operator.public_key());
    let mut expected = AccountBody {
        limits: Limits {
            conn: 5,
            wildcards: false,
            ..Limits::unlimited()
        },
        signing_keys: vec![SigningKey::Plain(signing.public_key())],
        ..AccountBody::default()
    };
    expected.default_permissions.publish.deny = vec!["x".into()];
    assert_eq!(claims.body, expected);
}

#[test]
fn keys_are_read_by_both() {
    for (role, theirs) in [
        (Role::Operator, OtherKeyPair::new_operator()),
        (Role::Account, OtherKeyPair::new_account()),
        (Role::User, OtherKeyPair::new_user()),
        (Role::Server, OtherKeyPair::new_server()),
        (Role::Cluster, OtherKeyPair::new_cluster()),
    ] {
        let ours = KeyPair::from_seed(&theirs.seed().unwrap().into(), role).unwrap();
        assert_eq!(ours.public_key(), theirs.public_key());
        theirs
            .verify(b"message", &ours.sign(b"message").unwrap())
            .unwrap();
    }
}
