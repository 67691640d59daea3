use super::*;
use crate::{ClaimsToSign, EncodeError, KeyPair, encode};

fn signed(audience: Option<&str>, body: AuthorizationResponse) -> Result<String, EncodeError> {
    let (account, user) = (
        KeyPair::generate(Role::Account).unwrap(),
        KeyPair::generate(Role::User).unwrap(),
    );
    let mut claims = ClaimsToSign::new(user.public_key(), body);
    claims.audience = audience.map(str::to_owned);
    encode(claims, &account, 1)
}

#[test]
fn a_response_is_for_a_server_and_either_grants_or_denies() {
    let server = KeyPair::generate(Role::Server).unwrap();
    let id = Some(server.public_key());
    signed(id, AuthorizationResponse::granted("jwt")).unwrap();
    signed(id, AuthorizationResponse::denied("no")).unwrap();
    let both = AuthorizationResponse {
        error: Some("no".into()),
        ..AuthorizationResponse::granted("jwt")
    };
    for (audience, body) in [
        (None, AuthorizationResponse::granted("jwt")),
        (Some("n1"), AuthorizationResponse::granted("jwt")),
        (id, AuthorizationResponse::default()),
        (id, AuthorizationResponse::granted("")),
        (id, AuthorizationResponse::denied("")),
        (id, both),
        (
            id,
            AuthorizationResponse::granted("jwt").of_account(server.public_key()),
        ),
    ] {
        let result = signed(audience, body.clone());
        assert!(
            matches!(result, Err(EncodeError::Inconsistent { .. })),
            "{audience:?} {body:?}"
        );
    }
}

#[test]
fn what_a_response_does_not_have_is_not_written() {
    let json = serde_json::to_string(&AuthorizationResponse::denied("no")).unwrap();
    assert_eq!(json, r#"{"error":"no"}"#);
}
