//! Webhooks: whom they believe, and what their events come to.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use data_encoding::BASE64;
use natsgate_core::{Change, Principal, Selector};
use natsgate_decision::SecurityEventsLimits;
use natsgate_decision::security_events::Refusal;
use serde_json::{Value, json};

use crate::log::Mood;
use crate::scene::{JSON, NEXT_SECRET, Options, SECRET, Scene, hook, sign};

const CHANNEL: &str = "webhook:directory";
const DISABLED: &str = r#"{"event": "user.disabled", "user": {"id": "alice"}}"#;
const MOVED: &str = r#"{"event": "user.moved", "from": "rose", "to": "blue"}"#;

fn alice() -> Change {
    let principal = Principal::new("https://idp.example", "alice");
    Change::revoked(
        Selector::Principal { principal },
        "disabled in the directory",
        CHANNEL,
    )
}

fn team(id: &str) -> Change {
    let selector = Selector::Resource {
        kind: "team".into(),
        id: id.into(),
    };
    Change::revoked(selector, "webhook directory", CHANNEL)
}

#[tokio::test]
async fn a_signed_event_revokes_once() {
    let scene = Scene::start().await;
    let answer = scene.call(DISABLED).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        serde_json::from_str::<Value>(&answer.body).unwrap(),
        json!({"status": "revoked", "revocations": 1})
    );
    assert!(answer.head.contains("cache-control: no-store"), "{answer:?}");
    for _again in 0..2 {
        let again = scene.call(DISABLED).await;
        assert_eq!((again.status, again.error().0.as_str()), (409, "replayed"));
    }
    // In other letters it is the same signature.
    let timestamp = scene.timestamp(0);
    let capitals = sign(SECRET, &timestamp, DISABLED)
        .to_uppercase()
        .replace("SHA256=", "sha256=");
    assert_eq!(
        scene
            .call_with("directory", &timestamp, &capitals, DISABLED)
            .await
            .status,
        409
    );
    assert_eq!(scene.log.changes().await, [alice()]);
    assert_eq!(scene.counted(CHANNEL), [1, 0, 3, 3]);

    // At another time it is another event.
    scene.clock.advance(Duration::from_secs(1));
    assert_eq!(scene.call(DISABLED).await.status, 200);
    assert_eq!(scene.log.changes().await.len(), 2);
}

#[tokio::test]
async fn nobody_is_believed_without_the_secret() {
    let scene = Scene::start().await;
    let now = scene.timestamp(0);
    let good = sign(SECRET, &now, DISABLED);
    let other_body = DISABLED.replace("alice", "bob");
    let (wrong, moved) = (sign(NEXT_SECRET, &now, DISABLED), sign(SECRET, &now, MOVED));
    let later = (scene.timestamp(1), sign(SECRET, &scene.timestamp(1), DISABLED));
    let unprefixed = good.replace("sha256=", "");
    for (what, timestamp, signature, body, refusal) in [
        ("another secret", &now, &wrong, DISABLED, Refusal::Signature),
        (
            "another event's signature",
            &now,
            &moved,
            DISABLED,
            Refusal::Signature,
        ),
        (
            "another body",
            &now,
            &good,
            other_body.as_str(),
            Refusal::Signature,
        ),
        ("another time", &later.0, &good, DISABLED, Refusal::Signature),
        (
            "another time's signature",
            &now,
            &later.1,
            DISABLED,
            Refusal::Signature,
        ),
        (
            "cut short",
            &now,
            &good.chars().take(good.len() - 2).collect(),
            DISABLED,
            Refusal::Signature,
        ),
        (
            "nothing",
            &now,
            &"sha256=".to_owned(),
            DISABLED,
            Refusal::Signature,
        ),
        ("no prefix", &now, &unprefixed, DISABLED, Refusal::Unsigned),
        (
            "another prefix",
            &now,
            &good.replace("sha256", "sha1"),
            DISABLED,
            Refusal::Unsigned,
        ),
        (
            "no hex",
            &now,
            &good.replace('=', "=x"),
            DISABLED,
            Refusal::Unsigned,
        ),
        (
            "no time",
            &String::new(),
            &sign(SECRET, "", DISABLED),
            DISABLED,
            Refusal::Unsigned,
        ),
        (
            "a negative time",
            &format!("-{now}"),
            &good,
            DISABLED,
            Refusal::Unsigned,
        ),
        (
            "a time in words",
            &"now".to_owned(),
            &sign(SECRET, "now", DISABLED),
            DISABLED,
            Refusal::Unsigned,
        ),
        (
            "a huge time",
            &"9".repeat(20),
            &sign(SECRET, &"9".repeat(20), DISABLED),
            DISABLED,
            Refusal::Unsigned,
        ),
    ] {
        let before = scene.refused(CHANNEL, refusal);
        let answer = scene.call_with("directory", timestamp, signature, body).await;
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        assert_eq!(scene.refused(CHANNEL, refusal), before + 1, "{what}");
    }
    // One signature and one time.
    let path = "/webhooks/directory";
    let (signature, timestamp) = (
        format!("X-Signature: {good}\r\n"),
        format!("X-Timestamp: {now}\r\n"),
    );
    for headers in [
        format!("{JSON}{signature}"),
        format!("{JSON}{timestamp}"),
        format!("{JSON}{timestamp}{signature}{signature}"),
        format!("{JSON}{timestamp}{timestamp}{signature}"),
    ] {
        assert_eq!(
            scene.post(path, &headers, DISABLED.as_bytes()).await.status,
            401,
            "{headers}"
        );
    }
    // What is signed for one is not good for another.
    assert_eq!(scene.call_with("ci", &now, &good, DISABLED).await.status, 401);
    assert_eq!(scene.refused("webhook:ci", Refusal::Signature), 1);
    assert!(scene.log.changes().await.is_empty());
    assert_eq!(scene.counted(CHANNEL)[..3], [0, 0, 0]);
}

