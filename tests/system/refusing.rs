//! Bad tokens are refused, each with its reason in the audit, once, and without the token; and the next good one gets
//! in all the same.

use async_nats::ConnectErrorKind;
use natsgate_devkit::{DevProvider, Signature, SigningAlgorithm, TokenSpec};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::harness::{Cluster, Gateway, Mode, alice, provider};

/// A whole set-up to be refused by.
struct Door {
    provider: DevProvider,
    cluster: Cluster,
    gateway: Gateway,
}

impl Door {
    async fn new() -> Self {
        let provider = provider().await;
        let cluster = Cluster::start(Mode::OperatorWithDefaultSentinel, true).await;
        let gateway = Gateway::all(&cluster, provider.issuer()).await;
        Self {
            provider,
            cluster,
            gateway,
        }
    }

    fn issue(&self, spec: TokenSpec) -> SecretString {
        self.provider.issue(spec).unwrap()
    }

    /// `token` is refused with `reason`: told once, and not shown.
    async fn refuses(&self, what: &str, token: &SecretString, reason: &str) {
        let before = self.gateway.lines("natsgate::audit").len();
        let refused = self.cluster.connect(token).await.err();
        assert_eq!(refused, Some(ConnectErrorKind::AuthorizationViolation), "{what}");
        let lines = self.gateway.lines("natsgate::audit");
        let new = &lines[before..];
        assert_eq!(new.len(), 1, "{what}: {new:?}");
        assert!(
            new[0].contains(&format!("reason=\"{reason}\"")),
            "{what}: {}",
            new[0]
        );
        self.shows_nothing_of(what, token.expose_secret());
    }

    fn shows_nothing_of(&self, what: &str, token: &str) {
        let logs = self.gateway.process.logs();
        assert!(
            token.len() < 20 || !logs.contains(token),
            "{what}: the whole token is in the log"
        );
        for part in token.split('.').filter(|part| part.len() >= 16) {
            assert!(!logs.contains(part), "{what}: a part of the token is in the log");
        }
    }

    async fn lets_alice_in(&self) {
        let token = self.issue(alice());
        assert!(self.cluster.connect(&token).await.is_ok());
        self.shows_nothing_of("alice", token.expose_secret());
    }
}

fn from_now(seconds: i64) -> i64 {
    use natsgate_core::Clock;
    natsgate_core::SystemClock.unix_seconds() + seconds
}

#[tokio::test]
async fn tokens_that_are_not_the_providers_word() {
    let door = Door::new().await;
    door.lets_alice_in().await;
    for (what, spec, reason) in [
        ("forged", alice().signature(Signature::Forged), "bad_signature"),
        (
            "alg none",
            alice().signature(Signature::None),
            "algorithm_not_allowed",
        ),
        (
            "HMAC with the public key",
            alice().signature(Signature::HmacWithPublicKey),
            "algorithm_not_allowed",
        ),
        (
            "unknown kid",
            alice().header("kid", "nobody-knows"),
            "unknown_key",
        ),
        (
            "unknown issuer",
            alice().claim("iss", "https://elsewhere.example"),
            "unknown_issuer",
        ),
        (
            "wrong audience",
            alice().audience("another-service"),
            "wrong_audience",
        ),
        ("no audience", alice().claim("aud", json!(null)), "missing_claim"),
        (
            "wrong type of token",
            alice().header("typ", "logout+jwt"),
            "wrong_token_type",
        ),
        (
            "unknown critical header",
            alice().header("crit", json!(["b64"])),
            "malformed_token",
        ),
        (
            "no memberships",
            alice().claim("projects", json!([])),
            "no_rule_matched",
        ),
    ] {
        door.refuses(what, &door.issue(spec), reason).await;
    }
    for algorithm in SigningAlgorithm::ALL {
        let forged = alice().algorithm(algorithm).signature(Signature::Forged);
        door.refuses(algorithm.as_str(), &door.issue(forged), "bad_signature")
            .await;
        let honest = door.issue(alice().algorithm(algorithm));
        assert!(door.cluster.connect(&honest).await.is_ok(), "{algorithm}");
    }
    door.lets_alice_in().await;
}

#[tokio::test]
async fn tokens_out_of_their_time() {
    let door = Door::new().await;
    for (what, spec, reason) in [
        ("expired", alice().claim("exp", from_now(-60)), "expired"),
        ("expired just now", alice().claim("exp", from_now(-1)), "expired"),
        ("no expiry", alice().claim("exp", json!(null)), "missing_claim"),
        (
            "not yet valid",
            alice().claim("nbf", from_now(600)),
            "not_yet_valid",
        ),
        (
            "issued in the future",
            alice().claim("iat", from_now(600)),
            "not_yet_valid",
        ),
    ] {
        door.refuses(what, &door.issue(spec), reason).await;
    }
    door.lets_alice_in().await;
}

