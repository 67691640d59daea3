//! Logout tokens, honest and otherwise.

use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{Change, Principal, Selector};
use natsgate_decision::security_events::Refusal;
use natsgate_devkit::{Fault, RedisServer, Signature};
use natsgate_store::{
    Follower, FollowerSettings, LogSettings, RedisConnection, RedisLog, RedisSettings, Secrets,
};
use serde_json::{Value, json};

use crate::log::Mood;
use crate::scene::{FORM, Options, SECRET, Scene};

const CHANNEL: &str = "backchannel-logout";

fn alice(scene: &Scene) -> Change {
    let principal = Principal::new(scene.provider.issuer(), "alice");
    revoked(Selector::Principal { principal })
}

fn session(scene: &Scene, session_id: &str) -> Change {
    revoked(Selector::ProviderSession {
        issuer: scene.provider.issuer().to_owned(),
        session_id: session_id.to_owned(),
    })
}

fn revoked(selector: Selector) -> Change {
    Change::revoked(selector, "logged out at the provider", "backchannel-logout:corp")
}

#[tokio::test]
async fn a_logout_token_revokes_once() {
    let scene = Scene::start().await;
    let token = scene.token(|spec| spec);
    let answer = scene.log_out(&token).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{answer:?}");
    assert!(answer.head.contains("cache-control: no-store"), "{answer:?}");
    let of_session = scene.token(|spec| spec.claim("sid", "s1"));
    assert_eq!(scene.log_out(&of_session).await.status, 200);
    assert_eq!(scene.log.changes().await, [alice(&scene), session(&scene, "s1")]);
    for entry in scene.log.entries().await {
        let key = entry.idempotency.unwrap().key;
        assert_eq!(entry.id.0, key[..16]);
    }

    for token in [&token, &of_session, &token] {
        let again = scene.log_out(token).await;
        assert_eq!(again.status, 400);
        assert_eq!(again.error().0, "invalid_request");
        assert!(again.head.contains("cache-control: no-store"), "{again:?}");
    }
    assert_eq!(scene.log.changes().await.len(), 2);
    assert_eq!(scene.counted(CHANNEL), [2, 0, 3, 3]);
}

#[tokio::test]
async fn one_id_is_for_one_logout() {
    let scene = Scene::start().await;
    let first = scene.token(|spec| spec.claim("jti", "one"));
    assert_eq!(scene.log_out(&first).await.status, 200);
    let other = scene.token(|spec| spec.claim("jti", "one").claim("sub", "bob"));
    let answer = scene.log_out(&other).await;
    assert_eq!(
        (answer.status, answer.error().0.as_str()),
        (400, "invalid_request")
    );
    assert_eq!(scene.refused(CHANNEL, Refusal::Reused), 1);
    // Signed anew it is still the same.
    let again = scene.token(|spec| spec.claim("jti", "one").ttl(Duration::from_secs(100)));
    assert_eq!(scene.log_out(&again).await.status, 400);
    assert_eq!(scene.log.changes().await, [alice(&scene)]);
    assert_eq!(scene.counted(CHANNEL), [1, 0, 1, 2]);
}

