//! The scopes of the gRPC API: groups of methods.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a caller may do. Named as in an access token's `scope` (RFC 9068 section 2.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub enum Scope {
    /// Have decisions made (`DecisionService`): a shim.
    #[serde(rename = "natsgate.authorize")]
    Authorize,
    /// List pushed memberships.
    #[serde(rename = "natsgate.memberships.read")]
    MembershipsRead,
    /// Push memberships, and take them.
    #[serde(rename = "natsgate.memberships.write")]
    MembershipsWrite,
    /// Revoke.
    #[serde(rename = "natsgate.revoke")]
    Revoke,
    /// List and watch sessions.
    #[serde(rename = "natsgate.sessions.read")]
    SessionsRead,
    /// See accounts, and what a change would do to them.
    #[serde(rename = "natsgate.accounts.read")]
    AccountsRead,
    /// Change accounts.
    #[serde(rename = "natsgate.accounts.write")]
    AccountsWrite,
    /// Lend the account writer the system connection of a cluster: a shim.
    #[serde(rename = "natsgate.accounts.link")]
    AccountsLink,
}

impl Scope {
    /// All there are.
    pub const ALL: [Self; 8] = [
        Self::Authorize,
        Self::MembershipsRead,
        Self::MembershipsWrite,
        Self::Revoke,
        Self::SessionsRead,
        Self::AccountsRead,
        Self::AccountsWrite,
        Self::AccountsLink,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authorize => "natsgate.authorize",
            Self::MembershipsRead => "natsgate.memberships.read",
            Self::MembershipsWrite => "natsgate.memberships.write",
            Self::Revoke => "natsgate.revoke",
            Self::SessionsRead => "natsgate.sessions.read",
            Self::AccountsRead => "natsgate.accounts.read",
            Self::AccountsWrite => "natsgate.accounts.write",
            Self::AccountsLink => "natsgate.accounts.link",
        }
    }

    /// The scope of this name; `None` for others' scopes.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_has_one_name_in_tokens_and_settings() {
        for scope in Scope::ALL {
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
            assert_eq!(Scope::named(scope.as_str()), Some(scope));
        }
        for other in [
            "",
            "natsgate",
            "natsgate.memberships",
            "natsgate.memberships.write ",
            "NATSGATE.REVOKE",
        ] {
            assert_eq!(Scope::named(other), None, "{other:?}");
        }
    }
}
