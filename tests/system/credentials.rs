//! The ways a shim can authenticate to NATS, and what of a client's TLS connection reaches the decision service.
//!
//! Credentials files (operator mode) and user and password (config mode) are what every other test uses.

use std::path::Path;

use async_nats::ConnectOptions;
use natsgate_devkit::{ConfigMode, ConfigModeOptions, NatsServer, NatsServerOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use secrecy::ExposeSecret;

use crate::ceilings::{Foreign, everything};
use crate::harness::{
    Cluster, Folder, Gateway, Keys, Mode, SHIM_READY, alice, decision_section, install_crypto, provider,
};

#[tokio::test]
async fn a_bare_nkey() {
    let provider = provider().await;
    let cluster = Cluster::start(Mode::Config, false).await;
    let Keys::Config(keys) = &cluster.keys else {
        unreachable!("config mode")
    };
    let seed = keys.callout_nkey.seed().unwrap();
    let url = cluster.nats.client_url();
    let section = cluster.shim_section();
    let replaced: String = section
        .lines()
        .map(|line| match line.trim_start().starts_with("nats:") {
            true => format!(
                "  nats: {{ servers: ['{url}'], nkey_seed: {} }}\n",
                seed.expose_secret()
            ),
            false => format!("{line}\n"),
        })
        .collect();
    let config = format!("{replaced}{}", decision_section(provider.issuer(), None));
    let _gateway = Gateway::start("all", &config, SHIM_READY).await;
    assert!(cluster.connect(&provider.issue(alice()).unwrap()).await.is_ok());
}

/// An authority, a server certificate and a client certificate, as PEM files.
pub fn certificates(folder: &Path) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(rcgen::DnType::CommonName, "natsgate test authority");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    for (name, usage) in [
        ("server", ExtendedKeyUsagePurpose::ServerAuth),
        ("client", ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test]
async fn tls_with_client_certificates() {
    install_crypto();
    let folder = Folder::new("");
    certificates(folder.path());
    let dir = folder.path().display().to_string();
    let keys = ConfigMode::generate(ConfigModeOptions::default()).unwrap();
    let config = format!(
        "{}\ntls {{ cert_file: '{dir}/server.pem', key_file: '{dir}/server.key', ca_file: '{dir}/ca.pem', verify: true }}\n",
        keys.server_config()
    );
    let nats = NatsServer::start(NatsServerOptions {
        config,
        ..Default::default()
    })
    .await
    .unwrap();
    let cluster = Cluster {
        nats,
        keys: Keys::Config(Box::new(keys)),
        pushes: false,
    };
    let (foreign, port) = Foreign::serve(everything("APP")).await;

    // Paths are relative to the configuration file.
    let tls = "tls: { required: true, ca_file: ca.pem, cert_file: client.pem, key_file: client.key }";
    let section = cluster
        .shim_section()
        .replace(", user:", &format!(", {tls}, user:"));
    folder.write(
        "natsgate.yaml",
        &format!("{section}  decision: {{ endpoints: ['http://127.0.0.1:{port}'] }}\n"),
    );
    let _gateway = Gateway::start_in(folder, "shim", SHIM_READY).await;

    let path = |name: &str| Path::new(&dir).join(name);
    let options = ConnectOptions::with_token("opaque".into())
        .add_root_certificates(path("ca.pem"))
        .add_client_certificate(path("client.pem"), path("client.key"))
        .require_tls(true);
    assert!(cluster.connect_with(options).await.is_ok());

    let tls = foreign
        .asked()
        .client_tls
        .clone()
        .expect("the TLS connection is told");
    assert_eq!(tls.version, "1.3");
    assert!(!tls.cipher.is_empty());
    let chain = &tls.verified_chains[0].certs;
    let leaf = std::fs::read_to_string(path("client.pem")).unwrap();
    assert_eq!(chain.len(), 2, "leaf and authority");
    assert_eq!(chain[0].replace('\r', "").trim(), leaf.replace('\r', "").trim());
}

#[tokio::test]
async fn mutual_tls_between_shim_and_decision_service() {
    let provider = provider().await;
    let cluster = Cluster::start(Mode::Config, false).await;
    let folder = Folder::new("");
    certificates(folder.path());
    let dir = folder.path().display().to_string();
    let port = crate::harness::free_port();
    let decision = decision_section(provider.issuer(), Some(port)).replace(
        "decision:\n",
        &format!(
            "decision:\n  tls: {{ cert_file: '{dir}/server.pem', key_file: '{dir}/server.key', client_ca_file: '{dir}/ca.pem' }}\n"
        ),
    );
    let _decision = Gateway::start("decision", &decision, "the decision service listens").await;
    let shim = |identity: &str| {
        format!(
            "{}  decision:\n    endpoints: ['https://localhost:{port}']\n    tls: {{ ca_file: '{dir}/ca.pem'{identity} }}\n",
            cluster.shim_section()
        )
    };
    let token = provider.issue(alice()).unwrap();

    // Without a certificate the decision service does not talk to it, so nobody is let in.
    let stranger = Gateway::start("shim", &shim(""), SHIM_READY).await;
    let error = cluster.connect(&token).await.err().expect("let in by a stranger");
    assert_ne!(error, async_nats::ConnectErrorKind::AuthorizationViolation);
    drop(stranger);

    let identity = format!(", cert_file: '{dir}/client.pem', key_file: '{dir}/client.key'");
    let _known = Gateway::start("shim", &shim(&identity), SHIM_READY).await;
    // The stranger may still be subscribed for a moment, as far as the server knows.
    let mut tries = 0;
    while cluster.connect(&token).await.is_err() {
        tries += 1;
        assert!(tries < 20, "never let in");
    }
}
