//! PEM files: read, and checked as far as they can be without a connection, so that a mistake shows at the start.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::nats::content;
use super::problem::Problem;

/// The authorities in the file at `path`, as PEM.
///
/// # Errors
/// A [`Problem`] at `key` if it holds no certificate.
pub fn authorities(key: &str, path: &Path) -> Result<String, Problem> {
    let pem = content(key, path)?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(key, &pem)? {
        roots.add(certificate).map_err(|error| {
            Problem::new(
                key,
                format!("holds a certificate that is no authority's: {error}"),
            )
        })?;
    }
    Ok(pem)
}

/// A certificate chain and its key, as PEM, from two files named by `cert_key` and `key_key`.
///
/// # Errors
/// A [`Problem`] if either cannot be read, or if they do not belong together.
pub fn identity(
    (cert_key, cert_path): (&str, &Path),
    (key_key, key_path): (&str, &Path),
) -> Result<(String, String), Problem> {
    let (cert_pem, key_pem) = (content(cert_key, cert_path)?, content(key_key, key_path)?);
    let chain = certificates(cert_key, &cert_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|_| Problem::new(key_key, "holds no private key in PEM form"))?;
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let built = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(rustls::RootCertStore::empty()))
        .and_then(|builder| builder.with_client_auth_cert(chain, key));
    match built {
        Ok(_) => Ok((cert_pem, key_pem)),
        Err(error) => Err(Problem::new(
            key_key,
            format!("does not go with the certificate: {error}"),
        )),
    }
}

fn certificates(key: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let none = || Problem::new(key, "holds no certificate in PEM form");
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(dir: &Path, name: &str) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(dir.join(format!("{name}.pem")), made.cert.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn a_certificate_and_its_key_are_taken_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        pair(dir.path(), "a");
        pair(dir.path(), "b");
        std::fs::write(at("text"), "just text").unwrap();
        let taken = |cert: &str, key: &str| identity(("c", &at(cert)), ("k", &at(key))).map(drop);
        assert_eq!(taken("a.pem", "a.key"), Ok(()));
        assert_eq!(taken("a.pem", "b.key").unwrap_err().key, "k");
        assert_eq!(taken("a.pem", "text").unwrap_err().key, "k");
        assert_eq!(taken("a.key", "a.key").unwrap_err().key, "c");
        assert_eq!(taken("none", "a.key").unwrap_err().key, "c");
        assert!(authorities("ca", &at("a.pem")).is_ok());
        let error = authorities("ca", &at("text")).unwrap_err();
        assert_eq!(error.to_string(), "ca: holds no certificate in PEM form");
    }
}
