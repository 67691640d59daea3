//! Whole tokens against a whole provider.

use serde_json::{Value, json};

use super::*;
use crate::algorithm::Algorithm;
use crate::testing::{Answer, HandClock, SigningKey, TestCache, TestProvider, soon};

struct Scene {
    idp: TestProvider,
    clock: Arc<HandClock>,
    provider: OidcProvider,
    key: SigningKey,
}

impl Scene {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut OidcSettings)) -> Self {
        let key = SigningKey::shared(Algorithm::RS256, "k1");
        let idp = TestProvider::start(&[&key]).await;
        let clock = HandClock::new();
        let mut settings = idp.settings();
        change(&mut settings);
        let provider = OidcProvider::new(settings, clock.clone(), Arc::new(TestCache::default())).unwrap();
        Self {
            idp,
            clock,
            provider,
            key,
        }
    }

    async fn identify(&self, token: &str) -> Result<Identity, Failure> {
        let outcome = self
            .provider
            .identify(&Credential::Token(token.into()), soon())
            .await;
        if let Err(failure) = &outcome {
            let shown = format!("{failure} {failure:?}");
            for part in token.split('.').filter(|part| part.len() > 8) {
                assert!(!shown.contains(part), "{shown}");
            }
            assert!(!shown.contains("alice") && !shown.contains("hidden"), "{shown}");
        }
        outcome
    }

    async fn denied(&self, token: &str) -> DenialReason {
        match self.identify(token).await {
            Err(Failure::Denied(denial)) => denial.reason,
            other => panic!("{other:?}"),
        }
    }

    /// A good token but for its header.
    fn with_header(&self, name: &str, value: Value) -> String {
        let mut header = self.key.header();
        header[name] = value;
        self.key.sign_raw(&header, &self.idp.claims().to_string())
    }

    fn with_claim(&self, name: &str, value: Value) -> String {
        let mut claims = self.idp.claims();
        claims[name] = value;
        self.key.sign(&claims)
    }
}

#[tokio::test]
async fn a_good_token_of_every_algorithm_is_accepted() {
    let scene = Scene::new().await;
    for algorithm in Algorithm::ALL {
        let key = SigningKey::shared(algorithm, algorithm.name());
        let idp = TestProvider::start(&[&key]).await;
        let provider = OidcProvider::new(
            idp.settings(),
            scene.clock.clone(),
            Arc::new(TestCache::default()),
        )
        .unwrap();
        let identity = provider
            .identify(&Credential::Token(key.sign(&idp.claims()).into()), soon())
            .await
            .unwrap();
        assert_eq!(identity.principal.subject, "alice", "{algorithm}");
    }
}

#[tokio::test]
async fn a_forged_signature_is_refused() {
    let scene = Scene::new().await;
    let good = scene.key.sign(&scene.idp.claims());
    assert!(scene.identify(&good).await.is_ok());
    // Another's claims under a good signature, and another's key under the provider's id.
    let (_, signature) = good.rsplit_once('.').unwrap();
    let mallory = scene.with_claim("sub", json!("mallory"));
    let (message, _) = mallory.rsplit_once('.').unwrap();
    assert_eq!(
        scene.denied(&format!("{message}.{signature}")).await,
        DenialReason::BadSignature
    );
    let mut ps256 = SigningKey::shared(Algorithm::PS256, "k1");
    ps256.algorithm = Algorithm::RS384;
    let wrong = ps256.sign_raw(&scene.key.header(), &scene.idp.claims().to_string());
    assert_eq!(scene.denied(&wrong).await, DenialReason::BadSignature);
    for signature in ["AA", &"A".repeat(342), &"A".repeat(4000)] {
        assert_eq!(
            scene.denied(&format!("{message}.{signature}")).await,
            DenialReason::BadSignature
        );
    }
}

