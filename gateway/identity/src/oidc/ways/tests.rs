//! Which way a token takes, what the provider adds to it, and what it says when it is asked again.

use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{Credential, IdentityProvider, SystemClock};
use natsgate_devkit::{
    DevProvider, DevProviderOptions, Fault, INTROSPECTION_CLIENT, Person, Signature, TokenSpec,
};
use serde_json::json;

use super::*;
use crate::settings::client_authentication::{ClientAuthenticationSettings, ClientSecretSettings};
use crate::settings::introspection::IntrospectionSettings;
use crate::settings::oidc::OidcSettings;
use crate::settings::userinfo::UserinfoSettings;
use crate::testing::{TestCache, soon};

const JWT: VerifyBy = VerifyBy::Jwt;
const INTROSPECTION: VerifyBy = VerifyBy::Introspection;
const USERINFO: VerifyBy = VerifyBy::Userinfo;

struct Scene {
    idp: DevProvider,
    provider: OidcProvider,
}

fn introspection() -> IntrospectionSettings {
    let secret = ClientSecretSettings::of(INTROSPECTION_CLIENT.1);
    IntrospectionSettings::new(
        INTROSPECTION_CLIENT.0,
        ClientAuthenticationSettings::ClientSecretPost(secret),
    )
}

fn userinfo(enrich: Enrich) -> UserinfoSettings {
    UserinfoSettings {
        enrich,
        accept_any_audience: true,
        ..Default::default()
    }
}

impl Scene {
    async fn new(verify: &[VerifyBy], change: impl FnOnce(&mut OidcSettings)) -> Self {
        let options = DevProviderOptions {
            people: vec![Person::new("alice").claim("projects", json!(["apollo"]))],
            ..Default::default()
        };
        let idp = DevProvider::start(options).await.unwrap();
        let mut settings = OidcSettings::new("corp", idp.issuer(), vec!["nats".to_owned()]);
        settings.fetch_timeout = Duration::from_secs(20);
        settings.verify = verify.to_vec();
        settings.introspection = verify.contains(&INTROSPECTION).then(introspection);
        if verify.contains(&USERINFO) {
            settings.userinfo = Some(userinfo(Enrich::None));
            settings.max_opaque_life = Some(Duration::from_secs(600));
        }
        change(&mut settings);
        let provider =
            OidcProvider::new(settings, Arc::new(SystemClock), Arc::new(TestCache::default())).unwrap();
        Self { idp, provider }
    }

    fn jwt(&self) -> SecretString {
        self.idp.issue(TokenSpec::new("alice")).unwrap()
    }

    fn opaque(&self) -> SecretString {
        self.idp.issue_opaque(TokenSpec::new("alice"))
    }

    async fn identify(&self, token: &SecretString) -> Result<Identity, Failure> {
        let outcome = self
            .provider
            .identify(&Credential::Token(token.clone()), soon())
            .await;
        if let Err(failure) = &outcome {
            let shown = format!("{failure} {failure:?}");
            for hidden in [
                "alice",
                "apollo",
                "mallory",
                secrecy::ExposeSecret::expose_secret(token),
            ] {
                assert!(!shown.contains(hidden), "{shown}");
            }
        }
        outcome
    }

    async fn denied(&self, token: &SecretString) -> DenialReason {
        denied(self.identify(token).await)
    }

    async fn unavailable(&self, token: &SecretString) -> String {
        unavailable(self.identify(token).await)
    }

    async fn confirm(&self, token: &SecretString, identity: &Identity) -> Result<Option<Identity>, Failure> {
        self.provider
            .confirm(&Credential::Token(token.clone()), identity, soon())
            .await
    }

    /// How often introspection and userinfo were asked.
    fn asked(&self) -> (usize, usize) {
        let fetches = self.idp.fetches();
        (fetches.introspections, fetches.userinfos)
    }
}

