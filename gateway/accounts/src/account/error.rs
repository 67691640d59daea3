//! Why an account JWT was not read, or not changed.

use natsgate_claims::DecodeError;

use crate::keys::KeysError;
use crate::naming::{ScopeRole, TemplateName};
use crate::template::{NotOurs, TagsError};

/// Why an account JWT was not read, or not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// It is no account JWT, or not a valid one.
    #[error("reading the account JWT: {0}")]
    Decode(#[from] DecodeError),
    /// It is another account's.
    #[error(
        "reading the account JWT: it is that of {found}, not of {expected}; look up the account by its public key"
    )]
    OtherAccount {
        /// The account that was meant.
        expected: String,
        /// The account it is about.
        found: String,
    },
    /// Another operator's.
    #[error(
        "reading the account JWT: it was signed by {issuer}, which is none of the operator's known keys; \
         add that key if it is one of the operator's signing keys"
    )]
    UnknownOperator {
        /// Who signed.
        issuer: String,
    },
    /// Servers would take the last of the two.
    #[error(
        "reading the account JWT: it has the signing key {key} twice; take one out (nsc edit account --rm-sk) and push it"
    )]
    KeyTwice {
        /// The key.
        key: String,
    },
    /// Two root secrets made a key for the same generation.
    #[error(
        "reading the account JWT: two of the root secrets have made a key {role}; \
         take the one out that no session has (nsc edit account --rm-sk) and push it"
    )]
    RoleTwice {
        /// The role of both.
        role: ScopeRole,
    },
    /// A key could not be derived.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A template does not fit the account.
    #[error(transparent)]
    Facts(#[from] TagsError),
    /// No such template.
    #[error(
        "the account has no template {template} of natsgate's: check its name, and that its root secret is configured"
    )]
    NoTemplate {
        /// The template.
        template: TemplateName,
    },
    /// No such generation.
    #[error("the account has no signing key {role} of natsgate's: it may have been removed before")]
    NoGeneration {
        /// Its role.
        role: ScopeRole,
    },
    /// Users are minted with it.
    #[error(
        "the signing key {role} is the newest of its template, the one users are minted with; \
         put or retire the template first, and remove what is then older"
    )]
    InUse {
        /// Its role.
        role: ScopeRole,
    },
    /// There is no number after the last one.
    #[error("template {template} has had its last generation; put it under another name")]
    NoMoreGenerations {
        /// The template.
        template: TemplateName,
    },
    /// The newest generation is not as natsgate writes it.
    #[error(
        "template {template} was edited by hand, and natsgate cannot give it a new key as it is ({why}); \
         put the template again, or retire it"
    )]
    CannotRotate {
        /// The template.
        template: TemplateName,
        /// What about it.
        why: NotOurs,
    },
    /// A revocation of the future.
    #[error(
        "revoking every user up to {at}, which lies {} s ahead: nobody could connect until then; compare the clocks",
        .at.saturating_sub(*.now)
    )]
    RevocationAhead {
        /// Up to when, in seconds since the Unix epoch.
        at: i64,
        /// The time now.
        now: i64,
    },
}