#[tokio::test]
async fn an_hmac_made_with_the_public_key_is_refused() {
    let scene = Scene::new().await;
    let public = data_encoding::BASE64URL_NOPAD
        .decode(scene.key.jwk()["n"].as_str().unwrap().as_bytes())
        .unwrap();
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &public);
    let encode = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
    for alg in ["HS256", "RS256"] {
        let header = encode(json!({"alg": alg, "kid": "k1"}).to_string().as_bytes());
        let message = format!("{header}.{}", encode(scene.idp.claims().to_string().as_bytes()));
        let signature = encode(aws_lc_rs::hmac::sign(&secret, message.as_bytes()).as_ref());
        let reason = scene.denied(&format!("{message}.{signature}")).await;
        let expected = if alg == "HS256" {
            DenialReason::AlgorithmNotAllowed
        } else {
            DenialReason::BadSignature
        };
        assert_eq!(reason, expected);
    }
}

#[tokio::test]
async fn an_unsigned_token_is_refused_in_every_form() {
    let scene = Scene::new().await;
    let good = scene.with_header("alg", json!("none"));
    let (message, _) = good.rsplit_once('.').unwrap();
    for token in [good.clone(), format!("{message}."), format!("{message}.AA")] {
        assert_eq!(scene.denied(&token).await, DenialReason::AlgorithmNotAllowed);
    }
    let good = scene.key.sign(&scene.idp.claims());
    let (message, _) = good.rsplit_once('.').unwrap();
    assert_eq!(
        scene.denied(&format!("{message}.")).await,
        DenialReason::MalformedToken
    );
    assert_eq!(scene.idp.fetches(), 0);
}

#[tokio::test]
async fn an_algorithm_that_is_not_configured_is_refused_even_with_a_good_signature() {
    let scene = Scene::with(|settings| settings.algorithms = vec![Algorithm::ES256]).await;
    let token = scene.key.sign(&scene.idp.claims());
    assert_eq!(scene.denied(&token).await, DenialReason::AlgorithmNotAllowed);
    assert_eq!(scene.idp.fetches(), 0);
}

#[tokio::test]
async fn a_key_is_never_used_for_another_algorithm() {
    let scene = Scene::new().await;
    for algorithm in ["PS256", "RS512", "ES256", "EdDSA"] {
        let token = scene.with_header("alg", json!(algorithm));
        assert_eq!(
            scene.denied(&token).await,
            DenialReason::AlgorithmNotAllowed,
            "{algorithm}"
        );
    }
    // The key is known, so there was nothing to fetch again for.
    assert_eq!(scene.idp.fetches(), 1);
}

#[tokio::test]
async fn a_key_in_the_token_itself_counts_for_nothing() {
    let scene = Scene::new().await;
    let mine = SigningKey::shared(Algorithm::ES256, "mine");
    let mut header = mine.header();
    header["jwk"] = mine.jwk();
    header["jku"] = json!(format!("{}/jwks", scene.idp.issuer));
    let token = mine.sign_raw(&header, &scene.idp.claims().to_string());
    assert_eq!(scene.denied(&token).await, DenialReason::UnknownKey);
}

#[tokio::test]
async fn without_a_key_id_the_one_that_fits_is_tried() {
    let scene = Scene::new().await;
    let header = json!({"alg": "RS256"});
    let token = scene.key.sign_raw(&header, &scene.idp.claims().to_string());
    assert!(scene.identify(&token).await.is_ok());

    let keys: Vec<_> = (0..3)
        .map(|n| SigningKey::shared(Algorithm::ES256, &n.to_string()))
        .collect();
    scene.idp.publish(&keys.iter().collect::<Vec<_>>());
    let header = json!({"alg": "ES256"});
    for key in &keys {
        let token = key.sign_raw(&header, &scene.idp.claims().to_string());
        assert!(scene.identify(&token).await.is_ok());
    }
    let stranger =
        SigningKey::shared(Algorithm::ES256, "x").sign_raw(&header, &scene.idp.claims().to_string());
    assert_eq!(scene.denied(&stranger).await, DenialReason::BadSignature);
}

