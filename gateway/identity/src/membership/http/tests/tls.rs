//! The API over TLS: whom natsgate trusts, and what it shows.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::settings::introspection::ClientCertificateSettings;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key, in PEM form.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (
            params.signed_by(&key, &self.0).unwrap().pem(),
            key.serialize_pem(),
        )
    }
}

/// An API that answers `[]` over TLS to those whose certificate `clients` vouches for, if given.
async fn start(server: &Authority, name: &str, clients: Option<&Authority>) -> (String, JoinHandle<()>) {
    let (certificate, key) = server.issue(name);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.0.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = builder.with_single_cert(vec![certificate], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = [0; 4096];
            let _read = stream.read(&mut request).await;
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]";
            let _written = stream.write_all(answer.as_bytes()).await;
            let _closed = stream.shutdown().await;
        }
    });
    (url, task)
}

fn put(folder: &TempDir, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn only_an_api_with_a_trusted_certificate_of_its_name_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new("servers");
    let (url, task) = start(&ca, "localhost", None).await;
    let mut settings = settings(&url);
    let why = unanswered(&settings).await;
    assert!(why.contains("certificate"), "{why}");
    settings.ca_file = Some(put(&folder, "ca.pem", &ca.0.pem()));
    assert_eq!(ask(&settings).await.unwrap(), [""; 0]);
    settings.ca_file = Some(put(&folder, "other.pem", &Authority::new("strangers").0.pem()));
    unanswered(&settings).await;
    task.abort();

    let (url, task) = start(&ca, "elsewhere.example", None).await;
    let mut settings = super::settings(&url);
    settings.ca_file = Some(put(&folder, "ca.pem", &ca.0.pem()));
    let why = unanswered(&settings).await;
    assert!(why.contains("certificate"), "{why}");
    task.abort();
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_one_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (url, task) = start(&ca, "localhost", Some(&clients)).await;
    let mut settings = settings(&url);
    settings.ca_file = Some(put(&folder, "ca.pem", &ca.0.pem()));
    unanswered(&settings).await;

    let (certificate, key) = clients.issue("natsgate");
    let mut files = ClientCertificateSettings {
        certificate_file: put(&folder, "client.pem", &certificate),
        key_file: put(&folder, "client.key", &key),
    };
    settings.client_certificate = Some(files.clone());
    assert_eq!(ask(&settings).await.unwrap(), [""; 0]);

    files.key_file = "/nowhere/client.key".into();
    settings.client_certificate = Some(files.clone());
    let error = HttpMemberships::new(&settings).unwrap_err();
    assert!(error.key.ends_with("client_certificate.key_file"), "{error}");
    files.key_file = put(&folder, "no.key", "hidden");
    settings.client_certificate = Some(files);
    let error = HttpMemberships::new(&settings).unwrap_err();
    assert!(
        error.key.ends_with("client_certificate") && !error.problem.contains("hidden"),
        "{error}"
    );
    task.abort();
}