fn denied<T: std::fmt::Debug>(outcome: Result<T, Failure>) -> DenialReason {
    match outcome {
        Err(Failure::Denied(denial)) => denial.reason,
        other => panic!("{other:?}"),
    }
}

fn unavailable<T: std::fmt::Debug>(outcome: Result<T, Failure>) -> String {
    match outcome {
        Err(Failure::Unavailable(why)) => why.0,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_jwt_is_verified_by_its_keys_and_an_opaque_token_by_asking() {
    let scene = Scene::new(&[INTROSPECTION, JWT], |_| {}).await;
    let opaque = scene.identify(&scene.opaque()).await.unwrap();
    assert_eq!(
        (opaque.principal.subject.as_str(), &opaque.evidence),
        ("alice", &Evidence::Online)
    );
    assert_eq!(
        (opaque.provider.as_str(), opaque.principal.issuer.as_str()),
        ("corp", scene.idp.issuer())
    );
    assert_eq!(opaque.claims["projects"], json!(["apollo"]));
    assert_eq!(scene.asked(), (1, 0));

    let scene = Scene::new(&[JWT, INTROSPECTION], |_| {}).await;
    let jwt = scene.identify(&scene.jwt()).await.unwrap();
    assert!(matches!(jwt.evidence, Evidence::SignedToken { key_id: Some(_) }));
    assert_eq!(scene.asked(), (0, 0));

    // Without `jwt` a JWT is asked about like any other token.
    let scene = Scene::new(&[INTROSPECTION], |_| {}).await;
    assert_eq!(
        scene.identify(&scene.jwt()).await.unwrap().evidence,
        Evidence::Online
    );
    assert_eq!(scene.provider.load_keys(soon()).await, Ok(0));
    assert_eq!(scene.idp.fetches().keys, 0);

    let scene = Scene::new(&[JWT], |_| {}).await;
    assert_eq!(scene.denied(&scene.opaque()).await, DenialReason::MalformedToken);
}

#[tokio::test]
async fn a_jwt_that_is_refused_does_not_come_in_by_a_weaker_way() {
    let scene = Scene::new(&[JWT, USERINFO, INTROSPECTION], |_| {}).await;
    // The provider itself would vouch for each of these.
    let other_audience = scene
        .idp
        .issue(TokenSpec::new("alice").audience("another"))
        .unwrap();
    assert_eq!(scene.denied(&other_audience).await, DenialReason::WrongAudience);
    let id_token = scene
        .idp
        .issue(TokenSpec::new("alice").header("typ", "dpop+jwt"))
        .unwrap();
    assert_eq!(scene.denied(&id_token).await, DenialReason::WrongTokenType);
    let forged = scene
        .idp
        .issue(TokenSpec::new("alice").signature(Signature::Forged))
        .unwrap();
    assert_eq!(scene.denied(&forged).await, DenialReason::BadSignature);
    let unsigned = scene
        .idp
        .issue(TokenSpec::new("alice").signature(Signature::None))
        .unwrap();
    assert_eq!(scene.denied(&unsigned).await, DenialReason::AlgorithmNotAllowed);
    // A JWT of somebody else is shown to nobody.
    let foreign = TokenSpec::new("alice").claim("iss", "https://elsewhere.example");
    let foreign = scene.idp.issue(foreign).unwrap();
    assert_eq!(scene.denied(&foreign).await, DenialReason::UnknownIssuer);
    assert_eq!(scene.asked(), (0, 0));

    let next = |settings: &mut OidcSettings| settings.after_refusal = AfterRefusal::Next;
    let scene = Scene::new(&[JWT, USERINFO], next).await;
    let id_token = scene
        .idp
        .issue(TokenSpec::new("alice").header("typ", "dpop+jwt"))
        .unwrap();
    assert_eq!(
        scene.identify(&id_token).await.unwrap().evidence,
        Evidence::Online
    );
    scene.idp.revoke(&id_token);
    // All refuse: the first reason is given.
    assert_eq!(scene.denied(&id_token).await, DenialReason::WrongTokenType);
    scene.idp.set_online_fault(Fault::Status(500));
    scene.unavailable(&id_token).await;
}

#[tokio::test]
async fn while_a_way_cannot_be_used_the_next_is() {
    let scene = Scene::new(&[INTROSPECTION, USERINFO], |settings| {
        settings.introspection.as_mut().unwrap().endpoint = Some("http://127.0.0.1:9/".to_owned());
    })
    .await;
    let token = scene.opaque();
    assert_eq!(scene.identify(&token).await.unwrap().principal.subject, "alice");
    scene.idp.revoke(&token);
    assert_eq!(scene.denied(&token).await, DenialReason::InactiveToken);
    scene.idp.set_online_fault(Fault::Status(500));
    scene.unavailable(&token).await;

    // A way that refuses is final, whatever the next would say.
    let scene = Scene::new(&[INTROSPECTION, USERINFO], |_| {}).await;
    let other_audience = scene
        .idp
        .issue_opaque(TokenSpec::new("alice").audience("another"));
    assert_eq!(scene.denied(&other_audience).await, DenialReason::WrongAudience);
    assert_eq!(scene.asked(), (1, 0));

    // One that hangs leaves time for the next. Nobody ever answers at this listener.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scene = Scene::new(&[JWT, INTROSPECTION], |settings| {
        settings.jwks_url = Some(format!("http://{}/jwks", silent.local_addr().unwrap()));
        let own = settings.introspection.as_mut().unwrap();
        own.endpoint = Some(format!("{}/introspection", settings.issuer));
    })
    .await;
    let token = Credential::Token(scene.jwt());
    let deadline = Deadline::after(Duration::from_secs(4));
    let identity = scene.provider.identify(&token, deadline).await.unwrap();
    assert_eq!(identity.evidence, Evidence::Online);
}

