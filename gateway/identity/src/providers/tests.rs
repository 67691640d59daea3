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

mod opaque {
    //! Tokens that say nothing of whose they are.

    use natsgate_core::SystemClock;
    use natsgate_devkit::{DevProvider, DevProviderOptions, Fault, INTROSPECTION_CLIENT, TokenSpec};

    use super::*;
    use crate::settings::client_authentication::{ClientAuthenticationSettings, ClientSecretSettings};
    use crate::settings::introspection::IntrospectionSettings;
    use crate::settings::verify::VerifyBy;

    fn introspecting(name: &str, idp: &DevProvider) -> OidcSettings {
        let mut settings = OidcSettings::new(name, idp.issuer(), vec!["nats".to_owned()]);
        settings.verify = vec![VerifyBy::Jwt, VerifyBy::Introspection];
        settings.fetch_timeout = std::time::Duration::from_secs(20);
        let secret = ClientSecretSettings::of(INTROSPECTION_CLIENT.1);
        settings.introspection = Some(IntrospectionSettings::new(
            INTROSPECTION_CLIENT.0,
            ClientAuthenticationSettings::ClientSecretBasic(secret),
        ));
        settings
    }

    fn all(settings: Vec<OidcSettings>) -> Providers {
        let make = |settings| {
            OidcProvider::new(settings, Arc::new(SystemClock), Arc::new(TestCache::default())).unwrap()
        };
        Providers::new(settings.into_iter().map(make).collect()).unwrap()
    }

    async fn idp() -> DevProvider {
        DevProvider::start(DevProviderOptions::default()).await.unwrap()
    }

    async fn identify(providers: &Providers, token: &SecretString) -> Result<Identity, Failure> {
        providers
            .identify(&Credential::Token(token.clone()), soon())
            .await
    }

    #[tokio::test]
    async fn each_is_asked_in_order_until_one_knows_the_token() {
        let (a, b, c) = (idp().await, idp().await, idp().await);
        let mut jwt_only = OidcSettings::new("c", c.issuer(), vec!["nats".to_owned()]);
        jwt_only.max_token_bytes = 40;
        let providers = all(vec![jwt_only, introspecting("a", &a), introspecting("b", &b)]);
        let asked = |idp: &DevProvider| idp.fetches().introspections;

        let token = b.issue_opaque(TokenSpec::new("alice"));
        assert_eq!(identify(&providers, &token).await.unwrap().provider, "b");
        assert_eq!((asked(&a), asked(&b), asked(&c)), (1, 1, 0));

        // Known to the first, and not acceptable: nobody else is asked.
        let token = a.issue_opaque(TokenSpec::new("alice").audience("another"));
        match identify(&providers, &token).await {
            Err(Failure::Denied(denial)) => assert_eq!(denial.reason, DenialReason::WrongAudience),
            other => panic!("{other:?}"),
        }
        assert_eq!((asked(&a), asked(&b)), (2, 1));

        let unknown = SecretString::from("nobody-s");
        match identify(&providers, &unknown).await {
            Err(Failure::Denied(denial)) => assert_eq!(denial.reason, DenialReason::InactiveToken),
            other => panic!("{other:?}"),
        }
        // One that cannot be asked might have known it; one that can and does is enough.
        a.set_online_fault(Fault::Status(500));
        let outcome = identify(&providers, &unknown).await;
        assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
        let token = b.issue_opaque(TokenSpec::new("alice"));
        assert!(identify(&providers, &token).await.is_ok());

        // A JWT that is refused is shown to nobody.
        let before = (asked(&a), asked(&b));
        let mut spec = TokenSpec::new("alice").audience("another");
        for _ in 0..2 {
            let jwt = b.issue(spec).unwrap();
            assert!(matches!(
                identify(&providers, &jwt).await,
                Err(Failure::Denied(_))
            ));
            spec = TokenSpec::new("alice").claim("iss", "https://elsewhere.example");
        }
        for bad in ["a b", "a\nb", "é"] {
            match identify(&providers, &bad.into()).await {
                Err(Failure::Denied(denial)) => assert_eq!(denial.reason, DenialReason::MalformedToken),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((asked(&a), asked(&b)), before);
    }

    #[tokio::test]
    async fn a_prefix_spares_the_others() {
        let (a, b) = (idp().await, idp().await);
        let mut prefixed = introspecting("b", &b);
        prefixed.opaque_prefix = Some("bbb_".to_owned());
        let providers = all(vec![introspecting("a", &a), prefixed.clone()]);
        let asked = || (a.fetches().introspections, b.fetches().introspections);
        for (token, expected) in [("bbb_1", (0, 1)), ("aaa_1", (1, 1))] {
            assert!(identify(&providers, &token.into()).await.is_err());
            assert_eq!(asked(), expected, "{token}");
        }
        let mut alike = introspecting("a", &a);
        alike.opaque_prefix = Some("bb".to_owned());
        let make = |settings| {
            OidcProvider::new(settings, Arc::new(SystemClock), Arc::new(TestCache::default())).unwrap()
        };
        let error = Providers::new(vec![make(alike), make(prefixed)]).unwrap_err();
        assert_eq!(error.key, "providers[b].opaque_prefix");
    }

    #[tokio::test]
    async fn the_provider_that_found_somebody_is_the_one_that_confirms() {
        let (a, b) = (idp().await, idp().await);
        let providers = all(vec![introspecting("a", &a), introspecting("b", &b)]);
        let jwt = b.issue(TokenSpec::new("alice")).unwrap();
        let identity = identify(&providers, &jwt).await.unwrap();
        let credential = Credential::Token(jwt);
        let confirmed = providers.confirm(&credential, &identity, soon()).await.unwrap();
        assert_eq!(confirmed.unwrap().evidence, natsgate_core::Evidence::Online);
        assert_eq!((a.fetches().introspections, b.fetches().introspections), (0, 1));
    }
}
