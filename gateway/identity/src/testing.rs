//! What the tests of this crate share: keys made on the spot, tokens, a clock that is moved by hand, and a provider on
//! loopback that counts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair,
};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use natsgate_core::clock::from_unix_seconds;
use natsgate_core::{
    Cache, CacheError, CacheKey, ClaimsStanding, Clock, Concern, Deadline, Epoch, Freshness, Identity,
    PolicyGeneration, Position, Principal, Revision, Unavailable,
};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use crate::algorithm::Algorithm;
use crate::settings::oidc::OidcSettings;

/// When tests begin.
pub(crate) const START: i64 = 1_800_000_000;

pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

pub(crate) fn identity(issuer: &str, subject: &str) -> Identity {
    Identity {
        principal: Principal::new(issuer, subject),
        provider: "corp".to_owned(),
        claims: Map::new(),
        issued_at: None,
        expires_at: from_unix_seconds(START + 600).unwrap(),
        evidence: natsgate_core::Evidence::SignedToken { key_id: None },
    }
}

/// A clock that stands still until it is moved.
pub(crate) struct HandClock(Mutex<SystemTime>);

impl HandClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(from_unix_seconds(START).unwrap())))
    }

    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }

    pub(crate) fn set_back(&self, by: Duration) {
        *self.0.lock().unwrap() -= by;
    }
}

impl Clock for HandClock {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}

/// A cache that keeps everything, or fails at everything.
#[derive(Default)]
pub(crate) struct TestCache {
    pub(crate) entries: Mutex<HashMap<String, Bytes>>,
    pub(crate) broken: AtomicBool,
}

impl TestCache {
    fn check(&self) -> Result<(), CacheError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(CacheError {
                doing: "asking".to_owned(),
                cause: "broken".to_owned(),
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Cache for TestCache {
    async fn get(&self, key: &CacheKey) -> Result<Option<Bytes>, CacheError> {
        self.check()?;
        Ok(self.entries.lock().unwrap().get(key.as_str()).cloned())
    }

    async fn put(&self, key: &CacheKey, value: Bytes, _ttl: Duration) -> Result<(), CacheError> {
        self.check()?;
        self.entries
            .lock()
            .unwrap()
            .insert(key.as_str().to_owned(), value);
        Ok(())
    }
}

/// A log that is read without delay: revocations are what the test says they are.
pub(crate) struct TestFreshness {
    /// What each entry concerns; the first has sequence 1.
    entries: Mutex<Vec<Vec<Concern>>>,
    confirmed: AtomicBool,
}

impl TestFreshness {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            entries: Mutex::default(),
            confirmed: AtomicBool::new(true),
        })
    }

    pub(crate) fn revoke(&self, concern: Concern) {
        self.entries.lock().unwrap().push(vec![concern]);
    }

    pub(crate) fn set_confirmed(&self, confirmed: bool) {
        self.confirmed.store(confirmed, Ordering::SeqCst);
    }

    fn head(&self) -> Revision {
        Revision::new(
            Epoch::from_bytes([1; 16]),
            self.entries.lock().unwrap().len() as u64,
        )
    }
}

#[async_trait]
impl Freshness for TestFreshness {
    fn position(&self) -> Position {
        if self.confirmed.load(Ordering::SeqCst) {
            Position::Confirmed(self.head())
        } else {
            Position::Degraded(self.head())
        }
    }

    fn stamp(&self, _lag: Duration) -> Option<Revision> {
        self.confirmed.load(Ordering::SeqCst).then(|| self.head())
    }

    fn superseded(&self, stamp: &Revision, concerns: &[Concern]) -> bool {
        let entries = self.entries.lock().unwrap();
        let later = entries.iter().skip(usize::try_from(stamp.sequence).unwrap());
        later.flatten().any(|concern| concerns.contains(concern)) || stamp.epoch != self.head_epoch()
    }

    fn claims(&self, _issued_at: Option<SystemTime>, _concerns: &[Concern]) -> ClaimsStanding {
        ClaimsStanding::Current
    }

