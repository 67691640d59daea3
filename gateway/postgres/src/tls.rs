//! TLS to PostgreSQL: always verified, always by the crypto provider that the rest of natsgate uses.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::PostgresSettingsError;
use crate::settings::PostgresTlsSettings;

/// What connects to a server by `settings`.
pub(crate) fn connector(settings: &PostgresTlsSettings) -> Result<MakeRustlsConnect, PostgresSettingsError> {
    let wrong = |field, problem: String| PostgresSettingsError::new(field, problem);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("tls", format!("TLS cannot be set up ({error})")))?
        .with_root_certificates(roots(settings.ca_file.as_deref())?);
    let config = match (&settings.cert_file, &settings.key_file) {
        (Some(cert_file), Some(key_file)) => {
            let certificates = certificates("tls.cert_file", cert_file)?;
            let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| {
                let shown = key_file.display();
                wrong(
                    "tls.key_file",
                    format!("reading {shown}: {error}; it must hold a private key in PEM form"),
                )
            })?;
            builder
                .with_client_auth_cert(certificates, key)
                .map_err(|error| {
                    wrong(
                        "tls.key_file",
                        format!("does not go with the certificate in `cert_file` ({error})"),
                    )
                })?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(MakeRustlsConnect::new(config))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, PostgresSettingsError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in certificates("tls.ca_file", path)? {
                roots.add(certificate).map_err(|error| {
                    let shown = path.display();
                    PostgresSettingsError::new(
                        "tls.ca_file",
                        format!("{shown} holds a certificate that cannot be used ({error})"),
                    )
                })?;
            }
        }
        None => {
            let system = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(system.certs);
            if roots.is_empty() {
                return Err(PostgresSettingsError::new(
                    "tls.ca_file",
                    "this system has no trusted certificates: install its CA certificates, or name a file",
                ));
            }
        }
    }
    Ok(roots)
}

fn certificates(
    field: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, PostgresSettingsError> {
    let wrong = |problem: String| {
        let shown = path.display();
        PostgresSettingsError::new(field, format!("reading {shown}: {problem}"))
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong("it holds no certificate in PEM form".to_owned()));
    }
    Ok(certificates)
}
