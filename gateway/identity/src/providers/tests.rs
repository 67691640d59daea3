//! Choosing among providers.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::algorithm::Algorithm;
use crate::settings::oidc::OidcSettings;
use crate::testing::{HandClock, SigningKey, TestCache, TestProvider, soon};

fn provider(settings: OidcSettings) -> OidcProvider {
    OidcProvider::new(settings, HandClock::new(), Arc::new(TestCache::default())).unwrap()
}

async fn reason(providers: &Providers, token: &str) -> DenialReason {
    match providers.identify(&Credential::Token(token.into()), soon()).await {
        Err(Failure::Denied(denial)) => denial.reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_issuer_chooses_who_verifies_and_nothing_else() {
    let (a_key, b_key) = (
        SigningKey::shared(Algorithm::ES256, "k"),
        SigningKey::shared(Algorithm::ES256, "k"),
    );
    let (a, b) = (
        TestProvider::start(&[&a_key]).await,
        TestProvider::start(&[&b_key]).await,
    );
    let mut b_settings = b.settings();
    b_settings.name = "partner".to_owned();
    b_settings.max_token_bytes = 1000;
    let providers = Providers::new(vec![provider(a.settings()), provider(b_settings)]).unwrap();

    for (idp, key, name) in [(&a, &a_key, "corp"), (&b, &b_key, "partner")] {
        let token = Credential::Token(key.sign(&idp.claims()).into());
        let identity = providers.identify(&token, soon()).await.unwrap();
        assert_eq!(
            (identity.provider.as_str(), &identity.principal.issuer),
            (name, &idp.issuer)
        );
    }
    // One provider's key never speaks for the other.
    assert_eq!(
        reason(&providers, &b_key.sign(&a.claims())).await,
        DenialReason::BadSignature
    );
    let mut foreign = a.claims();
    foreign["iss"] = json!("https://elsewhere.example");
    assert_eq!(
        reason(&providers, &a_key.sign(&foreign)).await,
        DenialReason::UnknownIssuer
    );
    foreign["iss"] = json!(7);
    assert_eq!(
        reason(&providers, &a_key.sign(&foreign)).await,
        DenialReason::BadClaim
    );
    foreign.as_object_mut().unwrap().remove("iss");
    assert_eq!(
        reason(&providers, &a_key.sign(&foreign)).await,
        DenialReason::MissingClaim
    );

    // Each has a bound of its own, and the largest holds for all.
    for (idp, key, reached) in [(&a, &a_key, true), (&b, &b_key, false)] {
        let mut claims = idp.claims();
        claims["padding"] = json!("x".repeat(1000));
        let outcome = providers
            .identify(&Credential::Token(key.sign(&claims).into()), soon())
            .await;
        assert_eq!(outcome.is_ok(), reached, "{outcome:?}");
    }
    assert_eq!(
        reason(&providers, &"x".repeat(16_385)).await,
        DenialReason::CredentialTooLarge
    );
    assert_eq!(reason(&providers, "").await, DenialReason::NoCredentials);
}

#[tokio::test]
async fn providers_that_could_be_mistaken_for_each_other_are_refused() {
    let settings = |name: &str, issuer: &str| OidcSettings::new(name, issuer, vec!["nats".to_owned()]);
    let make = |list: Vec<OidcSettings>| Providers::new(list.into_iter().map(provider).collect()).map(|_| ());
    let a = settings("a", "https://a.example");
    assert_eq!(make(vec![]).unwrap_err().key, "providers");
    let twice = make(vec![a.clone(), settings("b", "https://a.example")]).unwrap_err();
    assert_eq!(twice.key, "providers[b].issuer");
    let named = make(vec![a.clone(), settings("a", "https://b.example")]).unwrap_err();
    assert_eq!(named.key, "providers[a].name");
    assert!(make(vec![a, settings("b", "https://b.example")]).is_ok());
}
