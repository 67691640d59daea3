//! One OpenID provider: verifies its access tokens, JWTs by its keys and others by asking it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use natsgate_core::{
    Cache, CacheTimes, Clock, Credential, Deadline, Denial, DenialReason, Evidence, Failure, Freshness,
    Identity, IdentityProvider, Unavailable,
};
use secrecy::{ExposeSecret, SecretString};

use crate::claims;
use crate::discovery::Endpoint;
use crate::documents::Documents;
use crate::fetch::Fetcher;
use crate::key_source::KeySource;
use crate::keys::Key;
use crate::online::{Discovery, TokenLookup, TokenSource, WrapSource, uncached};
use crate::settings::SettingsError;
use crate::settings::introspection::IntrospectionSettings;
use crate::settings::oidc::OidcSettings;
use crate::settings::userinfo::UserinfoSettings;
use crate::settings::verify::VerifyBy;
use crate::token::{Token, check_opaque, is_jwt_shaped};

mod ways;

/// An OpenID provider. Its keys are fetched when the first token needs them, or by [`OidcProvider::load_keys`].
pub struct OidcProvider {
    settings: OidcSettings,
    keys: KeySource,
    clock: Arc<dyn Clock>,
    introspection: Option<TokenLookup>,
    userinfo: Option<TokenLookup>,
    /// Whether verified tokens go without userinfo just now, so that it is logged once an outage.
    without_userinfo: AtomicBool,
}

/// What a provider works with.
pub struct OidcParts<'a> {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Shares documents (discovery, key set) with other instances.
    pub cache: Arc<dyn Cache>,
    /// Tells what was revoked: keys and endpoints found before are then looked up again. `None`: nothing is ever revoked.
    pub freshness: Option<Arc<dyn Freshness>>,
    /// Puts caches in front of introspection and userinfo; [`uncached`] puts none.
    pub wrap: &'a WrapSource<'a>,
}

/// A token as it was presented, and taken apart if it is a JWT.
pub(crate) struct Presented<'a> {
    pub(crate) secret: &'a SecretString,
    pub(crate) jwt: Option<Token<'a>>,
}