#[tokio::test]
async fn no_other_token_is_believed() {
    let scene = Scene::start().await;
    let now = natsgate_core::Clock::unix_seconds(&*scene.clock);
    let event = "http://schemas.openid.net/event/backchannel-logout";
    let cases: Vec<(&str, String, Refusal)> = vec![
        (
            "forged",
            scene.token(|s| s.signature(Signature::Forged)),
            Refusal::Signature,
        ),
        (
            "unsigned",
            scene.token(|s| s.signature(Signature::None)),
            Refusal::Signature,
        ),
        (
            "HMAC with the public key",
            scene.token(|s| s.signature(Signature::HmacWithPublicKey)),
            Refusal::Signature,
        ),
        (
            "unknown key",
            scene.token(|s| s.header("kid", "other")),
            Refusal::Signature,
        ),
        ("expired", scene.token(|s| s.claim("exp", now)), Refusal::Time),
        (
            "too old",
            scene.token(|s| s.claim("iat", now - 301)),
            Refusal::Time,
        ),
        (
            "of the future",
            scene.token(|s| s.claim("iat", now + 31)),
            Refusal::Time,
        ),
        (
            "too long a life",
            scene.token(|s| s.claim("exp", now + 90_000)),
            Refusal::Time,
        ),
        ("for NATS", scene.token(|s| s.audience("nats")), Refusal::Audience),
        (
            "for nobody",
            scene.token(|s| s.claim("aud", Value::Null)),
            Refusal::Claims,
        ),
        (
            "of another issuer",
            scene.token(|s| s.claim("iss", "https://other.example")),
            Refusal::Issuer,
        ),
        (
            "without iat",
            scene.token(|s| s.claim("iat", Value::Null)),
            Refusal::Claims,
        ),
        (
            "without exp",
            scene.token(|s| s.claim("exp", Value::Null)),
            Refusal::Claims,
        ),
        (
            "without jti",
            scene.token(|s| s.claim("jti", Value::Null)),
            Refusal::Claims,
        ),
        (
            "about nobody",
            scene.token(|s| s.claim("sub", Value::Null)),
            Refusal::Claims,
        ),
        (
            "with a nonce",
            scene.token(|s| s.claim("nonce", "n")),
            Refusal::TokenType,
        ),
        (
            "without events",
            scene.token(|s| s.claim("events", Value::Null)),
            Refusal::TokenType,
        ),
        (
            "of another event",
            scene.token(|s| s.claim("events", json!({"urn:x": {}}))),
            Refusal::TokenType,
        ),
        (
            "of a wrong event",
            scene.token(|s| s.claim("events", json!({event: "x"}))),
            Refusal::TokenType,
        ),
        (
            "an access token",
            scene.token(|s| s.header("typ", "at+jwt")),
            Refusal::TokenType,
        ),
        (
            "an id token",
            scene.token(|s| {
                s.header("typ", "JWT")
                    .claim("events", Value::Null)
                    .claim("nonce", "n")
            }),
            Refusal::TokenType,
        ),
        ("no token", "x.y.z".to_owned(), Refusal::Malformed),
        ("nothing", String::new(), Refusal::Malformed),
    ];
    for (what, token, refusal) in cases {
        let before = scene.refused(CHANNEL, refusal);
        let answer = scene.log_out(&token).await;
        assert_eq!(
            (answer.status, answer.error().0.as_str()),
            (400, "invalid_request"),
            "{what}: {answer:?}"
        );
        assert_eq!(scene.refused(CHANNEL, refusal), before + 1, "{what}");
        assert!(token.is_empty() || !answer.body.contains(&token), "{answer:?}");
    }
    assert!(scene.log.changes().await.is_empty());
    assert_eq!(scene.counted(CHANNEL)[..3], [0, 0, 0]);
}

