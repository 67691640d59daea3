use super::*;
use crate::{ClaimsToSign, encode};

fn credentials() -> Credentials {
    let (account, user) = (
        KeyPair::generate(Role::Account).unwrap(),
        KeyPair::generate(Role::User).unwrap(),
    );
    let claims = ClaimsToSign::new(user.public_key(), UserBody::unlimited()).expires_at(5);
    Credentials {
        jwt: encode(claims, &account, 1).unwrap(),
        seed: user.seed().unwrap(),
    }
}

#[test]
fn a_file_that_was_written_is_read_again() {
    let written = credentials();
    let text = written.format();
    for text in [
        text.to_string(),
        text.replace('\n', "\r\n"),
        format!("# ours\n{}", text.as_str()),
    ] {
        let read = Credentials::parse(&text).unwrap();
        assert_eq!(read.jwt, written.jwt);
        assert_eq!(read.seed.expose_secret(), written.seed.expose_secret());
    }
}

#[test]
fn a_file_without_a_user_seed_is_refused() {
    let good = credentials();
    let text = good.format();
    let (jwt_alone, _) = text.split_once("****").unwrap();
    assert_eq!(Credentials::parse(jwt_alone).unwrap_err(), CredentialsError::Form);
    assert_eq!(Credentials::parse("").unwrap_err(), CredentialsError::Form);
    assert_eq!(Credentials::parse(&good.jwt).unwrap_err(), CredentialsError::Form);
    let account = KeyPair::generate(Role::Account).unwrap().seed().unwrap();
    let wrong = text.replace(good.seed.expose_secret(), account.expose_secret());
    let error = Credentials::parse(&wrong).unwrap_err();
    assert!(
        matches!(error, CredentialsError::Seed(KeyError::WrongRole { .. })),
        "{error:?}"
    );
    assert!(!format!("{error} {error:?}").contains(account.expose_secret()));
}

#[test]
fn a_file_with_somebody_else_s_seed_is_refused() {
    let (one, other) = (credentials(), credentials());
    let mixed = Credentials {
        jwt: one.jwt,
        seed: other.seed,
    };
    assert_eq!(
        Credentials::parse(&mixed.format()).unwrap_err(),
        CredentialsError::Mismatch
    );
}

#[test]
fn a_file_with_something_else_than_a_user_jwt_is_refused() {
    let good = credentials();
    let text = good.format().replace(&good.jwt, "not.a.jwt");
    assert!(matches!(Credentials::parse(&text), Err(CredentialsError::Jwt(_))));
}

#[test]
fn debug_shows_nothing() {
    let credentials = credentials();
    let shown = format!("{credentials:?}");
    assert!(!shown.contains(&credentials.jwt) && !shown.contains(credentials.seed.expose_secret()));
}