impl fmt::Debug for OidcProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcProvider")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl OidcProvider {
    /// The provider of `settings`, its documents cached in `cache`. What it says of single tokens is not cached and
    /// revocations are not heard of: see [`Self::assemble`]. Nothing is fetched yet.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn new(
        settings: OidcSettings,
        clock: Arc<dyn Clock>,
        cache: Arc<dyn Cache>,
    ) -> Result<Self, SettingsError> {
        let parts = OidcParts {
            clock,
            cache,
            freshness: None,
            wrap: &uncached,
        };
        Self::assemble(settings, parts)
    }

    /// The provider of `settings`, made of `parts`. Nothing is fetched yet.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn assemble(settings: OidcSettings, parts: OidcParts<'_>) -> Result<Self, SettingsError> {
        settings.validate()?;
        let OidcParts {
            clock,
            cache,
            freshness,
            wrap,
        } = parts;
        let endpoint = Endpoint::of(&settings)?;
        let fetcher = Fetcher::new(&settings, endpoint.url(), None)?;
        let documents = Documents::new(&settings, fetcher, cache, Arc::clone(&clock), freshness);
        let discovery = Discovery::new(documents.clone(), Arc::clone(&clock));
        let lookup = |source: Option<TokenSource>, times: Option<CacheTimes>| {
            source.zip(times).map(|(source, times)| wrap(source, times))
        };
        let introspection = lookup(
            TokenSource::introspection(&settings, &discovery)?,
            settings
                .introspection
                .as_ref()
                .map(IntrospectionSettings::cache_times),
        );
        let userinfo = lookup(
            TokenSource::userinfo(&settings, &discovery)?,
            settings.userinfo.as_ref().map(UserinfoSettings::cache_times),
        );
        let keys = KeySource::new(&settings, endpoint, documents, Arc::clone(&clock));
        Ok(Self {
            settings,
            keys,
            clock,
            introspection,
            userinfo,
            without_userinfo: AtomicBool::new(false),
        })
    }

    /// What it was made from.
    pub fn settings(&self) -> &OidcSettings {
        &self.settings
    }

    /// Fetches the keys unless they are there already, so that the first client need not wait and a mistake in the
    /// settings shows at start. Returns how many usable keys there are; 0 for a provider whose tokens are not verified by
    /// keys (`verify`).
    ///
    /// # Errors
    /// [`Unavailable`] if there are no keys before `deadline`: with the provider, the URL and the cause.
    pub async fn load_keys(&self, deadline: Deadline) -> Result<usize, Unavailable> {
        if !self.settings.verify.contains(&VerifyBy::Jwt) {
            return Ok(0);
        }
        self.keys.load(deadline).await
    }

    /// Its keys, to check other tokens of the provider's with.
    pub(crate) fn keys(&self) -> &KeySource {
        &self.keys
    }

    /// The clock it goes by.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
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

    /// Verifies a token taken apart by the provider's keys.
    async fn verify(&self, token: Token<'_>, deadline: Deadline) -> Result<Identity, Failure> {
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
        let signer = signer(&self.keys, &self.settings.name, &token, deadline).await?;
        let mut identity = claims::check(&self.settings, token.claims, self.clock.now())?;
        // The key that signed it, also where the token does not name it: keys are revoked by name.
        let key_id = signer.kid().map(str::to_owned).or(token.kid);
        identity.evidence = Evidence::SignedToken { key_id };
        Ok(identity)
    }

    fn check_header(&self, token: &Token<'_>) -> Result<(), Denial> {
        check_algorithm(&self.settings, token)?;
        let name = &self.settings.name;
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

/// Checks that `token` is signed by an algorithm that the provider may use.
///
/// # Errors
/// [`DenialReason::AlgorithmNotAllowed`].
pub(crate) fn check_algorithm(settings: &OidcSettings, token: &Token<'_>) -> Result<(), Denial> {
    if settings.algorithms.contains(&token.algorithm) {
        return Ok(());
    }
    Err(Denial::new(
        DenialReason::AlgorithmNotAllowed,
        format!(
            "{} is not one of provider `{}`'s `algorithms`",
            token.algorithm, settings.name
        ),
    ))
}

/// The key, of `keys` of the provider named `provider`, that signed `token`.
///
/// # Errors
/// A denial if none did; [`Unavailable`] if the keys could not be had before `deadline`.
pub(crate) async fn signer(
    keys: &KeySource,
    provider: &str,
    token: &Token<'_>,
    deadline: Deadline,
) -> Result<Arc<Key>, Failure> {
    let keys = keys.find(token.kid.as_deref(), token.algorithm, deadline).await?;
    let signer = keys
        .into_iter()
        .find(|key| key.verify(token.algorithm, token.signing_input, &token.signature));
    signer.ok_or_else(|| {
        Failure::denied(
            DenialReason::BadSignature,
            format!("the token's signature is not that of provider `{provider}`"),
        )
    })
}

/// A `typ` as it is compared: without regard to case, and to an `application/` before it (RFC 7515 section 4.1.9).
pub(crate) fn media_type(typ: &str) -> String {
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
        let opaque = self.settings.takes_opaque_tokens() && !is_jwt_shaped(text);
        let jwt = if opaque {
            check_opaque(text)?;
            None
        } else {
            Some(Token::parse(text)?)
        };
        self.accept(Presented { secret: token, jwt }, deadline).await
    }

    async fn confirm(
        &self,
        credential: &Credential,
        identity: &Identity,
        deadline: Deadline,
    ) -> Result<Option<Identity>, Failure> {
        match credential {
            Credential::Token(token) if identity.provider == self.settings.name => {
                self.confirm_token(token, identity, deadline).await
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
