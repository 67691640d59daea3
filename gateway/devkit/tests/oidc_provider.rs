//! The certified provider issues what it is asked for, signed with keys that its published set holds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic; clippy.toml's leave for tests does not reach helpers in tests/"
)]

use std::collections::HashSet;
use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use natsgate_devkit::{
    IntrospectionClient, OidcProvider, OidcProviderOptions, SigningAlgorithm, TokenFormat, TokenOptions,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

async fn key_set(provider: &OidcProvider) -> JwkSet {
    let discovery: Value = reqwest::get(format!("{}/.well-known/openid-configuration", provider.issuer()))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(discovery["issuer"], provider.issuer());
    reqwest::get(discovery["jwks_uri"].as_str().unwrap())
        .await
        .unwrap()
        .json()
        .await
        .unwrap()
}

async fn claims(
    provider: &OidcProvider,
    token: &SecretString,
    algorithm: Algorithm,
    audience: &str,
) -> Value {
    let header = decode_header(token.expose_secret()).unwrap();
    assert_eq!((header.alg, header.typ.as_deref()), (algorithm, Some("at+jwt")));
    let set = key_set(provider).await;
    let key = DecodingKey::from_jwk(set.find(header.kid.as_deref().unwrap()).unwrap()).unwrap();
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&[audience]);
    validation.set_issuer(&[provider.issuer()]);
    validation.required_spec_claims = HashSet::from(["iss", "aud", "exp", "sub"].map(str::to_owned));
    decode::<Value>(token.expose_secret(), &key, &validation)
        .unwrap()
        .claims
}

#[tokio::test]
async fn a_code_flow_yields_a_signed_token_with_the_claims_asked_for() {
    let provider = OidcProvider::start(OidcProviderOptions::default()).await.unwrap();
    let token = provider
        .token(
            "alice",
            TokenOptions::default().claim("projects", json!(["apollo"])),
        )
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", provider.logs()));
    let claims = claims(&provider, &token, Algorithm::RS256, "nats").await;
    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["projects"], json!(["apollo"]));
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        300
    );
}

#[tokio::test]
async fn a_token_may_differ_in_life_audience_and_algorithm() {
    let provider = OidcProvider::start(OidcProviderOptions::default()).await.unwrap();
    let options = TokenOptions {
        ttl: Some(Duration::from_secs(3)),
        audience: Some("another service".to_owned()),
        algorithm: Some(SigningAlgorithm::Es256),
        ..Default::default()
    };
    let token = provider
        .token("bob", options)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", provider.logs()));
    let claims = claims(&provider, &token, Algorithm::ES256, "another service").await;
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        3
    );
    assert_eq!(claims.get("projects"), None);
}

#[tokio::test]
async fn a_service_gets_a_token_by_client_credentials() {
    let provider = OidcProvider::start(OidcProviderOptions::default()).await.unwrap();
    let token = provider
        .service_token(TokenOptions::default().claim("projects", json!(["zeus"])))
        .await
        .unwrap();
    let claims = claims(&provider, &token, Algorithm::RS256, "nats").await;
    assert_eq!(claims["sub"], "natsgate-service");
    assert_eq!(claims["projects"], json!(["zeus"]));
}

/// What the provider says of `token`, asked by `client`.
async fn introspect(provider: &OidcProvider, client: IntrospectionClient, token: &SecretString) -> Value {
    let url = format!("{}/token/introspection", provider.issuer());
    let request = reqwest::Client::new().post(url).form(&[
        ("token", token.expose_secret()),
        ("client_id", client.id),
        ("client_secret", client.secret),
    ]);
    request.send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn an_opaque_token_is_told_of_until_it_is_revoked() {
    let provider = OidcProvider::start(OidcProviderOptions::default()).await.unwrap();
    for (format, audience) in [
        (TokenFormat::Opaque, json!("nats")),
        (TokenFormat::OpaqueForUserinfo, Value::Null),
    ] {
        let options = TokenOptions::default()
            .format(format)
            .claim("projects", json!(["apollo"]));
        let token = provider
            .token("alice", options)
            .await
            .unwrap_or_else(|error| panic!("{error}\n{}", provider.logs()));
        assert!(!token.expose_secret().contains('.'));
        let answer = introspect(&provider, IntrospectionClient::POST, &token).await;
        assert_eq!(
            (&answer["active"], &answer["sub"]),
            (&json!(true), &json!("alice")),
            "{answer}"
        );
        assert_eq!(
            (&answer["aud"], &answer["projects"]),
            (&audience, &json!(["apollo"]))
        );

        let userinfo = reqwest::Client::new()
            .get(format!("{}/me", provider.issuer()))
            .bearer_auth(token.expose_secret())
            .send()
            .await
            .unwrap();
        if audience.is_null() {
            let answer: Value = userinfo.json().await.unwrap();
            assert_eq!(answer, json!({"sub": "alice", "projects": ["apollo"]}));
        } else {
            assert_eq!(userinfo.status().as_u16(), 403);
        }

        provider.revoke(&token).await.unwrap();
        let answer = introspect(&provider, IntrospectionClient::POST, &token).await;
        assert_eq!(answer, json!({"active": false}));
    }
}

#[tokio::test]
async fn a_restart_is_the_same_issuer_with_new_keys() {
    let mut provider = OidcProvider::start(OidcProviderOptions::default()).await.unwrap();
    let issuer = provider.issuer().to_owned();
    let ids = |set: JwkSet| {
        set.keys
            .into_iter()
            .map(|key| key.common.key_id.unwrap())
            .collect::<HashSet<_>>()
    };
    let before = ids(key_set(&provider).await);
    provider.restart().await.unwrap();
    assert_eq!(provider.issuer(), issuer);
    assert!(before.is_disjoint(&ids(key_set(&provider).await)));
    let process = format!("/proc/{}", provider.id().unwrap());
    drop(provider);
    assert!(!std::path::Path::new(&process).exists());
}
