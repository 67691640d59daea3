use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    AccountBody, AuthorizationRequest, AuthorizationResponse, KeyPair, OperatorBody, Role, UserBody,
};

const NOW: i64 = 1_000_000;
const HEADER: &str = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;

fn key(role: Role) -> KeyPair {
    KeyPair::generate(role).unwrap()
}

/// Signs any header and payload, whatever they say.
fn forge(header: &str, payload: &str, signer: &KeyPair) -> String {
    let signed = format!(
        "{}.{}",
        BASE64URL_NOPAD.encode(header.as_bytes()),
        BASE64URL_NOPAD.encode(payload.as_bytes())
    );
    let signature = signer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}

/// A good user, with `change`d payload.
fn user_with(change: impl FnOnce(&mut Value)) -> Result<Claims<UserBody>, DecodeError> {
    let account = key(Role::Account);
    let mut payload = json!({
        "iss": account.public_key(), "sub": key(Role::User).public_key(), "iat": NOW, "exp": NOW + 10, "jti": "x",
        "nats": {"subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2},
    });
    change(&mut payload);
    decode(&forge(HEADER, &payload.to_string(), &account), NOW)
}

/// A good request, with `change`d payload.
fn request_with(change: impl FnOnce(&mut Value)) -> Result<Claims<AuthorizationRequest>, DecodeError> {
    let server = key(Role::Server);
    let mut payload = json!({
        "iss": server.public_key(), "sub": key(Role::Account).public_key(), "iat": NOW, "exp": NOW + 2,
        "aud": "nats-authorization-request",
        "nats": {
            "server_id": {"name": "n", "host": "h", "id": server.public_key()},
            "user_nkey": key(Role::User).public_key(),
            "client_info": {"id": 5}, "connect_opts": {"auth_token": "hunter2", "protocol": 1},
            "type": "authorization_request", "version": 2,
        },
    });
    change(&mut payload);
    decode(&forge(HEADER, &payload.to_string(), &server), NOW)
}

#[test]
fn the_good_ones_are_good() {
    user_with(|_| {}).unwrap();
    request_with(|_| {}).unwrap();
}

#[test]
fn a_token_is_good_through_the_second_of_its_expiry() {
    for (exp, good) in [(NOW - 1, false), (NOW, true), (NOW + 1, true), (-5, false)] {
        let result = user_with(|p| p["exp"] = exp.into());
        let expired = matches!(result, Err(DecodeError::Expired { .. }));
        assert_eq!(expired, !good, "exp {exp}: {result:?}");
    }
    assert_eq!(user_with(|p| p["exp"] = 0.into()).unwrap().expires_at, None);
}

#[test]
fn a_token_is_good_from_its_not_before_on() {
    user_with(|p| p["nbf"] = NOW.into()).unwrap();
    let not_before = NOW + 1;
    let error = user_with(|p| p["nbf"] = not_before.into()).unwrap_err();
    assert_eq!(error, DecodeError::NotYetValid { not_before, now: NOW });
}

#[test]
fn only_the_one_algorithm_is_read() {
    let account = key(Role::Account);
    for alg in [
        "none",
        "None",
        "",
        "HS256",
        "RS256",
        "EdDSA",
        "Ed25519-nkey",
        "ed25519-nkey ",
        "ed25519-nkey2",
    ] {
        let token = forge(
            &json!({"typ": "JWT", "alg": alg}).to_string(),
            "{\"iss\":\"\",\"sub\":\"\",\"nats\":{}}",
            &account,
        );
        assert_eq!(
            decode::<UserBody>(&token, NOW),
            Err(DecodeError::Algorithm),
            "{alg:?}"
        );
    }
}

#[test]
fn a_header_must_be_that_of_a_jwt_and_call_nothing_critical() {
    let account = key(Role::Account);
    let good = user_payload(&account);
    for header in [
        "",
        "{}",
        "[]",
        r#"{"typ":"JWT"}"#,
        r#"{"alg":"ed25519-nkey"}"#,
        r#"{"typ":"JWS","alg":"ed25519-nkey"}"#,
        r#"{"typ":"JWT","alg":["ed25519-nkey"]}"#,
        r#"{"typ":"JWT","alg":"none","alg":"ed25519-nkey"}"#,
        r#"{"typ":"JWT","alg":"ed25519-nkey","crit":["b64"]}"#,
        r#"{"typ":"JWT","alg":"ed25519-nkey"} x"#,
    ] {
        let error = decode::<UserBody>(&forge(header, &good, &account), NOW).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed(_)), "{header}: {error:?}");
    }
    // Go takes any case of typ, and so do we.
    decode::<UserBody>(
        &forge(r#"{"alg":"ed25519-nkey","typ":"jwt"}"#, &good, &account),
        NOW,
    )
    .unwrap();
}

