//! The audit: one event a decision, the whole truth, no secret.
//!
//! Events have the target `natsgate::audit`, so that a collector can keep them apart from the log.

use natsgate_core::{Connection, Failure};
use tracing::{info, warn};

use crate::pipeline::Decision;

/// The target of audit events.
pub const TARGET: &str = "natsgate::audit";

/// Writes down `decision` about `connection`. Everything a client chose is escaped.
pub fn record(decision_id: &str, connection: &Connection, decision: &Decision) {
    let principal = decision.principal.as_ref();
    let issuer = principal.map(|p| p.issuer.escape_debug().to_string());
    let subject = principal.map(|p| p.subject.escape_debug().to_string());
    let client_host = connection.client_host.escape_debug();
    match &decision.outcome {
        Ok(grant) => info!(
            target: TARGET,
            decision_id,
            outcome = "granted",
            issuer,
            subject,
            account = %grant.account.escape_debug(),
            expires_at = natsgate_core::clock::unix_seconds(grant.expires_at),
            policy = %grant.policy_digest,
            cluster = %connection.cluster,
            server = %connection.server_id,
            client = connection.client_id,
            %client_host,
            "granted",
        ),
        Err(Failure::Denied(denial)) => info!(
            target: TARGET,
            decision_id,
            outcome = "denied",
            reason = denial.reason.code(),
            detail = %denial.detail,
            issuer,
            subject,
            cluster = %connection.cluster,
            server = %connection.server_id,
            client = connection.client_id,
            %client_host,
            "denied",
        ),
        Err(Failure::Unavailable(unavailable)) => warn!(
            target: TARGET,
            decision_id,
            outcome = "unanswered",
            detail = %unavailable,
            issuer,
            subject,
            cluster = %connection.cluster,
            server = %connection.server_id,
            client = connection.client_id,
            %client_host,
            "no answer",
        ),
    }
}
