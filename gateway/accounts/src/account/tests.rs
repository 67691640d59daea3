use natsgate_claims::{KeyPair, Role, encode};
use serde_json::{Value, json};

use super::*;
use crate::testing::{
    NEW_SECRET, NOW, account_key, generation, key, keys, name, operator, permissions, rotated_keys, secret,
    template,
};

mod foreign;

/// An account JWT signed by the operator and read again.
fn written(account: &ManagedAccount) -> String {
    encode(account.claims().clone(), &operator(), NOW).unwrap()
}

fn read_with(token: &str, keys: ScopedKeys) -> Result<ManagedAccount, AccountError> {
    let operators = [operator().public_key().to_owned()];
    ManagedAccount::read(token, Arc::new(keys), &operators, NOW)
}

fn again(account: &ManagedAccount) -> ManagedAccount {
    read_with(&written(account), keys()).unwrap()
}

fn new() -> ManagedAccount {
    ManagedAccount::create("APP", Arc::new(keys()))
}

fn from_json(body: Value) -> ManagedAccount {
    let body: AccountBody = serde_json::from_value(body).unwrap();
    let claims = ClaimsToSign::new(account_key(), body).name("APP");
    read_with(&encode(claims, &operator(), NOW).unwrap(), keys()).unwrap()
}

fn newest(account: &ManagedAccount, template: &str) -> (u32, bool) {
    let state = account.template(&name(template)).unwrap();
    (state.newest().generation().number(), state.is_retired())
}

fn older(account: &ManagedAccount, template: &str) -> Vec<u32> {
    let state = account.template(&name(template)).unwrap();
    state.older().map(|older| older.generation().number()).collect()
}

#[test]
fn a_template_lives_from_put_to_removal() {
    let mut account = new();
    let first = template("member", &["a"], &["b"]);
    let second = template("member", &["a", "c"], &["b"]);
    assert_eq!(account.put_template(&first).unwrap(), Outcome::New(generation(1)));
    assert_eq!(
        account.put_template(&first).unwrap(),
        Outcome::Unchanged(generation(1))
    );
    let mut account = again(&account);
    assert_eq!(
        account.put_template(&second).unwrap(),
        Outcome::Next {
            from: generation(1),
            to: generation(2)
        }
    );
    let mut account = again(&account);
    assert_eq!(newest(&account, "member"), (2, false));
    assert_eq!(older(&account, "member"), [1]);
    let state = account.template(&name("member")).unwrap();
    assert_eq!(state.current(), Some(&second));
    assert_eq!(
        state.generation(generation(1)).unwrap().content().template(),
        Some(&first)
    );

    let in_use = account.remove_generation(&name("member"), generation(2));
    assert!(matches!(in_use, Err(AccountError::InUse { .. })));
    account.remove_generation(&name("member"), generation(1)).unwrap();
    let gone = account.remove_generation(&name("member"), generation(1));
    assert!(matches!(gone, Err(AccountError::NoGeneration { .. })));

    account.retire_template(&name("member")).unwrap();
    let mut account = again(&account);
    assert_eq!(newest(&account, "member"), (3, true));
    assert_eq!(account.template(&name("member")).unwrap().current(), None);
    assert_eq!(
        account.retire_template(&name("member")).unwrap(),
        Outcome::Unchanged(generation(3))
    );
    let not_the_last = account.remove_generation(&name("member"), generation(3));
    assert!(matches!(not_the_last, Err(AccountError::InUse { .. })));
    account.remove_generation(&name("member"), generation(2)).unwrap();
    account.remove_generation(&name("member"), generation(3)).unwrap();
    assert!(account.template(&name("member")).is_none());
    assert!(account.claims().body.signing_keys.is_empty());
    assert_eq!(
        account.retire_template(&name("member")).unwrap_err(),
        AccountError::NoTemplate {
            template: name("member")
        }
    );
}

#[test]
fn a_retired_template_can_be_put_again() {
    let mut account = new();
    let member = template("member", &["a"], &[]);
    account.put_template(&member).unwrap();
    account.retire_template(&name("member")).unwrap();
    let put = account.put_template(&member).unwrap();
    assert_eq!(
        put,
        Outcome::Next {
            from: generation(2),
            to: generation(3)
        }
    );
    assert!(!account.template(&name("member")).unwrap().is_retired());
}

/// nats-server closes the connections of a key whose scope differs in anything.
#[test]
fn a_key_s_scope_never_changes() {
    let mut account = new();
    account.put_template(&template("member", &["a"], &[])).unwrap();
    account.put_template(&template("other", &["a"], &[])).unwrap();
    let before = account.claims().body.signing_keys.clone();
    account.put_template(&template("member", &["b"], &[])).unwrap();
    account.retire_template(&name("other")).unwrap();
    let mut rotated = read_with(&written(&account), rotated_keys()).unwrap();
    rotated.rotate().unwrap();
    for key in &before {
        assert!(rotated.claims().body.signing_keys.contains(key));
    }
}