fn user_payload(account: &KeyPair) -> String {
    json!({
        "iss": account.public_key(), "sub": key(Role::User).public_key(),
        "nats": {"type": "user", "version": 2},
    })
    .to_string()
}

#[test]
fn what_has_not_three_parts_of_base64url_is_malformed() {
    let account = key(Role::Account);
    let good = forge(HEADER, &user_payload(&account), &account);
    let (two, padded) = (good.rsplit_once('.').unwrap().0, format!("{good}=="));
    let (four, dots) = (format!("{good}.x"), format!(".{good}"));
    let (line, space) = (format!("{good}\n"), format!(" {good}"));
    for token in [
        "", ".", "..", "...", "xkv1", "é.é.é", two, &padded, &four, &dots, &line, &space,
    ] {
        let error = decode::<UserBody>(token, NOW).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed(_)), "{token}: {error:?}");
    }
}

#[test]
fn every_truncation_is_refused() {
    let account = key(Role::Account);
    let good = forge(HEADER, &user_payload(&account), &account);
    decode::<UserBody>(&good, NOW).unwrap();
    for end in 0..good.len() {
        assert!(
            decode::<UserBody>(good.get(..end).unwrap(), NOW).is_err(),
            "{end}"
        );
    }
}

#[test]
fn every_changed_character_is_refused() {
    let account = key(Role::Account);
    let good = forge(HEADER, &user_payload(&account), &account);
    for at in 0..good.len() {
        let mut changed = good.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(decode::<UserBody>(&changed, NOW).is_err(), "character {at}");
    }
}

#[test]
fn another_key_s_signature_is_refused() {
    let (account, other) = (key(Role::Account), key(Role::Account));
    let token = forge(HEADER, &user_payload(&account), &other);
    assert_eq!(decode::<UserBody>(&token, NOW), Err(DecodeError::BadSignature));
}

#[test]
fn a_missing_signature_is_refused() {
    let account = key(Role::Account);
    let token = forge(HEADER, &user_payload(&account), &account);
    let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
    assert_eq!(decode::<UserBody>(&unsigned, NOW), Err(DecodeError::BadSignature));
}

#[test]
fn a_key_that_anybody_can_sign_for_is_refused() {
    // Under the lax rule this signature holds for the all-zero key and one message in four.
    let zero = nkey::encode_public(Role::Account, &[0; 32]);
    let mut signature = [0; 64];
    signature[0] = 1;
    for nonce in 0..64 {
        let payload = json!({"iss": zero, "sub": zero, "jti": nonce.to_string(), "nats": {"type": "user", "version": 2}});
        let signed = format!(
            "{}.{}",
            BASE64URL_NOPAD.encode(HEADER.as_bytes()),
            BASE64URL_NOPAD.encode(payload.to_string().as_bytes())
        );
        let token = format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature));
        assert!(matches!(
            decode::<UserBody>(&token, NOW),
            Err(DecodeError::IssuerRole { .. })
        ));
    }
}

#[test]
fn each_kind_is_read_from_its_issuers_only() {
    fn issuers<B: ClaimsBody + std::fmt::Debug>(allowed: &[Role]) {
        for role in [
            Role::Operator,
            Role::Account,
            Role::User,
            Role::Server,
            Role::Cluster,
        ] {
            let signer = key(role);
            let payload = json!({
                "iss": signer.public_key(), "sub": "nobody", "exp": NOW,
                "nats": {
                    "type": B::TYPE, "version": 2,
                    "server_id": {"id": ""}, "user_nkey": "", "client_info": {}, "connect_opts": {},
                },
            });
            let result = decode::<B>(&forge(HEADER, &payload.to_string(), &signer), NOW);
            let by_role = matches!(result, Err(DecodeError::IssuerRole { .. }));
            assert_eq!(
                by_role,
                !allowed.contains(&role),
                "{} by {role}: {result:?}",
                B::TYPE
            );
            // Past the issuer, it is the subject that is none.
            assert!(
                by_role || matches!(result, Err(DecodeError::Subject { .. })),
                "{result:?}"
            );
        }
    }
    issuers::<OperatorBody>(&[Role::Operator]);
    issuers::<AccountBody>(&[Role::Operator, Role::Account]);
    issuers::<UserBody>(&[Role::Account]);
    issuers::<AuthorizationRequest>(&[Role::Server]);
    issuers::<AuthorizationResponse>(&[Role::Account]);
}

