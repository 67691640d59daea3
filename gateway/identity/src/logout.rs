//! Logout tokens: a provider says that somebody logged out, or that one of its sessions is over (OpenID Connect Back-Channel
//! Logout 1.0, sections 2.4 and 2.6).
//!
//! They are checked by the keys that the provider's access tokens are checked by. Whether one was used before is not known
//! here: that is for whoever carries it out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use natsgate_core::pushed::write::text_problem;
use natsgate_core::{
    Clock, Deadline, Denial, DenialReason, Failure, Logout, LogoutVerifier, Principal, Selector,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use crate::claim_path;
use crate::claims::{self, bad, missing};
use crate::key_source::KeySource;
use crate::oidc::{OidcProvider, check_algorithm, media_type, signer};
use crate::settings::SettingsError;
use crate::settings::logout::{LogoutSettings, LogoutTarget};
use crate::settings::oidc::OidcSettings;
use crate::token::Token;

/// The member of `events` that makes a token a logout token (section 2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// The `typ` of a logout token (section 2.4).
const TYPE: &str = "logout+jwt";

/// The longest `jti`, in bytes.
const MAX_TOKEN_ID: usize = 512;

/// The longest `sid`, in bytes.
const MAX_SESSION_ID: usize = 1024;

/// Checks the logout tokens of every provider that they are accepted of. A token's `iss`, not verified at that point, chooses
/// the provider, and counts for nothing else.
pub struct LogoutTokens {
    by_issuer: HashMap<String, OfProvider>,
}

/// What checks one provider's.
struct OfProvider {
    logout: LogoutSettings,
    provider: OidcSettings,
    keys: KeySource,
    clock: Arc<dyn Clock>,
}

impl LogoutTokens {
    /// Checks tokens as `settings` say, by the keys of `providers`.
    ///
    /// # Errors
    /// The setting that cannot be used: also a provider that there is none of, or that is named twice.
    pub fn new<'a>(
        settings: &[LogoutSettings],
        providers: impl Iterator<Item = &'a OidcProvider>,
    ) -> Result<Self, SettingsError> {
        let providers: Vec<&OidcProvider> = providers.collect();
        let mut by_issuer = HashMap::new();
        for logout in settings {
            logout.validate()?;
            let named = providers
                .iter()
                .find(|provider| provider.settings().name == logout.provider);
            let provider = named.ok_or_else(|| {
                SettingsError::new(
                    logout.key("provider"),
                    "there is no provider of this name: it is one of `providers`, whose keys check the token",
                )
            })?;
            let one = OfProvider {
                logout: logout.clone(),
                provider: provider.settings().clone(),
                keys: provider.keys().clone(),
                clock: Arc::clone(provider.clock()),
            };
            if by_issuer.insert(one.provider.issuer.clone(), one).is_some() {
                return Err(SettingsError::new(
                    logout.key("provider"),
                    "is named twice: join the two, with the `audiences` of both",
                ));
            }
        }
        Ok(Self { by_issuer })
    }
}

#[async_trait]
impl LogoutVerifier for LogoutTokens {
    async fn verify(&self, token: &SecretString, deadline: Deadline) -> Result<Logout, Failure> {
        let text = token.expose_secret();
        let token = Token::parse(text)?;
        let of_provider = self.by_issuer.get(token.issuer()?).ok_or_else(|| {
            Denial::new(
                DenialReason::UnknownIssuer,
                "the token's `iss` is the issuer of no provider whose logout tokens are accepted (`backchannel_logout`)",
            )
        })?;
        of_provider.verify(text.len(), token, deadline).await
    }
}

impl OfProvider {
    async fn verify(&self, bytes: usize, token: Token<'_>, deadline: Deadline) -> Result<Logout, Failure> {
        // First what costs nothing, then the signature, then what the claims say: a reason in the log is then the
        // provider's own word.
        self.check_header(bytes, &token)?;
        signer(&self.keys, &self.provider.name, &token, deadline).await?;
        Ok(self.read(&token.claims, self.clock.now())?)
    }

    fn check_header(&self, bytes: usize, token: &Token<'_>) -> Result<(), Denial> {
        let name = &self.provider.name;
        if bytes > self.provider.max_token_bytes {
            return Err(Denial::new(
                DenialReason::CredentialTooLarge,
                format!("the token is larger than provider `{name}`'s `max_token_bytes`"),
            ));
        }
        check_algorithm(&self.provider, token)?;
        let typ = token.typ.as_deref().map(media_type);
        match typ.as_deref() {
            Some(TYPE) => Ok(()),
            None | Some("jwt") if !self.logout.require_type => Ok(()),
            _ => Err(Denial::new(
                DenialReason::WrongTokenType,
                format!(
                    "its header's `typ` is not that of a logout token of provider `{name}` (`require_type`)"
                ),
            )),
        }
    }

