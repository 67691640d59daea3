use super::*;
use crate::{
    AccountBody, AuthorizationRequest, AuthorizationResponse, OperatorBody, UserBody, UserPermissionLimits,
    decode,
};

fn key(role: Role) -> KeyPair {
    KeyPair::generate(role).unwrap()
}

fn user() -> ClaimsToSign<UserBody> {
    ClaimsToSign::new(key(Role::User).public_key(), UserBody::unlimited())
}

#[test]
fn what_is_signed_is_read_again() {
    let account = key(Role::Account);
    let claims = user()
        .audience("APP")
        .name("alice")
        .expires_at(2000)
        .not_before(500);
    let token = encode(claims.clone(), &account, 1000).unwrap();
    let read = decode::<UserBody>(&token, 1500).unwrap();
    assert_eq!(
        (read.issuer.as_str(), read.issued_at),
        (account.public_key(), 1000)
    );
    assert_eq!(read.id.len(), 52);
    assert_eq!(ClaimsToSign::from(read), claims);
}

#[test]
fn a_signer_of_the_wrong_role_is_refused() {
    fn refused<B: ClaimsBody + Clone>(claims: &ClaimsToSign<B>, allowed: &[Role]) {
        for role in [
            Role::Operator,
            Role::Account,
            Role::User,
            Role::Server,
            Role::Cluster,
        ] {
            let result = encode(claims.clone(), &key(role), 1);
            let by_role = matches!(result, Err(EncodeError::SignerRole { .. }));
            assert_eq!(
                by_role,
                !allowed.contains(&role),
                "{} by {role}: {result:?}",
                B::TYPE
            );
        }
    }
    refused(&user(), &[Role::Account]);
    let operator = ClaimsToSign::new(key(Role::Operator).public_key(), OperatorBody::default());
    refused(&operator, &[Role::Operator]);
    let account = ClaimsToSign::new(key(Role::Account).public_key(), AccountBody::default());
    refused(&account, &[Role::Operator, Role::Account]);
    let response = ClaimsToSign::new(key(Role::User).public_key(), AuthorizationResponse::denied("no"));
    refused(&response, &[Role::Account]);
}

#[test]
fn a_subject_of_the_wrong_role_is_refused() {
    let account = key(Role::Account);
    for subject in [
        "",
        "alice",
        account.public_key(),
        account.seed().unwrap().expose_secret(),
    ] {
        let error = encode(ClaimsToSign::new(subject, UserBody::unlimited()), &account, 1).unwrap_err();
        assert!(matches!(error, EncodeError::Subject { .. }), "{error:?}");
        assert!(subject.is_empty() || !format!("{error} {error:?}").contains(subject));
    }
}

#[test]
fn an_expiry_that_would_mean_never_is_refused() {
    for never in [0, -1, i64::MIN] {
        let error = encode(user().expires_at(never), &key(Role::Account), 1).unwrap_err();
        assert!(matches!(error, EncodeError::Inconsistent { .. }), "{error:?}");
    }
}

#[test]
fn a_request_must_expire_and_have_its_audience() {
    let server = key(Role::Server);
    let body: AuthorizationRequest = serde_json::from_value(serde_json::json!({
        "server_id": {"id": server.public_key()},
        "user_nkey": key(Role::User).public_key(),
        "client_info": {}, "connect_opts": {},
    }))
    .unwrap();
    let claims = ClaimsToSign::new(key(Role::Account).public_key(), body);
    let good = claims
        .clone()
        .audience("nats-authorization-request")
        .expires_at(9);
    encode(good.clone(), &server, 1).unwrap();
    let mut bad = good.clone();
    bad.expires_at = None;
    assert!(matches!(
        encode(bad, &server, 1),
        Err(EncodeError::Inconsistent { .. })
    ));
    let mut bad = good.clone();
    bad.audience = Some("$SYS.REQ.USER.AUTH".into());
    assert!(matches!(
        encode(bad, &server, 1),
        Err(EncodeError::Inconsistent { .. })
    ));
    // Another server's id in the body.
    assert!(matches!(
        encode(good, &key(Role::Server), 1),
        Err(EncodeError::Inconsistent { .. })
    ));
}

#[test]
fn a_token_larger_than_a_server_reads_is_refused() {
    let account = key(Role::Account);
    let mut limits = UserPermissionLimits::unlimited();
    limits.publish.allow = vec!["x".repeat(MAX_TOKEN_BYTES / 4 * 3)];
    let claims = ClaimsToSign::new(key(Role::User).public_key(), UserBody::with(limits.clone()));
    assert!(matches!(
        encode(claims, &account, 1),
        Err(EncodeError::TooLarge { .. })
    ));
    limits.publish.allow = vec!["x".repeat(MAX_TOKEN_BYTES / 4 * 3 - 1000)];
    let claims = ClaimsToSign::new(key(Role::User).public_key(), UserBody::with(limits));
    let token = encode(claims, &account, 1).unwrap();
    decode::<UserBody>(&token, 1).unwrap();
}

#[test]
fn what_is_signed_elsewhere_is_what_would_have_been_signed_here() {
    let account = key(Role::Account);
    let claims = user().name("alice");
    let here = encode(claims.clone(), &account, 1000).unwrap();
    let unsigned = prepare(&claims, account.public_key(), 1000).unwrap();
    assert_eq!(unsigned.issuer(), account.public_key());
    assert_eq!(unsigned.size(), here.len());
    let signature = account.sign(unsigned.signing_input()).unwrap();
    assert_eq!(unsigned.attach(&signature).unwrap(), here);
}

#[test]
fn a_signature_from_elsewhere_must_be_the_issuer_s() {
    let account = key(Role::Account);
    let unsigned = prepare(&user(), account.public_key(), 1).unwrap();
    let mut other = unsigned.signing_input().to_vec();
    other.push(b' ');
    for signature in [
        key(Role::Account).sign(unsigned.signing_input()).unwrap(),
        account.sign(&other).unwrap(),
        vec![0; 64],
        Vec::new(),
    ] {
        assert_eq!(
            unsigned.clone().attach(&signature),
            Err(EncodeError::NotTheirs { kind: "user" })
        );
    }
}

#[test]
fn an_issuer_elsewhere_is_held_to_the_same_roles() {
    for no_key in ["", "alice", key(Role::Account).seed().unwrap().expose_secret()] {
        let error = prepare(&user(), no_key, 1).unwrap_err();
        assert!(matches!(error, EncodeError::NoIssuer { .. }), "{error:?}");
        assert!(no_key.is_empty() || !format!("{error} {error:?}").contains(no_key));
    }
    let error = prepare(&user(), key(Role::Operator).public_key(), 1).unwrap_err();
    assert!(matches!(error, EncodeError::SignerRole { .. }), "{error:?}");
}

#[test]
fn the_standard_claims_are_digested_in_go_s_order_without_what_is_empty() {
    let standard = Standard {
        aud: "a",
        exp: 1,
        jti: "",
        iat: 2,
        iss: "i",
        name: "",
        nbf: 0,
        sub: "s",
    };
    assert_eq!(
        serde_json::to_string(&standard).unwrap(),
        r#"{"aud":"a","exp":1,"iat":2,"iss":"i","sub":"s"}"#
    );
}

use secrecy::ExposeSecret;