#[test]
fn one_kind_is_not_read_as_another() {
    let error = user_with(|p| p["nats"]["type"] = "authorization_response".into()).unwrap_err();
    let (expected, found) = ("user", "authorization_response");
    assert_eq!(error, DecodeError::WrongType { expected, found });
    for kind in [json!("User"), json!(""), json!("secret-value"), Value::Null] {
        let error = user_with(|p| p["nats"]["type"] = kind).unwrap_err();
        assert!(matches!(error, DecodeError::WrongType { .. }), "{error:?}");
        assert!(!error.to_string().contains("secret-value"));
    }
    assert!(matches!(
        user_with(|p| p["nats"]["type"] = 5.into()),
        Err(DecodeError::Malformed(_))
    ));
}

#[test]
fn only_version_two_is_read() {
    for (version, found) in [
        (json!(0), 0),
        (json!(1), 1),
        (json!(3), 3),
        (json!(-2), -2),
        (Value::Null, 0),
    ] {
        let error = user_with(|p| p["nats"]["version"] = version).unwrap_err();
        assert_eq!(error, DecodeError::Version { found });
    }
    // As version 1 was written: the type beside nats, another algorithm.
    let error = user_with(|p| p["type"] = "user".into()).unwrap_err();
    assert_eq!(error, DecodeError::Version { found: 1 });
    let account = key(Role::Account);
    let token = forge(
        r#"{"typ":"jwt","alg":"ed25519"}"#,
        &user_payload(&account),
        &account,
    );
    assert_eq!(
        decode::<UserBody>(&token, NOW),
        Err(DecodeError::Version { found: 1 })
    );
}

#[test]
fn a_token_past_the_size_bound_is_not_looked_at() {
    let account = key(Role::Account);
    let long = json!({
        "iss": account.public_key(), "sub": key(Role::User).public_key(),
        "nats": {"type": "user", "version": 2, "tags": ["x".repeat(MAX_TOKEN_BYTES)]},
    });
    let token = forge(HEADER, &long.to_string(), &account);
    assert_eq!(
        decode::<UserBody>(&token, NOW),
        Err(DecodeError::TooLarge { size: token.len() })
    );
}

#[test]
fn claims_of_the_wrong_json_type_are_refused_by_name_and_without_value() {
    for (path, value) in [
        ("/nats/connect_opts/auth_token", json!(["hunter2"])),
        ("/nats/connect_opts/auth_token", json!({"hunter2": "hunter2"})),
        ("/nats/connect_opts/protocol", json!("hunter2")),
        ("/nats/client_info/id", json!("hunter2")),
        ("/nats/client_info/id", json!(-1)),
        ("/nats/client_info/id", json!(1.5)),
        ("/nats/server_id/id", json!(7)),
        ("/nats/user_nkey", Value::Null),
    ] {
        let error = request_with(|p| *p.pointer_mut(path).unwrap() = value.clone()).unwrap_err();
        let name = path.trim_start_matches('/').replace('/', ".");
        assert_eq!(error, DecodeError::Claim { path: name }, "{value}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
    for (claim, value) in [
        ("exp", json!("1")),
        ("exp", json!(1.5)),
        ("iss", Value::Null),
        ("sub", json!(1)),
        ("aud", json!(["nats-authorization-request"])),
        ("nats", json!("x")),
    ] {
        let error = request_with(|p| p[claim] = value.clone()).unwrap_err();
        assert!(
            matches!(error, DecodeError::Malformed(_)),
            "{claim} {value}: {error:?}"
        );
    }
}

#[test]
fn a_claim_that_is_there_twice_is_refused() {
    let account = key(Role::Account);
    let good = user_payload(&account);
    let twice = good.replacen('{', r#"{"exp":1,"exp":9000000000,"#, 1);
    let error = decode::<UserBody>(&forge(HEADER, &twice, &account), NOW).unwrap_err();
    assert!(matches!(error, DecodeError::Malformed(_)), "{error:?}");
    let server = key(Role::Server);
    let body = format!(
        r#"{{"iss":"{0}","sub":"{1}","aud":"nats-authorization-request","exp":{NOW},"nats":{{"type":"authorization_request",
        "version":2,"user_nkey":"{2}","user_nkey":"{2}","server_id":{{"id":"{0}"}},"client_info":{{}},"connect_opts":{{}}}}}}"#,
        server.public_key(),
        account.public_key(),
        key(Role::User).public_key(),
    );
    let error = decode::<AuthorizationRequest>(&forge(HEADER, &body, &server), NOW).unwrap_err();
    assert!(matches!(error, DecodeError::Claim { .. }), "{error:?}");
}