#[tokio::test]
async fn introspection_is_held_to_audience_client_and_times() {
    let scene = Scene::new(&[INTROSPECTION], |_| {}).await;
    for (claim, value, reason) in [
        ("aud", json!("another"), DenialReason::WrongAudience),
        ("aud", json!(null), DenialReason::MissingClaim),
        ("aud", json!(7), DenialReason::BadClaim),
        (
            "iss",
            json!("https://elsewhere.example"),
            DenialReason::UnknownIssuer,
        ),
        ("exp", json!(null), DenialReason::MissingClaim),
        ("exp", json!("soon"), DenialReason::BadClaim),
        ("exp", json!(4_000_000_000_u32), DenialReason::LifeTooLong),
        ("nbf", json!(4_000_000_000_u32), DenialReason::NotYetValid),
        ("sub", json!(null), DenialReason::MissingClaim),
        ("sub", json!(["alice"]), DenialReason::BadClaim),
    ] {
        let token = scene
            .idp
            .issue_opaque(TokenSpec::new("alice").claim(claim, value.clone()));
        assert_eq!(scene.denied(&token).await, reason, "{claim}: {value}");
    }
    let unnamed = scene
        .idp
        .issue_opaque(TokenSpec::new("alice").claim("iss", json!(null)));
    assert!(scene.identify(&unnamed).await.is_ok());
    scene.idp.set_online_fault(Fault::Body(
        json!({"active": true, "sub": "alice", "aud": "nats", "exp": 1}).to_string(),
    ));
    assert_eq!(scene.denied(&scene.opaque()).await, DenialReason::Expired);

    let scene = Scene::new(&[INTROSPECTION], |settings| {
        let own = settings.introspection.as_mut().unwrap();
        own.require_audience = false;
        own.client_ids = vec!["natsgate-cli".to_owned()];
        settings.max_opaque_life = Some(Duration::from_secs(60));
    })
    .await;
    let bare = TokenSpec::new("alice")
        .claim("aud", json!(null))
        .claim("exp", json!(null));
    let token = scene.idp.issue_opaque(bare.clone());
    let before = natsgate_core::Clock::now(&SystemClock);
    let identity = scene.identify(&token).await.unwrap();
    let life = identity.expires_at.duration_since(before).unwrap();
    assert!(
        life >= Duration::from_secs(60) && life < Duration::from_secs(90),
        "{life:?}"
    );
    for (client, reason) in [
        (json!("another"), DenialReason::WrongAudience),
        (json!(7), DenialReason::BadClaim),
    ] {
        let token = scene.idp.issue_opaque(bare.clone().claim("client_id", client));
        assert_eq!(scene.denied(&token).await, reason);
    }
}

