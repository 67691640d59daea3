//! The body of an account JWT.
//!
//! Accounts are written by others too (`nsc`, operators' own tools): everything here survives being read and signed
//! again, what is not known included. Imports, exports and mappings are kept as they are.

mod limits;
mod signing_key;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use limits::Limits;
pub use signing_key::{SigningKey, UserScope};

use super::permissions::Permissions;
use super::unknown::{Unknown, beside_type};
use super::{is_default, is_empty_text, or_default, text};
use crate::claims::{ClaimsBody, Inconsistency};
use crate::nkey::check_public_key;
use crate::role::Role;

/// What an account JWT says of its account.
///
/// The default has [`Limits::unlimited`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccountBody {
    /// What it imports, as it is.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub imports: Vec<Value>,
    /// What it exports, as it is.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub exports: Vec<Value>,
    /// What bounds it. Absent means limits of zero.
    #[serde(default, deserialize_with = "or_default")]
    pub limits: Limits,
    /// Keys that may sign users beside the account's own.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub signing_keys: Vec<SigningKey>,
    /// User keys (or `*`, all) and the time in seconds since the Unix epoch up to which their JWTs are revoked.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub revocations: BTreeMap<String, i64>,
    /// Permissions of users that bring none of their own.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub default_permissions: Permissions,
    /// Subject mappings, as they are.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Map::is_empty"
    )]
    pub mappings: Map<String, Value>,
    /// Auth callout, if there are users in it.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub authorization: ExternalAuthorization,
    /// Message tracing, as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Value>,
    /// Whose traffic replication is: `system` or `owner`.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "is_empty_text")]
    pub cluster_traffic: Option<String>,
    /// For people.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "is_empty_text")]
    pub description: Option<String>,
    /// For people.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "is_empty_text")]
    pub info_url: Option<String>,
    /// Tags.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub tags: Vec<String>,
    /// What else is there.
    #[serde(flatten, deserialize_with = "beside_type")]
    pub unknown: Unknown,
}

/// An account's auth callout (Go's `ExternalAuthorization`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ExternalAuthorization {
    /// Public user nkeys that bypass the callout: the authorization service's own. Without any there is no callout.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub auth_users: Vec<String>,
    /// Accounts a response may put users into beside this one, or `*` alone.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub allowed_accounts: Vec<String>,
    /// The public xkey that requests are sealed to.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "is_empty_text")]
    pub xkey: Option<String>,
    /// What else is there.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl Default for AccountBody {
    fn default() -> Self {
        Self {
            imports: Vec::new(),
            exports: Vec::new(),
            limits: Limits::unlimited(),
            signing_keys: Vec::new(),
            revocations: BTreeMap::new(),
            default_permissions: Permissions::default(),
            mappings: Map::new(),
            authorization: ExternalAuthorization::default(),
            trace: None,
            cluster_traffic: None,
            description: None,
            info_url: None,
            tags: Vec::new(),
            unknown: Unknown::default(),
        }
    }
}

impl AccountBody {
    /// The signing key `key`, if the account has it.
    pub fn signing_key(&self, key: &str) -> Option<&SigningKey> {
        self.signing_keys.iter().find(|entry| entry.key() == Some(key))
    }
}

impl ClaimsBody for AccountBody {
    const TYPE: &'static str = "account";
    const ISSUERS: &'static [Role] = &[Role::Operator, Role::Account];
    const SUBJECT: Role = Role::Account;

    fn check_to_sign(&self) -> Result<(), Inconsistency> {
        if !self
            .signing_keys
            .iter()
            .filter_map(SigningKey::key)
            .all(|key| is(key, Role::Account))
        {
            return Err(Inconsistency(
                "signing_keys has an entry that is not an account's public key",
            ));
        }
        self.authorization.check()
    }
}

impl ExternalAuthorization {
    /// What nats-server holds against an account: it refuses one that fails this.
    fn check(&self) -> Result<(), Inconsistency> {
        if self.auth_users.is_empty() && !self.allowed_accounts.is_empty() {
            return Err(Inconsistency(
                "authorization.allowed_accounts needs authorization.auth_users",
            ));
        }
        if !self.auth_users.iter().all(|key| is(key, Role::User)) {
            return Err(Inconsistency(
                "authorization.auth_users has an entry that is not a user's public key",
            ));
        }
        let any = matches!(self.allowed_accounts.as_slice(), [one] if one == "*");
        if !any && !self.allowed_accounts.iter().all(|key| is(key, Role::Account)) {
            return Err(Inconsistency(
                "authorization.allowed_accounts must be public keys of accounts, or * alone",
            ));
        }
        if !self.xkey.iter().all(|key| is(key, Role::Curve)) {
            return Err(Inconsistency("authorization.xkey is not a public xkey"));
        }
        Ok(())
    }
}

fn is(key: &str, role: Role) -> bool {
    check_public_key(key, role).is_ok()
}

#[cfg(test)]
mod tests;
