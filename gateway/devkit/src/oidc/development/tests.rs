use std::collections::HashSet;
use std::time::SystemTime;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, TokenData, Validation, decode, decode_header};
use secrecy::ExposeSecret;
use serde_json::json;

use super::*;
use crate::clock::MockClock;
use crate::oidc::spec::Signature;

async fn provider() -> DevProvider {
    provider_with(&[SigningAlgorithm::Es256]).await
}

async fn provider_with(algorithms: &[SigningAlgorithm]) -> DevProvider {
    let options = DevProviderOptions {
        algorithms: algorithms.to_vec(),
        people: vec![
            Person::new("alice").claim("projects", json!(["apollo"])),
            Person::new("bob"),
        ],
        ..Default::default()
    };
    DevProvider::start(options).await.unwrap()
}

async fn get(url: &str) -> Value {
    reqwest::get(url)
        .await
        .unwrap()
        .error_for_status()
        .unwrap()
        .json()
        .await
        .unwrap()
}

async fn key_set(provider: &DevProvider) -> JwkSet {
    let discovery = get(&format!("{}/.well-known/openid-configuration", provider.issuer())).await;
    assert_eq!(discovery["issuer"], provider.issuer());
    serde_json::from_value(get(discovery["jwks_uri"].as_str().unwrap()).await).unwrap()
}

/// An independent reader's judgement of the token.
fn verify(token: &str, set: &JwkSet) -> Result<TokenData<Value>, jsonwebtoken::errors::Error> {
    let header = decode_header(token)?;
    let key = set
        .find(header.kid.as_deref().unwrap())
        .expect("the key id is published");
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&["nats"]);
    decode(token, &DecodingKey::from_jwk(key).unwrap(), &validation)
}

#[tokio::test]
async fn an_honest_token_of_every_algorithm_verifies_and_a_forged_one_does_not() {
    let provider = provider_with(&SigningAlgorithm::ALL).await;
    let set = key_set(&provider).await;
    for algorithm in SigningAlgorithm::ALL {
        let spec = TokenSpec::new("alice").algorithm(algorithm);
        let token = provider.issue(spec.clone()).unwrap();
        let data = verify(token.expose_secret(), &set).unwrap();
        assert_eq!(format!("{:?}", data.header.alg), algorithm.as_str());
        assert_eq!(
            (&data.claims["sub"], &data.claims["iss"]),
            (&json!("alice"), &json!(provider.issuer()))
        );

        let forged = provider.issue(spec.signature(Signature::Forged)).unwrap();
        let error = verify(forged.expose_secret(), &set).unwrap_err();
        assert_eq!(
            *error.kind(),
            jsonwebtoken::errors::ErrorKind::InvalidSignature,
            "{algorithm}"
        );
    }
}

#[tokio::test]
async fn the_attacks_look_as_they_do_in_the_books() {
    let provider = provider_with(&[SigningAlgorithm::Rs256]).await;
    let parts = |signature| {
        let token = provider
            .issue(TokenSpec::new("alice").signature(signature))
            .unwrap();
        let parts: Vec<String> = token.expose_secret().split('.').map(str::to_owned).collect();
        let header: Value = serde_json::from_slice(
            &data_encoding::BASE64URL_NOPAD
                .decode(parts[0].as_bytes())
                .unwrap(),
        )
        .unwrap();
        (header["alg"].as_str().unwrap().to_owned(), parts[2].clone())
    };
    assert_eq!(parts(Signature::None), ("none".to_owned(), String::new()));

    assert_eq!(parts(Signature::HmacWithPublicKey).0, "HS256");
    let token = provider
        .issue(TokenSpec::new("alice").signature(Signature::HmacWithPublicKey))
        .unwrap();
    let keys = provider.state.keys.read().unwrap();
    let key = keys.for_algorithm(None).unwrap();
    // The PEM really is the public key: an honest signature verifies with it.
    let pem = key.public_pem().unwrap();
    let honest = provider.issue(TokenSpec::new("alice")).unwrap();
    let mut validation = Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.set_audience(&["nats"]);
    decode::<Value>(
        honest.expose_secret(),
        &DecodingKey::from_rsa_pem(pem.as_bytes()).unwrap(),
        &validation,
    )
    .unwrap();
    validation.algorithms = vec![jsonwebtoken::Algorithm::HS256];
    decode::<Value>(
        token.expose_secret(),
        &DecodingKey::from_secret(pem.as_bytes()),
        &validation,
    )
    .unwrap();
}

#[tokio::test]
async fn claims_and_header_can_be_anything_and_times_are_the_clocks() {
    let clock = MockClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
    let options = DevProviderOptions {
        clock: Arc::new(clock),
        ..Default::default()
    };
    let provider = DevProvider::start(options).await.unwrap();
    let spec = TokenSpec::new("x")
        .ttl(Duration::from_secs(5))
        .claim("sub", json!(7))
        .claim("aud", Value::Null)
        .header("kid", "other")
        .header("typ", Value::Null);
    let token = provider.issue(spec).unwrap();
    let token = token.expose_secret();
    let header = decode_header(token).unwrap();
    assert_eq!((header.kid.as_deref(), header.typ), (Some("other"), None));
    let claims: Value = jsonwebtoken::dangerous::insecure_decode(token).unwrap().claims;
    assert_eq!((&claims["sub"], claims.get("aud")), (&json!(7), None));
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(1_000), &json!(1_005)));
}