#[tokio::test]
async fn userinfo_as_the_only_way_gives_a_bounded_identity() {
    let scene = Scene::new(&[USERINFO], |_| {}).await;
    let token = scene.opaque();
    let before = natsgate_core::Clock::now(&SystemClock);
    let identity = scene.identify(&token).await.unwrap();
    assert_eq!(
        identity.claims,
        *json!({"sub": "alice", "projects": ["apollo"]})
            .as_object()
            .unwrap()
    );
    let life = identity.expires_at.duration_since(before).unwrap();
    assert!(
        life >= Duration::from_secs(600) && life < Duration::from_secs(630),
        "{life:?}"
    );
    scene.idp.revoke(&token);
    assert_eq!(scene.denied(&token).await, DenialReason::InactiveToken);
}

#[tokio::test]
async fn userinfo_completes_a_jwt_and_never_changes_what_it_is() {
    let mallory = json!({
        "sub": "alice", "projects": ["zeus"], "exp": 4_000_000_000_u32, "iss": "https://elsewhere.example", "aud": "x",
        "iat": 1, "jti": "other", "sid": "other", "email": "a@b.example", "nothing": null,
    });
    for (claims_from, projects) in [(ClaimsFrom::Userinfo, "zeus"), (ClaimsFrom::Token, "apollo")] {
        let scene = Scene::new(&[JWT], |settings| {
            // A hostile `exp` would be refused as too long a life.
            settings.max_token_life = Duration::from_secs(u64::from(u32::MAX));
            settings.userinfo = Some(UserinfoSettings {
                claims_from,
                ..userinfo(Enrich::Required)
            });
        })
        .await;
        let token = TokenSpec::new("alice").claim("projects", json!(["apollo"]));
        let token = scene.idp.issue(token).unwrap();
        scene.idp.set_online_fault(Fault::Body(mallory.to_string()));
        let identity = scene.identify(&token).await.unwrap();
        assert_eq!(identity.claims["projects"], json!([projects]));
        assert_eq!(identity.claims["email"], "a@b.example");
        assert_eq!(identity.claims["iss"], scene.idp.issuer());
        assert_eq!(identity.claims["aud"], "nats");
        assert_ne!(identity.claims["jti"], "other");
        assert!(!identity.claims.contains_key("sid") && !identity.claims.contains_key("nothing"));
        let expires = natsgate_core::clock::unix_seconds(identity.expires_at);
        assert_eq!(identity.claims["exp"], json!(expires));
        assert!(matches!(identity.evidence, Evidence::SignedToken { .. }));
    }
}