#[tokio::test]
async fn types_are_accepted_as_configured() {
    let scene = Scene::new().await;
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/JWT", "jwt"] {
        assert!(
            scene
                .identify(&scene.with_header("typ", json!(typ)))
                .await
                .is_ok(),
            "{typ}"
        );
    }
    for typ in [
        "logout+jwt",
        "dpop+jwt",
        "",
        "application/",
        "text/at+jwt",
        "hidden",
    ] {
        assert_eq!(
            scene.denied(&scene.with_header("typ", json!(typ))).await,
            DenialReason::WrongTokenType,
            "{typ}"
        );
    }
    let untyped = scene.key.sign_raw(
        &json!({"alg": "RS256", "kid": "k1"}),
        &scene.idp.claims().to_string(),
    );
    assert!(scene.identify(&untyped).await.is_ok());

    let scene = Scene::with(|settings| settings.require_typ = true).await;
    assert_eq!(scene.denied(&untyped).await, DenialReason::WrongTokenType);
    let scene = Scene::with(|settings| settings.token_types = vec!["application/at+jwt".to_owned()]).await;
    assert!(
        scene
            .identify(&scene.with_header("typ", json!("at+jwt")))
            .await
            .is_ok()
    );
    for typ in ["JWT", "jwt"] {
        assert_eq!(
            scene.denied(&scene.with_header("typ", json!(typ))).await,
            DenialReason::WrongTokenType
        );
    }
    assert_eq!(scene.denied(&untyped).await, DenialReason::WrongTokenType);
}

#[tokio::test]
async fn size_is_bounded_before_anything_is_read() {
    let scene = Scene::new().await;
    let token = scene.with_claim("padding", json!("x".repeat(64 * 1024)));
    assert_eq!(scene.denied(&token).await, DenialReason::CredentialTooLarge);
    assert_eq!(
        scene.denied(&"\0".repeat(16_385)).await,
        DenialReason::CredentialTooLarge
    );
    assert_eq!(
        scene.denied(&"\0".repeat(16_384)).await,
        DenialReason::MalformedToken
    );
    assert_eq!(scene.idp.fetches(), 0);
}

#[tokio::test]
async fn claims_are_checked_on_the_clock_passed_in() {
    let scene = Scene::new().await;
    let good = scene.key.sign(&scene.idp.claims());
    let issued = crate::testing::START;
    for (claim, value, reason) in [
        ("exp", json!(issued), DenialReason::Expired),
        ("exp", json!("soon"), DenialReason::BadClaim),
        ("nbf", json!(issued + 3600), DenialReason::NotYetValid),
        ("iat", json!(issued + 3600), DenialReason::NotYetValid),
        ("aud", json!("elsewhere"), DenialReason::WrongAudience),
        ("aud", json!({"hidden": 1}), DenialReason::BadClaim),
        ("sub", json!(7), DenialReason::BadClaim),
        (
            "iss",
            json!("https://elsewhere.example"),
            DenialReason::UnknownIssuer,
        ),
    ] {
        assert_eq!(
            scene.denied(&scene.with_claim(claim, value)).await,
            reason,
            "{claim}"
        );
    }
    assert!(scene.identify(&good).await.is_ok());
    scene.clock.advance(std::time::Duration::from_secs(36_000));
    assert_eq!(scene.denied(&good).await, DenialReason::Expired);
}

#[tokio::test]
async fn a_claim_is_judged_only_under_a_good_signature() {
    let scene = Scene::new().await;
    let expired = scene.with_claim("exp", json!(1));
    let (message, _) = expired.rsplit_once('.').unwrap();
    assert_eq!(
        scene.denied(&format!("{message}.AAAA")).await,
        DenialReason::BadSignature
    );
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_no_denial() {
    let scene = Scene::new().await;
    scene.idp.answer(Answer::Status(500));
    let outcome = scene.identify(&scene.key.sign(&scene.idp.claims())).await;
    assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_symmetric_key_in_the_key_set_opens_nothing() {
    let scene = Scene::new().await;
    scene.idp.answer(Answer::Keys(vec![
        json!({"kty": "oct", "kid": "k1", "k": "AAAA"}),
    ]));
    let token = scene.key.sign(&scene.idp.claims());
    let outcome = scene.identify(&token).await;
    assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
    let another = SigningKey::shared(Algorithm::ES256, "another");
    scene.idp.answer(Answer::Keys(vec![
        json!({"kty": "oct", "kid": "k1", "k": "AAAA"}),
        another.jwk(),
    ]));
    scene.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(scene.denied(&token).await, DenialReason::UnknownKey);
}
