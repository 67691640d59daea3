use std::collections::BTreeSet;
use std::sync::Arc;

use natsgate_accounts::{DefaultPermissions, RootSecret, Template};
use natsgate_claims::{Role, UserRights};
use natsgate_core::{ConnectionType, Subject, TagName, TagValues};
use secrecy::SecretString;

use super::*;

fn secret(text: &str) -> RootSecret {
    RootSecret::new(SecretString::from(text)).unwrap()
}

fn keys(account: &KeyPair) -> Arc<ScopedKeys> {
    let secret = secret("only for this test, 32 bytes at least");
    Arc::new(ScopedKeys::new(account.public_key(), secret, Vec::new()).unwrap())
}

fn allowing(subject: &str) -> Permissions {
    let mut permissions = Permissions::default();
    permissions.publish.allow = vec![Subject::parse(subject).unwrap()];
    permissions
}

fn member(subject: &str, limits: Limits) -> Template {
    Template::new("member".parse().unwrap(), allowing(subject), limits).unwrap()
}

fn used(project: &str) -> TemplateUse {
    let values = BTreeSet::from([project.to_owned()]);
    TemplateUse {
        template: "member".parse().unwrap(),
        tags: TagValues::from([(TagName::parse("project").unwrap(), values)]),
    }
}

/// APP with the template `member`, and its keys.
fn app() -> (ManagedAccount, Arc<ScopedKeys>) {
    let keys = keys(&KeyPair::generate(Role::Account).unwrap());
    let mut account = ManagedAccount::create("APP", Arc::clone(&keys));
    let template = member("projects.{{tag(project)}}.>", Limits::default());
    account.put_template(&template).unwrap();
    (account, keys)
}

fn give(
    project: &str,
    limits: &Limits,
    (account, keys): &(ManagedAccount, Arc<ScopedKeys>),
) -> Result<Written, NotWritten> {
    by_template(&used(project), limits, account, keys)
}

/// Whether the client should come again `ago` seconds after the account was issued.
fn may_pass(why: &NotWritten, ago: i64) -> bool {
    why.may_pass(Some(1_000), 1_000 + ago)
}

#[test]
fn a_shim_without_the_newest_secret_does_not_mint_the_generation_before() {
    let (account, old) = app();
    let rotated = ScopedKeys::new(
        account.account(),
        secret("another one for this test, 32 bytes too"),
        vec![secret("only for this test, 32 bytes at least")],
    );
    let rotated = Arc::new(rotated.unwrap());
    let body = account.claims().body.clone();
    let mut newer = ManagedAccount::create("APP", Arc::clone(&rotated));
    newer
        .put_template(&member("projects.{{tag(project)}}.>", Limits::default()))
        .unwrap();
    newer
        .put_template(&member("projects.{{tag(project)}}.in", Limits::default()))
        .unwrap();
    // As it is after a push by a writer that has the new secret: the first generation is the old one's, the second is not.
    let keys = [&body.signing_keys[..], &newer.claims().body.signing_keys[1..]].concat();
    let mut claims = account.claims().clone();
    claims.body.signing_keys = keys;
    let operator = KeyPair::generate(Role::Operator).unwrap();
    let now = 1_800_000_000;
    let jwt = natsgate_claims::encode(claims, &operator, now).unwrap();
    let operators = [operator.public_key().to_owned()];
    let account = ManagedAccount::read(&jwt, Arc::clone(&old), &operators, now).unwrap();
    let refused = give("apollo", &Limits::default(), &(account, old)).err().unwrap();
    assert!(matches!(refused, NotWritten::NewerUnknown { .. }) && may_pass(&refused, 3600));
    let account = ManagedAccount::read(&jwt, Arc::clone(&rotated), &operators, now).unwrap();
    assert!(give("apollo", &Limits::default(), &(account, rotated)).is_ok());
}

#[test]
fn the_newest_generation_signs_and_nothing_but_tags_is_said() {
    let mut app = app();
    let first = give("apollo", &Limits::default(), &app).unwrap();
    let bounds = Limits {
        connection_types: Some(vec![ConnectionType::Standard]),
        ..Limits::default()
    };
    app.0
        .put_template(&member("{{tag(project)}}.>", bounds.clone()))
        .unwrap();
    let second = give("apollo", &Limits::default(), &app).unwrap();
    assert_ne!(first.signer.public_key(), second.signer.public_key());
    let newest = app.0.template(&"member".parse().unwrap()).unwrap().newest();
    assert_eq!(second.signer.public_key(), newest.public_key());
    assert_eq!((first.bounds, second.bounds), (Limits::default(), bounds));
    assert_eq!(second.body.rights, UserRights::Scoped);
    assert_eq!(second.body.tags, ["project:apollo"]);
    assert_eq!(second.body.issuer_account.as_deref(), Some(app.0.account()));
}