#[tokio::test]
async fn a_required_userinfo_that_fails_is_a_failure_and_an_optional_one_only_if_it_refuses() {
    let required = Scene::new(&[JWT], |settings| {
        settings.userinfo = Some(userinfo(Enrich::Required))
    })
    .await;
    let optional = Scene::new(&[JWT], |settings| {
        settings.userinfo = Some(userinfo(Enrich::Optional))
    })
    .await;
    let log = natsgate_devkit::LogCapture::new();
    let _hearing = log.listen();
    for scene in [&required, &optional] {
        let token = scene.jwt();
        assert_eq!(
            scene.identify(&token).await.unwrap().claims["projects"],
            json!(["apollo"])
        );
        scene
            .idp
            .set_online_fault(Fault::WrongSubject("mallory".to_owned()));
        assert_eq!(scene.denied(&token).await, DenialReason::BadClaim);
        scene.idp.set_online_fault(Fault::Status(401));
        assert_eq!(scene.denied(&token).await, DenialReason::InactiveToken);
    }
    for fault in [Fault::Status(503), Fault::Body("{}".to_owned())] {
        for scene in [&required, &optional] {
            scene.idp.set_online_fault(fault.clone());
        }
        required.unavailable(&required.jwt()).await;
        for _ in 0..3 {
            let identity = optional.identify(&optional.jwt()).await.unwrap();
            assert!(!identity.claims.contains_key("projects"));
        }
    }
    assert_eq!(log.lines_with("going on without userinfo").len(), 1);
    assert!(!log.text().contains("apollo"));
}

#[tokio::test]
async fn what_was_revoked_of_a_jwt_is_asked_about_online() {
    for by in [INTROSPECTION, USERINFO] {
        let scene = Scene::new(&[JWT], |settings| match by {
            INTROSPECTION => settings.introspection = Some(introspection()),
            _ => settings.userinfo = Some(userinfo(Enrich::None)),
        })
        .await;
        let spec = TokenSpec::new("alice")
            .claim("projects", json!(["apollo"]))
            .claim("admin", true)
            .claim("sid", "s1");
        let token = scene.idp.issue(spec).unwrap();
        let identity = scene.identify(&token).await.unwrap();
        assert_eq!(scene.asked(), (0, 0));
        scene
            .idp
            .set_people(vec![Person::new("alice").claim("projects", json!(["zeus"]))]);
        let confirmed = scene.confirm(&token, &identity).await.unwrap().unwrap();
        assert_eq!(confirmed.evidence, Evidence::Online);
        assert_eq!(confirmed.principal, identity.principal);
        assert_eq!(confirmed.claims["projects"], json!(["zeus"]));
        for claim in ["iss", "sub", "aud", "exp", "iat", "jti", "sid"] {
            assert_eq!(confirmed.claims[claim], identity.claims[claim], "{claim}");
        }
        assert_eq!(confirmed.expires_at, identity.expires_at);
        if by == USERINFO {
            assert!(!confirmed.claims.contains_key("admin"), "only the token says so");
        }
        let mut concerns = confirmed.concerns();
        concerns.retain(|concern| !identity.concerns().contains(concern));
        assert!(concerns.is_empty());

        scene
            .idp
            .set_online_fault(Fault::WrongSubject("mallory".to_owned()));
        assert_eq!(
            denied(scene.confirm(&token, &identity).await),
            DenialReason::BadClaim
        );
        scene.idp.set_online_fault(Fault::Status(503));
        unavailable(scene.confirm(&token, &identity).await);
        scene.idp.set_online_fault(Fault::None);
        scene.idp.revoke(&token);
        assert_eq!(
            denied(scene.confirm(&token, &identity).await),
            DenialReason::InactiveToken
        );
    }
}

