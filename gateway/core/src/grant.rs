//! What a decision gives.

use std::time::SystemTime;

use crate::limits::Limits;
use crate::principal::Principal;
use crate::rights::Rights;

/// The answer "yes, and exactly this".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The NATS account the session joins, by the name the policy gives it; the shim maps it to its own.
    pub account: String,
    /// Who it is for.
    pub principal: Principal,
    /// What it may publish and subscribe to, or where that is written.
    pub rights: Rights,
    /// What bounds it beside subjects. With a template, only what the server leaves to the shim: kinds of connection and networks.
    pub limits: Limits,
    /// When the session ends at the latest: never after the credential's own expiry.
    pub expires_at: SystemTime,
    /// A digest of the policy it was computed from.
    pub policy_digest: String,
}