    fn policy(&self) -> Option<PolicyGeneration> {
        None
    }

    async fn catch_up(&self, _revision: Revision, _deadline: Deadline) -> Result<(), Unavailable> {
        Ok(())
    }
}

impl TestFreshness {
    fn head_epoch(&self) -> Epoch {
        Epoch::from_bytes([1; 16])
    }
}

/// The keys of a provider, made as [`crate::OidcProvider`] makes them.
pub(crate) fn key_source(
    settings: &OidcSettings,
    clock: &Arc<HandClock>,
    cache: &Arc<TestCache>,
    freshness: Option<Arc<TestFreshness>>,
) -> Result<crate::key_source::KeySource, crate::SettingsError> {
    let endpoint = crate::discovery::Endpoint::of(settings)?;
    let fetcher = crate::fetch::Fetcher::new(settings, endpoint.url(), None)?;
    let freshness = freshness.map(|freshness| freshness as Arc<dyn Freshness>);
    let documents =
        crate::documents::Documents::new(settings, fetcher, cache.clone(), clock.clone(), freshness);
    Ok(crate::key_source::KeySource::new(
        settings,
        endpoint,
        documents,
        clock.clone(),
    ))
}

enum Private {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// A private key of a test's provider.
#[derive(Clone)]
pub(crate) struct SigningKey {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: String,
    private: Arc<Private>,
}

/// RSA keys take long to make, so all tests share one.
static SHARED_RSA: LazyLock<Arc<Private>> =
    LazyLock::new(|| Arc::new(Private::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())));

impl SigningKey {
    /// A new key; for the RSA algorithms always the same one.
    pub(crate) fn shared(algorithm: Algorithm, kid: &str) -> Self {
        let private = match algorithm {
            Algorithm::ES256 => Arc::new(Private::Ec(
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            )),
            Algorithm::ES384 => Arc::new(Private::Ec(
                EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
            )),
            Algorithm::EdDSA => Arc::new(Private::Ed(Ed25519KeyPair::generate().unwrap())),
            _ => Arc::clone(&SHARED_RSA),
        };
        Self {
            algorithm,
            kid: kid.to_owned(),
            private,
        }
    }

    /// The public key as a JWK with `kid` and `alg`.
    pub(crate) fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let mut jwk = match &*self.private {
            Private::Rsa(pair) => json!({
                "kty": "RSA",
                "n": encode(pair.public_key().modulus().big_endian_without_leading_zero()),
                "e": encode(pair.public_key().exponent().big_endian_without_leading_zero()),
            }),
            Private::Ec(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let crv = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": crv, "x": encode(x), "y": encode(y)})
            }
            Private::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())})
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.algorithm.name());
        jwk
    }

    pub(crate) fn sign_bytes(&self, message: &str) -> Vec<u8> {
        let random = SystemRandom::new();
        let encoding: &dyn signature::RsaEncoding = match self.algorithm {
            Algorithm::RS384 => &signature::RSA_PKCS1_SHA384,
            Algorithm::RS512 => &signature::RSA_PKCS1_SHA512,
            Algorithm::PS256 => &signature::RSA_PSS_SHA256,
            Algorithm::PS384 => &signature::RSA_PSS_SHA384,
            Algorithm::PS512 => &signature::RSA_PSS_SHA512,
            _ => &signature::RSA_PKCS1_SHA256,
        };
        match &*self.private {
            Private::Rsa(pair) => {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message.as_bytes(), &mut out)
                    .unwrap();
                out
            }
            Private::Ec(pair) => pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Private::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        }
    }

    /// A token with exactly this header and payload, signed.
    pub(crate) fn sign_raw(&self, header: &Value, payload: &str) -> String {
        let header = BASE64URL_NOPAD.encode(header.to_string().as_bytes());
        let message = format!("{header}.{}", BASE64URL_NOPAD.encode(payload.as_bytes()));
        let signature = BASE64URL_NOPAD.encode(&self.sign_bytes(&message));
        format!("{message}.{signature}")
    }

    pub(crate) fn header(&self) -> Value {
        json!({"alg": self.algorithm.name(), "kid": self.kid, "typ": "at+jwt"})
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_raw(&self.header(), &claims.to_string())
    }
}