#[tokio::test]
async fn a_form_has_one_token() {
    let scene = Scene::start().await;
    let token = scene.token(|spec| spec);
    let path = "/backchannel-logout";
    for (what, form) in [
        ("none", "token=x".to_owned()),
        ("two", format!("logout_token={token}&logout_token={token}")),
        ("another case", format!("Logout_Token={token}")),
        ("empty", String::new()),
    ] {
        let answer = scene.post(path, FORM, form.as_bytes()).await;
        assert_eq!(
            (answer.status, answer.error().0.as_str()),
            (400, "invalid_request"),
            "{what}"
        );
    }
    for headers in ["", "Content-Type: application/json\r\n", &format!("{FORM}{FORM}")] {
        let body = format!("logout_token={token}");
        let answer = scene.post(path, headers, body.as_bytes()).await;
        assert_eq!(
            (answer.status, answer.error().0.as_str()),
            (400, "invalid_request"),
            "{headers}"
        );
    }
    assert_eq!(scene.refused(CHANNEL, Refusal::Malformed), 4);
    assert_eq!(scene.refused(CHANNEL, Refusal::ContentType), 3);
    assert!(scene.log.changes().await.is_empty());
    // What else is in it is passed over.
    let form = format!("state=x&logout_token={token}&more=%20");
    let typ = "Content-Type: Application/x-www-form-urlencoded; charset=UTF-8\r\n";
    assert_eq!(scene.post(path, typ, form.as_bytes()).await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_found_out_revokes_nothing_and_is_sent_again() {
    let scene = Scene::start().await;
    let token = scene.token(|spec| spec);
    scene.provider.set_fault(Fault::Status(503));
    let answer = scene.log_out(&token).await;
    assert_eq!((answer.status, answer.error().0.as_str()), (503, "unavailable"));
    assert!(answer.head.contains("retry-after:"), "{answer:?}");
    assert!(!answer.body.contains(scene.provider.issuer()), "{answer:?}");
    scene.provider.set_fault(Fault::None);
    scene.clock.advance(Duration::from_secs(10));

    scene.log.set(Mood::Away);
    assert_eq!(scene.log_out(&token).await.status, 503);
    assert!(scene.log.changes().await.is_empty());
    scene.log.set(Mood::Well);
    assert_eq!(scene.log_out(&token).await.status, 200);
    assert_eq!(scene.log.changes().await, [alice(&scene)]);
    assert_eq!(scene.refused(CHANNEL, Refusal::Unavailable), 2);

    // It was carried out, and nobody heard: the next time it is said to have been.
    scene.log.set(Mood::LosesAnswers);
    let other = scene.token(|spec| spec);
    assert_eq!(scene.log_out(&other).await.status, 503);
    scene.log.set(Mood::Well);
    let (_, description) = scene.log_out(&other).await.error();
    assert_eq!(description, "it was used before, and is carried out");
    assert_eq!(scene.log.changes().await.len(), 2);
}

#[tokio::test]
async fn people_without_their_configured_name_are_not_guessed() {
    let scene = Scene::start_with(Options {
        change: |provider, _| provider.subject_claim = "email".to_owned(),
        ..Options::default()
    })
    .await;
    let token = scene.token(|spec| spec);
    assert_eq!(scene.log_out(&token).await.status, 400);
    assert!(scene.log.changes().await.is_empty());
    let token = scene.token(|spec| spec.claim("sub", "0815").claim("email", "alice"));
    assert_eq!(scene.log_out(&token).await.status, 200);
    assert_eq!(scene.log.changes().await, [alice(&scene)]);
}

#[tokio::test]
async fn one_token_sent_many_times_at_once_counts_once() {
    let scene = Arc::new(Scene::start().await);
    let token = scene.token(|spec| spec);
    let calls = (0..20).map(|_| {
        let (scene, token) = (Arc::clone(&scene), token.clone());
        tokio::spawn(async move { scene.log_out(&token).await.status })
    });
    let mut answers = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        answers.push(call.await.unwrap());
    }
    answers.sort_unstable();
    assert_eq!(answers[0], 200);
    assert!(answers[1..].iter().all(|status| *status == 400), "{answers:?}");
    assert_eq!(scene.log.changes().await.len(), 1);
}

#[tokio::test]
async fn what_one_instance_carried_out_every_other_and_the_next_refuses() {
    let redis = RedisServer::start().await.unwrap();
    let scene = Scene::start().await;
    let instance = async || {
        let connection = RedisConnection::new(&RedisSettings::url(redis.url())).unwrap();
        let secrets = Secrets::new(SECRET.into(), Vec::new()).unwrap();
        let clock = scene.clock.clone();
        let log = RedisLog::new(&connection, &secrets, &LogSettings::default(), clock.clone()).unwrap();
        let follower = Follower::start(Arc::new(log), FollowerSettings::default(), clock.clone());
        let provider = Arc::clone(&scene.provider);
        Scene::start_over(
            follower,
            Arc::clone(&scene.log),
            provider,
            clock,
            Options::default(),
        )
        .await
    };
    let (one, other) = (instance().await, instance().await);
    let token = scene.token(|spec| spec);
    assert_eq!(one.log_out(&token).await.status, 200);
    assert_eq!(other.log_out(&token).await.status, 400);
    drop(one);
    let next = instance().await;
    assert_eq!(next.log_out(&token).await.status, 400);
    for instance in [&other, &next] {
        assert_eq!(instance.counted(CHANNEL), [0, 0, 1, 1]);
    }
    // As with tokens, so with calls.
    let body = r#"{"event": "user.disabled", "user": {"id": 7}}"#;
    assert_eq!(other.call(body).await.status, 200);
    assert_eq!(next.call(body).await.status, 409);
}
