//! Asking a provider about one token: introspection (RFC 7662) and userinfo (OpenID Connect Core 1.0 section 5.3), as
//! sources whose answers may be kept in caches.
//!
//! What lives here gets the provider's word and no more. Whether the word is good enough is judged anew each time an
//! answer is used ([`crate::claims`]), so an answer out of a cache is held to the settings and the clock of now.

mod client_authentication;
mod introspection;
mod locator;
mod query;
mod userinfo;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use natsgate_core::{CacheTimes, Concern, Deadline, Fact, Failure, Lookup, Source, Unavailable};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::settings::SettingsError;
use crate::settings::oidc::OidcSettings;
use introspection::Introspection;
pub(crate) use locator::Discovery;
pub use query::{TokenAnswer, TokenQuery};
use userinfo::Userinfo;

/// Looks up what a provider says of a token.
pub type TokenLookup = Arc<dyn Lookup<TokenQuery, TokenAnswer>>;

/// Puts caches in front of a source, which keep answers for these times.
pub type WrapSource<'a> = dyn Fn(TokenSource, CacheTimes) -> TokenLookup + 'a;

/// One provider's introspection or userinfo endpoint.
pub struct TokenSource {
    name: String,
    provider: String,
    issuer: String,
    subject_claim: String,
    timeout: Duration,
    endpoint: Endpoint,
}

enum Endpoint {
    Introspection(Introspection),
    Userinfo(Userinfo),
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenSource").field(&self.name).finish()
    }
}

impl TokenSource {
    /// The introspection endpoint of the provider of `settings`, if it is configured.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub(crate) fn introspection(
        settings: &OidcSettings,
        discovery: &Discovery,
    ) -> Result<Option<Self>, SettingsError> {
        let Some(own) = &settings.introspection else {
            return Ok(None);
        };
        let endpoint = Endpoint::Introspection(Introspection::new(settings, own, discovery)?);
        Ok(Some(Self::new("introspection", settings, endpoint)))
    }

    /// The userinfo endpoint of the provider of `settings`, if it is configured.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub(crate) fn userinfo(
        settings: &OidcSettings,
        discovery: &Discovery,
    ) -> Result<Option<Self>, SettingsError> {
        let Some(own) = &settings.userinfo else {
            return Ok(None);
        };
        let endpoint = Endpoint::Userinfo(Userinfo::new(settings, own, discovery)?);
        Ok(Some(Self::new("userinfo", settings, endpoint)))
    }

    fn new(kind: &str, settings: &OidcSettings, endpoint: Endpoint) -> Self {
        Self {
            name: format!("{kind} of {}", settings.name),
            provider: settings.name.clone(),
            issuer: settings.issuer.clone(),
            subject_claim: settings.subject_claim.clone(),
            timeout: settings.fetch_timeout,
            endpoint,
        }
    }

    async fn ask(&self, query: &TokenQuery) -> Result<TokenAnswer, Unavailable> {
        let claims = match &self.endpoint {
            Endpoint::Introspection(endpoint) => endpoint.ask(query.token()).await,
            Endpoint::Userinfo(endpoint) => endpoint.ask(query.token()).await,
        };
        let claims = claims
            .map_err(|error| Unavailable::new(format!("the {} cannot be asked: {error}", self.name)))?;
        Ok(TokenAnswer::new(&self.issuer, &self.subject_claim, query, claims))
    }
}

#[async_trait]
impl Source for TokenSource {
    type Query = TokenQuery;
    type Fact = TokenAnswer;

    fn name(&self) -> &str {
        &self.name
    }

    fn key(&self, query: &TokenQuery) -> Zeroizing<Vec<u8>> {
        // All that the answer depends on: another issuer, endpoint or client is another question.
        let asked = match &self.endpoint {
            Endpoint::Introspection(endpoint) => endpoint.identification(),
            Endpoint::Userinfo(endpoint) => endpoint.identification(),
        };
        let token = query.token().expose_secret();
        let known = query.known();
        let mut parts = vec![&self.provider, &self.issuer, &self.subject_claim, &asked];
        parts.extend(&known);
        let length = parts.iter().map(|part| part.len() + 8).sum::<usize>() + token.len();
        // The whole size at once, so that no copy of the token stays behind where it had to grow.
        let mut key = Zeroizing::new(Vec::with_capacity(length));
        for part in parts {
            key.extend_from_slice(&(part.len() as u64).to_be_bytes());
            key.extend_from_slice(part.as_bytes());
        }
        key.extend_from_slice(token.as_bytes());
        key
    }

    fn concerns(&self, query: &TokenQuery) -> Vec<Concern> {
        query.concerns(&self.issuer)
    }

    async fn fetch(&self, query: &TokenQuery, deadline: Deadline) -> Result<TokenAnswer, Failure> {
        let bound = deadline.or_sooner(self.timeout);
        let answer = bound.bound(self.ask(query)).await.map_err(|_| {
            Unavailable::new(format!(
                "the {} did not answer in time (`fetch_timeout` is {:?})",
                self.name, self.timeout
            ))
        })?;
        Ok(answer?)
    }
}

/// A source without any cache before it.
#[derive(Debug)]
pub struct Uncached<S>(pub S);

#[async_trait]
impl<S: Source> Lookup<S::Query, S::Fact> for Uncached<S>
where
    S::Fact: Fact,
{
    async fn look_up(&self, query: &S::Query, deadline: Deadline) -> Result<S::Fact, Failure> {
        self.0.fetch(query, deadline).await
    }
}

/// Puts nothing in front of a source: a [`WrapSource`] for tests and tools.
pub fn uncached(source: TokenSource, _times: CacheTimes) -> TokenLookup {
    Arc::new(Uncached(source))
}

#[cfg(test)]
mod tests;
