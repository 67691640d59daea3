//! Logging out at the provider, as the provider tells it (OpenID Connect Back-Channel Logout 1.0): what a logout token says,
//! and the port to whoever can check one.

use async_trait::async_trait;
use secrecy::SecretString;

use crate::deadline::Deadline;
use crate::outcome::Failure;
use crate::revocation::Selector;

/// What a logout token says that was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logout {
    /// The provider, by its configured name.
    pub provider: String,
    /// Its issuer.
    pub issuer: String,
    /// The token's `jti`: one token, one logout.
    pub token_id: String,
    /// What is over: a session at the provider, or everything of one principal.
    pub selector: Selector,
}

/// Checks logout tokens.
#[async_trait]
pub trait LogoutVerifier: Send + Sync {
    /// Checks everything about `token` but whether it was used before.
    ///
    /// # Errors
    /// A denial with the first thing that is wrong with it; [`Unavailable`](crate::Unavailable) if that could not be found out
    /// before `deadline`.
    async fn verify(&self, token: &SecretString, deadline: Deadline) -> Result<Logout, Failure>;
}
