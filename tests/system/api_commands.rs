//! `natsgate revoke` and `natsgate sessions` against an API that notes what it is asked and answers what it is told to: what
//! travels, what is repeated, what is printed, and what the exit code is.

mod fake;

use std::process::{Command, Output};

use natsgate_proto::v1;
use natsgate_proto::v1::selector::Selector;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use fake::{Fake, TOKEN};

/// `natsgate` with `arguments`, against `fake`.
fn natsgate(fake: &Fake, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_natsgate"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NATSGATE") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .env("NATSGATE_ENDPOINT", fake.url())
        .env("NATSGATE_TOKEN", TOKEN);
    command
}

async fn run(fake: &Fake, arguments: &[&str]) -> Output {
    let command = natsgate(fake, arguments);
    output(command).await
}

async fn output(mut command: Command) -> Output {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    for text in [out(&output), err(&output)] {
        assert!(!text.contains(TOKEN), "the token is shown: {text}");
    }
    output
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn principal() -> v1::Principal {
    v1::Principal {
        issuer: "https://a".into(),
        subject: "alice".into(),
    }
}

const PRINCIPAL: [&str; 4] = ["--issuer", "https://a", "--subject", "alice"];

#[tokio::test]
async fn every_selector_travels_as_it_was_given() {
    let fake = Fake::start().await;
    let with = |first: &[&'static str]| [first, PRINCIPAL.as_slice()].concat();
    for (arguments, expected) in [
        (with(&["principal"]), Selector::Principal(principal())),
        (
            with(&["membership", "--kind", "project", "--id", "apollo"]),
            Selector::Membership(v1::MembershipSelector {
                principal: Some(principal()),
                kind: "project".into(),
                id: "apollo".into(),
            }),
        ),
        (
            vec!["resource", "--kind", "project", "--id", "apollo"],
            Selector::Resource(v1::ResourceSelector {
                kind: "project".into(),
                id: "apollo".into(),
            }),
        ),
        (
            vec!["role", "--kind", "project", "--role", "member"],
            Selector::Role(v1::RoleSelector {
                kind: "project".into(),
                role: "member".into(),
            }),
        ),
        (
            vec!["rule", "project members"],
            Selector::Rule("project members".into()),
        ),
        (
            vec!["session", "--server", "NABC", "--client", "7"],
            Selector::Session(v1::SessionSelector {
                server_id: "NABC".into(),
                client_id: 7,
            }),
        ),
        (vec!["account", "APP"], Selector::Account("APP".into())),
        (
            vec!["provider", "https://a"],
            Selector::Provider("https://a".into()),
        ),
        (
            vec!["signing-key", "--issuer", "https://a", "--key-id", "k1"],
            Selector::SigningKey(v1::SigningKeySelector {
                issuer: "https://a".into(),
                key_id: "k1".into(),
            }),
        ),
        (
            vec!["token", "--issuer", "https://a", "--token-id", "t1"],
            Selector::Token(v1::TokenSelector {
                issuer: "https://a".into(),
                token_id: "t1".into(),
            }),
        ),
        (
            vec!["provider-session", "--issuer", "https://a", "--session-id", "s1"],
            Selector::ProviderSession(v1::ProviderSessionSelector {
                issuer: "https://a".into(),
                session_id: "s1".into(),
            }),
        ),
    ] {
        fake.will_revoke([Ok(fake::complete())]);
        let output = run(&fake, &[&["revoke"], arguments.as_slice()].concat()).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", err(&output));
        let asked = fake.revokes();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].selector.as_ref().unwrap().selector, Some(expected));
        assert_eq!(asked[0].wait.unwrap().seconds, 5);
        assert!(asked[0].spread.is_none() && asked[0].ban.is_none());
        assert!(out(&output).contains("revision 0.12"), "{}", out(&output));
    }
}

