//! Client certificates as identities: whose a verified chain is.
//!
//! The chain was verified by the nats-server: signatures, authorities, and unknown critical extensions are its business.
//! Here the name is read out of the leaf, strictly: what cannot be read to the last byte names nobody.

mod leaf;
mod name;
mod spiffe;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use natsgate_core::{
    CertificateChain, Clock, Credential, Deadline, Denial, DenialReason, Evidence, Failure, Identity,
    IdentityProvider, Principal,
};
use sha2::{Digest, Sha256};

use crate::claims::check_subject;
use crate::settings::SettingsError;
use crate::settings::certificate::{CertificateSettings, SubjectFrom, fingerprint};
use leaf::{Leaf, der_of};

/// The longest chain that is looked at.
const MAX_CHAIN: usize = 16;

/// Takes client certificates for identities.
pub struct CertificateProvider {
    settings: CertificateSettings,
    authorities: Vec<[u8; 32]>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for CertificateProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateProvider")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

pub(crate) fn refused(detail: impl Into<String>) -> Denial {
    Denial::new(DenialReason::BadCertificate, detail)
}

impl CertificateProvider {
    /// The provider of `settings`.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn new(settings: CertificateSettings, clock: Arc<dyn Clock>) -> Result<Self, SettingsError> {
        settings.validate()?;
        let authorities = settings
            .allowed
            .ca_fingerprints
            .iter()
            .filter_map(|text| fingerprint(text))
            .collect();
        Ok(Self {
            settings,
            authorities,
            clock,
        })
    }

    /// What it was made from.
    pub fn settings(&self) -> &CertificateSettings {
        &self.settings
    }

    /// Whose `chain` is.
    ///
    /// # Errors
    /// A [`Denial`] if it names nobody, nobody who is accepted, or is not in force.
    pub fn identify_chain(&self, chain: &CertificateChain) -> Result<Identity, Denial> {
        let (first, above) = match chain.0.split_first() {
            Some((first, above)) if above.len() < MAX_CHAIN => (first, above),
            Some(_) => return Err(refused("the client's certificate chain is longer than 16")),
            None => {
                return Err(Denial::new(
                    DenialReason::NoCredentials,
                    "the client's certificate chain is empty",
                ));
            }
        };
        let der = der_of(first)?;
        let leaf = Leaf::read(&der)?;
        let now = self.clock.now();
        if now < leaf.not_before {
            return Err(Denial::new(
                DenialReason::NotYetValid,
                "the client's certificate is not valid yet (`notBefore`)",
            ));
        }
        if leaf.not_after <= now {
            return Err(Denial::new(
                DenialReason::Expired,
                "the client's certificate is not valid any more (`notAfter`)",
            ));
        }
        if !leaf.for_clients {
            return Err(refused(
                "the certificate's extended key usage is not that of a client (clientAuth)",
            ));
        }
        self.check_authorities(above)?;
        let subject = self.subject(&leaf)?;
        check_subject(&subject).map_err(|problem| refused(format!("the certificate's name {problem}")))?;
        let mut claims = leaf.claims;
        if self.settings.subject_from == SubjectFrom::SpiffeId {
            claims.insert("spiffe_id".to_owned(), subject.clone().into());
        }
        Ok(Identity {
            principal: Principal::new(self.settings.issuer.clone(), subject),
            provider: self.settings.name.clone(),
            claims,
            issued_at: Some(leaf.not_before),
            expires_at: leaf.not_after,
            evidence: Evidence::Certificate,
        })
    }

    fn check_authorities(&self, above: &[String]) -> Result<(), Denial> {
        if self.authorities.is_empty() {
            return Ok(());
        }
        for pem in above {
            let found: [u8; 32] = Sha256::digest(der_of(pem)?.as_slice()).into();
            if self.authorities.contains(&found) {
                return Ok(());
            }
        }
        Err(self.not_allowed("ca_fingerprints", "no authority above the certificate"))
    }

