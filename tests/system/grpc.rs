//! The decision service as a backend in any language meets it: gRPC, with health and reflection.

use std::io::BufRead;
use std::time::Duration;

use natsgate_core::{Clock, SystemClock};
use natsgate_devkit::{DevProvider, Fault, TokenSpec};
use natsgate_proto::v1;
use natsgate_proto::v1::authorize_response::Result as Answer;
use natsgate_proto::v1::decision_service_client::DecisionServiceClient;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::harness::{
    Cluster, Folder, Gateway, Mode, PATIENCE, SHIM_READY, alice, command, decision_section, free_port,
    provider,
};

const SERVICE: &str = "natsgate.v1.DecisionService";

async fn channel(port: u16) -> Channel {
    Endpoint::from_shared(format!("http://127.0.0.1:{port}"))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

fn question(token: &SecretString) -> v1::AuthorizeRequest {
    let mut connect = v1::ConnectOptions::default();
    connect.auth_token.push_str(token.expose_secret());
    v1::AuthorizeRequest {
        cluster: "by hand".into(),
        server: Some(v1::Server {
            id: "NSERVER".into(),
            ..Default::default()
        }),
        user_nkey: "UUSER".into(),
        client: Some(v1::Client {
            id: 7,
            ..Default::default()
        }),
        connect_options: Some(connect),
        client_tls: None,
        min_revision: String::new(),
    }
}

#[tokio::test]
async fn it_says_that_it_serves_and_what() {
    let provider = provider().await;
    let port = free_port();
    let mut decision = Gateway::decision(provider.issuer(), port).await;
    let channel = channel(port).await;

    let mut health = HealthClient::new(channel.clone());
    for service in ["", SERVICE] {
        let asked = health
            .check(HealthCheckRequest {
                service: service.into(),
            })
            .await
            .unwrap();
        assert_eq!(asked.into_inner().status(), ServingStatus::Serving, "{service:?}");
    }
    let mut watched = health
        .watch(HealthCheckRequest {
            service: SERVICE.into(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        watched.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );

    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services")
    };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(
        names.contains(&SERVICE) && names.contains(&"grpc.health.v1.Health"),
        "{names:?}"
    );

    // Whoever watches is told before it is gone.
    let stopping = tokio::spawn(async move {
        decision.process.stop().await.unwrap();
        decision
    });
    assert_eq!(
        watched.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    drop(watched);
    drop(answers);
    let decision = stopping.await.unwrap();
    assert_eq!(
        decision.lines("the decision service stopped").len(),
        1,
        "{}",
        decision.process.logs()
    );
}

#[tokio::test]
async fn all_in_one_process_serves_both_sides_if_told_to_listen() {
    let provider = provider().await;
    let cluster = Cluster::start(Mode::Config, false).await;
    let port = free_port();
    let config = format!(
        "log: {{ format: json }}\n{}{}",
        cluster.shim_section(),
        decision_section(provider.issuer(), Some(port))
    );
    let mut gateway = Gateway::start("all", &config, SHIM_READY).await;
    let token = provider.issue(alice()).unwrap();
    assert!(cluster.connect(&token).await.is_ok());
    let mut client = DecisionServiceClient::new(channel(port).await);
    assert!(client.authorize(question(&token)).await.is_ok());

    // In JSON every event is an object of its own, the audit's among them.
    let events: Vec<serde_json::Value> = gateway
        .lines("")
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let audit: Vec<_> = events
        .iter()
        .filter(|event| event["target"] == "natsgate::audit")
        .collect();
    assert_eq!(audit.len(), 2);
    assert_eq!(
        (&audit[0]["outcome"], &audit[0]["subject"]),
        (&json!("granted"), &json!("alice"))
    );

    drop(client);
    gateway.process.stop().await.unwrap();
    for stopped in ["the shim stopped", "the decision service stopped"] {
        assert_eq!(gateway.lines(stopped).len(), 1, "{}", gateway.process.logs());
    }
}

#[tokio::test]
async fn a_hostile_caller_writes_no_lines_of_its_own() {
    let provider = provider().await;
    let port = free_port();
    let decision = Gateway::decision(provider.issuer(), port).await;
    let mut client = DecisionServiceClient::new(channel(port).await);
    let forged = "x\n2026-01-01T00:00:00Z  INFO natsgate::audit: granted subject=\"mallory\"";
    let mut request = question(&SecretString::from("no token"));
    request.cluster = forged.into();
    request.server.as_mut().unwrap().id = forged.into();
    request.client.as_mut().unwrap().host = forged.into();
    client.authorize(request).await.unwrap();
    let lines = decision.lines("");
    assert!(
        lines.iter().all(|line| !line.starts_with("2026-01-01T")),
        "{lines:?}"
    );
    assert_eq!(decision.lines("mallory").len(), 1, "{lines:?}");
    assert!(decision.lines("mallory")[0].contains("denied"), "{lines:?}");
}

#[tokio::test]
async fn it_answers_with_a_grant_or_a_denial() {
    let provider = provider().await;
    let port = free_port();
    let _decision = Gateway::decision(provider.issuer(), port).await;
    let mut client = DecisionServiceClient::new(channel(port).await);

    let expiry = SystemClock.unix_seconds() + 100;
    let token = provider.issue(alice().claim("exp", expiry)).unwrap();
    let answer = client.authorize(question(&token)).await.unwrap().into_inner();
    assert!(!answer.decision_id.is_empty());
    let Some(Answer::Grant(grant)) = answer.result else {
        panic!("{answer:?}")
    };
    assert_eq!(grant.account, "APP");
    assert_eq!(grant.principal.as_ref().unwrap().subject, "alice");
    assert_eq!(grant.principal.as_ref().unwrap().issuer, provider.issuer());
    let permissions = grant.permissions.as_ref().unwrap();
    assert_eq!(permissions.publish_allow, ["projects.apollo.in.>"]);
    assert_eq!(permissions.subscribe_allow[0].subject, "projects.apollo.>");
    // Never later than the token's.
    assert_eq!(grant.expires_at.unwrap().seconds, expiry);
    assert_eq!(grant.policy_digest.len(), 64);

    let stranger = provider
        .issue(TokenSpec::new("bob").claim("projects", json!([])))
        .unwrap();
    let answer = client.authorize(question(&stranger)).await.unwrap().into_inner();
    let Some(Answer::Denial(denial)) = answer.result else {
        panic!("{answer:?}")
    };
    assert_eq!(denial.reason, "no_rule_matched");
}

#[tokio::test]
async fn a_request_that_cannot_be_right_is_said_to_be_wrong() {
    let provider = provider().await;
    let port = free_port();
    let _decision = Gateway::decision(provider.issuer(), port).await;
    let mut client = DecisionServiceClient::new(channel(port).await);
    let token = provider.issue(alice()).unwrap();
    for broken in [
        v1::AuthorizeRequest {
            server: None,
            ..question(&token)
        },
        v1::AuthorizeRequest {
            client: None,
            ..question(&token)
        },
        v1::AuthorizeRequest {
            user_nkey: String::new(),
            ..question(&token)
        },
    ] {
        let status = client.authorize(broken).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
}

/// A decision service whose provider does not answer, and which waits for it as long as it may.
async fn held_up(provider: &DevProvider, port: u16) -> Gateway {
    provider.set_fault(Fault::Hold);
    let section = decision_section(provider.issuer(), Some(port));
    let section = section.replace(
        "audiences: [nats]\n",
        "audiences: [nats]\n      fetch_timeout: 60s\n",
    );
    let config = format!("{section}  max_in_flight: 1\n  max_decision_time: 60s\n");
    Gateway::start("decision", &config, "the decision service listens").await
}

#[tokio::test]
async fn the_callers_own_deadline_holds_and_then_there_is_no_answer() {
    let provider = provider().await;
    let port = free_port();
    let _decision = held_up(&provider, port).await;
    let mut client = DecisionServiceClient::new(channel(port).await);
    let mut hurried = Request::new(question(&provider.issue(alice()).unwrap()));
    hurried.set_timeout(Duration::from_millis(300));
    let answer = tokio::time::timeout(PATIENCE, client.authorize(hurried)).await;
    let status = answer.expect("it was held past its deadline").unwrap_err();
    let no_answer = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled];
    assert!(no_answer.contains(&status.code()), "{status:?}");
}

#[tokio::test]
async fn more_than_it_takes_is_sent_away_at_once() {
    let provider = provider().await;
    let port = free_port();
    let _decision = held_up(&provider, port).await;
    let mut client = DecisionServiceClient::new(channel(port).await);
    let token = provider.issue(alice()).unwrap();
    let mut first = client.clone();
    let held = question(&token);
    let held = tokio::spawn(async move { first.authorize(held).await });
    // Once it asks the provider, it has the only place.
    provider.fetched(|fetches| fetches.discovery >= 1).await;
    let status = client.authorize(question(&token)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    provider.set_fault(Fault::None);
    assert!(held.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_log_that_nobody_reads_any_more_stops_nothing() {
    let provider = provider().await;
    let port = free_port();
    let folder = Folder::new(&decision_section(provider.issuer(), Some(port)));
    let mut process = command(folder.path(), &["decision"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let log = process.stderr.take().unwrap();
    let log = tokio::task::spawn_blocking(move || {
        let mut log = std::io::BufReader::new(log);
        let mut line = String::new();
        while !line.contains("the decision service listens") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
        }
        log
    });
    drop(log.await.unwrap());
    let mut client = DecisionServiceClient::new(channel(port).await);
    let token = provider.issue(alice()).unwrap();
    assert!(client.authorize(question(&token)).await.is_ok());
    drop(client);
    let id = process.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    let waiting = async {
        loop {
            if let Some(status) = process.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, waiting).await;
    if ended.is_err() {
        process.kill().unwrap();
    }
    let status = ended.expect("it did not stop");
    assert!(status.success(), "{status}");
}
