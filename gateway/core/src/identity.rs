//! A verified identity, and the port to whoever verifies it.

use std::fmt;
use std::time::SystemTime;

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::concern::Concern;
use crate::credential::Credential;
use crate::deadline::Deadline;
use crate::outcome::Failure;
use crate::principal::Principal;

/// Somebody whose credential was verified. `Debug` shows the names of the claims, not their values.
#[derive(Clone, PartialEq)]
pub struct Identity {
    /// Who it is.
    pub principal: Principal,
    /// The configured name of the provider that vouches for it.
    pub provider: String,
    /// Everything the provider says of them: a token's claims.
    pub claims: Map<String, Value>,
    /// When the credential was issued, if it says so.
    pub issued_at: Option<SystemTime>,
    /// When it expires. Nothing granted for it outlives this.
    pub expires_at: SystemTime,
    /// How it is known.
    pub evidence: Evidence,
}

/// How an identity is known, and so how old what is said of it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// The claims are those of a signed token: as old as its `iat`. Revoked since, they do not count.
    SignedToken {
        /// The key that signed it, if the token names one.
        key_id: Option<String>,
    },
    /// The provider was asked, directly or through a cache that knows of revocations: as new as the decision needs.
    Online,
    /// A client certificate, which says nothing but who it is and until when.
    Certificate,
}

impl Identity {
    /// What it is about: the principal, the provider, the key, the token and the provider's session, as far as they are
    /// known.
    pub fn concerns(&self) -> Vec<Concern> {
        let issuer = &self.principal.issuer;
        let text = |claim: &str| self.claims.get(claim).and_then(Value::as_str);
        let mut concerns = vec![Concern::principal(&self.principal), Concern::provider(issuer)];
        if let Evidence::SignedToken { key_id: Some(key_id) } = &self.evidence {
            concerns.push(Concern::signing_key(issuer, key_id));
        }
        concerns.extend(text("jti").map(|id| Concern::token(issuer, id)));
        concerns.extend(text("sid").map(|id| Concern::provider_session(issuer, id)));
        concerns
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("principal", &self.principal)
            .field("provider", &self.provider)
            .field("claims", &self.claims.keys().collect::<Vec<_>>())
            .field("issued_at", &self.issued_at)
            .field("expires_at", &self.expires_at)
            .field("evidence", &self.evidence)
            .finish()
    }
}

/// Turns a credential into an [`Identity`].
#[async_trait]
pub trait IdentityProvider: Send + Sync {
    /// Verifies `credential`.
    ///
    /// # Errors
    /// [`Failure::Denied`] if it is not acceptable, [`Failure::Unavailable`] if that could not be found out before
    /// `deadline`. Neither carries the credential or a value from it.
    async fn identify(&self, credential: &Credential, deadline: Deadline) -> Result<Identity, Failure>;

    /// Asks the provider about `credential`, which it was found to be `identity` by: what it says now takes the place of
    /// every claim that `credential` makes itself. `None` if this provider cannot be asked.
    ///
    /// # Errors
    /// As for [`Self::identify`].
    async fn confirm(
        &self,
        _credential: &Credential,
        _identity: &Identity,
        _deadline: Deadline,
    ) -> Result<Option<Identity>, Failure> {
        Ok(None)
    }
}