#[tokio::test]
async fn a_confirmed_identity_keeps_no_claim_of_the_token_s_own_making_and_ends_no_later() {
    let scene = Scene::new(&[JWT], |settings| {
        settings.introspection = Some(introspection());
        settings.required_claims = vec!["email".to_owned()];
    })
    .await;
    let spec = TokenSpec::new("alice")
        .claim("admin", true)
        .claim("email", "a@b.example");
    let token = scene.idp.issue(spec).unwrap();
    let identity = scene.identify(&token).await.unwrap();
    let sooner = natsgate_core::clock::unix_seconds(identity.expires_at) - 100;
    let mut answer = json!({"active": true, "sub": "alice", "exp": sooner, "email": "new@b.example"});
    scene.idp.set_online_fault(Fault::Body(answer.to_string()));
    let confirmed = scene.confirm(&token, &identity).await.unwrap().unwrap();
    assert_eq!(natsgate_core::clock::unix_seconds(confirmed.expires_at), sooner);
    assert_eq!(confirmed.claims["email"], "new@b.example");
    assert!(!confirmed.claims.contains_key("admin"));

    for (claim, value, reason) in [
        ("aud", json!("another"), DenialReason::WrongAudience),
        (
            "iss",
            json!("https://elsewhere.example"),
            DenialReason::UnknownIssuer,
        ),
        ("exp", json!(1), DenialReason::Expired),
        ("sub", json!(null), DenialReason::MissingClaim),
        ("sub", json!(7), DenialReason::BadClaim),
        ("email", json!(null), DenialReason::MissingClaim),
    ] {
        let mut changed = answer.clone();
        changed[claim] = value;
        scene.idp.set_online_fault(Fault::Body(changed.to_string()));
        assert_eq!(denied(scene.confirm(&token, &identity).await), reason, "{claim}");
    }
    answer["active"] = json!(false);
    scene.idp.set_online_fault(Fault::Body(answer.to_string()));
    assert_eq!(
        denied(scene.confirm(&token, &identity).await),
        DenialReason::InactiveToken
    );
}

#[tokio::test]
async fn a_confirmed_owner_must_still_have_the_name_the_token_gave() {
    let scene = Scene::new(&[JWT], |settings| {
        settings.userinfo = Some(userinfo(Enrich::None));
        settings.subject_claim = "login".to_owned();
    })
    .await;
    let token = scene
        .idp
        .issue(TokenSpec::new("1234").claim("login", "alice"))
        .unwrap();
    let identity = scene.identify(&token).await.unwrap();
    assert_eq!(identity.principal.subject, "alice");
    for (answer, reason) in [
        (json!({"sub": "1234", "login": "mallory"}), DenialReason::BadClaim),
        (json!({"sub": "1234"}), DenialReason::MissingClaim),
        (json!({"sub": "5678", "login": "alice"}), DenialReason::BadClaim),
    ] {
        scene.idp.set_online_fault(Fault::Body(answer.to_string()));
        assert_eq!(denied(scene.confirm(&token, &identity).await), reason, "{answer}");
    }
    let good = json!({"sub": "1234", "login": "alice"});
    scene.idp.set_online_fault(Fault::Body(good.to_string()));
    assert!(scene.confirm(&token, &identity).await.unwrap().is_some());
}

#[tokio::test]
async fn what_cannot_be_asked_is_not_confirmed() {
    let scene = Scene::new(&[JWT], |_| {}).await;
    let token = scene.jwt();
    let identity = scene.identify(&token).await.unwrap();
    assert_eq!(scene.confirm(&token, &identity).await, Ok(None));
}

#[tokio::test]
async fn while_the_keys_are_away_userinfo_opens_nothing_to_a_jwt() {
    let scene = Scene::new(&[JWT, USERINFO], |settings| {
        settings.jwks_url = Some("http://127.0.0.1:9/".to_owned());
        settings.userinfo.as_mut().unwrap().endpoint = Some(format!("{}/userinfo", settings.issuer));
    })
    .await;
    let foreign = scene
        .idp
        .issue(TokenSpec::new("alice").audience("somebody-else"))
        .unwrap();
    scene.unavailable(&foreign).await;
    scene.unavailable(&scene.jwt()).await;
    // An opaque token has no claims that could be passed over.
    assert!(scene.identify(&scene.opaque()).await.is_ok());
}

#[tokio::test]
async fn what_is_no_access_token_is_refused_though_it_is_in_force() {
    for (claim, kind) in [
        ("token_use", "refresh_token"),
        ("typ", "Refresh"),
        ("token_use", "id"),
    ] {
        let scene = Scene::new(&[INTROSPECTION], |_| {}).await;
        let token = scene.idp.issue_opaque(TokenSpec::new("alice").claim(claim, kind));
        assert_eq!(scene.denied(&token).await, DenialReason::WrongTokenType, "{kind}");
    }
}
