//! Against oidc-provider, which nobody here wrote: introspection in every authentication, userinfo, revoked tokens, rotated
//! keys.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic; clippy.toml's leave for tests does not reach helpers in tests/"
)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair};
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use natsgate_core::{
    Cache, CacheError, CacheKey, Credential, Deadline, DenialReason, Evidence, Failure, Identity,
    IdentityProvider, SystemClock,
};
use natsgate_devkit::{
    IntrospectionClient, OidcProvider as Certified, OidcProviderOptions, TokenFormat, TokenOptions,
};
use natsgate_identity::settings::client_authentication::{
    ClientAuthenticationSettings, ClientSecretSettings, PrivateKeyJwtSettings,
};
use natsgate_identity::settings::introspection::IntrospectionSettings;
use natsgate_identity::settings::userinfo::{Enrich, UserinfoSettings};
use natsgate_identity::settings::verify::VerifyBy;
use natsgate_identity::{Algorithm, OidcProvider, OidcSettings};
use secrecy::SecretString;
use serde_json::{Value, json};

/// Keeps nothing.
struct NoCache;

#[async_trait]
impl Cache for NoCache {
    async fn get(&self, _key: &CacheKey) -> Result<Option<Bytes>, CacheError> {
        Ok(None)
    }

    async fn put(&self, _key: &CacheKey, _value: Bytes, _ttl: Duration) -> Result<(), CacheError> {
        Ok(())
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn settings(idp: &Certified, verify: &[VerifyBy]) -> OidcSettings {
    let mut settings = OidcSettings::new("corp", idp.issuer(), vec!["nats".to_owned()]);
    settings.fetch_timeout = Duration::from_secs(30);
    settings.verify = verify.to_vec();
    settings
}

fn provider(settings: OidcSettings) -> OidcProvider {
    OidcProvider::new(settings, Arc::new(SystemClock), Arc::new(NoCache)).unwrap()
}

fn basic() -> IntrospectionSettings {
    let IntrospectionClient { id, secret } = IntrospectionClient::BASIC;
    let secret = ClientSecretSettings::of(secret);
    IntrospectionSettings::new(id, ClientAuthenticationSettings::ClientSecretBasic(secret))
}

async fn identify(provider: &OidcProvider, token: &SecretString) -> Result<Identity, Failure> {
    provider.identify(&Credential::Token(token.clone()), soon()).await
}

async fn token(idp: &Certified, format: TokenFormat) -> SecretString {
    let options = TokenOptions::default()
        .format(format)
        .claim("projects", json!(["apollo"]));
    idp.token("alice", options)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", idp.logs()))
}

fn reason(outcome: Result<Identity, Failure>) -> DenialReason {
    match outcome {
        Err(Failure::Denied(denial)) => denial.reason,
        other => panic!("{other:?}"),
    }
}

/// A key pair: its PEM and its public JWK.
fn key_pair() -> (String, Value) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let signing = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let der = EcdsaKeyPair::from_pkcs8(signing, pair.serialized_der()).unwrap();
    let point = &der.public_key().as_ref()[1..];
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "natsgate-1",
        "x": BASE64URL_NOPAD.encode(&point[..32]), "y": BASE64URL_NOPAD.encode(&point[32..]),
    });
    (pair.serialize_pem(), jwk)
}

