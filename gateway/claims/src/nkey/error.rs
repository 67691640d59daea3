//! What can be wrong with a key's text. No error holds the text: what stands where a public key belongs may be a seed.

use std::fmt;

use crate::role::Role;

/// Which half of a key a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// The private half, beginning with `S`.
    Seed,
    /// The public half.
    PublicKey,
}

/// Why a text is not the key it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is a key, but another one than belongs there.
    #[error("this is {}, where {} belongs", Kind(*.found, *.found_form), Kind(*.expected, *.expected_form))]
    WrongRole {
        /// The role of what is there.
        found: Role,
        /// Whether a seed or a public key is there.
        found_form: KeyForm,
        /// The role that belongs there.
        expected: Role,
        /// Whether a seed or a public key belongs there.
        expected_form: KeyForm,
    },
    /// It is no nkey of any kind.
    #[error("this is no nkey: {} has {} characters from A-Z and 2-7", Kind(*.expected, *.form), .form.characters())]
    NotAKey {
        /// The role that belongs there.
        expected: Role,
        /// Whether a seed or a public key belongs there.
        form: KeyForm,
    },
    /// The checksum at its end is not that of the rest.
    #[error("the nkey's checksum does not match: a character was changed or lost; copy it again")]
    Checksum,
    /// The right form, but no key: a point of small order, which anybody can sign or open for, or none at all.
    #[error("this {role} public key is not one that a seed can have (the all-zero key, say); replace it")]
    Weak {
        /// The role it claims.
        role: Role,
    },
    /// An xkey, which seals, was asked to sign.
    #[error("a curve key (xkey) cannot sign; an operator, account, user or server key belongs here")]
    CannotSign,
    /// The operating system gave no random bytes.
    #[error("making a key: the operating system gave no randomness")]
    Random,
}

impl KeyForm {
    pub(super) fn characters(self) -> usize {
        match self {
            Self::Seed => super::codec::SEED_CHARACTERS,
            Self::PublicKey => super::codec::PUBLIC_CHARACTERS,
        }
    }
}

/// A kind of key in words: `an account seed (SA…)`.
struct Kind(Role, KeyForm);

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (role, letter) = (self.0.with_article(), self.0.letter());
        match self.1 {
            KeyForm::Seed => write!(f, "{role} seed (S{letter}…)"),
            KeyForm::PublicKey => write!(f, "{role} public key ({letter}…)"),
        }
    }
}