    /// What the claims of a token say whose signature is right, at the time `now`.
    fn read(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<Logout, Denial> {
        let name = &self.provider.name;
        claims::check_issuer(&self.provider, claims)?;
        check_kind(claims)?;
        if !claims::is_for(&self.logout.audiences, claims)? {
            return Err(Denial::new(
                DenialReason::WrongAudience,
                format!("none of the token's audiences is one of `backchannel_logout[{name}].audiences`"),
            ));
        }
        self.check_times(claims, now)?;
        let token_id = text(claims, "jti", MAX_TOKEN_ID)?.ok_or_else(|| missing("jti"))?;
        Ok(Logout {
            provider: name.clone(),
            issuer: self.provider.issuer.clone(),
            token_id,
            selector: self.selector(claims)?,
        })
    }

    fn check_times(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<(), Denial> {
        claims::not_before(&self.provider, claims, "nbf", now)?;
        let issued_at =
            claims::not_before(&self.provider, claims, "iat", now)?.ok_or_else(|| missing("iat"))?;
        let expires_at = claims::numeric_date(claims, "exp")?.ok_or_else(|| missing("exp"))?;
        if expires_at <= now {
            return Err(Denial::new(DenialReason::Expired, "the token's `exp` has passed"));
        }
        let age = now.duration_since(issued_at).unwrap_or_default();
        if age > self.logout.max_age {
            return Err(Denial::new(
                DenialReason::Expired,
                "the token's `iat` lies further back than `max_age`",
            ));
        }
        let life = expires_at.duration_since(issued_at).unwrap_or_default();
        if life > self.provider.max_token_life {
            return Err(Denial::new(
                DenialReason::LifeTooLong,
                format!(
                    "the token lives longer than provider `{}`'s `max_token_life`",
                    self.provider.name
                ),
            ));
        }
        Ok(())
    }

    /// What is over.
    fn selector(&self, claims: &Map<String, Value>) -> Result<Selector, Denial> {
        let issuer = &self.provider.issuer;
        let session = text(claims, "sid", MAX_SESSION_ID)?.map(|session_id| Selector::ProviderSession {
            issuer: issuer.clone(),
            session_id,
        });
        let principal = |subject| Selector::Principal {
            principal: Principal::new(issuer.clone(), subject),
        };
        let by = &self.provider.subject_claim;
        let names_person = claim_path::find(claims, by).is_some();
        let has_sub = claims.contains_key("sub");
        match session {
            Some(session) if self.logout.revokes == LogoutTarget::Session => Ok(session),
            // Nothing else is known.
            Some(session) if !names_person && !has_sub => Ok(session),
            None if !names_person && !has_sub => Err(Denial::new(
                DenialReason::MissingClaim,
                "the token has neither `sub` nor `sid`",
            )),
            _ if names_person => claims::subject(&self.provider, claims).map(principal),
            _ => Err(Denial::new(
                DenialReason::MissingClaim,
                format!(
                    "the token has no `{by}`, which provider `{}`'s people are known by (`subject_claim`): have the provider \
                     put it into logout tokens, or `sid` into both logout and access tokens",
                    self.provider.name
                ),
            )),
        }
    }
}

/// Whether a token with these claims is a logout token, good or bad.
pub(crate) fn says_so(claims: &Map<String, Value>) -> bool {
    let events = claims.get("events").and_then(Value::as_object);
    events.is_some_and(|events| events.contains_key(EVENT))
}

/// Checks that the token is a logout token and no other.
fn check_kind(claims: &Map<String, Value>) -> Result<(), Denial> {
    let wrong = |detail: &str| Err(Denial::new(DenialReason::WrongTokenType, detail));
    match claims.get("events") {
        Some(Value::Object(events)) => match events.get(EVENT) {
            Some(Value::Object(_)) => {}
            Some(_) => return wrong("the logout event in `events` is not an object"),
            None => return wrong("`events` does not name the logout event: it is no logout token"),
        },
        Some(_) => return wrong("`events` is not an object"),
        None => return wrong("the token has no `events`: it is no logout token"),
    }
    // Section 2.4: or else it could be taken for an id token.
    if claims.contains_key("nonce") {
        return wrong("the token has a `nonce`, which no logout token has");
    }
    Ok(())
}

/// The text that `claim` is, if it is there.
fn text(claims: &Map<String, Value>, claim: &str, longest: usize) -> Result<Option<String>, Denial> {
    match claims.get(claim) {
        None => Ok(None),
        Some(Value::String(text)) => match text_problem(text, longest) {
            None => Ok(Some(text.clone())),
            Some(problem) => Err(bad(claim, &problem)),
        },
        Some(_) => Err(bad(claim, "is not a string")),
    }
}

#[cfg(test)]
mod tests;
