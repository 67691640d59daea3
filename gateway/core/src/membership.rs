//! What somebody belongs to, and the port to where that is known.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::deadline::Deadline;
use crate::identity::Identity;
use crate::outcome::Failure;

/// One principal's role in one resource: a project, a device, a tenant.
///
/// The values come from outside and are not checked here: whoever puts one into a subject checks it there
/// ([`crate::subject::check_token`]).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// The kind of resource: `project`, `device`, …
    pub kind: String,
    /// The resource's id within its kind.
    pub id: String,
    /// The role the principal has there: `member`, `owner`, …
    pub role: String,
}

/// Where memberships are known: a token's claims, a file, a database, a backend's API.
#[async_trait]
pub trait MembershipSource: Send + Sync {
    /// The source's name in logs and errors.
    fn name(&self) -> &str;

    /// Everything `identity` belongs to, as far as this source knows.
    ///
    /// # Errors
    /// [`Failure::Denied`] if what the source says cannot be right (a claim of the wrong type);
    /// [`Failure::Unavailable`] if it could not be asked before `deadline`. Never an empty list instead of an error.
    async fn memberships(&self, identity: &Identity, deadline: Deadline) -> Result<Vec<Membership>, Failure>;

    /// Everything of `identity` that the answer depends on, for the key of a cached answer. `None` for a source that has
    /// its answers at hand: nothing is gained by keeping them.
    fn cache_key(&self, _identity: &Identity) -> Option<Zeroizing<Vec<u8>>> {
        None
    }

    /// How far the source may be behind the truth: a read replica's lag.
    fn lag(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether the answer is read out of the identity's own claims, and so as old as they are.
    fn reads_claims(&self) -> bool {
        false
    }
}
