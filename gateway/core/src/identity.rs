//! A verified identity, and the port to whoever verifies it.

use std::fmt;
use std::time::SystemTime;

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::{Map, Value};

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
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("principal", &self.principal)
            .field("provider", &self.provider)
            .field("claims", &self.claims.keys().collect::<Vec<_>>())
            .field("issued_at", &self.issued_at)
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// Turns a credential into an [`Identity`].
#[async_trait]
pub trait IdentityProvider: Send + Sync {
    /// Verifies `token`.
    ///
    /// # Errors
    /// [`Failure::Denied`] if the token is not acceptable, [`Failure::Unavailable`] if that could not be found out
    /// before `deadline`. Neither carries the token or a value from it.
    async fn identify(&self, token: &SecretString, deadline: Deadline) -> Result<Identity, Failure>;
}
