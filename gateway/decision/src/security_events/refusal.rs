//! Why an event is refused: how that is counted, and how it is answered.

use std::fmt;

use hyper::StatusCode;
use natsgate_core::{Denial, DenialReason};

/// Why a call is refused. Each is counted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// There is nothing at the path.
    NotFound,
    /// It is no POST.
    Method,
    /// The body is larger than [`MAX_BODY`](super::MAX_BODY), or a token in it than may be.
    TooLarge,
    /// The body did not arrive in time.
    TooSlow,
    /// The body is of another media type.
    ContentType,
    /// It is not what such a call looks like.
    Malformed,
    /// It has no signature, or no time of signing.
    Unsigned,
    /// The time it was made lies too far from now, or the token is not, or no more, in force.
    Time,
    /// The signature is not that of whom it is from, or of an algorithm that is not accepted.
    Signature,
    /// Logout tokens of this issuer are not accepted.
    Issuer,
    /// The token is for somebody else.
    Audience,
    /// The token is no logout token.
    TokenType,
    /// A claim is missing or is not what it must be.
    Claims,
    /// It was carried out before.
    Replayed,
    /// Its id was used before, for something else.
    Reused,
    /// It means something that cannot be read out of it as configured.
    Unmappable,
    /// More calls at once than are taken.
    Overloaded,
    /// The provider's keys or the revocation log could not be reached: nothing was found out, or it is not known whether it
    /// was carried out.
    Unavailable,
}

impl Refusal {
    /// All of them, in the order that they are counted in.
    pub const ALL: [Self; 18] = [
        Self::NotFound,
        Self::Method,
        Self::TooLarge,
        Self::TooSlow,
        Self::ContentType,
        Self::Malformed,
        Self::Unsigned,
        Self::Time,
        Self::Signature,
        Self::Issuer,
        Self::Audience,
        Self::TokenType,
        Self::Claims,
        Self::Replayed,
        Self::Reused,
        Self::Unmappable,
        Self::Overloaded,
        Self::Unavailable,
    ];

    /// The reason as it stands in logs, metrics and answers: `replayed`.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Method => "method",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::ContentType => "content_type",
            Self::Malformed => "malformed",
            Self::Unsigned => "unsigned",
            Self::Time => "time",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::TokenType => "token_type",
            Self::Claims => "claims",
            Self::Replayed => "replayed",
            Self::Reused => "reused",
            Self::Unmappable => "unmappable",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
        }
    }

    /// What whoever called is told: nothing that he sent, and nothing of what is configured.
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::NotFound => "there is nothing at this path",
            Self::Method => "only POST is taken here",
            Self::TooLarge => "it is too large",
            Self::TooSlow => "it did not arrive in time",
            Self::ContentType => "the body is of another media type than is taken here",
            Self::Malformed => "it is not what such a call looks like",
            Self::Unsigned => "the signature or the time of signing is missing, or is not written as agreed",
            Self::Time => "the time it was made lies too far from now, or it has expired: look at the clocks",
            Self::Signature => "the signature is not accepted",
            Self::Issuer => "logout tokens of this issuer are not accepted",
            Self::Audience => "the token is for another client",
            Self::TokenType => "it is no logout token",
            Self::Claims => "a claim is missing or is not what it must be",
            Self::Replayed => "it was used before, and is carried out",
            Self::Reused => "its id was used before, for something else",
            Self::Unmappable => "it does not hold what it must hold",
            Self::Overloaded => "too many calls at once: call again after a while",
            Self::Unavailable => "it is not known whether this was carried out: call again after a while",
        }
    }

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unsigned | Self::Time | Self::Signature => StatusCode::UNAUTHORIZED,
            Self::Replayed | Self::Reused => StatusCode::CONFLICT,
            Self::Unmappable => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Overloaded | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Malformed | Self::Issuer | Self::Audience | Self::TokenType | Self::Claims => {
                StatusCode::BAD_REQUEST
            }
        }
    }

    /// Whether the same request, sent again, will fare no better, whatever way it comes.
    pub(super) fn is_callers_mistake(self) -> bool {
        !matches!(
            self,
            Self::Method | Self::TooLarge | Self::TooSlow | Self::Overloaded | Self::Unavailable
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A refused call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    /// What exactly, for our log: no value of the call's.
    pub(super) detail: String,
    /// What exactly, for whoever called and has proved who he is.
    pub(super) shown: Option<String>,
}

impl Refused {
    pub(super) fn new(refusal: Refusal, detail: impl Into<String>) -> Self {
        Self {
            refusal,
            detail: detail.into(),
            shown: None,
        }
    }
}

impl From<Denial> for Refused {
    /// What is wrong with a logout token.
    fn from(denial: Denial) -> Self {
        let refusal = match denial.reason {
            DenialReason::NoCredentials | DenialReason::MalformedToken => Refusal::Malformed,
            DenialReason::CredentialTooLarge => Refusal::TooLarge,
            DenialReason::UnknownIssuer => Refusal::Issuer,
            DenialReason::AlgorithmNotAllowed | DenialReason::UnknownKey | DenialReason::BadSignature => {
                Refusal::Signature
            }
            DenialReason::Expired | DenialReason::NotYetValid | DenialReason::LifeTooLong => Refusal::Time,
            DenialReason::WrongAudience => Refusal::Audience,
            DenialReason::WrongTokenType => Refusal::TokenType,
            _ => Refusal::Claims,
        };
        Self::new(refusal, denial.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_refusal_is_counted_in_a_place_of_its_own() {
        let codes: HashSet<_> = Refusal::ALL.iter().map(|refusal| refusal.code()).collect();
        assert_eq!(codes.len(), Refusal::ALL.len());
    }
}
