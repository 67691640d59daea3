//! The other ways to be somebody: an opaque token, and a client certificate.

use async_nats::ConnectOptions;
use natsgate_devkit::{
    ConfigMode, ConfigModeOptions, IntrospectionClient, NatsServer, NatsServerOptions, OidcProvider,
    OidcProviderOptions, TokenFormat, TokenOptions,
};
use serde_json::json;

use crate::credentials::certificates;
use crate::harness::{Cluster, Folder, Gateway, Keys, Mode, SHIM_READY, install_crypto};

#[tokio::test]
async fn an_opaque_token_gets_in_while_its_provider_says_that_it_is_in_force() {
    install_crypto();
    let provider = OidcProvider::start(OidcProviderOptions::default()).await.unwrap();
    let cluster = Cluster::start(Mode::OperatorWithDefaultSentinel, true).await;
    let client = IntrospectionClient::BASIC;
    let config = format!(
        "{}decision:\n  policy_file: policy.yaml\n  providers:\n    - name: test\n      issuer: {}\n      audiences: [nats]\n      \
         verify: [introspection]\n      introspection:\n        client_id: {}\n        authentication: {{ \
         client_secret_basic: {{ secret: '{}' }} }}\n  memberships:\n    - claim: {{ name: projects, kind: project, role: member \
         }}\n",
        cluster.shim_section(),
        provider.issuer(),
        client.id,
        client.secret,
    );
    let gateway = Gateway::start("all", &config, SHIM_READY).await;
    let token = async || {
        let options = TokenOptions::default()
            .format(TokenFormat::Opaque)
            .claim("projects", json!(["apollo"]));
        provider.token("alice", options).await.unwrap()
    };

    let good = token().await;
    let session = cluster.connect(&good).await.unwrap();
    let glass = cluster.break_glass().await;
    assert!(session.may_publish("projects.apollo.in.x", &glass).await);
    assert!(!session.may_publish("projects.gemini.in.x", &glass).await);

    let revoked = token().await;
    provider.revoke(&revoked).await.unwrap();
    assert!(cluster.connect(&revoked).await.is_err());
    assert_eq!(gateway.lines("inactive_token").len(), 1);
    for secret in [&good, &revoked] {
        let secret = secrecy::ExposeSecret::expose_secret(secret);
        assert!(gateway.lines(secret).is_empty(), "a token is in the log");
    }
    assert!(
        gateway.lines(client.secret).is_empty(),
        "the client's secret is in the log"
    );
}

#[tokio::test]
async fn a_client_certificate_is_somebody() {
    install_crypto();
    let folder = Folder::new("");
    certificates(folder.path());
    let dir = folder.path().to_owned();
    let keys = ConfigMode::generate(ConfigModeOptions::default()).unwrap();
    let file = |name: &str| dir.join(name).display().to_string();
    let config = format!(
        "{}\ntls {{ cert_file: '{}', key_file: '{}', ca_file: '{}', verify: true }}\n",
        keys.server_config(),
        file("server.pem"),
        file("server.key"),
        file("ca.pem"),
    );
    let options = NatsServerOptions {
        config,
        ..Default::default()
    };
    let cluster = Cluster {
        nats: NatsServer::start(options).await.unwrap(),
        keys: Keys::Config(Box::new(keys)),
        pushes: false,
    };
    let tls = "tls: { required: true, ca_file: ca.pem, cert_file: client.pem, key_file: client.key }";
    let section = cluster
        .shim_section()
        .replace(", user:", &format!(", {tls}, user:"));
    let config = |allowed: &str| {
        format!(
            "{section}decision:\n  policy_file: policy.yaml\n  credentials: [certificate]\n  certificates:\n    - {{ name: edge, \
             subject_from: common_name{allowed} }}\n  memberships:\n    - file: {{ path: members.yaml }}\n"
        )
    };
    folder.write(
        "members.yaml",
        "memberships:\n  - { issuer: x509, subject: client, kind: project, id: apollo, role: member }\n",
    );
    folder.write("natsgate.yaml", &config(""));
    let gateway = Gateway::start_in(folder, "all", SHIM_READY).await;
    let options = || {
        ConnectOptions::new()
            .add_root_certificates(dir.join("ca.pem"))
            .add_client_certificate(dir.join("client.pem"), dir.join("client.key"))
            .require_tls(true)
    };
    assert!(cluster.connect_with(options()).await.is_ok());
    assert_eq!(gateway.lines("granted").len(), 1);

    // The server's own certificate is of the same authority, and not for clients.
    let foreign = ConnectOptions::new()
        .add_root_certificates(dir.join("ca.pem"))
        .add_client_certificate(dir.join("server.pem"), dir.join("server.key"))
        .require_tls(true);
    assert!(cluster.connect_with(foreign).await.is_err());
    assert_eq!(gateway.lines("granted").len(), 1);
}
