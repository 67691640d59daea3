//! The body of a user JWT.

use serde::{Deserialize, Serialize};

use super::permissions::UserPermissionLimits;
use super::{is_empty_text, or_default, text};
use crate::claims::{ClaimsBody, Envelope, Inconsistency};
use crate::nkey::check_public_key;
use crate::role::Role;

/// What a user JWT says of its user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub struct UserBody {
    /// What the user may do.
    pub rights: UserRights,
    /// The account's public key, if one of its signing keys signed rather than the account's own.
    pub issuer_account: Option<String>,
    /// Tags; with a scoped signing key its template takes values from them (`{{tag(x)}}` from `x:value`).
    pub tags: Vec<String>,
}

/// Where a user's permissions and limits stand.
#[derive(Debug, Clone, PartialEq)]
pub enum UserRights {
    /// In the template of the scoped signing key that signs. Nothing is written: nats-server refuses a scoped user
    /// that brings permissions or limits.
    Scoped,
    /// In the JWT itself. All three limits are written.
    Own(Box<UserPermissionLimits>),
}

impl UserBody {
    /// A user with its own permissions and limits. Without `pub` and `sub` entries an account's default permissions
    /// hold for it.
    pub fn with(limits: UserPermissionLimits) -> Self {
        Self {
            rights: UserRights::Own(Box::new(limits)),
            issuer_account: None,
            tags: Vec::new(),
        }
    }

    /// A user without permissions or limits of its own.
    pub fn unlimited() -> Self {
        Self::with(UserPermissionLimits::unlimited())
    }

    /// A user of `account`, to be signed by one of its scoped signing keys.
    pub fn scoped(account: impl Into<String>) -> Self {
        Self {
            rights: UserRights::Scoped,
            issuer_account: Some(account.into()),
            tags: Vec::new(),
        }
    }

    /// The same, of `account`, to be signed by one of its signing keys. Operator mode only.
    #[must_use]
    pub fn of_account(mut self, account: impl Into<String>) -> Self {
        self.issuer_account = Some(account.into());
        self
    }

    /// The same, with `tags`.
    #[must_use]
    pub fn tagged<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }
}

impl ClaimsBody for UserBody {
    const TYPE: &'static str = "user";
    const ISSUERS: &'static [Role] = &[Role::Account];
    const SUBJECT: Role = Role::User;

    fn check(&self, _: Envelope<'_>) -> Result<(), Inconsistency> {
        check_issuer_account(self.issuer_account.as_deref())
    }

    fn check_to_sign(&self) -> Result<(), Inconsistency> {
        if self.rights == UserRights::Scoped && self.issuer_account.is_none() {
            return Err(Inconsistency(
                "a scoped user needs issuer_account, the account whose scoped signing key signs",
            ));
        }
        if let UserRights::Own(limits) = &self.rights
            && **limits == UserPermissionLimits::default()
        {
            // Read back, this would be a scoped user.
            return Err(Inconsistency(
                "a user with own rights must not have only limits of zero; -1 means unlimited",
            ));
        }
        Ok(())
    }
}

/// `issuer_account` is an account's public key wherever it stands.
pub(super) fn check_issuer_account(key: Option<&str>) -> Result<(), Inconsistency> {
    match key.map(|key| check_public_key(key, Role::Account)) {
        Some(Err(_)) => Err(Inconsistency("issuer_account is not an account's public key")),
        _ => Ok(()),
    }
}

/// The body as it is written: the limits beside the rest, or none at all.
#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(flatten)]
    limits: Option<Box<UserPermissionLimits>>,
    #[serde(default, deserialize_with = "text", skip_serializing_if = "is_empty_text")]
    issuer_account: Option<String>,
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    tags: Vec<String>,
}

impl From<UserBody> for Wire {
    fn from(body: UserBody) -> Self {
        Self {
            limits: match body.rights {
                UserRights::Scoped => None,
                UserRights::Own(limits) => Some(limits),
            },
            issuer_account: body.issuer_account,
            tags: body.tags,
        }
    }
}

impl From<Wire> for UserBody {
    fn from(wire: Wire) -> Self {
        let limits = wire.limits.map(|mut limits| {
            limits.unknown = std::mem::take(&mut limits.unknown).without_type();
            limits
        });
        Self {
            // Go's rule: with nothing but zeros it is a scoped user's.
            rights: match limits {
                Some(limits) if *limits != UserPermissionLimits::default() => UserRights::Own(limits),
                _ => UserRights::Scoped,
            },
            issuer_account: wire.issuer_account,
            tags: wire.tags,
        }
    }
}

#[cfg(test)]
mod tests;
