//! What becomes of every answer an endpoint may give, at the development provider and its faults.

use std::time::Duration;

use natsgate_core::{Cache, Clock, Concern, Fact, Principal, SystemClock};
use natsgate_devkit::{DevProvider, DevProviderOptions, Fault, INTROSPECTION_CLIENT, Person, TokenSpec};
use secrecy::SecretString;
use serde_json::json;

use super::*;
use crate::discovery::Endpoint as FirstEndpoint;
use crate::documents::Documents;
use crate::fetch::Fetcher;
use crate::settings::client_authentication::{ClientAuthenticationSettings, ClientSecretSettings};
use crate::settings::introspection::IntrospectionSettings;
use crate::settings::userinfo::UserinfoSettings;
use crate::testing::{TestCache, soon};

struct Scene {
    provider: DevProvider,
    introspection: TokenSource,
    userinfo: TokenSource,
}

fn client(secret: &str) -> IntrospectionSettings {
    let secret = ClientSecretSettings::of(secret);
    IntrospectionSettings::new(
        INTROSPECTION_CLIENT.0,
        ClientAuthenticationSettings::ClientSecretBasic(secret),
    )
}

fn sources(settings: &OidcSettings) -> (TokenSource, TokenSource) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let cache: Arc<dyn Cache> = Arc::new(TestCache::default());
    let fetcher = Fetcher::new(settings, FirstEndpoint::of(settings).unwrap().url(), None).unwrap();
    let documents = Documents::new(settings, fetcher, cache, clock.clone(), None);
    let discovery = Discovery::new(documents, clock);
    (
        TokenSource::introspection(settings, &discovery).unwrap().unwrap(),
        TokenSource::userinfo(settings, &discovery).unwrap().unwrap(),
    )
}

