//! Everybody who can vouch for a client: OpenID providers for tokens, certificate providers for certificates.

use async_trait::async_trait;
use natsgate_core::{Credential, Deadline, DenialReason, Failure, Identity, IdentityProvider};

use crate::certificate::CertificateProvider;
use crate::oidc::OidcProvider;
use crate::providers::Providers;
use crate::settings::SettingsError;

/// All configured providers of both kinds. No two have the same name or the same issuer, so that no principal of one can be
/// mistaken for one of another.
#[derive(Debug)]
pub struct Identities {
    tokens: Option<Providers>,
    certificates: Vec<CertificateProvider>,
}

impl Identities {
    /// All of `providers` and `certificates`.
    ///
    /// # Errors
    /// If there are none at all, or two have the same issuer or the same name.
    pub fn new(
        providers: Vec<OidcProvider>,
        certificates: Vec<CertificateProvider>,
    ) -> Result<Self, SettingsError> {
        let tokens = match providers.is_empty() && !certificates.is_empty() {
            true => None,
            false => Some(Providers::new(providers)?),
        };
        for (position, provider) in certificates.iter().enumerate() {
            let settings = provider.settings();
            let before = || {
                certificates
                    .iter()
                    .take(position)
                    .map(CertificateProvider::settings)
            };
            let of_tokens = || {
                tokens
                    .iter()
                    .flat_map(Providers::iter)
                    .map(OidcProvider::settings)
            };
            let named = before().any(|other| other.name == settings.name)
                || of_tokens().any(|other| other.name == settings.name);
            if named {
                return Err(SettingsError::new(
                    settings.key("name"),
                    "two providers have this name: rename one",
                ));
            }
            let issues = before().any(|other| other.issuer == settings.issuer)
                || of_tokens().any(|other| other.issuer == settings.issuer);
            if issues {
                return Err(SettingsError::new(
                    settings.key("issuer"),
                    "another provider has this issuer, so their subjects could be mistaken for each other: set another",
                ));
            }
        }
        Ok(Self { tokens, certificates })
    }

    /// The OpenID providers, as they were given.
    pub fn providers(&self) -> impl Iterator<Item = &OidcProvider> {
        self.tokens.iter().flat_map(Providers::iter)
    }

    /// Whether a client's certificate can be its identity.
    pub fn takes_certificates(&self) -> bool {
        !self.certificates.is_empty()
    }

    /// The first certificate provider that knows whose `chain` is.
    fn identify_certificate(&self, chain: &natsgate_core::CertificateChain) -> Result<Identity, Failure> {
        let mut refused = None;
        for provider in &self.certificates {
            match provider.identify_chain(chain) {
                Ok(identity) => return Ok(identity),
                Err(denial) => {
                    refused.get_or_insert(denial);
                }
            }
        }
        match refused {
            Some(denial) if self.certificates.len() == 1 => Err(denial.into()),
            Some(_) => Err(Failure::denied(
                DenialReason::BadCertificate,
                "none of the configured `certificates` accepts the client's certificate",
            )),
            None => Err(Failure::denied(
                DenialReason::NoCredentials,
                "the client sent a certificate, and no `certificates` are configured",
            )),
        }
    }
}

#[async_trait]
impl IdentityProvider for Identities {
    async fn identify(&self, credential: &Credential, deadline: Deadline) -> Result<Identity, Failure> {
        match (credential, &self.tokens) {
            (Credential::Token(token), Some(providers)) => providers.identify_token(token, deadline).await,
            (Credential::Token(_), None) => Err(Failure::denied(
                DenialReason::NoCredentials,
                "the client sent a token, and no `providers` are configured",
            )),
            (Credential::Certificate(chain), _) => self.identify_certificate(chain),
        }
    }

    async fn confirm(
        &self,
        credential: &Credential,
        identity: &Identity,
        deadline: Deadline,
    ) -> Result<Option<Identity>, Failure> {
        match (credential, &self.tokens) {
            (Credential::Token(token), Some(providers)) => {
                providers.confirm_token(token, identity, deadline).await
            }
            // A certificate says nothing but who it is, and there is nobody to ask about that.
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