#[test]
fn a_new_root_secret_makes_new_generations() {
    let mut account = new();
    account.put_template(&template("member", &["a"], &["b"])).unwrap();
    account.put_template(&template("gone", &["a"], &["b"])).unwrap();
    account.retire_template(&name("gone")).unwrap();
    assert_eq!(account.rotate().unwrap(), []);

    let token = written(&account);
    let mut account = read_with(&token, rotated_keys()).unwrap();
    let state = account.template(&name("member")).unwrap();
    assert_eq!(state.newest().made_by(), MadeBy::Older(0));
    // The same content needs no new generation by itself.
    let unchanged = account.put_template(&template("member", &["a"], &["b"])).unwrap();
    assert_eq!(unchanged, Outcome::Unchanged(generation(1)));

    let added: Vec<String> = account
        .rotate()
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(added, ["natsgate.gone.3", "natsgate.member.2"]);
    assert_eq!(account.rotate().unwrap(), []);
    let state = account.template(&name("member")).unwrap();
    assert_eq!(state.newest().made_by(), MadeBy::Current);
    assert_eq!(state.current(), Some(&template("member", &["a"], &["b"])));
    assert!(account.template(&name("gone")).unwrap().is_retired());

    // Whoever has the new secret alone knows the new keys, and leaves the old ones be.
    let new_only = ScopedKeys::new(account_key(), secret(NEW_SECRET), vec![]).unwrap();
    let new_only = read_with(&written(&account), new_only).unwrap();
    assert_eq!(older(&new_only, "member"), [0; 0]);
    assert_eq!(
        new_only.lookalikes(),
        ["natsgate.member.1", "natsgate.gone.1", "natsgate.gone.2"]
    );
}

#[test]
fn what_only_looks_like_ours_is_nobody_s_but_theirs() {
    let ours = keys().derive(&name("member"), generation(1)).unwrap();
    let next = keys().derive(&name("member"), generation(2)).unwrap();
    let stranger = key(Role::Account, 9).public_key().to_owned();
    let template = json!({"pub": {"allow": ["secret.>"]}});
    let foreign = json!([
        // Our role on somebody's key.
        {"kind": "user_scope", "key": stranger, "role": "natsgate.member.7", "template": template},
        // Our key under somebody's role.
        {"kind": "user_scope", "key": ours.public_key(), "role": "admin", "template": template},
        // Our key under the role of another generation.
        {"kind": "user_scope", "key": next.public_key(), "role": "natsgate.member.3", "template": template},
    ]);
    let mut account = from_json(json!({"signing_keys": foreign}));
    assert_eq!(account.templates().count(), 0);
    assert_eq!(account.lookalikes(), ["natsgate.member.7", "natsgate.member.3"]);
    let before = account.claims().body.signing_keys.clone();
    assert!(account.remove_generation(&name("member"), generation(7)).is_err());
    assert!(account.retire_template(&name("member")).is_err());

    // Keys 1 and 2 have another use, and the role of 3 is taken.
    let put = account
        .put_template(&crate::testing::template("member", &["a"], &[]))
        .unwrap();
    assert_eq!(put, Outcome::New(generation(4)));
    assert_eq!(account.claims().body.signing_keys[..3], before);
}

#[test]
fn a_scope_edited_by_hand_is_replaced_and_not_minted_with() {
    let ours = keys().derive(&name("member"), generation(1)).unwrap();
    let edited = json!({"kind": "user_scope", "key": ours.public_key(), "role": "natsgate.member.1",
        "template": {"pub": {"deny": ["a"]}}});
    let mut account = from_json(json!({"signing_keys": [edited]}));
    let state = account.template(&name("member")).unwrap();
    assert!(matches!(state.newest().content(), Content::Other(_)));
    assert_eq!((state.current(), state.is_retired()), (None, false));
    let mut rotated = read_with(&written(&account), rotated_keys()).unwrap();
    assert!(matches!(rotated.rotate(), Err(AccountError::CannotRotate { .. })));
    let put = account.put_template(&template("member", &["a"], &[])).unwrap();
    assert_eq!(
        put,
        Outcome::Next {
            from: generation(1),
            to: generation(2)
        }
    );
}

