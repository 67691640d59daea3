//! Reading the client's own certificate (RFC 5280).

use std::time::SystemTime;

use data_encoding::HEXLOWER;
use natsgate_core::Denial;
use natsgate_core::clock::from_unix_seconds;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

use super::name::written;
use super::refused;

/// The largest certificate, in bytes of PEM.
const MAX_PEM_BYTES: usize = 64 * 1024;

/// What of a client's certificate matters here.
pub(super) struct Leaf {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    /// Whether the extended key usage, if there is one, has clientAuth.
    pub(super) for_clients: bool,
    /// Whether it may sign other certificates.
    pub(super) is_authority: bool,
    pub(super) subject_dn: String,
    /// `None` if one cannot be read.
    pub(super) common_names: Option<Vec<String>>,
    alternative: Alternative,
    pub(super) claims: Map<String, Value>,
}

#[derive(Default)]
struct Alternative {
    dns: Vec<String>,
    email: Vec<String>,
    uri: Vec<String>,
    /// Whether one could not be read: it might be of any kind.
    unreadable: bool,
}

/// The certificate that `pem` is, in DER.
///
/// # Errors
/// If it is anything else.
pub(super) fn der_of(pem: &str) -> Result<Vec<u8>, Denial> {
    let unreadable = || refused("a certificate of the client's chain is not one certificate in PEM form");
    if pem.len() > MAX_PEM_BYTES {
        return Err(refused(
            "a certificate of the client's chain is larger than 64 KiB",
        ));
    }
    let (rest, block) = parse_x509_pem(pem.as_bytes()).map_err(|_| unreadable())?;
    let alone = rest.iter().all(u8::is_ascii_whitespace);
    if block.label != "CERTIFICATE" || !alone {
        return Err(unreadable());
    }
    Ok(block.contents)
}

impl Leaf {
    /// Reads `der`.
    ///
    /// # Errors
    /// If anything in it cannot be read.
    pub(super) fn read(der: &[u8]) -> Result<Self, Denial> {
        let unreadable = |_| refused("the client's certificate cannot be read as X.509");
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| unreadable(()))?;
        if !rest.is_empty() {
            return Err(unreadable(()));
        }
        let broken =
            |extension: &ParsedExtension<'_>| matches!(extension, ParsedExtension::ParseError { .. });
        if certificate
            .iter_extensions()
            .any(|extension| broken(extension.parsed_extension()))
        {
            return Err(refused("an extension of the client's certificate cannot be read"));
        }
        // Finds an extension that is there twice.
        certificate.extensions_map().map_err(|_| unreadable(()))?;

        let usage = certificate.extended_key_usage().map_err(|_| unreadable(()))?;
        let for_clients = usage.is_none_or(|usage| usage.value.client_auth || usage.value.any);
        let constraints = certificate.basic_constraints().map_err(|_| unreadable(()))?;
        let key_usage = certificate.key_usage().map_err(|_| unreadable(()))?;
        let is_authority = constraints.is_some_and(|constraints| constraints.value.ca)
            || key_usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign());
        let alternative = Alternative::of(&certificate)?;
        let time = |time: x509_parser::time::ASN1Time| {
            from_unix_seconds(time.timestamp())
                .ok_or_else(|| refused("the client's certificate has a time that is none"))
        };
        let subject = certificate.subject();
        let common_names: Option<Vec<String>> = subject
            .iter_common_name()
            .map(|name| name.as_str().ok().map(str::to_owned))
            .collect();
        let subject_dn = written(subject);
        let mut claims = Map::new();
        let mut claim = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        claim("subject_dn", json!(subject_dn));
        if let Some([name]) = common_names.as_deref() {
            claim("common_name", json!(name));
        }
        claim("san_dns", json!(alternative.dns));
        claim("san_email", json!(alternative.email));
        claim("san_uri", json!(alternative.uri));
        claim("issuer_dn", json!(written(certificate.issuer())));
        claim("serial", json!(HEXLOWER.encode(certificate.raw_serial())));
        claim("fingerprint_sha256", json!(HEXLOWER.encode(&Sha256::digest(der))));
        Ok(Self {
            not_before: time(certificate.validity().not_before)?,
            not_after: time(certificate.validity().not_after)?,
            for_clients,
            is_authority,
            subject_dn,
            common_names,
            alternative,
            claims,
        })
    }

    /// The DNS names; `None` if a name cannot be read.
    pub(super) fn dns(&self) -> Option<&[String]> {
        (!self.alternative.unreadable).then_some(&self.alternative.dns)
    }

    /// The e-mail addresses; `None` if a name cannot be read.
    pub(super) fn email(&self) -> Option<&[String]> {
        (!self.alternative.unreadable).then_some(&self.alternative.email)
    }

    /// The URIs; `None` if a name cannot be read.
    pub(super) fn uri(&self) -> Option<&[String]> {
        (!self.alternative.unreadable).then_some(&self.alternative.uri)
    }
}

impl Alternative {
    fn of(certificate: &X509Certificate<'_>) -> Result<Self, Denial> {
        let mut all = Self::default();
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| refused("the certificate's alternative names cannot be read"))?;
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => all.dns.push((*name).to_owned()),
                GeneralName::RFC822Name(name) => all.email.push((*name).to_owned()),
                GeneralName::URI(name) => all.uri.push((*name).to_owned()),
                GeneralName::Invalid(..) => all.unreadable = true,
                _ => {}
            }
        }
        Ok(all)
    }
}