    fn subject(&self, leaf: &Leaf) -> Result<String, Denial> {
        let allowed = &self.settings.allowed;
        match self.settings.subject_from {
            SubjectFrom::SubjectDn => match leaf.subject_dn.as_str() {
                "" => Err(refused("the certificate's subject is empty")),
                dn => Ok(dn.to_owned()),
            },
            SubjectFrom::CommonName => one(leaf.common_names.as_deref(), "common name").map(str::to_owned),
            SubjectFrom::SanDns => {
                let name = one(leaf.dns(), "DNS name")?.to_ascii_lowercase();
                if name.contains('*') || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(refused("the certificate's DNS name is not the name of one host"));
                }
                let below = |suffix: &String| {
                    let suffix = suffix.to_ascii_lowercase();
                    name == suffix || name.ends_with(&format!(".{suffix}"))
                };
                if allowed.dns_suffixes.is_empty() || allowed.dns_suffixes.iter().any(below) {
                    return Ok(name);
                }
                Err(self.not_allowed("dns_suffixes", "the certificate's DNS name"))
            }
            SubjectFrom::SanEmail => {
                let address = one(leaf.email(), "e-mail address")?;
                let Some((_, domain)) = address.rsplit_once('@') else {
                    return Err(refused("the certificate's e-mail address has no domain"));
                };
                let at = |one: &String| one.eq_ignore_ascii_case(domain);
                if allowed.email_domains.is_empty() || allowed.email_domains.iter().any(at) {
                    return Ok(address.to_owned());
                }
                Err(self.not_allowed("email_domains", "the certificate's e-mail address"))
            }
            SubjectFrom::SanUri => {
                let uri = one(leaf.uri(), "URI")?;
                let begins = |prefix: &String| uri.starts_with(prefix.as_str());
                if allowed.uri_prefixes.is_empty() || allowed.uri_prefixes.iter().any(begins) {
                    return Ok(uri.to_owned());
                }
                Err(self.not_allowed("uri_prefixes", "the certificate's URI"))
            }
            SubjectFrom::SpiffeId => {
                let uri = one(leaf.uri(), "URI")?;
                if leaf.is_authority {
                    return Err(refused(
                        "the certificate is an authority's, not a workload's (X.509-SVID, 4)",
                    ));
                }
                let domain = spiffe::trust_domain(uri)
                    .ok_or_else(|| refused("the certificate's URI is not a SPIFFE id of a workload"))?;
                if allowed.spiffe_trust_domains.iter().any(|one| one == domain) {
                    return Ok(uri.to_owned());
                }
                Err(self.not_allowed("spiffe_trust_domains", "the certificate's SPIFFE id"))
            }
        }
    }

    fn not_allowed(&self, list: &str, what: &str) -> Denial {
        refused(format!(
            "{what} is not one that `certificates[{}].allowed.{list}` allows",
            self.settings.name
        ))
    }
}

/// The only one of `values`.
fn one<'a>(values: Option<&'a [String]>, what: &str) -> Result<&'a str, Denial> {
    match values {
        Some([one]) => Ok(one),
        Some([]) => Err(refused(format!("the certificate has no {what}"))),
        Some(_) => Err(refused(format!("the certificate has more than one {what}"))),
        None => Err(refused(format!(
            "the certificate has a name, perhaps a {what}, that cannot be read"
        ))),
    }
}

#[async_trait]
impl IdentityProvider for CertificateProvider {
    async fn identify(&self, credential: &Credential, _deadline: Deadline) -> Result<Identity, Failure> {
        match credential {
            Credential::Certificate(chain) => Ok(self.identify_chain(chain)?),
            Credential::Token(_) => Err(Failure::denied(
                DenialReason::NoCredentials,
                "the client's connection has no verified certificate",
            )),
        }
    }
}

#[cfg(test)]
mod tests;