#[tokio::test]
async fn the_token_endpoint_knows_its_people_and_nobody_else() {
    let provider = provider().await;
    let set = key_set(&provider).await;
    let ask = |form: &'static [(&'static str, &'static str)]| {
        let request = reqwest::Client::new().post(provider.token_url()).form(form);
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        }
    };
    let (status, answer) = ask(&[("username", "alice"), ("ttl", "7")]).await;
    assert_eq!((status, &answer["expires_in"]), (200, &json!(7)));
    let claims = verify(answer["access_token"].as_str().unwrap(), &set)
        .unwrap()
        .claims;
    assert_eq!(
        (&claims["sub"], &claims["projects"]),
        (&json!("alice"), &json!(["apollo"]))
    );
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        7
    );

    let (status, answer) = ask(&[("username", "mallory")]).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")));
    assert!(
        answer["error_description"]
            .as_str()
            .unwrap()
            .ends_with("alice, bob")
    );
}

#[tokio::test]
async fn rotated_keys_are_published_with_or_without_the_old_ones() {
    let provider = provider().await;
    let ids = |set: JwkSet| {
        set.keys
            .into_iter()
            .map(|key| key.common.key_id.unwrap())
            .collect::<HashSet<_>>()
    };
    let first = ids(key_set(&provider).await);
    provider.rotate_keys(true).unwrap();
    let second = ids(key_set(&provider).await);
    assert!(first.is_subset(&second) && second.len() == 2 * first.len());
    let token = provider.issue(TokenSpec::new("alice")).unwrap();
    assert!(!first.contains(&decode_header(token.expose_secret()).unwrap().kid.unwrap()));
    provider.rotate_keys(false).unwrap();
    assert!(second.is_disjoint(&ids(key_set(&provider).await)));
}

#[tokio::test]
async fn faults_do_what_they_say_and_every_request_counts() {
    let provider = provider().await;
    provider.set_fault(Fault::Status(500));
    assert_eq!(
        reqwest::get(provider.jwks_url()).await.unwrap().status().as_u16(),
        500
    );
    provider.set_fault(Fault::Body("[".to_owned()));
    assert_eq!(
        reqwest::get(provider.jwks_url())
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
        "["
    );

    provider.set_fault(Fault::Hold);
    let held = tokio::spawn(reqwest::get(provider.jwks_url()));
    assert_eq!(provider.fetched(|fetches| fetches.keys == 3).await.keys, 3);
    provider.set_fault(Fault::Status(418));
    assert_eq!(held.await.unwrap().unwrap().status().as_u16(), 418);
    provider.set_fault(Fault::None);
    assert_eq!(
        reqwest::get(provider.jwks_url()).await.unwrap().status().as_u16(),
        200
    );
    assert_eq!(
        provider.fetches(),
        Fetches {
            discovery: 0,
            keys: 4,
            ..Fetches::default()
        }
    );
}

#[tokio::test]
async fn introspection_and_userinfo_tell_of_tokens_in_force_as_their_owners_are_now() {
    let provider = provider().await;
    let (client, secret) = INTROSPECTION_CLIENT;
    let introspect = |token: SecretString, secret: &'static str| {
        let request = reqwest::Client::new()
            .post(provider.introspection_url())
            .basic_auth(client, Some(secret))
            .form(&[("token", token.expose_secret())]);
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.ok())
        }
    };
    let userinfo = |token: SecretString| {
        let request = reqwest::Client::new()
            .get(provider.userinfo_url())
            .bearer_auth(token.expose_secret());
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.ok())
        }
    };
    let opaque = provider.issue_opaque(TokenSpec::new("alice"));
    let jwt = provider.issue(TokenSpec::new("alice")).unwrap();
    for token in [&opaque, &jwt] {
        let (status, answer) = introspect(token.clone(), secret).await;
        let answer = answer.unwrap();
        assert_eq!((status, &answer["active"]), (200, &json!(true)));
        assert_eq!(
            (&answer["aud"], &answer["projects"]),
            (&json!("nats"), &json!(["apollo"]))
        );
        let (status, answer) = userinfo(token.clone()).await;
        assert_eq!(
            (status, answer),
            (200, Some(json!({"sub": "alice", "projects": ["apollo"]})))
        );
    }
    assert_eq!(introspect(opaque.clone(), "wrong").await.0, 401);
    assert_eq!(
        introspect("unknown".into(), secret).await.1,
        Some(json!({"active": false}))
    );
    let forged = TokenSpec::new("alice").signature(Signature::Forged);
    let forged = provider.issue(forged).unwrap();
    assert_eq!(
        introspect(forged.clone(), secret).await.1,
        Some(json!({"active": false}))
    );
    assert_eq!(userinfo(forged).await.0, 401);

    provider.set_people(vec![Person::new("alice").claim("projects", json!(["zeus"]))]);
    assert_eq!(
        userinfo(jwt.clone()).await.1.unwrap()["projects"],
        json!(["zeus"])
    );
    provider.set_online_fault(Fault::WrongSubject("bob".to_owned()));
    assert_eq!(userinfo(jwt.clone()).await.1.unwrap()["sub"], "bob");
    provider.set_online_fault(Fault::None);
    provider.revoke(&jwt);
    assert_eq!(userinfo(jwt.clone()).await.0, 401);
    assert_eq!(introspect(jwt, secret).await.1, Some(json!({"active": false})));
    let counted = provider.fetches();
    assert_eq!((counted.introspections, counted.userinfos), (6, 6));
}

#[tokio::test]
async fn a_stopped_provider_is_away() {
    let provider = provider().await;
    let url = provider.jwks_url();
    provider.stop().await;
    assert!(reqwest::get(url).await.is_err());
}
