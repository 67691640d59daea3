//! Nkeys: Ed25519 keys in NATS' text form, each with a role that is checked wherever a key is read.
//!
//! The `nkeys` crate reads public keys here. It does not check roles, takes points of small order (the all-zero key
//! among them), verifies by the lax rule and leaves seeds in memory: so reading and writing seeds, signing and
//! verifying are done here, on ed25519-dalek. X25519 keys (xkeys) are read here too; sealing is in [`crate::xkey`].

mod codec;
mod error;

use std::fmt;

use curve25519_dalek::MontgomeryPoint;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rand::TryRngCore;
use rand::rngs::OsRng;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

pub use error::{KeyError, KeyForm};

use crate::role::Role;

/// A key that signs, of a known role. The private half is wiped when it is dropped.
#[derive(Clone)]
pub struct KeyPair {
    role: Role,
    public: String,
    key: SigningKey,
}

impl KeyPair {
    /// A new key pair of `role`.
    ///
    /// # Errors
    /// [`KeyError::CannotSign`] for [`Role::Curve`]; [`KeyError::Random`] if the operating system gives no randomness.
    pub fn generate(role: Role) -> Result<Self, KeyError> {
        Self::from_raw(&*random_key()?, role)
    }

    /// The key pair of `seed`, which must be one of `role`.
    ///
    /// # Errors
    /// [`KeyError`] says what the text is instead; never the text itself.
    pub fn from_seed(seed: &SecretString, role: Role) -> Result<Self, KeyError> {
        Self::from_raw(&*codec::decode_seed(seed.expose_secret(), role)?, role)
    }

    /// The key pair of `role` whose seed is the 32 bytes `raw` (RFC 8032's private key), for keys that are derived: any
    /// 32 bytes are a seed, so they must come from a key derivation or from randomness. The caller's copy is the
    /// caller's to wipe, which `Zeroizing` does.
    ///
    /// # Errors
    /// [`KeyError::CannotSign`] for [`Role::Curve`].
    pub fn from_raw_seed(raw: &Zeroizing<[u8; 32]>, role: Role) -> Result<Self, KeyError> {
        Self::from_raw(raw, role)
    }

    fn from_raw(raw: &[u8; 32], role: Role) -> Result<Self, KeyError> {
        if role == Role::Curve {
            return Err(KeyError::CannotSign);
        }
        let key = SigningKey::from_bytes(raw);
        let public = codec::encode_public(role, key.verifying_key().as_bytes());
        Ok(Self { role, public, key })
    }

    /// The public key's text.
    pub fn public_key(&self) -> &str {
        &self.public
    }

    /// What the key may be used for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The seed's text: whoever has it has the key.
    ///
    /// # Errors
    /// None now; a key whose seed stays elsewhere (a vault, a signer command) has none to give.
    pub fn seed(&self) -> Result<SecretString, KeyError> {
        Ok(codec::encode_seed(
            self.role,
            &Zeroizing::new(self.key.to_bytes()),
        ))
    }

    /// The Ed25519 signature (RFC 8032) of `message`: 64 bytes.
    ///
    /// # Errors
    /// None now; a key that signs elsewhere may fail to.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.key.sign(message).to_bytes().to_vec())
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyPair").field(&self.public).finish()
    }
}

/// Checks that `text` is a public key of `role`: length, alphabet, checksum, prefix, and that it is a point a key can
/// be (which the all-zero key and the other points of small order are not).
///
/// # Errors
/// [`KeyError`] says what the text is instead; never the text itself, which may be a seed.
pub fn check_public_key(text: &str, role: Role) -> Result<(), KeyError> {
    if role == Role::Curve {
        curve_point(text).map(drop)
    } else {
        verifying_key(text, role).map(drop)
    }
}

/// Whether `signature` over `message` was made by `public`, a public key of one of `roles`.
///
/// Strict: points of small order and signatures that other implementations would judge differently are refused
/// (ed25519-dalek's `verify_strict`).
///
/// # Errors
/// [`KeyError`] if `public` is not such a key.
pub(crate) fn verify(public: &str, role: Role, message: &[u8], signature: &[u8]) -> Result<bool, KeyError> {
    let key = verifying_key(public, role)?;
    let Ok(signature) = Signature::from_slice(signature) else {
        return Ok(false);
    };
    Ok(key.verify_strict(message, &signature).is_ok())
}

/// The role of a public key's text, if it is one.
pub(crate) fn role_of(text: &str) -> Option<Role> {
    let (prefix, _) = nkeys::from_public_key(text).ok()?;
    Role::of_prefix(prefix)
}

/// The X25519 point of an xkey's text.
pub(crate) fn curve_point(text: &str) -> Result<[u8; 32], KeyError> {
    let raw = codec::decode_public(text, Role::Curve)?;
    // A clamped scalar is a multiple of eight, which takes every point of small order to the identity.
    if MontgomeryPoint(raw).mul_clamped([0xff; 32]) == MontgomeryPoint([0; 32]) {
        return Err(KeyError::Weak { role: Role::Curve });
    }
    Ok(raw)
}

/// 32 random bytes for a new key.
pub(crate) fn random_key() -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let mut raw = Zeroizing::new([0; 32]);
    OsRng
        .try_fill_bytes(raw.as_mut_slice())
        .map_err(|_| KeyError::Random)?;
    Ok(raw)
}

pub(crate) use codec::{decode_seed, encode_public, encode_seed};

fn verifying_key(text: &str, role: Role) -> Result<VerifyingKey, KeyError> {
    let raw = codec::decode_public(text, role)?;
    match VerifyingKey::from_bytes(&raw) {
        Ok(key) if !key.is_weak() => Ok(key),
        _ => Err(KeyError::Weak { role }),
    }
}

#[cfg(test)]
mod tests;
