//! The audit: one event a decision, the whole truth, no secret.
//!
//! Events have the target `natsgate::audit`, so that a collector can keep them apart from the log.

pub use natsgate_api::audit::TARGET;
pub(crate) use natsgate_api::audit::short;
use natsgate_core::{Connection, Failure, Unavailable};
use tracing::{info, warn};

use crate::pipeline::{Decision, Rechecked};

/// Writes down `decision` about `connection`. Texts are recorded as strings, never as they are, so that the log quotes
/// and escapes them: no client can write a line of its own.
pub fn record(decision_id: &str, connection: &Connection, decision: &Decision) {
    let principal = decision.principal.as_ref();
    let issuer = principal.map(|principal| short(&principal.issuer));
    let subject = principal.map(|principal| short(&principal.subject));
    let as_of = decision.as_of.map(|revision| revision.to_string());
    let degraded = decision.degraded;
    let (cluster, server) = (short(&connection.cluster), short(&connection.server_id));
    let (client, client_host) = (connection.client_id, short(&connection.client_host));
    match &decision.outcome {
        Ok(grant) => info!(
            target: TARGET,
            decision_id,
            outcome = "granted",
            issuer,
            subject,
            account = short(&grant.account),
            expires_at = natsgate_core::clock::unix_seconds(grant.expires_at),
            policy = short(&grant.policy_digest),
            as_of,
            degraded,
            cluster,
            server,
            client,
            client_host,
            "granted",
        ),
        Err(Failure::Denied(denial)) => info!(
            target: TARGET,
            decision_id,
            outcome = "denied",
            reason = denial.reason.code(),
            detail = short(&denial.detail),
            issuer,
            subject,
            cluster,
            server,
            client,
            client_host,
            "denied",
        ),
        Err(Failure::Unavailable(unavailable)) => warn!(
            target: TARGET,
            decision_id,
            outcome = "unanswered",
            detail = short(&unavailable.0),
            issuer,
            subject,
            cluster,
            server,
            client,
            client_host,
            "no answer",
        ),
    }
}

/// Writes down what came out for `asked` sessions that were looked at again: how many, not which. What becomes of each is in the
/// log of the shim that asked.
pub fn record_rechecked(asked: usize, outcome: &Result<Vec<Rechecked>, Unavailable>) {
    match outcome {
        Ok(all) => {
            let count = |is: fn(&Rechecked) -> bool| all.iter().filter(|one| is(one)).count();
            info!(
                target: TARGET,
                outcome = "rechecked",
                asked,
                granted = count(|one| matches!(one, Rechecked::Granted { .. })),
                denied = count(|one| matches!(one, Rechecked::Denied(_))),
                in_doubt = count(|one| matches!(one, Rechecked::InDoubt(_))),
                "sessions were looked at again",
            );
        }
        Err(unavailable) => warn!(
            target: TARGET,
            outcome = "not_rechecked",
            asked,
            detail = short(&unavailable.0),
            "what sessions would get now could not be told",
        ),
    }
}
