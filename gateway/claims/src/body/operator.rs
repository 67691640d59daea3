//! The body of an operator JWT.

use serde::{Deserialize, Serialize};

use super::unknown::{Unknown, beside_type};
use super::{is_default, is_empty_text, or_default, text};
use crate::claims::{ClaimsBody, Inconsistency};
use crate::nkey::check_public_key;
use crate::role::Role;

/// What an operator JWT says of its operator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OperatorBody {
    /// Further operator keys that may sign accounts.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub signing_keys: Vec<String>,
    /// Where tools find account JWTs.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "is_empty_text")]
    pub account_server_url: Option<String>,
    /// Where tools find nats-servers.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub operator_service_urls: Vec<String>,
    /// The system account's public key.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "is_empty_text")]
    pub system_account: Option<String>,
    /// The oldest nats-server that may use this, `2.10.0`.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "is_empty_text")]
    pub assert_server_version: Option<String>,
    /// Whether accounts must be signed by signing keys, not by the operator's own.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub strict_signing_key_usage: bool,
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

impl ClaimsBody for OperatorBody {
    const TYPE: &'static str = "operator";
    const ISSUERS: &'static [Role] = &[Role::Operator];
    const SUBJECT: Role = Role::Operator;

    fn check_to_sign(&self) -> Result<(), Inconsistency> {
        let is = |key: &String, role| check_public_key(key, role).is_ok();
        if !self.signing_keys.iter().all(|key| is(key, Role::Operator)) {
            return Err(Inconsistency(
                "signing_keys has an entry that is not an operator's public key",
            ));
        }
        if !self.system_account.iter().all(|key| is(key, Role::Account)) {
            return Err(Inconsistency("system_account is not an account's public key"));
        }
        Ok(())
    }
}