impl Scene {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut OidcSettings)) -> Self {
        let options = DevProviderOptions {
            people: vec![Person::new("alice").claim("projects", json!(["apollo"]))],
            ..Default::default()
        };
        let provider = DevProvider::start(options).await.unwrap();
        let mut settings = OidcSettings::new("corp", provider.issuer(), vec!["nats".to_owned()]);
        settings.fetch_timeout = Duration::from_secs(20);
        settings.introspection = Some(client(INTROSPECTION_CLIENT.1));
        settings.userinfo = Some(UserinfoSettings::default());
        change(&mut settings);
        let (introspection, userinfo) = sources(&settings);
        Self {
            provider,
            introspection,
            userinfo,
        }
    }

    fn token(&self) -> SecretString {
        self.provider.issue_opaque(TokenSpec::new("alice"))
    }

    async fn unavailable(source: &TokenSource, token: &SecretString) -> String {
        match source.fetch(&TokenQuery::opaque(token.clone()), soon()).await {
            Err(Failure::Unavailable(why)) => {
                assert!(!why.0.contains(token.expose_secret()), "{why}");
                assert!(!why.0.contains(INTROSPECTION_CLIENT.1), "{why}");
                assert!(why.0.contains("corp"), "{why}");
                why.0
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_answer_is_about_its_principal_token_and_provider_and_ends_with_the_token() {
    let scene = Scene::new().await;
    let issuer = scene.provider.issuer();
    let spec = TokenSpec::new("alice")
        .claim("jti", "t1")
        .claim("sid", "s1")
        .claim("nothing", json!(null));
    let token = scene.provider.issue_opaque(spec);
    let query = TokenQuery::opaque(token);
    let answer = scene.introspection.fetch(&query, soon()).await.unwrap();
    let claims = answer.claims().unwrap();
    assert_eq!(
        (&claims["sub"], &claims["projects"]),
        (&json!("alice"), &json!(["apollo"]))
    );
    assert!(!claims.contains_key("active"));
    let concerns = answer.concerns();
    for concern in [
        Concern::provider(issuer),
        Concern::principal(&Principal::new(issuer, "alice")),
        Concern::token(issuer, "t1"),
        Concern::provider_session(issuer, "s1"),
    ] {
        assert!(concerns.contains(&concern));
    }
    assert_eq!(
        answer.expires_at().map(natsgate_core::clock::unix_seconds),
        claims["exp"].as_i64()
    );
    assert!(!answer.is_negative());
    assert!(!format!("{answer:?} {query:?}").contains("alice"));

    // What is kept reads back as it was.
    let kept = serde_json::to_vec(&answer).unwrap();
    let read: TokenAnswer = serde_json::from_slice(&kept).unwrap();
    assert!(read == answer && read.concerns() == concerns);
}

#[tokio::test]
async fn a_question_about_a_verified_token_knows_what_it_concerns_before_it_is_asked() {
    let scene = Scene::new().await;
    let issuer = scene.provider.issuer();
    let mut identity = crate::testing::identity(issuer, "alice");
    identity.claims.insert("jti".to_owned(), json!("t1"));
    identity.evidence = natsgate_core::Evidence::SignedToken {
        key_id: Some("k1".to_owned()),
    };
    let query = TokenQuery::of(scene.token(), &identity);
    let mut expected = identity.concerns();
    expected.extend([Concern::CLAIMS, Concern::claims_of(&identity.principal)]);
    let mut concerns = scene.userinfo.concerns(&query);
    expected.sort_unstable();
    concerns.sort_unstable();
    assert_eq!(concerns, expected);
    let answer = scene.userinfo.fetch(&query, soon()).await.unwrap();
    assert_eq!(answer.concerns(), expected);
    assert_eq!(answer.expires_at(), Some(identity.expires_at));
}

#[tokio::test]
async fn a_token_that_is_not_in_force_is_a_negative_answer() {
    let scene = Scene::new().await;
    let token = scene.token();
    scene.provider.revoke(&token);
    for source in [&scene.introspection, &scene.userinfo] {
        let answer = source
            .fetch(&TokenQuery::opaque(token.clone()), soon())
            .await
            .unwrap();
        assert!(answer.is_negative() && answer.claims().is_none());
    }
}

#[tokio::test]
async fn what_is_no_answer_is_an_outage_that_says_why() {
    let scene = Scene::new().await;
    let token = scene.token();
    // The discovery document is needed, and is not what this is about.
    for source in [&scene.introspection, &scene.userinfo] {
        source
            .fetch(&TokenQuery::opaque(token.clone()), soon())
            .await
            .unwrap();
    }
    let large = format!("{{\"active\":true,\"sub\":\"{}\"}}", "x".repeat(1024 * 1024));
    for (fault, in_introspection, in_userinfo) in [
        (Fault::Status(500), "500", "500"),
        (Fault::Status(503), "503", "503"),
        (Fault::Status(404), "404", "404"),
        (Fault::Status(204), "204", "204"),
        (Fault::Status(302), "redirect", "redirect"),
        (Fault::Status(400), "introspection.client_id", "400"),
        (Fault::Status(403), "introspection.client_id", "openid"),
        (
            Fault::Body(String::new()),
            "not a JSON object",
            "not a JSON object",
        ),
        (
            Fault::Body("<html>".to_owned()),
            "not a JSON object",
            "not a JSON object",
        ),
        (
            Fault::Body("[]".to_owned()),
            "not a JSON object",
            "not a JSON object",
        ),
        (
            Fault::Body("{\"active\":tr".to_owned()),
            "not a JSON object",
            "not a JSON object",
        ),
        (
            Fault::Body("[".repeat(10_000)),
            "not a JSON object",
            "not a JSON object",
        ),
        (Fault::Body("{}".to_owned()), "`active`", "`sub`"),
        (
            Fault::Body("{\"active\":\"true\",\"sub\":7}".to_owned()),
            "`active`",
            "`sub`",
        ),
        (
            Fault::Body("{\"active\":1,\"sub\":null}".to_owned()),
            "`active`",
            "`sub`",
        ),
        (Fault::Body(large), "1 MiB", "1 MiB"),
        (
            Fault::MediaType("application/token-introspection+jwt".to_owned()),
            "signed JWT",
            "signed JWT",
        ),
        (
            Fault::MediaType("Application/JWT; charset=utf-8".to_owned()),
            "signed JWT",
            "userinfo_signed_response_alg",
        ),
    ] {
        scene.provider.set_online_fault(fault.clone());
        let why = Scene::unavailable(&scene.introspection, &token).await;
        assert!(
            why.contains(in_introspection) && why.contains("/introspection"),
            "{why}"
        );
        let why = Scene::unavailable(&scene.userinfo, &token).await;
        assert!(why.contains(in_userinfo) && why.contains("/userinfo"), "{why}");
    }
    // Whose credentials are refused makes the difference.
    scene.provider.set_online_fault(Fault::Status(401));
    let why = Scene::unavailable(&scene.introspection, &token).await;
    assert!(why.contains("natsgate's own credentials"), "{why}");
    let answer = scene.userinfo.fetch(&TokenQuery::opaque(token), soon()).await;
    assert!(answer.unwrap().is_negative());
}

#[tokio::test]
async fn natsgate_s_own_wrong_secret_is_no_denial() {
    let scene = Scene::with(|settings| settings.introspection = Some(client("wrong"))).await;
    let why = Scene::unavailable(&scene.introspection, &scene.token()).await;
    assert!(why.contains("introspection.authentication"), "{why}");
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_left_at_the_deadline_or_the_bound() {
    let scene = Scene::new().await;
    let token = scene.token();
    scene.provider.set_online_fault(Fault::Hold);
    let hasty = Deadline::after(Duration::from_millis(20));
    for source in [&scene.introspection, &scene.userinfo] {
        let outcome = source.fetch(&TokenQuery::opaque(token.clone()), hasty).await;
        assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
    }
    let scene = Scene::with(|settings| settings.fetch_timeout = Duration::from_millis(20)).await;
    scene.provider.set_fault(Fault::Hold);
    let why = Scene::unavailable(&scene.introspection, &token).await;
    assert!(why.contains("fetch_timeout"), "{why}");
}

#[tokio::test]
async fn nobody_listening_is_an_outage() {
    let scene = Scene::new().await;
    let token = scene.token();
    let mut settings = OidcSettings::new("corp", scene.provider.issuer(), vec!["nats".to_owned()]);
    settings.introspection = Some(client("x"));
    settings.userinfo = Some(UserinfoSettings::default());
    let (introspection, userinfo) = sources(&settings);
    scene.provider.stop().await;
    for source in [&introspection, &userinfo] {
        let why = Scene::unavailable(source, &token).await;
        assert!(why.contains("refused"), "{why}");
    }
}

#[tokio::test]
async fn an_endpoint_is_found_once_and_kept_while_discovery_is_away() {
    let scene = Scene::new().await;
    let token = scene.token();
    for _ in 0..3 {
        for source in [&scene.introspection, &scene.userinfo] {
            source
                .fetch(&TokenQuery::opaque(token.clone()), soon())
                .await
                .unwrap();
        }
    }
    assert_eq!(scene.provider.fetches().discovery, 1);
}

#[tokio::test]
async fn a_key_tells_tokens_clients_and_endpoints_apart_and_a_name_the_kinds() {
    let scene = Scene::new().await;
    let query = TokenQuery::opaque("token".to_owned().into());
    let key = scene.introspection.key(&query);
    assert_eq!(key, scene.introspection.key(&query));
    assert_eq!(key.capacity(), key.len(), "it never had to grow");
    assert_ne!(
        key,
        scene
            .introspection
            .key(&TokenQuery::opaque("other".to_owned().into()))
    );
    let mut settings = OidcSettings::new("corp", scene.provider.issuer(), vec!["nats".to_owned()]);
    let mut own = client("x");
    own.client_id = "another".to_owned();
    settings.introspection = Some(own);
    settings.userinfo = Some(UserinfoSettings {
        endpoint: Some("http://127.0.0.1/other".to_owned()),
        ..Default::default()
    });
    let (introspection, userinfo) = sources(&settings);
    assert_ne!(key, introspection.key(&query));
    assert_ne!(scene.userinfo.key(&query), userinfo.key(&query));
    assert_ne!(introspection.name(), userinfo.name());
}

#[tokio::test]
async fn a_client_certificate_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate_file, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let mut settings = OidcSettings::new("corp", "http://127.0.0.1:9", vec!["nats".to_owned()]);
    let mut own = client("x");
    own.client_certificate = Some(crate::settings::introspection::ClientCertificateSettings {
        certificate_file: certificate_file.clone(),
        key_file: key_file.clone(),
    });
    settings.introspection = Some(own);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let fetcher = Fetcher::new(&settings, FirstEndpoint::of(&settings).unwrap().url(), None).unwrap();
    let documents = Documents::new(
        &settings,
        fetcher,
        Arc::new(TestCache::default()),
        clock.clone(),
        None,
    );
    let discovery = Discovery::new(documents, clock);
    let made = || {
        TokenSource::introspection(&settings, &discovery)
            .map(|_| ())
            .map_err(|error| error.key)
    };
    let key = "providers[corp].introspection.client_certificate";
    assert_eq!(made(), Err(format!("{key}.key_file")));
    std::fs::write(&key_file, "no key").unwrap();
    assert_eq!(made(), Err(format!("{key}.certificate_file")));
    std::fs::write(&certificate_file, "no certificate").unwrap();
    assert_eq!(made(), Err(key.to_owned()));
    let pair = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec![])
        .unwrap()
        .self_signed(&pair)
        .unwrap();
    std::fs::write(&key_file, pair.serialize_pem()).unwrap();
    std::fs::write(&certificate_file, certificate.pem()).unwrap();
    assert_eq!(made(), Ok(()));
}