#[test]
fn a_request_without_expiry_or_with_another_audience_is_refused() {
    for exp in [Value::Null, json!(0)] {
        assert_eq!(
            request_with(|p| p["exp"] = exp).unwrap_err(),
            DecodeError::NoExpiry
        );
    }
    for aud in [
        Value::Null,
        json!(""),
        json!("APP"),
        json!("Nats-authorization-request"),
    ] {
        assert_eq!(
            request_with(|p| p["aud"] = aud).unwrap_err(),
            DecodeError::WrongAudience
        );
    }
}

#[test]
fn a_request_that_names_another_server_or_no_user_key_is_refused() {
    let other = key(Role::Server);
    let bad: [(&str, &str); 4] = [
        ("/nats/server_id/id", other.public_key()),
        ("/nats/user_nkey", other.public_key()),
        ("/nats/user_nkey", ""),
        ("/nats/server_id/xkey", other.public_key()),
    ];
    for (path, value) in bad {
        let result = request_with(|p| {
            p["nats"]["server_id"]["xkey"] = "".into();
            *p.pointer_mut(path).unwrap() = value.into();
        });
        assert!(
            matches!(result, Err(DecodeError::Inconsistent(_))),
            "{path}: {result:?}"
        );
    }
}

#[test]
fn fields_that_are_not_known_and_nulls_are_passed_over() {
    let claims = request_with(|p| {
        p["new"] = json!({"x": [1, 2]});
        p["nats"]["new"] = json!([{}]);
        p["nats"]["client_info"]["new"] = 1.into();
        p["nats"]["client_info"]["tags"] = Value::Null;
        p["nats"]["connect_opts"]["jwt"] = Value::Null;
        p["nats"]["connect_opts"]["pass"] = "".into();
        p["nats"]["client_tls"] = Value::Null;
    })
    .unwrap();
    assert!(claims.body.connect_opts.jwt.is_none());
    assert!(claims.body.connect_opts.password.is_none());
    assert!(claims.body.client_tls.is_none());
}

#[test]
fn debug_and_errors_hold_no_secret() {
    let claims = request_with(|p| {
        for secret in ["jwt", "sig", "auth_token", "pass"] {
            p["nats"]["connect_opts"][secret] = "hunter2".into();
        }
        p["nats"]["client_info"]["user"] = "hunter2".into();
    })
    .unwrap();
    assert!(!format!("{claims:?}").contains("hunter2"));
    let response = AuthorizationResponse::granted("hunter2");
    assert!(!format!("{response:?}").contains("hunter2"));
}

proptest! {
    #[test]
    fn no_text_whatever_makes_it_panic_or_pass(text in ".{0,200}") {
        prop_assert!(decode::<AuthorizationRequest>(&text, NOW).is_err());
        prop_assert!(decode::<UserBody>(&text, NOW).is_err());
    }

    #[test]
    fn no_signed_payload_whatever_makes_it_panic_or_pass(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        let account = key(Role::Account);
        let signed = format!("{}.{}", BASE64URL_NOPAD.encode(HEADER.as_bytes()), BASE64URL_NOPAD.encode(&payload));
        let signature = account.sign(signed.as_bytes()).unwrap();
        let token = format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature));
        prop_assert!(decode::<UserBody>(&token, NOW).is_err());
    }
}