#[tokio::test]
async fn opaque_tokens_are_introspected_with_every_authentication_until_they_are_revoked() {
    let (pem, jwk) = key_pair();
    let options = OidcProviderOptions {
        introspection_key: Some(jwk),
        ..Default::default()
    };
    let idp = Certified::start(options).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("key.pem");
    std::fs::write(&key_file, pem).unwrap();
    let by_key = |audience: Option<String>| {
        let settings = PrivateKeyJwtSettings {
            key_file: key_file.clone(),
            algorithm: Algorithm::ES256,
            key_id: Some("natsgate-1".to_owned()),
            audience,
        };
        IntrospectionSettings::new(
            IntrospectionClient::KEY.id,
            ClientAuthenticationSettings::PrivateKeyJwt(settings),
        )
    };
    let IntrospectionClient { id, secret } = IntrospectionClient::POST;
    let secret = ClientSecretSettings::of(secret);
    let post = IntrospectionSettings::new(id, ClientAuthenticationSettings::ClientSecretPost(secret));
    let opaque = token(&idp, TokenFormat::Opaque).await;
    let mut providers = Vec::new();
    let token_endpoint = Some(format!("{}/token", idp.issuer()));
    for introspection in [basic(), post, by_key(None), by_key(token_endpoint)] {
        let mut settings = settings(&idp, &[VerifyBy::Introspection]);
        settings.introspection = Some(introspection);
        let provider = provider(settings);
        // Twice: an assertion's id is taken once only.
        for _ in 0..2 {
            let identity = identify(&provider, &opaque)
                .await
                .unwrap_or_else(|failure| panic!("{failure}\n{}", idp.logs()));
            assert_eq!(
                (identity.principal.subject.as_str(), &identity.evidence),
                ("alice", &Evidence::Online)
            );
            assert_eq!(identity.claims["projects"], json!(["apollo"]));
            assert_eq!(identity.claims["aud"], "nats");
        }
        providers.push(provider);
    }
    for client in [
        IntrospectionSettings::new(
            IntrospectionClient::BASIC.id,
            ClientAuthenticationSettings::ClientSecretBasic(ClientSecretSettings::of("wrong")),
        ),
        by_key(Some("https://elsewhere.example".to_owned())),
    ] {
        let mut settings = settings(&idp, &[VerifyBy::Introspection]);
        settings.introspection = Some(client);
        let outcome = identify(&provider(settings), &opaque).await;
        assert!(
            matches!(&outcome, Err(Failure::Unavailable(why)) if why.0.contains("introspection.authentication")),
            "{outcome:?}"
        );
    }
    idp.revoke(&opaque).await.unwrap();
    for provider in &providers {
        assert_eq!(
            reason(identify(provider, &opaque).await),
            DenialReason::InactiveToken
        );
    }
    let elsewhere = TokenOptions {
        audience: Some("another".to_owned()),
        ..TokenOptions::default().format(TokenFormat::Opaque)
    };
    let elsewhere = idp.token("alice", elsewhere).await.unwrap();
    assert_eq!(
        reason(identify(&providers[0], &elsewhere).await),
        DenialReason::WrongAudience
    );
}

#[tokio::test]
async fn userinfo_identifies_and_completes_until_the_token_is_revoked() {
    let idp = Certified::start(OidcProviderOptions::default()).await.unwrap();
    let mut alone = settings(&idp, &[VerifyBy::Userinfo]);
    alone.max_opaque_life = Some(Duration::from_secs(600));
    alone.userinfo = Some(UserinfoSettings {
        accept_any_audience: true,
        ..Default::default()
    });
    let alone = provider(alone);
    let mut completing = settings(&idp, &[VerifyBy::Introspection]);
    let mut introspection = basic();
    introspection.require_audience = false;
    introspection.client_ids = vec!["natsgate-cli".to_owned()];
    completing.introspection = Some(introspection);
    completing.userinfo = Some(UserinfoSettings {
        enrich: Enrich::Required,
        ..Default::default()
    });
    let completing = provider(completing);

    let opaque = token(&idp, TokenFormat::OpaqueForUserinfo).await;
    let identity = identify(&alone, &opaque)
        .await
        .unwrap_or_else(|failure| panic!("{failure}\n{}", idp.logs()));
    assert_eq!(identity.principal.subject, "alice");
    assert_eq!(
        identity.claims,
        *json!({"sub": "alice", "projects": ["apollo"]})
            .as_object()
            .unwrap()
    );
    let identity = identify(&completing, &opaque).await.unwrap();
    assert_eq!(identity.claims["projects"], json!(["apollo"]));

    // Userinfo of this provider refuses a token that is for somebody: required means required.
    let for_nats = token(&idp, TokenFormat::Opaque).await;
    let outcome = identify(&completing, &for_nats).await;
    assert!(outcome.is_err(), "{outcome:?}");

    idp.revoke(&opaque).await.unwrap();
    for provider in [&alone, &completing] {
        assert_eq!(
            reason(identify(provider, &opaque).await),
            DenialReason::InactiveToken
        );
    }
}

#[tokio::test]
async fn rotated_keys_are_found_and_a_provider_that_is_away_denies_nobody() {
    let mut idp = Certified::start(OidcProviderOptions::default()).await.unwrap();
    let mut by_keys = settings(&idp, &[VerifyBy::Jwt, VerifyBy::Introspection]);
    by_keys.introspection = Some(basic());
    let by_keys = provider(by_keys);
    let before = token(&idp, TokenFormat::Jwt).await;
    assert!(identify(&by_keys, &before).await.is_ok());
    idp.restart().await.unwrap();
    let after = token(&idp, TokenFormat::Jwt).await;
    let identity = identify(&by_keys, &after).await.unwrap();
    assert!(matches!(
        identity.evidence,
        Evidence::SignedToken { key_id: Some(_) }
    ));
    assert_eq!(
        reason(identify(&by_keys, &before).await),
        DenialReason::UnknownKey
    );

    let opaque = token(&idp, TokenFormat::Opaque).await;
    assert!(identify(&by_keys, &opaque).await.is_ok());
    idp.stop().await.unwrap();
    assert!(identify(&by_keys, &after).await.is_ok());
    let outcome = identify(&by_keys, &opaque).await;
    assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
}
