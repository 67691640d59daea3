//! Whole logout tokens against a whole provider.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::algorithm::Algorithm;
use crate::testing::{Answer, HandClock, START, SigningKey, TestCache, TestProvider, soon};

struct Scene {
    idp: TestProvider,
    clock: Arc<HandClock>,
    tokens: LogoutTokens,
    key: SigningKey,
}

impl Scene {
    async fn new() -> Self {
        Self::with(|_, _| {}).await
    }

    async fn with(change: impl FnOnce(&mut OidcSettings, &mut LogoutSettings)) -> Self {
        let key = SigningKey::shared(Algorithm::RS256, "k1");
        let idp = TestProvider::start(&[&key]).await;
        let clock = HandClock::new();
        let mut settings = idp.settings();
        let mut logout = LogoutSettings::new("corp", vec!["app".to_owned(), "app2".to_owned()]);
        change(&mut settings, &mut logout);
        let provider = OidcProvider::new(settings, clock.clone(), Arc::new(TestCache::default())).unwrap();
        let tokens = LogoutTokens::new(&[logout], [&provider].into_iter()).unwrap();
        Self {
            idp,
            clock,
            tokens,
            key,
        }
    }

    fn claims(&self) -> Value {
        json!({
            "iss": self.idp.issuer, "aud": "app", "iat": START, "exp": START + 120, "jti": "j1", "sub": "alice", "sid": "s1",
            "events": { EVENT: {} },
        })
    }

    fn header(&self) -> Value {
        json!({"alg": "RS256", "kid": "k1", "typ": "logout+jwt"})
    }

    async fn verify(&self, token: &str) -> Result<Logout, Failure> {
        let outcome = self.tokens.verify(&token.to_owned().into(), soon()).await;
        if let Err(failure) = &outcome {
            let shown = format!("{failure} {failure:?}");
            assert!(!shown.contains("alice") && !shown.contains("hidden"), "{shown}");
        }
        outcome
    }

    /// What becomes of a good token but for `claims`; `null` leaves one out.
    async fn with_claims(&self, claims: Value) -> Result<Logout, DenialReason> {
        let mut all = self.claims();
        for (name, value) in claims.as_object().unwrap() {
            all.as_object_mut().unwrap().insert(name.clone(), value.clone());
        }
        all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        reason(
            self.verify(&self.key.sign_raw(&self.header(), &all.to_string()))
                .await,
        )
    }

    async fn with_header(&self, name: &str, value: Value) -> Result<Logout, DenialReason> {
        let mut header = self.header();
        header[name] = value;
        header
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        reason(
            self.verify(&self.key.sign_raw(&header, &self.claims().to_string()))
                .await,
        )
    }

    fn session(&self) -> Selector {
        Selector::ProviderSession {
            issuer: self.idp.issuer.clone(),
            session_id: "s1".to_owned(),
        }
    }

    fn alice(&self) -> Selector {
        Selector::Principal {
            principal: Principal::new(self.idp.issuer.clone(), "alice"),
        }
    }
}

fn reason(outcome: Result<Logout, Failure>) -> Result<Logout, DenialReason> {
    outcome.map_err(|failure| match failure {
        Failure::Denied(denial) => denial.reason,
        other => panic!("{other}"),
    })
}

#[tokio::test]
async fn a_good_token_says_what_is_over() {
    let scene = Scene::new().await;
    let logout = scene.with_claims(json!({})).await.unwrap();
    let expected = Logout {
        provider: "corp".to_owned(),
        issuer: scene.idp.issuer.clone(),
        token_id: "j1".to_owned(),
        selector: scene.session(),
    };
    assert_eq!(logout, expected);
    let no_sub = scene.with_claims(json!({"sub": null})).await.unwrap();
    assert_eq!(no_sub.selector, scene.session());
    let no_sid = scene.with_claims(json!({"sid": null})).await.unwrap();
    assert_eq!(no_sid.selector, scene.alice());
    assert!(scene.with_claims(json!({"aud": ["other", "app2"]})).await.is_ok());
    assert!(
        scene
            .with_claims(json!({"events": {EVENT: {}, "urn:more": {}}}))
            .await
            .is_ok()
    );

    let people = Scene::with(|_, logout| logout.revokes = LogoutTarget::Principal).await;
    assert_eq!(
        people.with_claims(json!({})).await.unwrap().selector,
        people.alice()
    );
    let no_sub = people.with_claims(json!({"sub": null})).await.unwrap();
    assert_eq!(no_sub.selector, people.session());
}

