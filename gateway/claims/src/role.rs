//! What an nkey may be used for, as its prefix says. Reading and making keys is in [`crate::nkey`].

use std::fmt;

/// The role of an nkey, told by the first letter of its text (nkeys' prefix byte).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// `O`: vouches for accounts.
    Operator,
    /// `A`: vouches for users; also what signs authorization responses.
    Account,
    /// `U`: one user.
    User,
    /// `N`: one nats-server process; signs authorization requests.
    Server,
    /// `C`: a cluster.
    Cluster,
    /// `X`: an xkey: X25519, for sealing, not for signing.
    Curve,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 6] = [
        Self::Operator,
        Self::Account,
        Self::User,
        Self::Server,
        Self::Cluster,
        Self::Curve,
    ];

    /// The prefix byte of the role's public keys (nkeys: five bits, shifted left by three).
    pub(crate) fn prefix(self) -> u8 {
        let letter = match self {
            Self::Operator => 14,
            Self::Account => 0,
            Self::User => 20,
            Self::Server => 13,
            Self::Cluster => 2,
            Self::Curve => 23,
        };
        letter << 3
    }

    /// The role whose public keys have `prefix`.
    pub(crate) fn of_prefix(prefix: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.prefix() == prefix)
    }

    /// The role's name with its article: `an account`.
    pub(crate) fn with_article(self) -> &'static str {
        match self {
            Self::Operator => "an operator",
            Self::Account => "an account",
            Self::User => "a user",
            Self::Server => "a server",
            Self::Cluster => "a cluster",
            Self::Curve => "a curve (xkey)",
        }
    }

    /// The letter the role's public keys begin with. Its seeds begin with `S` and this letter.
    pub fn letter(self) -> char {
        match self {
            Self::Operator => 'O',
            Self::Account => 'A',
            Self::User => 'U',
            Self::Server => 'N',
            Self::Cluster => 'C',
            Self::Curve => 'X',
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "operator",
            Self::Account => "account",
            Self::User => "user",
            Self::Server => "server",
            Self::Cluster => "cluster",
            Self::Curve => "curve",
        })
    }
}
