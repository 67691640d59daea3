//! What a failure is to a caller: a standard code, a reason that a program can read, and words.

use std::collections::HashMap;

use natsgate_accounts::{PlanError, WriterError};
use natsgate_api::refusal;
use natsgate_core::AccountStoreError;
use natsgate_proto::v1;
use tonic::{Code, Status};

/// `error` as a status.
pub(super) fn status(error: WriterError) -> Status {
    let message = error.to_string();
    let (code, reason) = match &error {
        WriterError::Plan { cause, .. } => {
            let (reason, metadata) = reason(cause);
            return refusal::refusal_with(Code::FailedPrecondition, reason, message, metadata);
        }
        WriterError::Held { .. } => (Code::Unavailable, "WRITER_BUSY"),
        WriterError::Store { cause, .. } => match cause {
            AccountStoreError::Fenced { .. }
            | AccountStoreError::Lost { .. }
            | AccountStoreError::Held { .. }
            | AccountStoreError::Conflict { .. } => (Code::Aborted, "WRITER_REPLACED"),
            AccountStoreError::Unavailable { .. } => (Code::Unavailable, "STORE_UNAVAILABLE"),
        },
        WriterError::Record { .. } => (Code::Internal, "STORE_DAMAGED"),
        WriterError::Servers { .. } | WriterError::NoServers { .. } => {
            (Code::Unavailable, "SERVERS_UNAVAILABLE")
        }
        WriterError::UnknownAccount { .. } => (Code::FailedPrecondition, "ACCOUNT_UNKNOWN"),
        WriterError::Unreadable { .. } => (Code::FailedPrecondition, "ACCOUNT_UNREADABLE"),
        WriterError::StoreBehind { .. } | WriterError::GenerationAhead { .. } => {
            (Code::FailedPrecondition, "STORE_BEHIND")
        }
        WriterError::IssuedAhead { .. } => (Code::Unavailable, "CLOCKS_DIFFER"),
        WriterError::Signer { .. } => (Code::Unavailable, "SIGNER_UNAVAILABLE"),
        WriterError::Unsettled { .. } => (Code::Aborted, "UNSETTLED"),
        WriterError::KeyReused { .. } => (Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED"),
    };
    refusal::refusal(code, reason, message)
}

/// `error` as what a plan says, if it is a refusal of the change.
///
/// # Errors
/// The status of any other.
pub(super) fn told(error: WriterError) -> Result<v1::AccountRefusal, Status> {
    match error {
        WriterError::Plan { cause, .. } => {
            let (reason, metadata) = reason(&cause);
            Ok(v1::AccountRefusal {
                reason: reason.to_owned(),
                message: cause.to_string(),
                metadata,
            })
        }
        other => Err(status(other)),
    }
}

fn reason(error: &PlanError) -> (&'static str, HashMap<String, String>) {
    let pairs = |pairs: &[(&str, String)]| {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        pairs.collect()
    };
    match error {
        PlanError::OverCap { size, cap, templates } => (
            "OVER_CAP",
            pairs(&[
                ("size", size.to_string()),
                ("cap", cap.to_string()),
                ("templates", templates.to_string()),
            ]),
        ),
        PlanError::OverMaxPayload {
            size,
            server,
            max_payload,
        } => (
            "OVER_MAX_PAYLOAD",
            pairs(&[
                ("size", size.to_string()),
                ("max_payload", max_payload.to_string()),
                ("server", server.clone()),
            ]),
        ),
        PlanError::NotLive { servers } => ("NOT_LIVE", pairs(&[("servers", servers.join(", "))])),
        PlanError::Account(_) | PlanError::Encode(_) => ("CHANGE_NOT_POSSIBLE", HashMap::new()),
    }
}
