//! Clients with tokens of a real OpenID provider get in, with exactly their permissions.

use std::time::Duration;

use async_nats::{ConnectOptions, Event};
use natsgate_devkit::{OidcProvider, OidcProviderOptions, SigningAlgorithm, TokenOptions};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::harness::{Cluster, Folder, Gateway, Mode, SHIM_READY, Session, alice, install_crypto, provider};

/// Alice, a member of apollo, gets in and may do what the policy says, no more.
async fn alice_gets_in(mode: Mode, xkey: bool, algorithm: SigningAlgorithm) {
    install_crypto();
    let provider = OidcProvider::start(OidcProviderOptions {
        algorithm,
        ..Default::default()
    })
    .await
    .unwrap();
    let cluster = Cluster::start(mode, xkey).await;
    let _gateway = Gateway::all(&cluster, provider.issuer()).await;
    let options = TokenOptions::default().claim("projects", json!(["apollo"]));
    let token = provider.token("alice", options).await.unwrap();

    let session = cluster.connect(&token).await.unwrap();
    assert_member_of_apollo(&cluster, &session).await;
}

async fn assert_member_of_apollo(cluster: &Cluster, session: &Session) {
    let watcher = cluster.break_glass().await;
    for (subject, allowed) in [
        ("projects.apollo.in.telemetry", true),
        ("projects.apollo.out.telemetry", false),
        ("projects.gemini.in.telemetry", false),
        ("other", false),
        ("$SYS.REQ.SERVER.PING", false),
    ] {
        assert_eq!(
            session.may_publish(subject, &watcher).await,
            allowed,
            "publish {subject}"
        );
    }
    for (subject, allowed) in [
        ("projects.apollo.out.telemetry", true),
        ("projects.apollo.>", true),
        ("projects.gemini.>", false),
        ("projects.*.in.a", false),
        (">", false),
    ] {
        assert_eq!(
            session.may_subscribe(subject, &watcher).await,
            allowed,
            "subscribe {subject}"
        );
    }
}

#[tokio::test]
async fn config_mode_rs256() {
    alice_gets_in(Mode::Config, false, SigningAlgorithm::Rs256).await;
}

#[tokio::test]
async fn config_mode_sealed_es256() {
    alice_gets_in(Mode::Config, true, SigningAlgorithm::Es256).await;
}

#[tokio::test]
async fn operator_mode_es256() {
    alice_gets_in(Mode::Operator, false, SigningAlgorithm::Es256).await;
}

#[tokio::test]
async fn operator_mode_sealed_rs256() {
    alice_gets_in(Mode::Operator, true, SigningAlgorithm::Rs256).await;
}

#[tokio::test]
async fn default_sentinel_spares_the_client_credentials() {
    alice_gets_in(Mode::OperatorWithDefaultSentinel, false, SigningAlgorithm::Es256).await;
}

#[tokio::test]
async fn default_sentinel_sealed() {
    alice_gets_in(Mode::OperatorWithDefaultSentinel, true, SigningAlgorithm::Rs256).await;
}

#[tokio::test]
async fn the_connection_ends_when_the_token_expires() {
    install_crypto();
    let provider = OidcProvider::start(OidcProviderOptions::default()).await.unwrap();
    let cluster = Cluster::start(Mode::Operator, false).await;
    let _gateway = Gateway::all(&cluster, provider.issuer()).await;
    let ttl = Duration::from_secs(4);
    let options = TokenOptions {
        ttl: Some(ttl),
        ..Default::default()
    }
    .claim("projects", json!(["apollo"]));
    let token = provider.token("alice", options).await.unwrap();

    let session = cluster.connect(&token).await.unwrap();
    session
        .event(|event| matches!(event, Event::ServerError(error) if error.to_string().contains("Authentication Expired")))
        .await;
    session.event(|event| matches!(event, Event::Disconnected)).await;
    // The token is no better than before: nobody comes back with it.
    let refused = cluster.connect(&token).await.err();
    assert_eq!(
        refused,
        Some(async_nats::ConnectErrorKind::AuthorizationViolation)
    );
}

#[tokio::test]
async fn the_token_may_be_the_password_or_in_a_json_credential() {
    let provider = provider().await;
    let cluster = Cluster::start(Mode::Config, false).await;
    let _gateway = Gateway::all(&cluster, provider.issuer()).await;
    let token = provider.issue(alice()).unwrap();
    let text = token.expose_secret();
    let json = json!({ "token": text }).to_string();
    for options in [
        ConnectOptions::with_user_and_password("alice".into(), text.into()),
        ConnectOptions::with_user_and_password("anybody".into(), json.clone()),
        ConnectOptions::with_token(json),
    ] {
        assert!(cluster.connect_with(options).await.is_ok());
    }
}

#[tokio::test]
async fn memberships_may_come_from_a_file() {
    let provider = provider().await;
    let cluster = Cluster::start(Mode::Config, false).await;
    let issuer = provider.issuer();
    let decision = format!(
        "decision:\n  policy_file: policy.yaml\n  providers: [{{ name: test, issuer: '{issuer}', audiences: [nats] }}]\n  \
         memberships: [{{ file: {{ path: members.yaml }} }}]\n"
    );
    let folder = Folder::new(&format!("{}{decision}", cluster.shim_section()));
    folder.write(
        "members.yaml",
        &format!("memberships:\n  - {{ issuer: '{issuer}', subject: bob, kind: project, id: apollo, role: member }}\n"),
    );
    let _gateway = Gateway::start_in(folder, "all", SHIM_READY).await;

    let issue =
        |name: &str| -> SecretString { provider.issue(natsgate_devkit::TokenSpec::new(name)).unwrap() };
    let session = cluster.connect(&issue("bob")).await.unwrap();
    assert_member_of_apollo(&cluster, &session).await;
    assert!(cluster.connect(&issue("carol")).await.is_err());
}