/// What the test provider answers at its JWKS.
#[derive(Clone)]
pub(crate) enum Answer {
    Keys(Vec<Value>),
    Raw(String),
    Status(u16),
    Redirect,
}

struct Inner {
    issuer: Mutex<String>,
    jwks: Mutex<Answer>,
    discoveries: AtomicUsize,
    fetches: AtomicUsize,
    /// Every answer at the JWKS takes a permit, if there is a gate.
    gate: Semaphore,
    gated: AtomicBool,
    arrived: Semaphore,
}

/// An OpenID provider on loopback.
#[derive(Clone)]
pub(crate) struct TestProvider {
    pub(crate) issuer: String,
    inner: Arc<Inner>,
}

impl TestProvider {
    pub(crate) async fn start(keys: &[&SigningKey]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Inner {
            issuer: Mutex::new(issuer.clone()),
            jwks: Mutex::new(Answer::Keys(keys.iter().map(|key| key.jwk()).collect())),
            discoveries: AtomicUsize::new(0),
            fetches: AtomicUsize::new(0),
            gate: Semaphore::new(0),
            gated: AtomicBool::new(false),
            arrived: Semaphore::new(0),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(jwks))
            .with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { issuer, inner }
    }

    pub(crate) fn settings(&self) -> OidcSettings {
        OidcSettings::new("corp", &self.issuer, vec!["nats".to_owned()])
    }

    pub(crate) fn claims(&self) -> Value {
        json!({"iss": self.issuer, "aud": "nats", "sub": "alice", "exp": START + 36_000, "iat": START})
    }

    pub(crate) fn answer(&self, answer: Answer) {
        *self.inner.jwks.lock().unwrap() = answer;
    }

    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        self.answer(Answer::Keys(keys.iter().map(|key| key.jwk()).collect()));
    }

    pub(crate) fn discover_as(&self, issuer: &str) {
        *self.inner.issuer.lock().unwrap() = issuer.to_owned();
    }

    /// How often the keys were asked for.
    pub(crate) fn fetches(&self) -> usize {
        self.inner.fetches.load(Ordering::SeqCst)
    }

    pub(crate) fn discoveries(&self) -> usize {
        self.inner.discoveries.load(Ordering::SeqCst)
    }

    /// From now on answers wait.
    pub(crate) fn close_gate(&self) {
        self.inner.gated.store(true, Ordering::SeqCst);
    }

    pub(crate) fn open_gate(&self) {
        self.inner.gated.store(false, Ordering::SeqCst);
        self.inner.gate.add_permits(1000);
    }

    /// Until a request for the keys has arrived that was not counted here before.
    pub(crate) async fn arrival(&self) {
        self.inner.arrived.acquire().await.unwrap().forget();
    }
}

async fn discovery(State(inner): State<Arc<Inner>>, headers: axum::http::HeaderMap) -> Response {
    inner.discoveries.fetch_add(1, Ordering::SeqCst);
    let host = headers["host"].to_str().unwrap();
    let issuer = inner.issuer.lock().unwrap().clone();
    axum::Json(json!({"issuer": issuer, "jwks_uri": format!("http://{host}/jwks")})).into_response()
}

async fn jwks(State(inner): State<Arc<Inner>>) -> Response {
    inner.fetches.fetch_add(1, Ordering::SeqCst);
    inner.arrived.add_permits(1);
    let answer = inner.jwks.lock().unwrap().clone();
    if inner.gated.load(Ordering::SeqCst) {
        inner.gate.acquire().await.unwrap().forget();
    }
    match answer {
        Answer::Keys(keys) => axum::Json(json!({ "keys": keys })).into_response(),
        Answer::Raw(text) => text.into_response(),
        Answer::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Answer::Redirect => Redirect::temporary("/jwks").into_response(),
    }
}
