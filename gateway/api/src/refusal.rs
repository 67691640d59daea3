//! Errors of the gRPC API: a standard code, words, and details a program can read (google.rpc, AIP-193).

use std::collections::HashMap;

use natsgate_core::Violation;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// The domain of every reason.
pub const DOMAIN: &str = "natsgate";

/// An error with `reason` in its details.
pub fn refusal(code: Code, reason: &'static str, message: impl Into<String>) -> Status {
    Status::with_error_details(code, message, details(reason))
}

/// The same, with numbers and names for a program to read.
pub fn refusal_with(
    code: Code,
    reason: &'static str,
    message: impl Into<String>,
    metadata: HashMap<String, String>,
) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(code, message, details)
}

/// An `INVALID_ARGUMENT` that names the fields.
pub fn invalid(violations: &[Violation]) -> Status {
    of_fields(Code::InvalidArgument, "INVALID_REQUEST", violations)
}

/// An error about fields.
pub fn of_fields(code: Code, reason: &'static str, violations: &[Violation]) -> Status {
    let mut details = details(reason);
    let fields: Vec<FieldViolation> = violations
        .iter()
        .map(|one| FieldViolation::new(&one.field, &one.problem))
        .collect();
    details.set_bad_request(fields);
    let message: Vec<String> = violations
        .iter()
        .map(|one| format!("{}: {}", one.field, one.problem))
        .collect();
    Status::with_error_details(code, message.join("; "), details)
}

/// The details that every error has.
pub fn details(reason: &'static str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new())
}