#[tokio::test]
async fn a_call_counts_for_as_long_as_its_time_is_near() {
    let scene = Scene::start().await;
    for (ahead, status) in [(-301, 401), (301, 401), (-300, 200), (300, 200)] {
        let timestamp = scene.timestamp(ahead);
        let signature = sign(SECRET, &timestamp, DISABLED);
        let answer = scene
            .call_with("directory", &timestamp, &signature, DISABLED)
            .await;
        assert_eq!(answer.status, status, "{ahead}: {answer:?}");
    }
    assert_eq!(scene.refused(CHANNEL, Refusal::Time), 2);
}

#[tokio::test]
async fn secrets_can_be_put_in_each_others_place_and_headers_named() {
    let mut hook = hook("directory");
    hook["secrets"] = json!([NEXT_SECRET, SECRET]);
    hook["signature"] = json!({"header": "X-Hub-Signature", "prefix": "", "encoding": "base64"});
    hook["timestamp"] = json!({"header": "X-Hub-Time", "format": "unix_milliseconds"});
    let scene = Scene::start_with(Options {
        webhooks: json!([hook]),
        ..Options::default()
    })
    .await;
    for (number, (secret, status)) in [(SECRET, 200), (NEXT_SECRET, 200), ("another", 401)]
        .into_iter()
        .enumerate()
    {
        let timestamp = format!("{}00{number}", scene.timestamp(0));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, format!("{timestamp}.{DISABLED}").as_bytes());
        let signature = BASE64.encode(tag.as_ref());
        let headers = format!("{JSON}x-hub-time: {timestamp}\r\nx-hub-signature: {signature}\r\n");
        let answer = scene
            .post("/webhooks/directory", &headers, DISABLED.as_bytes())
            .await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    assert_eq!(scene.counted(CHANNEL), [2, 0, 0, 1]);
}