#[tokio::test]
async fn how_to_revoke_travels_too() {
    let fake = Fake::start().await;
    let revoke = |more: &[&'static str]| [["revoke", "principal"].as_slice(), &PRINCIPAL, more].concat();
    fake.will_revoke([Ok(fake::complete())]);
    let flags = [
        "--reason",
        "left",
        "--spread",
        "30s",
        "--wait",
        "1500ms",
        "--ban",
        "tokens",
        "--idempotency-key",
        "k1",
    ];
    let output = run(&fake, &revoke(&flags)).await;
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let asked = &fake.revokes()[0];
    assert_eq!(
        (asked.reason.as_str(), asked.idempotency_key.as_str()),
        ("left", "k1")
    );
    assert_eq!(asked.spread.unwrap().seconds, 30);
    assert_eq!(
        (asked.wait.unwrap().seconds, asked.wait.unwrap().nanos),
        (1, 500_000_000)
    );
    let tokens = v1::ban_request::Scope::TokensIssuedUntilNow(true);
    assert_eq!(asked.ban.unwrap().scope, Some(tokens));
    assert!(
        out(&output).contains("natsgate revoke lift e1"),
        "{}",
        out(&output)
    );

    fake.will_revoke([Ok(v1::RevokeResponse {
        confirmed: false,
        ..fake::complete()
    })]);
    let output = run(&fake, &revoke(&["--no-wait", "--ban-until", "2h"])).await;
    // Not waited for is not incomplete.
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(out(&output).contains("NOT CONFIRMED"), "{}", out(&output));
    let asked = &fake.revokes()[0];
    assert_eq!(asked.wait, None);
    let Some(v1::ban_request::Scope::EveryoneUntil(until)) = asked.ban.unwrap().scope else {
        panic!("{asked:?}");
    };
    // As it is printed it is the same request again.
    let again = format!("--idempotency-key {} --ban-until {until}", asked.idempotency_key);
    assert!(err(&output).contains(&again), "{}", err(&output));
    let (key, until) = (asked.idempotency_key.clone(), until.to_string());
    fake.will_revoke([Ok(fake::complete())]);
    let flags = ["--no-wait", "--idempotency-key", &key, "--ban-until", &until];
    let arguments = [["revoke", "principal"].as_slice(), &PRINCIPAL, &flags].concat();
    assert_eq!(run(&fake, &arguments).await.status.code(), Some(0));
    assert_eq!(fake.revokes()[0], *asked);
}

#[tokio::test]
async fn what_is_unavailable_is_asked_again_with_the_same_key() {
    let fake = Fake::start().await;
    let away = || Err(Status::unavailable("the log is away"));
    fake.will_revoke([away(), away(), Ok(fake::complete())]);
    let output = run(&fake, &["revoke", "rule", "r"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let asked = fake.revokes();
    assert_eq!(asked.len(), 3);
    assert!(
        asked
            .iter()
            .all(|one| one == &asked[0] && one.idempotency_key.len() >= 20)
    );

    // Another run is another revocation.
    fake.will_revoke([Ok(fake::complete())]);
    run(&fake, &["revoke", "rule", "r"]).await;
    assert_ne!(fake.revokes()[0].idempotency_key, asked[0].idempotency_key);

    // For good: it says with what key to go on.
    fake.will_revoke((0..20).map(|_| away()));
    let output = run(&fake, &["revoke", "rule", "r"]).await;
    assert_eq!(output.status.code(), Some(1));
    let key = fake.revokes()[0].idempotency_key.clone();
    let said = err(&output);
    assert!(
        said.contains("is not known") && said.contains(&format!("--idempotency-key {key}")),
        "{said}"
    );
}

#[tokio::test]
async fn who_did_not_answer_is_named_and_is_another_exit_code() {
    let fake = Fake::start().await;
    fake.will_revoke([Ok(fake::incomplete())]);
    let output = run(&fake, &["revoke", "account", "APP"]).await;
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    let told = out(&output);
    for part in [
        "cluster eu-1: 2 sessions closed, complete",
        "shim one: 2 closed in 4.0 ms",
        "cluster us-1: 0 sessions closed, NOT COMPLETE",
        "shim two: DID NOT ANSWER",
        "SERVERS OUT OF REACH: NLOST",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }

    fake.will_revoke([Ok(fake::incomplete())]);
    let output = run(&fake, &["revoke", "account", "APP", "--json"]).await;
    assert_eq!(output.status.code(), Some(3));
    let answer: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(answer["complete"], false);
    assert_eq!(answer["clusters"][0]["shims"][0]["took"], "0.004s");
    assert_eq!(answer["idempotency_key"], fake.revokes()[0].idempotency_key);
}

#[tokio::test]
async fn a_refusal_is_told_with_every_field_and_not_asked_again() {
    let fake = Fake::start().await;
    let mut details = ErrorDetails::new();
    details.set_error_info("OUT_OF_REACH", "natsgate", std::collections::HashMap::new());
    details.add_bad_request_violation("selector.principal.issuer", "is none of the caller's issuers");
    let refusal = Status::with_error_details(Code::PermissionDenied, "not the caller's to revoke", details);
    fake.will_revoke([Err(refusal)]);
    let output = run(&fake, &[["revoke", "principal"].as_slice(), &PRINCIPAL].concat()).await;
    assert_eq!(output.status.code(), Some(1));
    let said = err(&output);
    for part in [
        "OUT_OF_REACH: not the caller's to revoke",
        "selector.principal.issuer: is none of the caller's issuers",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("is not known"), "{said}");
    assert_eq!(fake.revokes().len(), 1);
}

#[tokio::test]
async fn what_does_not_go_together_is_a_usage_error_and_asks_nobody() {
    let fake = Fake::start().await;
    for (arguments, expected) in [
        (&["revoke"][..], "Usage"),
        (&["revoke", "rule"], "NAME"),
        (&["revoke", "rule", "r", "--wait", "soon"], "--wait"),
        (&["revoke", "rule", "r", "--wait", "1s", "--no-wait"], "--no-wait"),
        (
            &["revoke", "account", "a", "--ban", "tokens", "--ban-until", "2h"],
            "--ban",
        ),
        (
            &["revoke", "account", "a", "--ban-until", "tomorrow"],
            "2026-12-01T00:00:00Z",
        ),
        (&["revoke", "rule", "r", "--token", "t"], "--token"),
        (&["revoke", "everyone"], "--direct"),
        (&["revoke", "rule", "r", "--dry-run"], "--dry-run"),
        (&["revoke", "bans", "--spread", "1s"], "--spread"),
        (&["revoke", "lift", "b", "--ban", "tokens"], "--ban"),
        (&["revoke", "watch", "--reason", "r"], "--reason"),
        (&["revoke", "rule", "r", "--direct"], "--direct"),
        (&["revoke", "bans", "--direct"], "--direct"),
        (&["revoke", "everyone", "--direct", "--ban", "tokens"], "--ban"),
        (
            &["revoke", "rule", "r", "--endpoint", "http://192.0.2.1:7222"],
            "in the clear",
        ),
        (&["revoke", "rule", "r", "--ca", "ca.pem"], "--ca"),
        (
            &["revoke", "rule", "r", "--token-file", "/nonexistent"],
            "--token-file",
        ),
    ] {
        let output = run(&fake, arguments).await;
        let said = err(&output);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    assert!(fake.revokes().is_empty());
    assert_eq!(run(&fake, &["revoke", "--help"]).await.status.code(), Some(0));
}

#[tokio::test]
async fn a_token_comes_from_a_file_too_and_without_one_the_mend_is_said() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let without = |arguments: &[&str]| {
        let mut command = natsgate(&fake, arguments);
        command.env_remove("NATSGATE_TOKEN");
        command
    };
    fake.will_revoke([Ok(fake::complete())]);
    let token_file = file.to_str().unwrap();
    let output_of = output(without(&["revoke", "rule", "r", "--token-file", token_file])).await;
    assert_eq!(output_of.status.code(), Some(0), "{}", err(&output_of));
    let output_of = output(without(&["revoke", "rule", "r"])).await;
    assert_eq!(output_of.status.code(), Some(1));
    assert!(err(&output_of).contains("NATSGATE_TOKEN"), "{}", err(&output_of));
}

#[tokio::test]
async fn an_endpoint_with_tls_is_spoken_to_as_told() {
    let (fake, files) = Fake::start_tls().await;
    let path = |name: &str| files.path().join(name).display().to_string();
    let (ca, cert, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let all = ["--ca", &ca, "--cert", &cert, "--key", &key];
    fake.will_revoke([Ok(fake::complete())]);
    let output = run(&fake, &[&["revoke", "rule", "r"], all.as_slice()].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));

    // An authority that nobody named is not trusted.
    let output = run(&fake, &["revoke", "rule", "r"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(err(&output).contains("--ca"), "{}", err(&output));
    let output = run(&fake, &["revoke", "rule", "r", "--ca", &ca, "--cert", &cert]).await;
    assert_eq!(output.status.code(), Some(64), "{}", err(&output));
    assert_eq!(fake.revokes().len(), 1);
}

#[tokio::test]
async fn bans_are_listed_page_by_page_and_lifted() {
    let fake = Fake::start().await;
    let output = run(&fake, &["revoke", "bans", "--all"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let told = out(&output);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines,
        [
            "b1  principal alice of https://a: tokens issued until 1970-01-01T00:00:10Z; by backend at 1970-01-01T00:00:11Z (left)",
            "b2  account APP: everyone until 1970-01-01T00:00:20Z; by backend at 1970-01-01T00:00:11Z; LIFTED by admin at \
             1970-01-01T00:00:15Z",
        ]
    );
    let output = run(&fake, &["revoke", "bans", "--json"]).await;
    let bans: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(bans[0]["scope"]["tokens_issued_until"], "1970-01-01T00:00:10Z");

    let arguments = [
        "revoke",
        "lift",
        "b1",
        "--reason",
        "was right",
        "--idempotency-key",
        "k2",
    ];
    let output = run(&fake, &arguments).await;
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(
        out(&output).contains("lifted: the ban of principal alice of https://a"),
        "{}",
        out(&output)
    );
    let lifts = fake.lifts();
    let lift = &lifts[0];
    assert_eq!(
        (
            lift.ban.as_str(),
            lift.reason.as_str(),
            lift.idempotency_key.as_str()
        ),
        ("b1", "was right", "k2")
    );
    let output = run(&fake, &["revoke", "lift", "b9"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("NO_SUCH_BAN"), "{}", err(&output));
}

#[tokio::test]
async fn watching_goes_on_where_it_broke() {
    let fake = Fake::start().await;
    let entry = |revision: &str| v1::WatchRevocationsResponse {
        revision: revision.into(),
        id: format!("e{revision}"),
        at: Some(prost_types::Timestamp {
            seconds: 10,
            nanos: 0,
        }),
        change: Some(v1::watch_revocations_response::Change::Revoked(v1::Revoked {
            selector: Some(v1::Selector {
                selector: Some(Selector::Rule("r\u{1b}[2J".into())),
            }),
            reason: "why".into(),
            actor: "backend".into(),
            banned: false,
        })),
    };
    let begun = v1::WatchRevocationsResponse {
        revision: "0.1".into(),
        ..Default::default()
    };
    let lost = {
        let mut details = ErrorDetails::new();
        details.set_error_info("REVISION_LOST", "natsgate", std::collections::HashMap::new());
        Status::with_error_details(Code::OutOfRange, "begin anew", details)
    };
    fake.will_watch([
        vec![Ok(begun), Ok(entry("0.2")), Err(Status::unavailable("stopping"))],
        vec![Ok(entry("0.3")), Err(lost)],
    ]);
    let output = run(&fake, &["revoke", "watch"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(fake.watched_after(), ["", "0.2"]);
    let expected = |revision: &str| {
        format!("1970-01-01T00:00:10Z  {revision}  revoked: rule r\\u{{1b}}[2J; by backend (why)\n")
    };
    assert_eq!(out(&output), expected("0.2") + &expected("0.3"));
    let said = err(&output);
    assert!(
        said.contains("REVISION_LOST") && said.contains("--after 0.3"),
        "{said}"
    );
}

#[tokio::test]
async fn sessions_are_listed_page_by_page_and_watched() {
    let fake = Fake::start().await;
    let filter = [
        "--cluster",
        "eu-1",
        "--account",
        "APP",
        "--issuer",
        "https://a",
        "--subject",
        "alice",
        "--principal-digest",
        "d",
        "--server",
        "NABC",
    ];
    let output = run(&fake, &[&["sessions"], filter.as_slice()].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let expected = |client: u64| {
        format!(
            "eu-1/NABC/{client}  alice of https://a  account APP, from 192.0.2.7, since 1970-01-01T00:00:10Z, until ?, \
             \"\\u{{1b}}mine\"\n"
        )
    };
    assert_eq!(out(&output), expected(1) + &expected(2));
    assert!(
        err(&output)
            .contains("shim one of cluster eu-1: knows 2 sessions, has applied 0.12, AND DOES NOT KNOW"),
        "{}",
        err(&output)
    );
    let asked = fake.filters();
    assert_eq!(asked.len(), 2, "two pages");
    let wanted = v1::SessionFilter {
        cluster: "eu-1".into(),
        account: "APP".into(),
        issuer: "https://a".into(),
        subject: "alice".into(),
        principal_digest: "d".into(),
        server_id: "NABC".into(),
    };
    assert!(asked.iter().all(|one| *one == wanted), "{asked:?}");
    let output = run(&fake, &["sessions", "--json"]).await;
    let told: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(told["sessions"][1]["client_id"], 2);
    assert_eq!(told["shims"][0]["applied"], "0.12");

    // It lists once watching has begun; what is lost is listed again; what is refused ends it.
    let output = run(&fake, &["sessions", "--watch"]).await;
    assert_eq!(output.status.code(), Some(1));
    let (one, two) = (format!("+ {}", expected(1)), format!("+ {}", expected(2)));
    let gone = "- eu-1/NABC/1  Kicked\n";
    assert_eq!(out(&output), format!("{one}{two}{gone}"));
    assert!(err(&output).contains("listing again"), "{}", err(&output));
}
