//! Client certificates as identities: which of them, and what in them is the name.

use schemars::JsonSchema;
use serde::Deserialize;

use super::SettingsError;

/// Client certificates that open NATS. The nats-server verifies them (`tls { verify: true }`), against the authorities that
/// its own configuration names; only what it has verified is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateSettings {
    /// A short name of your choice, for logs, errors and policy.
    pub name: String,
    /// The issuer of these principals, as policies, memberships and revocations name it. No provider's issuer.
    #[serde(default = "default_issuer")]
    pub issuer: String,
    /// What in the certificate names the client. There must be exactly one of it.
    pub subject_from: SubjectFrom,
    /// Which certificates are accepted; all that the nats-server verified, unless limited here.
    #[serde(default)]
    pub allowed: AllowedCertificates,
}

/// What in a certificate is the client's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubjectFrom {
    /// The whole subject, as RFC 4514 writes it: `CN=alice,O=Example`.
    SubjectDn,
    /// The subject's common name.
    CommonName,
    /// The DNS name among the alternative names, in lower case.
    SanDns,
    /// The e-mail address among the alternative names.
    SanEmail,
    /// The URI among the alternative names.
    SanUri,
    /// The SPIFFE id: the URI among the alternative names of an X.509-SVID.
    SpiffeId,
}

/// Limits on the certificates that are accepted. All that are set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AllowedCertificates {
    /// For `spiffe_id`, where it is required: the trust domains, such as `prod.example`.
    #[serde(default)]
    pub spiffe_trust_domains: Vec<String>,
    /// For `san_dns`: the name must be one of these or below one (`svc.example` for `a.svc.example`).
    #[serde(default)]
    pub dns_suffixes: Vec<String>,
    /// For `san_email`: the address must be at one of these domains.
    #[serde(default)]
    pub email_domains: Vec<String>,
    /// For `san_uri`: the URI must begin with one of these, which end in `/` or `:`.
    #[serde(default)]
    pub uri_prefixes: Vec<String>,
    /// SHA-256 fingerprints, in hexadecimal: an authority above the client's certificate must have one of them.
    #[serde(default)]
    pub ca_fingerprints: Vec<String>,
}

fn default_issuer() -> String {
    "x509".to_owned()
}

impl CertificateSettings {
    /// Settings with nothing but defaults beside what has none.
    pub fn new(name: impl Into<String>, subject_from: SubjectFrom) -> Self {
        Self {
            name: name.into(),
            issuer: default_issuer(),
            subject_from,
            allowed: AllowedCertificates::default(),
        }
    }

    /// The name of one of these settings as errors give it: `certificates[edge].issuer`.
    pub(crate) fn key(&self, field: &str) -> String {
        format!("certificates[{}].{field}", self.name.escape_debug())
    }

    /// Checks what types alone do not.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let wrong = |field: &str, problem: &str| Err(SettingsError::new(self.key(field), problem));
        if self.name.trim().is_empty() {
            return wrong(
                "name",
                "must not be empty: it names the provider in logs and errors",
            );
        }
        if self.issuer.trim().is_empty() {
            return wrong("issuer", "must not be empty: leave it out for `x509`");
        }
        let allowed = &self.allowed;
        for (field, list, of) in [
            (
                "spiffe_trust_domains",
                &allowed.spiffe_trust_domains,
                SubjectFrom::SpiffeId,
            ),
            ("dns_suffixes", &allowed.dns_suffixes, SubjectFrom::SanDns),
            ("email_domains", &allowed.email_domains, SubjectFrom::SanEmail),
            ("uri_prefixes", &allowed.uri_prefixes, SubjectFrom::SanUri),
        ] {
            let field = format!("allowed.{field}");
            if !list.is_empty() && self.subject_from != of {
                return wrong(
                    &field,
                    "does not bear on what `subject_from` names, and would limit nothing: remove it",
                );
            }
            if list.iter().any(|entry| entry.trim().is_empty()) {
                return wrong(
                    &field,
                    "has an empty entry, which would allow everything: remove it",
                );
            }
        }
        if self.subject_from == SubjectFrom::SpiffeId && allowed.spiffe_trust_domains.is_empty() {
            return wrong(
                "allowed.spiffe_trust_domains",
                "must name the trust domains, since any authority could sign for any of them",
            );
        }
        if allowed
            .dns_suffixes
            .iter()
            .chain(&allowed.email_domains)
            .any(|name| name.starts_with(['.', '@', '*']))
        {
            return wrong(
                "allowed",
                "names domains as they are, without a `.`, `@` or `*` before them: remove it",
            );
        }
        if allowed
            .uri_prefixes
            .iter()
            .any(|prefix| !prefix.ends_with(['/', ':']))
        {
            return wrong(
                "allowed.uri_prefixes",
                "must end in `/` or `:`, or `https://a.example` would also allow https://a.example.net",
            );
        }
        if allowed
            .ca_fingerprints
            .iter()
            .any(|text| fingerprint(text).is_none())
        {
            return wrong(
                "allowed.ca_fingerprints",
                "must be SHA-256 fingerprints: 64 hexadecimal digits, with or without colons",
            );
        }
        Ok(())
    }
}

/// The 32 bytes of a fingerprint in hexadecimal, with or without colons.
pub(crate) fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let bytes = data_encoding::HEXLOWER_PERMISSIVE
        .decode(digits.as_bytes())
        .ok()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_would_limit_nothing_or_too_little_are_refused() {
        let allowed = |text: &str| serde_saphyr::from_str::<AllowedCertificates>(text).unwrap();
        for (subject_from, limits, field) in [
            (SubjectFrom::SpiffeId, "{}", "allowed.spiffe_trust_domains"),
            (
                SubjectFrom::SanDns,
                "spiffe_trust_domains: [a]",
                "allowed.spiffe_trust_domains",
            ),
            (
                SubjectFrom::CommonName,
                "dns_suffixes: [a.example]",
                "allowed.dns_suffixes",
            ),
            (SubjectFrom::SanDns, "dns_suffixes: [' ']", "allowed.dns_suffixes"),
            (SubjectFrom::SanDns, "dns_suffixes: ['*.a.example']", "allowed"),
            (SubjectFrom::SanEmail, "email_domains: ['@a.example']", "allowed"),
            (
                SubjectFrom::SanUri,
                "uri_prefixes: ['https://a.example']",
                "allowed.uri_prefixes",
            ),
            (
                SubjectFrom::CommonName,
                "ca_fingerprints: [abcd]",
                "allowed.ca_fingerprints",
            ),
        ] {
            let mut settings = CertificateSettings::new("edge", subject_from);
            settings.allowed = allowed(limits);
            let error = settings.validate().unwrap_err();
            assert_eq!(
                error.key,
                format!("certificates[edge].{field}"),
                "{limits}: {error}"
            );
        }
        let mut settings = CertificateSettings::new("edge", SubjectFrom::CommonName);
        assert_eq!(settings.validate(), Ok(()));
        settings.allowed.ca_fingerprints = vec!["AB:".repeat(31) + "ab"];
        assert_eq!(settings.validate(), Ok(()));
        settings.issuer = String::new();
        assert_eq!(settings.validate().unwrap_err().key, "certificates[edge].issuer");
    }

    #[test]
    fn every_setting_is_described_in_the_schema() {
        let schema = serde_json::to_value(schemars::schema_for!(CertificateSettings)).unwrap();
        for (name, property) in schema["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{name} has no description");
        }
        assert_eq!(schema["additionalProperties"], false);
    }
}
