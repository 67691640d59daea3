//! Whatever is in an account and not natsgate's survives whatever natsgate does.

use proptest::prelude::*;

use super::*;

/// An operation on an account.
#[derive(Debug, Clone)]
enum Act {
    Put(u8, u8),
    Retire(u8),
    Remove(u8, u32),
    Rotate,
    SetDefaults(u8),
    ClearDefaults,
    RevokeEveryone(i64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0u8..3, 0u8..3).prop_map(|(template, content)| Act::Put(template, content)),
        2 => (0u8..3).prop_map(Act::Retire),
        2 => (0u8..3, 1u32..5).prop_map(|(template, generation)| Act::Remove(template, generation)),
        1 => Just(Act::Rotate),
        1 => (0u8..3).prop_map(Act::SetDefaults),
        1 => Just(Act::ClearDefaults),
        1 => (1i64..=NOW).prop_map(Act::RevokeEveryone),
    ];
    proptest::collection::vec(act, 0..12)
}

fn apply(account: &mut ManagedAccount, act: &Act) {
    let named = |number: &u8| name(&format!("t{number}"));
    match act {
        Act::Put(number, content) => {
            let subject = format!("s.{content}");
            let put = account.put_template(&template(named(number).as_str(), &[&subject], &[]));
            assert!(put.is_ok(), "{put:?}");
        }
        Act::Retire(number) => drop(account.retire_template(&named(number))),
        Act::Remove(number, of) => drop(account.remove_generation(&named(number), generation(*of))),
        Act::Rotate => drop(account.rotate().unwrap()),
        Act::SetDefaults(content) => {
            let defaults = DefaultPermissions::new(permissions(&[&format!("d.{content}")], &[])).unwrap();
            account.set_defaults(&defaults);
        }
        Act::ClearDefaults => drop(account.clear_defaults()),
        Act::RevokeEveryone(at) => drop(account.revoke_everyone(*at, NOW).unwrap()),
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z.>*{}]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,3}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    proptest::collection::btree_map("x_[a-z]{1,3}", any_json(), 1..3)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

/// A foreign signing key; `number` keeps keys apart.
fn foreign_key(number: u8) -> impl Strategy<Value = Value> {
    let public = key(Role::Account, 200 - number).public_key().to_owned();
    let role = prop_oneof![
        Just("admin".to_owned()),
        // One that looks like ours.
        (0u8..3, 1u32..5).prop_map(|(template, generation)| format!("natsgate.t{template}.{generation}")),
    ];
    (0u8..4, role, object()).prop_map(move |(kind, role, unknown)| match kind {
        0 => json!(public),
        1 => json!({"kind": "user_scope", "key": public, "role": role, "description": "d", "x_unknown": unknown,
                "template": {"pub": {"allow": ["f.>"]}, "subs": 5, "bearer_token": true, "x_unknown": unknown}}),
        2 => json!({"kind": "user_scope", "key": public, "role": role, "template": {}}),
        _ => json!({"kind": "scope_of_tomorrow", "key": public, "x": unknown}),
    })
}

fn foreign_account() -> impl Strategy<Value = Value> {
    let keys = (foreign_key(0), foreign_key(1), foreign_key(2)).prop_map(|(a, b, c)| json!([a, b, c]));
    (keys, object(), object(), any::<u32>(), any::<i64>()).prop_map(
        |(signing_keys, one, other, number, limit)| {
            let user = key(Role::User, 7).public_key().to_owned();
            json!({
                "signing_keys": signing_keys,
                "imports": [one], "exports": [other, one],
                "mappings": {"a": other},
                "limits": {"subs": limit, "conn": -1, "x_unknown": one, "tiered_limits": {"R3": other}},
                "revocations": {(user.clone()): number, "*": 7},
                "default_permissions": {"pub": {"allow": ["x"]}, "x_unknown": other},
                "authorization": {"auth_users": [user], "allowed_accounts": ["*"], "x_unknown": one},
                "trace": {"dest": "t", "sampling": 5},
                "cluster_traffic": "owner", "description": "d", "info_url": "https://example.com",
                "tags": ["a:b", format!("n:{number}")],
                "x_unknown": other,
            })
        },
    )
}

/// All of the account but what natsgate writes into it.
fn foreign_part(account: &ManagedAccount) -> (Value, Vec<Option<String>>) {
    let claims = account.claims();
    let mut body = claims.body.clone();
    let ours: Vec<&str> = account
        .templates()
        .flat_map(TemplateState::generations)
        .map(|generation| generation.public_key())
        .collect();
    body.signing_keys
        .retain(|key| !key.key().is_some_and(|key| ours.contains(&key)));
    body.revocations.remove("*");
    DefaultPermissions::clear(&mut body.default_permissions);
    let envelope = vec![
        Some(claims.subject.clone()),
        claims.name.clone(),
        claims.audience.clone(),
        claims.expires_at.map(|at| at.to_string()),
        claims.not_before.map(|at| at.to_string()),
    ];
    (serde_json::to_value(body).unwrap(), envelope)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn everything_foreign_survives(
        body in foreign_account(),
        acts in acts(),
        later in acts(),
    ) {
        let body: AccountBody = serde_json::from_value(body).unwrap();
        let claims = ClaimsToSign::new(account_key(), body)
            .name("APP")
            .audience("somebody")
            .expires_at(NOW + 1000)
            .not_before(5);
        let token = encode(claims, &operator(), NOW).unwrap();
        let mut account = read_with(&token, keys()).unwrap();
        let before = foreign_part(&account);
        for act in &acts {
            apply(&mut account, act);
        }
        prop_assert_eq!(&foreign_part(&account), &before);
        // Signed, read by whoever has the next root secret, and changed again.
        let mut account = read_with(&written(&account), rotated_keys()).unwrap();
        prop_assert_eq!(&foreign_part(&account), &before);
        account.rotate().unwrap();
        for act in &later {
            apply(&mut account, act);
        }
        let account = read_with(&written(&account), rotated_keys()).unwrap();
        prop_assert_eq!(&foreign_part(&account), &before);
    }

    /// What is kept beside the claims is what is in them.
    #[test]
    fn the_jwt_alone_says_what_is_current(acts in acts()) {
        let mut account = new();
        for act in &acts {
            apply(&mut account, act);
        }
        let read = again(&account);
        let states = |account: &ManagedAccount| account.templates().cloned().collect::<Vec<_>>();
        prop_assert_eq!(states(&read), states(&account));
        prop_assert_eq!(read.claims(), account.claims());
    }

    /// The revocation of everyone never moves back.
    #[test]
    fn revocations_of_everyone_stay(acts in acts()) {
        let mut account = new();
        let mut latest = None;
        for act in &acts {
            apply(&mut account, act);
            let now = account.claims().body.revocations.get("*").copied();
            prop_assert!(now >= latest);
            latest = now;
        }
    }
}
