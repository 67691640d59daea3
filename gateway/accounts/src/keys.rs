//! Scoped signing keys, derived: every shim that has an account's root secret has its keys, and nothing private is
//! stored or sent.
//!
//! The seed of a key is HKDF-SHA-256 (RFC 5869) of the root secret, with the account's public key as salt, and as info
//! three fields, each behind its length in four bytes (big-endian): what the key is for and the version of this
//! derivation, the template's name, the generation's number in four bytes. So no two fields can run into each other, and
//! no two accounts share a key even where they share a secret. The derivation is pinned by test vectors: to change it is
//! to change every key of every account.
//!
//! To exchange a secret, the new one is put first: it makes the keys of new generations, and those that older ones made
//! are still known for natsgate's own. Which secret made a key is told by its public half.

use std::fmt;

use aws_lc_rs::hkdf;
use natsgate_claims::{KeyError, KeyPair, Role, check_public_key};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::naming::{Generation, ScopeRole, TemplateName};

/// The fewest bytes a root secret may have.
pub const MIN_SECRET_BYTES: usize = 32;

/// What the keys are for, and the version of their derivation.
const PURPOSE: &[u8] = b"natsgate scoped signing key 1";

/// Why there are no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// A root secret is too short.
    #[error(
        "the account's root secret has fewer than {MIN_SECRET_BYTES} bytes; \
         make one with `openssl rand -base64 32` and give the same to every shim"
    )]
    TooShort,
    /// A root secret has white space at an end, which one shim might read and another not.
    #[error(
        "the account's root secret begins or ends with white space; take it away, or shims would derive different keys"
    )]
    WhiteSpace,
    /// A root secret is there twice.
    #[error("one of the account's root secrets is there twice; list every secret once, the newest first")]
    Twice,
    /// There is no root secret.
    #[error(
        "the account has no root secret, so there are no scoped signing keys: configure its root_secrets"
    )]
    NoSecret,
    /// The account is not named by its public key.
    #[error("deriving scoped signing keys: the account: {0}")]
    Account(KeyError),
    /// The cryptographic library refused.
    #[error("deriving the scoped signing key {role}: the cryptographic library failed; try again")]
    Derivation {
        /// The role the key was for.
        role: Box<ScopeRole>,
    },
}

/// What an account's scoped signing keys are derived from. Wiped from memory when it is dropped.
pub struct RootSecret(SecretString);

impl RootSecret {
    /// The bytes of `text`, as they stand there.
    ///
    /// # Errors
    /// [`KeysError::TooShort`] with fewer than 32 bytes; [`KeysError::WhiteSpace`].
    pub fn new(text: SecretString) -> Result<Self, KeysError> {
        let exposed = text.expose_secret();
        if exposed.len() < MIN_SECRET_BYTES {
            return Err(KeysError::TooShort);
        }
        if exposed.trim().len() != exposed.len() {
            return Err(KeysError::WhiteSpace);
        }
        Ok(Self(text))
    }

    fn bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

impl fmt::Debug for RootSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootSecret")
    }
}

/// Which of an account's root secrets made a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MadeBy {
    /// The first: the one that makes new keys.
    Current,
    /// An older one, counted from 0.
    Older(usize),
}

/// The scoped signing keys of one account.
pub struct ScopedKeys {
    account: String,
    /// The newest first.
    secrets: Vec<RootSecret>,
}

impl ScopedKeys {
    /// The keys of `account` (its public key). `current` makes new ones; what the `older` ones made is known too.
    ///
    /// # Errors
    /// [`KeysError::Account`] and [`KeysError::Twice`].
    pub fn new(
        account: impl Into<String>,
        current: RootSecret,
        older: Vec<RootSecret>,
    ) -> Result<Self, KeysError> {
        let mut keys = Self::without_secrets(account)?;
        keys.secrets = std::iter::once(current).chain(older).collect();
        let mut rest: &[RootSecret] = &keys.secrets;
        while let Some((secret, others)) = rest.split_first() {
            if others.iter().any(|other| other.bytes() == secret.bytes()) {
                return Err(KeysError::Twice);
            }
            rest = others;
        }
        Ok(keys)
    }

    /// No keys at all: for an account that is read and has no templates of natsgate's.
    ///
    /// # Errors
    /// [`KeysError::Account`].
    pub fn without_secrets(account: impl Into<String>) -> Result<Self, KeysError> {
        let account = account.into();
        check_public_key(&account, Role::Account).map_err(KeysError::Account)?;
        Ok(Self {
            account,
            secrets: Vec::new(),
        })
    }

    /// The account's public key.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The key of `generation` of `template`, made by the current secret.
    ///
    /// # Errors
    /// [`KeysError::NoSecret`] and [`KeysError::Derivation`].
    pub fn derive(&self, template: &TemplateName, generation: Generation) -> Result<KeyPair, KeysError> {
        let current = self.secrets.first().ok_or(KeysError::NoSecret)?;
        self.derive_from(current, template, generation)
    }

    /// The key of `generation` of `template` whose public half is `public_key`, and which secret made it; `None` if none
    /// of them did.
    ///
    /// # Errors
    /// [`KeysError::Derivation`].
    pub fn find(
        &self,
        template: &TemplateName,
        generation: Generation,
        public_key: &str,
    ) -> Result<Option<(KeyPair, MadeBy)>, KeysError> {
        for (index, secret) in self.secrets.iter().enumerate() {
            let key = self.derive_from(secret, template, generation)?;
            let made_by = index.checked_sub(1).map_or(MadeBy::Current, MadeBy::Older);
            if key.public_key() == public_key {
                return Ok(Some((key, made_by)));
            }
        }
        Ok(None)
    }

    fn derive_from(
        &self,
        secret: &RootSecret,
        template: &TemplateName,
        generation: Generation,
    ) -> Result<KeyPair, KeysError> {
        let failed = || KeysError::Derivation {
            role: Box::new(ScopeRole {
                template: template.clone(),
                generation,
            }),
        };
        let number = generation.number().to_be_bytes();
        let fields = [PURPOSE, template.as_str().as_bytes(), number.as_slice()];
        let mut info = Vec::new();
        for field in fields {
            let length = u32::try_from(field.len()).map_err(|_| failed())?;
            info.extend_from_slice(&length.to_be_bytes());
            info.extend_from_slice(field);
        }
        let mut seed = Zeroizing::new([0; 32]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, self.account.as_bytes())
            .extract(secret.bytes())
            .expand(&[&info], SeedLength)
            .and_then(|derived| derived.fill(seed.as_mut_slice()))
            .map_err(|_| failed())?;
        KeyPair::from_raw_seed(&seed, Role::Account).map_err(|_| failed())
    }
}

impl fmt::Debug for ScopedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedKeys")
            .field("account", &self.account)
            .field("secrets", &self.secrets.len())
            .finish_non_exhaustive()
    }
}

/// The length that HKDF is asked for: an Ed25519 seed's.
struct SeedLength;

impl hkdf::KeyType for SeedLength {
    fn len(&self) -> usize {
        32
    }
}

#[cfg(test)]
mod tests;
