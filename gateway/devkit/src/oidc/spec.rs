//! What a token of the development provider shall be: an honest one, changed in whatever way a test needs.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::oidc::algorithm::SigningAlgorithm;

/// A token to be issued by [`DevProvider::issue`](crate::DevProvider::issue). Begins honest: issuer, audience, times,
/// type and key are the provider's own.
#[derive(Debug, Clone)]
pub struct TokenSpec {
    pub(crate) algorithm: Option<SigningAlgorithm>,
    pub(crate) signature: Signature,
    pub(crate) ttl: Option<Duration>,
    pub(crate) header: Map<String, Value>,
    pub(crate) claims: Map<String, Value>,
}

/// Who signs a token, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Signature {
    /// The provider, with its present key.
    #[default]
    Honest,
    /// Somebody else, with a key of the same algorithm and under the key id of the provider's own: a forgery.
    Forged,
    /// Nobody: `alg` is `none` and the signature empty (RFC 7519 section 6).
    None,
    /// HMAC with SHA-256, with the provider's public key in PEM as its secret (RFC 8725 section 2.1).
    HmacWithPublicKey,
}

impl TokenSpec {
    /// An honest token for `subject`.
    pub fn new(subject: impl Into<String>) -> Self {
        let claims = Map::from_iter([("sub".to_owned(), Value::String(subject.into()))]);
        Self {
            algorithm: None,
            signature: Signature::Honest,
            ttl: None,
            header: Map::new(),
            claims,
        }
    }

    /// An honest logout token for the client `client_id` (OpenID Connect Back-Channel Logout 1.0 section 2.4). It names nobody
    /// yet: add `sub`, or `sid`, or both.
    pub fn logout(client_id: &str) -> Self {
        let event = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
        Self::new("nobody")
            .claim("sub", Value::Null)
            .audience(client_id)
            .claim("events", event)
            .header("typ", "logout+jwt")
            .ttl(Duration::from_secs(120))
    }

    /// Signed with `algorithm`, rather than the first one the provider has.
    #[must_use]
    pub fn algorithm(mut self, algorithm: SigningAlgorithm) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// Signed so.
    #[must_use]
    pub fn signature(mut self, signature: Signature) -> Self {
        self.signature = signature;
        self
    }

    /// Expiring after `ttl`, in whole seconds.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// For `audience`.
    #[must_use]
    pub fn audience(self, audience: &str) -> Self {
        self.claim("aud", json!(audience))
    }

    /// With a claim set to any value, of whatever type. `null` leaves the claim out, the provider's own ones too.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// With a header parameter (`kid`, `typ`, `alg`, `crit`, …) set to any value. `null` leaves it out.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }
}
