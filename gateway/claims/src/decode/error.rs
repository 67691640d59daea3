//! Why a token was not accepted. Nothing of the token stands in an error but times and the names of claims.

use crate::claims::Inconsistency;
use crate::nkey::KeyError;
use crate::role::Role;

/// Why a token was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Larger than [`MAX_TOKEN_BYTES`](crate::MAX_TOKEN_BYTES).
    #[error("the token has {size} bytes; 1048576 at most are read")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// Not three parts of base64url with JSON inside.
    #[error("this is not a NATS JWT: {0}")]
    Malformed(&'static str),
    /// The header's `alg` is not `ed25519-nkey`.
    #[error("the token's algorithm (alg) is not ed25519-nkey, the only one there is for NATS JWTs")]
    Algorithm,
    /// Another kind of NATS JWT.
    #[error("the token is of type {found}, where one of type {expected} belongs")]
    WrongType {
        /// The type that belongs there.
        expected: &'static str,
        /// The type it has, if it is one there is.
        found: &'static str,
    },
    /// Claims of a version that is not read.
    #[error(
        "the token has claims of version {found}; only version 2 is read: have it issued anew by a current tool"
    )]
    Version {
        /// The version; 0 if it says none.
        found: i64,
    },
    /// `iss` is not a public key of a role that may sign this.
    #[error("a token of type {kind} must be issued by the key of: {}; its issuer (iss) is none", roles(.allowed))]
    IssuerRole {
        /// The type of JWT.
        kind: &'static str,
        /// The roles that may issue it.
        allowed: &'static [Role],
    },
    /// Not signed by `iss`.
    #[error("the token's signature is not that of its issuer: it was changed, or signed with another key")]
    BadSignature,
    /// A claim is missing or of another JSON type.
    #[error("the token's claim {path} is missing, there twice, or of another JSON type than it must have")]
    Claim {
        /// The claim's name: `nats.client_info.id`.
        path: String,
    },
    /// `sub` is not a public key of the role this kind of JWT is about.
    #[error("the token's subject (sub): {cause}")]
    Subject {
        /// What it is instead.
        cause: KeyError,
    },
    /// `aud` is not the one this kind of JWT has.
    #[error(
        "the token's audience (aud) is not that of an authorization request: it is meant for something else"
    )]
    WrongAudience,
    /// It has no `exp`, and must.
    #[error("the token has no expiry (exp), which every authorization request has")]
    NoExpiry,
    /// The claims contradict each other.
    #[error("the token's claims do not fit: {0}")]
    Inconsistent(Inconsistency),
    /// `exp` has passed.
    #[error("the token expired {} s ago; if it was issued just now, compare the two machines' clocks", .now.saturating_sub(*.expired_at))]
    Expired {
        /// `exp`, in seconds since the Unix epoch.
        expired_at: i64,
        /// The time it was held against.
        now: i64,
    },
    /// `nbf` lies ahead.
    #[error("the token is valid only in {} s; if it should be now, compare the two machines' clocks", .not_before.saturating_sub(*.now))]
    NotYetValid {
        /// `nbf`, in seconds since the Unix epoch.
        not_before: i64,
        /// The time it was held against.
        now: i64,
    },
}

/// `kind` if it is a type of NATS JWT: errors do not repeat what else a token says.
pub(super) fn known_type(kind: &str) -> &'static str {
    const TYPES: [&str; 7] = [
        "operator",
        "account",
        "user",
        "activation",
        "authorization_request",
        "authorization_response",
        "generic",
    ];
    TYPES
        .into_iter()
        .find(|known| *known == kind)
        .unwrap_or("(none of NATS')")
}

fn roles(roles: &[Role]) -> String {
    let names: Vec<_> = roles.iter().map(|role| role.with_article()).collect();
    names.join(" or ")
}
