//! A verified identity, and the port to whoever verifies it.

use std::time::SystemTime;

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::deadline::Deadline;
use crate::outcome::Failure;
use crate::principal::Principal;

/// Somebody whose credential was verified.
#[derive(Debug, Clone, PartialEq)]
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
