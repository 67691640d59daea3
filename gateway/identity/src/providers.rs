//! Several providers, told apart by issuer.

use std::collections::HashMap;

use async_trait::async_trait;
use natsgate_core::{Credential, Deadline, DenialReason, Failure, Identity, IdentityProvider};
use secrecy::ExposeSecret;

use crate::oidc::OidcProvider;
use crate::settings::SettingsError;
use crate::token::Token;

/// Every configured provider. A token's `iss`, not verified at that point, chooses the one that verifies it, and counts
/// for nothing else.
#[derive(Debug)]
pub struct Providers {
    by_issuer: HashMap<String, OidcProvider>,
    max_token_bytes: usize,
}

impl Providers {
    /// All of `providers`.
    ///
    /// # Errors
    /// If there are none, or two have the same issuer or the same name.
    pub fn new(providers: Vec<OidcProvider>) -> Result<Self, SettingsError> {
        let mut by_issuer: HashMap<String, OidcProvider> = HashMap::new();
        let mut max_token_bytes = 0;
        for provider in providers {
            let settings = provider.settings();
            if by_issuer
                .values()
                .any(|other| other.settings().name == settings.name)
            {
                return Err(SettingsError::new(
                    settings.key("name"),
                    "two providers have this name: rename one",
                ));
            }
            if by_issuer.contains_key(&settings.issuer) {
                return Err(SettingsError::new(
                    settings.key("issuer"),
                    "another provider has this issuer, so nobody could say which of them verifies a token: join them",
                ));
            }
            max_token_bytes = max_token_bytes.max(settings.max_token_bytes);
            by_issuer.insert(settings.issuer.clone(), provider);
        }
        if by_issuer.is_empty() {
            return Err(SettingsError::new(
                "providers",
                "must name at least one provider: nobody could get in",
            ));
        }
        Ok(Self {
            by_issuer,
            max_token_bytes,
        })
    }

    /// The providers, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &OidcProvider> {
        self.by_issuer.values()
    }
}

#[async_trait]
impl IdentityProvider for Providers {
    async fn identify(&self, credential: &Credential, deadline: Deadline) -> Result<Identity, Failure> {
        let Credential::Token(token) = credential else {
            return Err(Failure::denied(
                DenialReason::NoCredentials,
                "the client sent no token",
            ));
        };
        let text = token.expose_secret();
        // Whose it is shows only inside, so the largest of all bounds comes first and the provider's own after.
        if text.len() > self.max_token_bytes {
            return Err(Failure::denied(
                DenialReason::CredentialTooLarge,
                format!(
                    "the token is larger than {} bytes (`max_token_bytes`)",
                    self.max_token_bytes
                ),
            ));
        }
        let token = Token::parse(text)?;
        let Some(provider) = self.by_issuer.get(token.issuer()?) else {
            return Err(Failure::denied(
                DenialReason::UnknownIssuer,
                "the token's `iss` is the issuer of no configured provider",
            ));
        };
        provider.check_size(text)?;
        provider.verify(token, deadline).await
    }
}

#[cfg(test)]
mod tests;