#[tokio::test]
async fn what_an_event_means_is_as_configured_or_nothing() {
    let scene = Scene::start().await;
    for (body, status, error) in [
        (
            r#"{"event": "user.created", "user": {"id": "alice"}}"#,
            200,
            "ignored",
        ),
        ("[]", 200, "ignored"),
        (r#"{"event": "user.disabled"}"#, 422, "unmappable"),
        (
            r#"{"event": "user.disabled", "user": {"id": ["alice"]}}"#,
            422,
            "unmappable",
        ),
        (
            r#"{"event": "user.disabled", "user": {"id": ""}}"#,
            422,
            "unmappable",
        ),
        // Of two that it means, one cannot be told: then neither is done.
        (r#"{"event": "user.moved", "from": "rose"}"#, 422, "unmappable"),
        ("{", 400, "malformed"),
        ("", 400, "malformed"),
    ] {
        let answer = scene.call(body).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.body.contains(error), "{body}: {answer:?}");
        assert!(
            !answer.body.contains("alice") && !answer.body.contains("rose"),
            "{answer:?}"
        );
    }
    let (_, description) = scene
        .call(r#"{"event": "user.disabled", "more": 1}"#)
        .await
        .error();
    assert!(
        description.contains("revokes[0].selector.subject: there is nothing at /user/id"),
        "{description}"
    );
    assert!(scene.log.changes().await.is_empty());
    assert_eq!(scene.counted(CHANNEL), [0, 2, 0, 7]);
    assert_eq!(scene.refused(CHANNEL, Refusal::Unmappable), 5);
    // Nothing is read of what is not signed.
    let unsigned = scene.post("/webhooks/directory", "", b"{").await;
    assert_eq!(unsigned.status, 401);
    let timestamp = scene.timestamp(0);
    let signed = format!(
        "X-Timestamp: {timestamp}\r\nX-Signature: {}\r\n",
        sign(SECRET, &timestamp, DISABLED)
    );
    for typ in ["", "Content-Type: text/plain\r\n"] {
        let answer = scene
            .post(
                "/webhooks/directory",
                &format!("{typ}{signed}"),
                DISABLED.as_bytes(),
            )
            .await;
        assert_eq!(answer.status, 415, "{answer:?}");
    }
    let typ = "Content-Type: application/json; charset=utf-8\r\n";
    let answer = scene
        .post(
            "/webhooks/directory",
            &format!("{typ}{signed}"),
            DISABLED.as_bytes(),
        )
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn a_call_that_ended_half_way_is_gone_on_with() {
    let scene = Scene::start().await;
    scene.log.set(Mood::Only(1));
    let answer = scene.call(MOVED).await;
    assert_eq!((answer.status, answer.error().0.as_str()), (503, "unavailable"));
    assert_eq!(scene.log.changes().await, [team("rose")]);
    scene.log.set(Mood::Well);
    assert_eq!(scene.call(MOVED).await.status, 200);
    assert_eq!(scene.log.changes().await, [team("rose"), team("blue")]);
    assert_eq!(scene.call(MOVED).await.status, 409);
    assert_eq!(scene.log.changes().await.len(), 2);
    assert_eq!(scene.counted(CHANNEL), [1, 0, 1, 2]);
}

#[tokio::test]
async fn a_call_is_finished_whose_caller_does_not_wait() {
    let scene = Scene::start().await;
    scene.log.set(Mood::Holds);
    let timestamp = scene.timestamp(0);
    let signature = sign(SECRET, &timestamp, DISABLED);
    let headers = format!("{JSON}X-Timestamp: {timestamp}\r\nX-Signature: {signature}\r\n");
    let head = crate::scene::post("/webhooks/directory", &headers, DISABLED.len());
    let mut caller = scene.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut caller, format!("{head}\r\n{DISABLED}").as_bytes())
        .await
        .unwrap();
    scene.log.called(1).await;
    drop(caller);
    // By the time this one is answered, it was noticed that nobody waits for that one.
    assert_eq!(scene.call("[]").await.status, 200);
    scene.log.set(Mood::Well);
    let done = async {
        while scene.counted(CHANNEL)[0] == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), done).await.unwrap();
    assert_eq!(scene.log.changes().await, [alice()]);
    assert_eq!(scene.call(DISABLED).await.status, 409);
}

#[tokio::test]
async fn more_at_once_than_are_taken_are_sent_away() {
    let scene = Arc::new(
        Scene::start_with(Options {
            limits: SecurityEventsLimits {
                max_in_flight: 2,
                ..Default::default()
            },
            ..Options::default()
        })
        .await,
    );
    scene.log.set(Mood::Holds);
    let begin = |body: &'static str| {
        let scene = Arc::clone(&scene);
        tokio::spawn(async move { scene.call(body).await.status })
    };
    let held = [begin(DISABLED), begin(MOVED)];
    scene.log.called(2).await;
    let answer = scene.call(r#"{"event": "x"}"#).await;
    assert_eq!((answer.status, answer.error().0.as_str()), (503, "overloaded"));
    assert!(answer.head.contains("retry-after:"), "{answer:?}");
    // Each endpoint has places of its own.
    let token = scene.token(|spec| spec.claim("sub", "x"));
    let logging_out = tokio::spawn({
        let scene = Arc::clone(&scene);
        async move { scene.log_out(&token).await.status }
    });
    scene.log.called(3).await;
    scene.log.set(Mood::Well);
    for call in held {
        assert_eq!(call.await.unwrap(), 200);
    }
    assert_eq!(logging_out.await.unwrap(), 200);
    assert_eq!(scene.refused(CHANNEL, Refusal::Overloaded), 1);

    // The same many times at once counts once.
    scene.clock.advance(Duration::from_secs(1));
    let scene = Arc::new(Scene::start().await);
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let scene = Arc::clone(&scene);
            tokio::spawn(async move { scene.call(DISABLED).await.status })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    answers.sort_unstable();
    assert!(
        answers[0] == 200 && answers[1..].iter().all(|status| *status == 409),
        "{answers:?}"
    );
    assert_eq!(scene.log.changes().await, [alice()]);
}