#[test]
fn a_value_that_would_leave_its_token_is_not_minted() {
    for bad in ["", "*", ">", "a.b", "a b", "{{subject()}}"] {
        let refused = give(bad, &Limits::default(), &app());
        assert!(matches!(refused, Err(NotWritten::Tags(_))), "{bad}");
    }
}

#[test]
fn what_is_not_there_may_come_and_what_is_retired_is_over() {
    let mut app = app();
    let mut other = used("apollo");
    other.template = "owner".parse().unwrap();
    let missing = by_template(&other, &Limits::default(), &app.0, &app.1)
        .err()
        .unwrap();
    assert!(
        matches!(missing, NotWritten::NoTemplate { .. }) && may_pass(&missing, 59) && !may_pass(&missing, 60)
    );
    // A shim without the account's root secret has no key, whatever the account says.
    let none = ScopedKeys::without_secrets(app.0.account()).unwrap();
    let missing = by_template(&used("apollo"), &Limits::default(), &app.0, &none);
    assert!(matches!(missing, Err(NotWritten::NoTemplate { .. })));
    app.0.retire_template(&"member".parse().unwrap()).unwrap();
    let retired = give("apollo", &Limits::default(), &app).err().unwrap();
    assert!(matches!(retired, NotWritten::Retired { .. }) && !may_pass(&retired, 0));
}

#[test]
fn limits_that_only_the_template_can_have_are_refused_beside_it() {
    let app = app();
    let fine = Limits {
        connection_types: Some(vec![ConnectionType::Standard]),
        source_networks: Some(vec!["10.0.0.0/8".parse().unwrap()]),
        ..Limits::default()
    };
    assert!(give("apollo", &fine, &app).is_ok());
    for limits in [
        Limits {
            subscriptions: Some(1),
            ..Limits::default()
        },
        Limits {
            payload: Some(1),
            ..Limits::default()
        },
        Limits {
            data: Some(1),
            ..Limits::default()
        },
    ] {
        assert!(matches!(
            give("apollo", &limits, &app),
            Err(NotWritten::Limited { .. })
        ));
    }
}

#[test]
fn default_permissions_are_given_only_where_there_are_some_and_the_key_is_plain() {
    let account_key = KeyPair::generate(Role::Account).unwrap();
    let keys = keys(&account_key);
    let mut account = ManagedAccount::create("APP", Arc::clone(&keys));
    let by = |key: &KeyPair| TargetSigner {
        account: account_key.public_key().to_owned(),
        key: key.clone(),
        scoped: Arc::clone(&keys),
    };
    let limits = Limits {
        subscriptions: Some(7),
        ..Limits::default()
    };
    let missing = by_defaults(&limits, &account, &by(&account_key)).err().unwrap();
    assert!(matches!(missing, NotWritten::NoDefaults) && may_pass(&missing, 1));

    account.set_defaults(&DefaultPermissions::new(allowing("lobby")).unwrap());
    let given = by_defaults(&limits, &account, &by(&account_key)).unwrap();
    let UserRights::Own(rights) = given.body.rights else {
        panic!("its own limits");
    };
    // Anything written here would take the place of the account's.
    assert_eq!(rights.publish, natsgate_claims::Permission::default());
    assert_eq!(rights.subscribe, natsgate_claims::Permission::default());
    assert_eq!((rights.responses, rights.subs), (None, 7));

    // A key that is not in the account, and one that has a template.
    let stranger = KeyPair::generate(Role::Account).unwrap();
    account.put_template(&member("a", Limits::default())).unwrap();
    let template = &"member".parse().unwrap();
    let newest = account.template(template).unwrap().newest();
    let (scoped, _) = keys
        .find(template, newest.generation(), newest.public_key())
        .unwrap()
        .unwrap();
    for key in [stranger, scoped] {
        let refused = by_defaults(&limits, &account, &by(&key));
        assert!(matches!(refused, Err(NotWritten::SignerNotPlain)));
    }
}