#[test]
fn a_template_must_fit_the_account() {
    let named = template(
        "member",
        &["{{account-name()}}.x"],
        &["r.{{account-tag(region)}}"],
    );
    let error = new().put_template(&named).unwrap_err();
    assert!(matches!(error, AccountError::Facts(_)), "{error:?}");
    let mut tagged = from_json(json!({"tags": ["region:eu"]}));
    tagged.put_template(&named).unwrap();
}

#[test]
fn default_permissions_are_set_and_cleared() {
    let mut account = from_json(json!({"default_permissions": {"pub": {"allow": ["x"]}, "new": 1}}));
    assert!(account.defaults().is_err());
    let defaults = DefaultPermissions::new(permissions(&["a"], &[])).unwrap();
    assert!(account.set_defaults(&defaults));
    assert!(!account.set_defaults(&defaults));
    let mut account = again(&account);
    assert_eq!(account.defaults(), Ok(Some(defaults)));
    let unknown = &account.claims().body.default_permissions.unknown;
    assert_eq!(unknown.names().collect::<Vec<_>>(), ["new"]);
    assert!(account.clear_defaults());
    assert!(!account.clear_defaults());
    assert_eq!(account.defaults(), Ok(None));
}

#[test]
fn a_revocation_of_everyone_only_moves_forward() {
    let user = key(Role::User, 3).public_key().to_owned();
    let mut account = from_json(json!({"revocations": {(user.clone()): 5, "*": 100}}));
    assert!(!account.revoke_everyone(100, NOW).unwrap());
    assert!(!account.revoke_everyone(99, NOW).unwrap());
    assert!(account.revoke_everyone(NOW, NOW).unwrap());
    let ahead = account.revoke_everyone(NOW + 1, NOW);
    assert!(matches!(ahead, Err(AccountError::RevocationAhead { .. })));
    let revocations = &again(&account).claims.body.revocations;
    assert_eq!((revocations["*"], revocations[&user]), (NOW, 5));
}

#[test]
fn only_this_account_of_this_operator_is_read() {
    let token = written(&new());
    assert_eq!(
        read_with(&token, keys()).unwrap().claims().name.as_deref(),
        Some("APP")
    );
    let other = key(Role::Account, 2).public_key().to_owned();
    let other = ScopedKeys::new(other, secret(NEW_SECRET), vec![]).unwrap();
    assert!(matches!(
        read_with(&token, other),
        Err(AccountError::OtherAccount { .. })
    ));
    let strangers = KeyPair::generate(Role::Operator).unwrap();
    let token = encode(new().claims().clone(), &strangers, NOW).unwrap();
    assert!(matches!(
        read_with(&token, keys()),
        Err(AccountError::UnknownOperator { .. })
    ));
    // An account that vouches for itself.
    let token = encode(new().claims().clone(), &key(Role::Account, 1), NOW).unwrap();
    assert!(matches!(
        read_with(&token, keys()),
        Err(AccountError::UnknownOperator { .. })
    ));
    let expired = new().claims().clone().expires_at(NOW - 1);
    let token = encode(expired, &operator(), NOW - 10).unwrap();
    assert!(matches!(read_with(&token, keys()), Err(AccountError::Decode(_))));
}

#[test]
fn what_a_server_would_read_otherwise_is_not_read() {
    let stranger = key(Role::Account, 9).public_key().to_owned();
    let twice = AccountBody {
        signing_keys: vec![SigningKey::Plain(stranger.clone()), SigningKey::Plain(stranger)],
        ..AccountBody::default()
    };
    let token = encode(ClaimsToSign::new(account_key(), twice), &operator(), NOW).unwrap();
    assert!(matches!(
        read_with(&token, keys()),
        Err(AccountError::KeyTwice { .. })
    ));

    let template = template("member", &["a"], &[]);
    let both: Vec<SigningKey> = [keys(), rotated_keys()]
        .iter()
        .map(|keys| keys.derive(&name("member"), generation(1)).unwrap())
        .map(|key| template.to_signing_key(key.public_key(), generation(1)))
        .collect();
    let body = AccountBody {
        signing_keys: both,
        ..AccountBody::default()
    };
    let token = encode(ClaimsToSign::new(account_key(), body), &operator(), NOW).unwrap();
    assert!(matches!(
        read_with(&token, rotated_keys()),
        Err(AccountError::RoleTwice { .. })
    ));
    // With one secret alone there is one key.
    assert_eq!(newest(&read_with(&token, keys()).unwrap(), "member"), (1, false));
}

#[test]
fn what_is_prepared_has_the_size_of_what_is_signed() {
    let mut account = new();
    account.put_template(&template("member", &["a"], &["b"])).unwrap();
    let prepared = account.prepare(operator().public_key(), NOW).unwrap();
    assert_eq!(prepared.size(), written(&account).len());
}
