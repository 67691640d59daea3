//! What somebody belongs to, and the port to where that is known.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

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
}
