//! One OpenID provider: verifies its JWT access tokens.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use natsgate_core::{
    Cache, Clock, Credential, Deadline, Denial, DenialReason, Evidence, Failure, Identity, IdentityProvider,
    Unavailable,
};
use secrecy::ExposeSecret;

use crate::claims;
use crate::key_source::KeySource;
use crate::settings::SettingsError;
use crate::settings::oidc::OidcSettings;
use crate::token::Token;

/// An OpenID provider. Its keys are fetched when the first token needs them, or by [`OidcProvider::load_keys`].
pub struct OidcProvider {
    settings: OidcSettings,
    keys: KeySource,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for OidcProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcProvider")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl OidcProvider {
    /// The provider of `settings`, its documents cached in `cache`. Nothing is fetched yet.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn new(
        settings: OidcSettings,
        clock: Arc<dyn Clock>,
        cache: Arc<dyn Cache>,
    ) -> Result<Self, SettingsError> {
        settings.validate()?;
        let keys = KeySource::new(&settings, Arc::clone(&clock), cache)?;
        Ok(Self {
            settings,
            keys,
            clock,
        })
    }

    /// What it was made from.
    pub fn settings(&self) -> &OidcSettings {
        &self.settings
    }

    /// Fetches the keys unless they are there already, so that the first client need not wait and a mistake in the
    /// settings shows at start. Returns how many usable keys there are.
    ///
    /// # Errors
    /// [`Unavailable`] if there are no keys before `deadline`: with the provider, the URL and the cause.
    pub async fn load_keys(&self, deadline: Deadline) -> Result<usize, Unavailable> {
        self.keys.load(deadline).await
    }

    /// Checks the size of `token` against this provider's bound.
    pub(crate) fn check_size(&self, token: &str) -> Result<(), Denial> {
        if token.len() <= self.settings.max_token_bytes {
            return Ok(());
        }
        Err(Denial::new(
            DenialReason::CredentialTooLarge,
            format!(
                "the token is larger than {} bytes (`max_token_bytes`)",
                self.settings.max_token_bytes
            ),
        ))
    }

    /// Verifies a token taken apart.
    pub(crate) async fn verify(&self, token: Token<'_>, deadline: Deadline) -> Result<Identity, Failure> {
        // First what costs nothing, then the signature, then what the claims say: a reason in the audit is then the
        // provider's own word.
        self.check_header(&token)?;
        if token.issuer()? != self.settings.issuer {
            return Err(Failure::denied(
                DenialReason::UnknownIssuer,
                format!(
                    "the token's `iss` is not the issuer of provider `{}`",
                    self.settings.name
                ),
            ));
        }
        let keys = self
            .keys
            .find(token.kid.as_deref(), token.algorithm, deadline)
            .await?;
        if !keys
            .iter()
            .any(|key| key.verify(token.algorithm, token.signing_input, &token.signature))
        {
            return Err(Failure::denied(
                DenialReason::BadSignature,
                format!(
                    "the token's signature is not that of provider `{}`",
                    self.settings.name
                ),
            ));
        }
        let mut identity = claims::check(&self.settings, token.claims, self.clock.now())?;
        identity.evidence = Evidence::SignedToken { key_id: token.kid };
        Ok(identity)
    }

    fn check_header(&self, token: &Token<'_>) -> Result<(), Denial> {
        let name = &self.settings.name;
        if !self.settings.algorithms.contains(&token.algorithm) {
            return Err(Denial::new(
                DenialReason::AlgorithmNotAllowed,
                format!(
                    "{} is not one of provider `{name}`'s `algorithms`",
                    token.algorithm
                ),
            ));
        }
        let wrong = |detail: String| Err(Denial::new(DenialReason::WrongTokenType, detail));
        let accepted = |typ: &str| {
            self.settings
                .token_types
                .iter()
                .any(|one| media_type(one) == media_type(typ))
        };
        match token.typ.as_deref() {
            None if self.settings.require_typ => wrong(format!(
                "its header has no `typ`, which provider `{name}` requires (`require_typ`)"
            )),
            // Without a type it is a JWT and no more is known.
            typ if accepted(typ.unwrap_or("JWT")) => Ok(()),
            _ => wrong(format!(
                "its header's `typ` is not one of provider `{name}`'s `token_types`"
            )),
        }
    }
}

/// A `typ` as it is compared: without regard to case, and to an `application/` before it (RFC 7515 section 4.1.9).
fn media_type(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    typ.strip_prefix("application/").map(str::to_owned).unwrap_or(typ)
}

#[async_trait]
impl IdentityProvider for OidcProvider {
    async fn identify(&self, credential: &Credential, deadline: Deadline) -> Result<Identity, Failure> {
        let Credential::Token(token) = credential else {
            return Err(Failure::denied(
                DenialReason::NoCredentials,
                "the client sent no token",
            ));
        };
        let text = token.expose_secret();
        self.check_size(text)?;
        self.verify(Token::parse(text)?, deadline).await
    }
}

#[cfg(test)]
mod tests;