#[tokio::test]
async fn tokens_that_are_no_tokens() {
    let door = Door::new().await;
    let whole = door.issue(alice());
    let whole = whole.expose_secret();
    let (signed, signature) = whole.rsplit_once('.').unwrap();
    let texts = [
        (
            "text",
            "just some text without meaning".to_owned(),
            "malformed_token",
        ),
        ("truncated", signed.to_owned(), "malformed_token"),
        ("no signature", format!("{signed}."), "malformed_token"),
        ("NUL", format!("{signed}\0.{signature}"), "malformed_token"),
        (
            "control character",
            format!("{signed}.{signature}\u{1b}"),
            "malformed_token",
        ),
        (
            "line break",
            format!("{signed}\r\n.{signature}"),
            "malformed_token",
        ),
        ("not base64", format!("{signed}.!!!"), "malformed_token"),
        (
            "64 KB",
            format!("{signed}.{}", "A".repeat(64 * 1024)),
            "credential_too_large",
        ),
        (
            "64 KB of JSON",
            json!({ "token": "A".repeat(64 * 1024) }).to_string(),
            "credential_too_large",
        ),
        (
            "broken JSON credential",
            "{\"token\": ".to_owned(),
            "malformed_token",
        ),
        ("empty", String::new(), "no_credentials"),
    ];
    for (what, text, reason) in texts {
        let (before, token) = (
            door.gateway.lines("natsgate::audit").len(),
            SecretString::from(text),
        );
        if token.expose_secret().is_empty() {
            // A client that sends nothing at all.
            let refused = door
                .cluster
                .connect_with(door.cluster.client_options())
                .await
                .err();
            assert_eq!(refused, Some(ConnectErrorKind::AuthorizationViolation));
            let lines = door.gateway.lines("natsgate::audit");
            assert!(
                lines.len() == before + 1 && lines[before].contains(reason),
                "{lines:?}"
            );
        } else {
            door.refuses(what, &token, reason).await;
        }
    }
    door.lets_alice_in().await;
}

#[tokio::test]
async fn claims_of_the_wrong_type() {
    let door = Door::new().await;
    for (claim, value) in [
        ("sub", json!(5)),
        ("sub", json!("")),
        ("sub", json!(["alice"])),
        ("exp", json!("tomorrow")),
        ("exp", json!({})),
        ("nbf", json!("yesterday")),
        ("aud", json!({ "nats": true })),
        ("aud", json!([5])),
        ("projects", json!("apollo")),
        ("projects", json!([5])),
        ("projects", json!({ "apollo": 5 })),
    ] {
        let token = door.issue(alice().claim(claim, value.clone()));
        door.refuses(&format!("{claim}={value}"), &token, "bad_claim")
            .await;
    }
    door.lets_alice_in().await;
}

#[tokio::test]
async fn memberships_that_would_break_out_of_their_subject() {
    let door = Door::new().await;
    for id in [
        "*",
        ">",
        "a.b",
        "a b",
        "a.>",
        "\u{0}",
        "a\tb",
        "apollo\r\nPUB x",
        "a\u{a0}b",
    ] {
        let token = door.issue(alice().claim("projects", json!([id])));
        door.refuses(&format!("{id:?}"), &token, "unsafe_value").await;
        // A good one beside it does not make it better.
        let token = door.issue(alice().claim("projects", json!(["apollo", id])));
        door.refuses(&format!("apollo and {id:?}"), &token, "unsafe_value")
            .await;
    }
    let token = door.issue(alice().claim("projects", json!([""])));
    let reasons = ["unsafe_value", "bad_claim"];
    let before = door.gateway.lines("natsgate::audit").len();
    assert_eq!(
        door.cluster.connect(&token).await.err(),
        Some(ConnectErrorKind::AuthorizationViolation)
    );
    let lines = door.gateway.lines("natsgate::audit");
    assert_eq!(lines.len(), before + 1);
    assert!(
        reasons.iter().any(|reason| lines[before].contains(reason)),
        "{}",
        lines[before]
    );
    door.lets_alice_in().await;
}

#[tokio::test]
async fn an_unknown_kid_makes_no_more_than_one_fetch() {
    let door = Door::new().await;
    door.lets_alice_in().await;
    let before = door.provider.fetches();
    for number in 0..5 {
        let token = door.issue(alice().header("kid", format!("unknown-{number}")));
        door.refuses("unknown kid", &token, "unknown_key").await;
    }
    let after = door.provider.fetches();
    assert!(after.keys - before.keys <= 1, "{before:?} {after:?}");
}
