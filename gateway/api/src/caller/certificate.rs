//! The names in a client certificate. That the certificate is genuine, was found out in the TLS handshake; that it still
//! is in force is looked at here, since connections live long.

use std::time::SystemTime;

use natsgate_core::clock::unix_seconds;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::settings::CertificateName;

/// What a certificate calls its holder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) uris: Vec<String>,
    /// In lower case.
    pub(super) dns: Vec<String>,
    pub(super) common: Vec<String>,
}

/// Reads the names of the certificate `der`.
///
/// # Errors
/// Why it does not count at the time `now`.
pub(super) fn names(der: &[u8], now: SystemTime) -> Result<Names, &'static str> {
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_| "the client certificate cannot be read")?;
    if !rest.is_empty() {
        return Err("the client certificate cannot be read");
    }
    let validity = certificate.validity();
    let now = unix_seconds(now);
    if now < validity.not_before.timestamp() || now > validity.not_after.timestamp() {
        return Err("the client certificate is not in force by now");
    }
    let mut names = Names::default();
    let alternative = certificate
        .subject_alternative_name()
        .map_err(|_| "the client certificate's alternative names cannot be read")?;
    for name in alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
    {
        match name {
            GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
            GeneralName::DNSName(dns) => names.dns.push(dns.to_ascii_lowercase()),
            _ => {}
        }
    }
    for common in certificate.subject().iter_common_name() {
        let text = common
            .as_str()
            .map_err(|_| "the client certificate's common name cannot be read")?;
        names.common.push(text.to_owned());
    }
    Ok(names)
}

impl Names {
    /// Whether `wanted` is one of them. A common name must be the only one.
    pub(super) fn have(&self, wanted: &CertificateName) -> bool {
        match wanted {
            CertificateName::Uri(uri) => self.uris.contains(uri),
            CertificateName::Dns(dns) => self.dns.contains(dns),
            CertificateName::Common(name) => self.common == [name.as_str()],
        }
    }
}
