//! The two ways of not getting in: a denial, which is an answer, and no answer at all.
//!
//! They are kept apart everywhere, because an outage of ours must never read as a denial to the client.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why somebody is not authorized. For the log and the audit, never for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DenialReason {
    /// The client sent nothing that could be a token.
    NoCredentials,
    /// The credential is larger than the configured bound.
    CredentialTooLarge,
    /// What was sent is not a token: not a JWS in compact form, not JSON inside, forbidden characters.
    MalformedToken,
    /// No configured provider has the token's issuer.
    UnknownIssuer,
    /// The token's algorithm is not one the provider may use: `none`, an HMAC, or one not configured.
    AlgorithmNotAllowed,
    /// The provider has no key of the token's `kid`.
    UnknownKey,
    /// The signature is not the provider's.
    BadSignature,
    /// The token's `exp` has passed.
    Expired,
    /// The token's `nbf` or `iat` lies ahead.
    NotYetValid,
    /// The token is meant for somebody else (`aud`).
    WrongAudience,
    /// The token is of another type than configured (`typ`): an id token where an access token belongs.
    WrongTokenType,
    /// A claim that must be there is not.
    MissingClaim,
    /// A claim has another JSON type than it must have.
    BadClaim,
    /// No policy rule matched.
    NoRuleMatched,
    /// A value from a token or membership would have broken out of its subject token.
    UnsafeValue,
    /// A matching rule needs a value the facts do not have.
    MissingValue,
    /// Matching rules name different accounts.
    AccountConflict,
    /// The limits of the matching rules leave nothing: no connection type, network or time in common.
    LimitsConflict,
    /// Matching rules give what cannot be given together: two templates, or a template and subjects of the session's own.
    RightsConflict,
    /// The client does not come from a network its session is limited to.
    SourceNotAllowed,
    /// The connection is of a type its session is not limited to.
    ConnectionTypeNotAllowed,
    /// The provider says that the token is not, or no more, in force.
    InactiveToken,
    /// The token is valid for longer than the configured `max_token_life`, or does not say since when.
    LifeTooLong,
    /// Something that concerns the token's claims was revoked after it was issued, and the provider cannot be asked.
    Superseded,
    /// A ban is in force on whom the credential is of, on the credential itself, or on the account.
    Banned,
    /// The client's certificate does not name anybody as configured.
    BadCertificate,
    /// A rule could not be evaluated, so what it would have taken away is not known.
    PolicyError,
}

impl DenialReason {
    /// The reason as it stands in logs, audit and the gRPC API: `no_rule_matched`.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::CredentialTooLarge => "credential_too_large",
            Self::MalformedToken => "malformed_token",
            Self::UnknownIssuer => "unknown_issuer",
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongAudience => "wrong_audience",
            Self::WrongTokenType => "wrong_token_type",
            Self::MissingClaim => "missing_claim",
            Self::BadClaim => "bad_claim",
            Self::NoRuleMatched => "no_rule_matched",
            Self::UnsafeValue => "unsafe_value",
            Self::MissingValue => "missing_value",
            Self::AccountConflict => "account_conflict",
            Self::LimitsConflict => "limits_conflict",
            Self::RightsConflict => "rights_conflict",
            Self::SourceNotAllowed => "source_not_allowed",
            Self::ConnectionTypeNotAllowed => "connection_type_not_allowed",
            Self::InactiveToken => "inactive_token",
            Self::LifeTooLong => "life_too_long",
            Self::Superseded => "superseded",
            Self::Banned => "banned",
            Self::BadCertificate => "bad_certificate",
            Self::PolicyError => "policy_error",
        }
    }
}

impl fmt::Display for DenialReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The answer "not authorized", with why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Denial {
    /// The machine-readable reason.
    pub reason: DenialReason,
    /// What exactly, in words: names a claim, a rule, a provider; never holds a token or a value from one.
    pub detail: String,
}

impl Denial {
    /// A denial for `reason`, explained by `detail`.
    pub fn new(reason: DenialReason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }
}

/// No answer: something needed for the decision could not be reached, or not in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

impl Unavailable {
    /// No answer because of `what`: what was being done, with what, and what to look at.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// Why there is no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The answer is no.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// There is no answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Failure {
    /// A denial for `reason`, explained by `detail`.
    pub fn denied(reason: DenialReason, detail: impl Into<String>) -> Self {
        Self::Denied(Denial::new(reason, detail))
    }

    /// No answer, because of `what`.
    pub fn unavailable(what: impl Into<String>) -> Self {
        Self::Unavailable(Unavailable::new(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_what_serde_writes() {
        for reason in [
            DenialReason::NoRuleMatched,
            DenialReason::CredentialTooLarge,
            DenialReason::PolicyError,
        ] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.code());
        }
    }
}