#[tokio::test]
async fn every_claim_is_looked_at() {
    let scene = Scene::new().await;
    use DenialReason::{
        BadClaim, Expired, LifeTooLong, MissingClaim, NotYetValid, UnknownIssuer, WrongAudience,
        WrongTokenType,
    };
    for (claims, expected) in [
        (json!({"iss": null}), MissingClaim),
        (json!({"iss": "https://other.example"}), UnknownIssuer),
        (json!({"iss": format!("{}/", scene.idp.issuer)}), UnknownIssuer),
        (json!({"aud": null}), MissingClaim),
        (json!({"aud": "nats"}), WrongAudience),
        (json!({"aud": ["nats", "APP"]}), WrongAudience),
        (json!({"aud": ["app", 1]}), BadClaim),
        (json!({"iat": null}), MissingClaim),
        (json!({"iat": START + 31}), NotYetValid),
        (json!({"iat": START - 301}), Expired),
        (json!({"iat": "hidden"}), BadClaim),
        (json!({"nbf": START + 31}), NotYetValid),
        (json!({"exp": null}), MissingClaim),
        (json!({"exp": START}), Expired),
        (json!({"exp": START + 24 * 60 * 60 + 1}), LifeTooLong),
        (json!({"jti": null}), MissingClaim),
        (json!({"jti": ""}), BadClaim),
        (json!({"jti": 7}), BadClaim),
        (json!({"jti": "x".repeat(513)}), BadClaim),
        (json!({"jti": "a\nb"}), BadClaim),
        (json!({"sub": null, "sid": null}), MissingClaim),
        (json!({"sid": ["hidden"]}), BadClaim),
        (json!({"sid": "x".repeat(1025)}), BadClaim),
        (json!({"sid": null, "sub": "x".repeat(1025)}), BadClaim),
        (json!({"sid": null, "sub": ""}), BadClaim),
        (json!({"nonce": "n"}), WrongTokenType),
        (json!({"events": null}), WrongTokenType),
        (json!({"events": [EVENT]}), WrongTokenType),
        (json!({"events": EVENT}), WrongTokenType),
        (json!({"events": {}}), WrongTokenType),
        (json!({"events": {EVENT: true}}), WrongTokenType),
        (
            json!({"events": {"http://schemas.openid.net/event/backchannel-logout/": {}}}),
            WrongTokenType,
        ),
    ] {
        assert_eq!(scene.with_claims(claims.clone()).await, Err(expected), "{claims}");
    }
    // Even a `nonce` that is nothing makes it another token.
    let mut claims = scene.claims();
    claims["nonce"] = Value::Null;
    let token = scene.key.sign_raw(&scene.header(), &claims.to_string());
    assert_eq!(reason(scene.verify(&token).await), Err(WrongTokenType));
    // At the bounds.
    for claims in [
        json!({"iat": START + 30}),
        json!({"iat": START - 300}),
        json!({"exp": START + 1}),
    ] {
        assert!(scene.with_claims(claims.clone()).await.is_ok(), "{claims}");
    }
}

#[tokio::test]
async fn a_token_of_another_type_or_algorithm_is_refused() {
    let scene = Scene::new().await;
    for typ in [
        json!("logout+jwt"),
        json!("application/logout+JWT"),
        json!("JWT"),
        json!(null),
    ] {
        assert!(scene.with_header("typ", typ.clone()).await.is_ok(), "{typ}");
    }
    for typ in ["at+jwt", "secevent+jwt", "dpop+jwt", ""] {
        assert_eq!(
            scene.with_header("typ", json!(typ)).await,
            Err(DenialReason::WrongTokenType),
            "{typ}"
        );
    }
    for alg in ["none", "HS256"] {
        assert_eq!(
            scene.with_header("alg", json!(alg)).await,
            Err(DenialReason::AlgorithmNotAllowed),
            "{alg}"
        );
    }
    let strict = Scene::with(|provider, logout| {
        logout.require_type = true;
        provider.algorithms = vec![Algorithm::RS256];
        provider.max_token_bytes = 2000;
    })
    .await;
    assert!(strict.with_claims(json!({})).await.is_ok());
    for typ in [json!("JWT"), json!(null)] {
        assert_eq!(
            strict.with_header("typ", typ).await,
            Err(DenialReason::WrongTokenType)
        );
    }
    let refused = strict.with_header("alg", json!("RS512")).await;
    assert_eq!(refused, Err(DenialReason::AlgorithmNotAllowed));
    let large = strict.with_claims(json!({"more": "x".repeat(2000)})).await;
    assert_eq!(large, Err(DenialReason::CredentialTooLarge));
}

