//! TLS to a real PostgreSQL.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic; clippy.toml's leave for tests does not reach helpers in tests/"
)]

use std::path::PathBuf;
use std::time::Duration;

use natsgate_core::Deadline;
use natsgate_devkit::{DevkitError, PostgresOptions, PostgresServer, PostgresTls};
use natsgate_postgres::{Pool, PostgresSettings, PostgresTlsMode};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key, in PEM form.
    fn issue(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &self.0)
            .unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

struct Files(TempDir);

impl Files {
    fn put(&self, name: &str, text: &str) -> Option<PathBuf> {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    }
}

/// A server with a certificate for `names`; `None` where PostgreSQL was built without TLS.
async fn server(ca: &Authority, names: &[&str], client_ca: Option<&Authority>) -> Option<PostgresServer> {
    let (certificate_pem, key_pem) = ca.issue(names);
    let tls = PostgresTls {
        certificate_pem,
        key_pem,
        client_ca_pem: client_ca.map(Authority::pem),
    };
    let options = PostgresOptions {
        settings: Vec::new(),
        tls: Some(tls),
    };
    match PostgresServer::start_with(options).await {
        Err(DevkitError::Exited { log, .. }) if log.contains("not supported by this build") => {
            eprintln!("NOT TESTED: this PostgreSQL was built without TLS; apt-get install postgresql");
            None
        }
        started => Some(started.unwrap()),
    }
}

fn settings(server: &PostgresServer, host: &str) -> PostgresSettings {
    let mut settings = PostgresSettings::new(host, server.database(), server.user());
    settings.port = server.port();
    settings.password = Some(server.password().into());
    settings
}

async fn check(settings: &PostgresSettings) -> Result<(), String> {
    let pool = Pool::new(settings).map_err(|error| error.to_string())?;
    let deadline = Deadline::after(Duration::from_secs(30));
    pool.check(deadline).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn only_a_trusted_server_of_the_right_name_is_spoken_to() {
    let ca = Authority::new("servers");
    let Some(server) = server(&ca, &["localhost"], None).await else {
        return;
    };
    let files = Files(tempfile::tempdir().unwrap());

    let mut good = settings(&server, "localhost");
    good.tls.ca_file = files.put("ca.pem", &ca.pem());
    assert_eq!(check(&good).await, Ok(()));

    let mut other_name = settings(&server, "127.0.0.1");
    other_name.tls.ca_file = good.tls.ca_file.clone();
    let error = check(&other_name).await.unwrap_err();
    assert!(error.contains("TLS") && error.contains("names `host`"), "{error}");

    let mut stranger = settings(&server, "localhost");
    stranger.tls.ca_file = files.put("other-ca.pem", &Authority::new("strangers").pem());
    let error = check(&stranger).await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");

    let mut plain = settings(&server, "localhost");
    plain.tls.mode = Some(PostgresTlsMode::Disable);
    let error = check(&plain).await.unwrap_err();
    assert!(error.contains("no encryption"), "{error}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_one_is_wanted() {
    let (ca, clients) = (Authority::new("servers"), Authority::new("clients"));
    let Some(server) = server(&ca, &["localhost"], Some(&clients)).await else {
        return;
    };
    let files = Files(tempfile::tempdir().unwrap());
    let (certificate, key) = clients.issue(&["natsgate"]);

    let mut without = settings(&server, "localhost");
    without.tls.ca_file = files.put("ca.pem", &ca.pem());
    assert!(check(&without).await.is_err());

    let mut with = without.clone();
    with.tls.cert_file = files.put("client.pem", &certificate);
    with.tls.key_file = files.put("client.key", &key);
    assert_eq!(check(&with).await, Ok(()));

    let mut mixed_up = with.clone();
    mixed_up.tls.key_file = files.put("other.key", &clients.issue(&["x"]).1);
    let error = check(&mixed_up).await.unwrap_err();
    assert!(error.starts_with("tls.key_file: "), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_never_spoken_to_in_the_clear_instead() {
    let server = PostgresServer::start().await.unwrap();
    let files = Files(tempfile::tempdir().unwrap());
    let mut settings = settings(&server, "127.0.0.1");
    settings.tls.ca_file = files.put("ca.pem", &Authority::new("strangers").pem());
    let error = check(&settings).await.unwrap_err();
    assert!(error.contains("does not support TLS"), "{error}");
}

#[tokio::test]
async fn files_that_hold_nothing_of_use_are_refused_at_the_start() {
    let files = Files(tempfile::tempdir().unwrap());
    let mut settings = PostgresSettings::new("localhost", "a", "b");
    settings.tls.ca_file = Some("/nowhere/ca.pem".into());
    let error = check(&settings).await.unwrap_err();
    assert!(
        error.starts_with("tls.ca_file: reading /nowhere/ca.pem"),
        "{error}"
    );
    settings.tls.ca_file = files.put("empty", "not a certificate");
    let error = check(&settings).await.unwrap_err();
    assert!(error.contains("no certificate"), "{error}");
}
