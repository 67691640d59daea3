//! Several providers: a JWT is told by its issuer, an opaque token by whoever knows it.

use std::collections::HashMap;

use async_trait::async_trait;
use natsgate_core::{
    Credential, Deadline, Denial, DenialReason, Failure, Identity, IdentityProvider, Unavailable,
};
use secrecy::{ExposeSecret, SecretString};

use crate::oidc::{OidcProvider, Presented};
use crate::settings::SettingsError;
use crate::token::{Token, check_opaque, is_jwt_shaped};

/// Every configured provider.
///
/// A JWT's `iss`, not verified at that point, chooses the one that verifies it, and counts for nothing else. An opaque token
/// is shown to the providers that take such, one after the other as configured, until one says that it is in force
/// (`opaque_prefix` spares the others).
#[derive(Debug)]
pub struct Providers {
    providers: Vec<OidcProvider>,
    by_issuer: HashMap<String, usize>,
    max_token_bytes: usize,
}

impl Providers {
    /// All of `providers`.
    ///
    /// # Errors
    /// If there are none, or two have the same issuer or the same name.
    pub fn new(providers: Vec<OidcProvider>) -> Result<Self, SettingsError> {
        let mut by_issuer = HashMap::new();
        let mut max_token_bytes = 0;
        for (position, provider) in providers.iter().enumerate() {
            let settings = provider.settings();
            let before = || providers.iter().take(position).map(OidcProvider::settings);
            if before().any(|other| other.name == settings.name) {
                return Err(SettingsError::new(
                    settings.key("name"),
                    "two providers have this name: rename one",
                ));
            }
            if by_issuer.insert(settings.issuer.clone(), position).is_some() {
                return Err(SettingsError::new(
                    settings.key("issuer"),
                    "another provider has this issuer, so nobody could say which of them verifies a token: join them",
                ));
            }
            if let Some(prefix) = &settings.opaque_prefix {
                let mut others = before().filter_map(|other| other.opaque_prefix.as_ref());
                if others
                    .any(|other| other.starts_with(prefix.as_str()) || prefix.starts_with(other.as_str()))
                {
                    return Err(SettingsError::new(
                        settings.key("opaque_prefix"),
                        "begins like another provider's, so nobody could say whose a token is: make one of them longer",
                    ));
                }
            }
            max_token_bytes = max_token_bytes.max(settings.max_token_bytes);
        }
        if providers.is_empty() {
            return Err(SettingsError::new(
                "providers",
                "must name at least one provider: nobody could get in",
            ));
        }
        Ok(Self {
            providers,
            by_issuer,
            max_token_bytes,
        })
    }

    /// The providers, as they were given.
    pub fn iter(&self) -> impl Iterator<Item = &OidcProvider> {
        self.providers.iter()
    }

    /// Verifies `token`.
    ///
    /// # Errors
    /// As for [`IdentityProvider::identify`].
    pub(crate) async fn identify_token(
        &self,
        token: &SecretString,
        deadline: Deadline,
    ) -> Result<Identity, Failure> {
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
        let candidates = self.of_opaque(text);
        if !candidates.is_empty() && !is_jwt_shaped(text) {
            check_opaque(text)?;
            return identify_opaque(&candidates, token, deadline).await;
        }
        let jwt = Token::parse(text)?;
        let chosen = self.by_issuer.get(jwt.issuer()?);
        let Some(provider) = chosen.and_then(|position| self.providers.get(*position)) else {
            return Err(Failure::denied(
                DenialReason::UnknownIssuer,
                "the token's `iss` is the issuer of no configured provider",
            ));
        };
        provider.check_size(text)?;
        let presented = Presented {
            secret: token,
            jwt: Some(jwt),
        };
        provider.accept(presented, deadline).await
    }

    /// Asks about `token` again.
    ///
    /// # Errors
    /// As for [`IdentityProvider::confirm`].
    pub(crate) async fn confirm_token(
        &self,
        token: &SecretString,
        identity: &Identity,
        deadline: Deadline,
    ) -> Result<Option<Identity>, Failure> {
        match self
            .iter()
            .find(|provider| provider.settings().name == identity.provider)
        {
            Some(provider) => provider.confirm_token(token, identity, deadline).await,
            None => Ok(None),
        }
    }

    /// The providers whose opaque token `text` may be.
    fn of_opaque(&self, text: &str) -> Vec<&OidcProvider> {
        let takes = |provider: &&OidcProvider| provider.settings().takes_opaque_tokens();
        let prefix = |provider: &OidcProvider| provider.settings().opaque_prefix.clone();
        let owner = self
            .iter()
            .filter(takes)
            .find(|provider| prefix(provider).is_some_and(|prefix| text.starts_with(&prefix)));
        match owner {
            Some(owner) => vec![owner],
            None => self
                .iter()
                .filter(takes)
                .filter(|provider| prefix(provider).is_none())
                .collect(),
        }
    }
}

/// Shows `token` to one candidate after the other, until one knows it.
async fn identify_opaque(
    candidates: &[&OidcProvider],
    token: &SecretString,
    deadline: Deadline,
) -> Result<Identity, Failure> {
    let mut refused: Option<Denial> = None;
    let mut unavailable: Option<Unavailable> = None;
    for (position, provider) in candidates.iter().enumerate() {
        if let Err(denial) = provider.check_size(token.expose_secret()) {
            refused.get_or_insert(denial);
            continue;
        }
        let left = u32::try_from(candidates.len() - position).unwrap_or(1);
        let share = deadline.or_sooner(deadline.remaining() / left.max(1));
        let presented = Presented {
            secret: token,
            jwt: None,
        };
        match provider.accept(presented, share).await {
            Err(Failure::Denied(denial)) if denial.reason == DenialReason::InactiveToken => {
                refused.get_or_insert(denial);
            }
            Err(Failure::Unavailable(why)) => {
                unavailable.get_or_insert(why);
            }
            // In force here, and acceptable or not: it is nobody else's.
            known => return known,
        }
    }
    Err(match (unavailable, refused) {
        (Some(why), _) => why.into(),
        (None, Some(denial)) if candidates.len() == 1 => denial.into(),
        (None, _) => Failure::denied(
            DenialReason::InactiveToken,
            "no provider that takes opaque tokens says that the token is in force",
        ),
    })
}

#[async_trait]
impl IdentityProvider for Providers {
    async fn identify(&self, credential: &Credential, deadline: Deadline) -> Result<Identity, Failure> {
        match credential {
            Credential::Token(token) => self.identify_token(token, deadline).await,
            Credential::Certificate(_) => Err(Failure::denied(
                DenialReason::NoCredentials,
                "the client sent no token",
            )),
        }
    }

    async fn confirm(
        &self,
        credential: &Credential,
        identity: &Identity,
        deadline: Deadline,
    ) -> Result<Option<Identity>, Failure> {
        match credential {
            Credential::Token(token) => self.confirm_token(token, identity, deadline).await,
            Credential::Certificate(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
