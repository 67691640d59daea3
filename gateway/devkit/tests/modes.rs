//! The generated configurations, on real servers: who gets in, and that nobody does without an answer to the callout.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic; clippy.toml's leave for tests does not reach helpers in tests/"
)]

use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions};
use natsgate_devkit::{
    ConfigMode, ConfigModeOptions, ConfiguredUser, NatsServer, NatsServerOptions, NatsVersion, OperatorMode,
    OperatorModeOptions, PreparedUser,
};
use secrecy::ExposeSecret;
use serde_json::Value;

async fn start(version: NatsVersion, config: String) -> NatsServer {
    NatsServer::start(NatsServerOptions {
        version,
        config,
        ..Default::default()
    })
    .await
    .unwrap()
}

/// The account the server says the client is in.
async fn account(client: &Client) -> String {
    let answer = client.request("$SYS.REQ.USER.INFO", "".into()).await.unwrap();
    let info: Value = serde_json::from_slice(&answer.payload).unwrap();
    info["data"]["account"].as_str().unwrap().to_owned()
}

async fn by_creds(server: &NatsServer, user: &PreparedUser) -> Result<Client, ConnectError> {
    let options = ConnectOptions::with_credentials(&user.credentials.format()).unwrap();
    options
        .connection_timeout(Duration::from_secs(20))
        .connect(server.client_url())
        .await
}

async fn by_password(server: &NatsServer, user: &ConfiguredUser) -> Client {
    let password = user.password.expose_secret().to_owned();
    ConnectOptions::with_user_and_password(user.user.clone(), password)
        .connect(server.client_url())
        .await
        .unwrap()
}

fn assert_refused(result: Result<Client, ConnectError>, server: &NatsServer) {
    let error = result.expect_err("nobody answers, so nobody gets in");
    let kind = ConnectErrorKind::AuthorizationViolation;
    assert_eq!(
        error.kind(),
        kind,
        "{} {error}\n{}",
        server.version(),
        server.logs()
    );
}

fn short() -> Duration {
    Duration::from_millis(500)
}

#[tokio::test]
async fn operator_mode_lets_in_its_prepared_users_and_nobody_else() {
    for version in NatsVersion::ALL {
        for xkey in [false, true] {
            let options = OperatorModeOptions {
                xkey,
                auth_timeout: short(),
                ..Default::default()
            };
            let mode = OperatorMode::generate(options).unwrap();
            let server = start(version, mode.server_config()).await;
            let app = mode.account("APP").unwrap();
            for (user, expected) in [
                (&mode.callout_user, mode.callout_account.public_key()),
                (&mode.system_user, mode.system_account.public_key()),
                (&mode.break_glass_user, app.key.public_key()),
            ] {
                assert_eq!(
                    account(&by_creds(&server, user).await.unwrap()).await,
                    expected,
                    "{version}"
                );
            }
            let sentinel = by_creds(&server, &mode.sentinel).await;
            if version < NatsVersion::V2_15_1 {
                // To a client that brought a JWT they say nothing: they take a callout without an answer for a full
                // account, and hang up.
                assert_eq!(sentinel.err().unwrap().kind(), ConnectErrorKind::Io, "{version}");
                assert!(
                    server
                        .logs()
                        .contains("maximum account active connections exceeded"),
                    "{version}"
                );
            } else {
                assert_refused(sentinel, &server);
            }
            assert!(
                async_nats::connect(server.client_url()).await.is_err(),
                "{version}"
            );
        }
    }
}

#[tokio::test]
async fn config_mode_lets_in_its_configured_users_and_nobody_else() {
    for version in NatsVersion::ALL {
        for xkey in [false, true] {
            let options = ConfigModeOptions {
                xkey,
                auth_timeout: short(),
                ..Default::default()
            };
            let mode = ConfigMode::generate(options).unwrap();
            let server = start(version, mode.server_config()).await;
            for (user, expected) in [
                (&mode.callout_user, "AUTH"),
                (&mode.system_user, "SYS"),
                (&mode.break_glass_user, "APP"),
            ] {
                assert_eq!(
                    account(&by_password(&server, user).await).await,
                    expected,
                    "{version}"
                );
            }
            let seed = mode.callout_nkey.seed().unwrap().expose_secret().to_owned();
            let by_nkey = ConnectOptions::with_nkey(seed)
                .connect(server.client_url())
                .await
                .unwrap();
            assert_eq!(account(&by_nkey).await, "AUTH", "{version}");
            assert_refused(
                ConnectOptions::with_token("x".to_owned())
                    .connect(server.client_url())
                    .await,
                &server,
            );
        }
    }
}

/// With a default sentinel the callout is asked about a client that brings nothing of NATS' own.
#[tokio::test]
async fn a_default_sentinel_brings_bare_tokens_to_the_callout() {
    for xkey in [false, true] {
        let options = OperatorModeOptions {
            xkey,
            default_sentinel: true,
            ..Default::default()
        };
        let mode = OperatorMode::generate(options).unwrap();
        let server = start(NatsVersion::V2_15_1, mode.server_config()).await;
        let callout = by_creds(&server, &mode.callout_user).await.unwrap();
        let mut requests = callout.subscribe("$SYS.REQ.USER.AUTH").await.unwrap();
        callout.flush().await.unwrap();
        let client = ConnectOptions::with_token("bare".to_owned()).connect(server.client_url());
        let asked = futures::StreamExt::next(&mut requests);
        let (client, asked) = tokio::join!(client, async {
            let request = asked.await.unwrap();
            // An empty answer is a denial.
            callout
                .publish(request.reply.clone().unwrap(), "".into())
                .await
                .unwrap();
            request
        });
        assert_refused(client, &server);
        let sealed = asked.payload.starts_with(b"xkv1");
        assert_eq!(sealed, xkey);
    }
}

#[tokio::test]
async fn a_full_resolver_serves_the_same_accounts() {
    let mode = OperatorMode::generate(OperatorModeOptions {
        full_resolver: true,
        ..Default::default()
    })
    .unwrap();
    let server = start(NatsVersion::V2_15_1, mode.server_config()).await;
    let system = by_creds(&server, &mode.system_user).await.unwrap();
    let app = mode.account("APP").unwrap();
    let subject = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.LOOKUP", app.key.public_key());
    assert_eq!(
        system.request(subject, "".into()).await.unwrap().payload,
        app.jwt.as_bytes()
    );
}