#[tokio::test]
async fn a_forged_token_is_refused_and_one_that_cannot_be_checked_is_not_answered() {
    let scene = Scene::new().await;
    let (claims, header) = (scene.claims().to_string(), scene.header());
    // Another's key under the provider's id.
    let forger = SigningKey::shared(Algorithm::ES256, "k1");
    let mut forged = header.clone();
    forged["alg"] = json!("ES256");
    let refused = reason(scene.verify(&forger.sign_raw(&forged, &claims)).await);
    assert_eq!(refused, Err(DenialReason::AlgorithmNotAllowed));
    let good = scene.key.sign_raw(&header, &claims);
    let (_, signature) = good.rsplit_once('.').unwrap();
    let mut other = scene.claims();
    other["sub"] = json!("mallory");
    let altered = scene.key.sign_raw(&header, &other.to_string());
    let (message, _) = altered.rsplit_once('.').unwrap();
    let refused = reason(scene.verify(&format!("{message}.{signature}")).await);
    assert_eq!(refused, Err(DenialReason::BadSignature));
    assert_eq!(
        scene.with_header("kid", json!("k9")).await,
        Err(DenialReason::UnknownKey)
    );

    let away = Scene::new().await;
    away.idp.answer(Answer::Status(503));
    let token = away.key.sign_raw(&away.header(), &away.claims().to_string());
    assert!(matches!(away.verify(&token).await, Err(Failure::Unavailable(_))));
    away.idp.publish(&[&away.key]);
    away.clock.advance(Duration::from_secs(10));
    assert!(away.verify(&token).await.is_ok());
}

#[tokio::test]
async fn people_known_by_another_claim_are_revoked_by_that_claim() {
    let scene = Scene::with(|provider, _| provider.subject_claim = "user.name".to_owned()).await;
    let missing = scene.with_claims(json!({"sid": null})).await;
    assert_eq!(missing, Err(DenialReason::MissingClaim));
    let named = scene
        .with_claims(json!({"sid": null, "sub": "0815", "user": {"name": "alice"}}))
        .await;
    assert_eq!(named.unwrap().selector, scene.alice());
    // A session is a session.
    assert_eq!(
        scene.with_claims(json!({})).await.unwrap().selector,
        scene.session()
    );
    let people = Scene::with(|provider, logout| {
        provider.subject_claim = "user.name".to_owned();
        logout.revokes = LogoutTarget::Principal;
    })
    .await;
    assert_eq!(
        people.with_claims(json!({})).await,
        Err(DenialReason::MissingClaim)
    );
}

#[tokio::test]
async fn settings_name_each_provider_once() {
    let idp = TestProvider::start(&[&SigningKey::shared(Algorithm::RS256, "k1")]).await;
    let provider =
        OidcProvider::new(idp.settings(), HandClock::new(), Arc::new(TestCache::default())).unwrap();
    let logout = |name: &str| LogoutSettings::new(name, vec!["app".to_owned()]);
    let key = |settings: &[LogoutSettings]| {
        LogoutTokens::new(settings, [&provider].into_iter())
            .err()
            .map(|error| error.key)
    };
    assert_eq!(key(&[logout("corp")]), None);
    assert_eq!(
        key(&[logout("crop")]).as_deref(),
        Some("backchannel_logout[crop].provider")
    );
    let twice = key(&[logout("corp"), logout("corp")]);
    assert_eq!(twice.as_deref(), Some("backchannel_logout[corp].provider"));
}
