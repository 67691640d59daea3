//! Sealing what lies in a shared store: nobody who can read it learns anything from it, and nobody who can write to it
//! can make natsgate believe anything.
//!
//! From each configured secret one key per purpose is derived (HKDF-SHA-256, RFC 5869), so that what was sealed for one
//! purpose never opens for another. Sealing is AES-256-GCM-SIV (RFC 8452) with a random nonce; what a sealed value
//! belongs to (its key, its place in a log) goes in as associated data, so that it opens nowhere else. The first secret
//! seals, all of them open: secrets are exchanged without losing what lies in the store.
//!
//! Digests for cache keys are HMAC-SHA-256 under a key of their own: see [`KeyDigests`].

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{hkdf, hmac};
use natsgate_core::{CacheKey, NotSealed, Sealing};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::settings::SettingsError;

/// The fewest bytes a secret may have.
const MIN_SECRET_BYTES: usize = 32;

/// The form of sealed values that this release writes, their first byte.
const VERSION: u8 = 1;

/// How many bytes name the key.
const KEY_ID_LEN: usize = 4;

/// AES-256's.
const KEY_LEN: usize = 32;

/// Version, key id and nonce: what stands before the ciphertext.
const HEADER_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;

/// The secrets that everything in a shared store is sealed with. Wiped from memory when dropped.
pub struct Secrets {
    current: SecretString,
    previous: Vec<SecretString>,
}

/// Sealing or opening failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The value is of another version, was sealed with a secret that is not configured, belongs elsewhere, or was
    /// altered.
    #[error(
        "a sealed value does not open: it was altered, belongs elsewhere, or was sealed with a secret that is not configured"
    )]
    DoesNotOpen,
    /// The cryptographic library refused, for want of randomness say.
    #[error("a value could not be sealed: the system's source of randomness failed")]
    CannotSeal,
    /// The cryptographic library refused to derive a key.
    #[error("no key could be derived from a secret: the cryptographic library failed")]
    NoKey,
}

impl Secrets {
    /// `current` seals, and it and all `previous` ones open.
    ///
    /// # Errors
    /// A secret is shorter than 32 bytes.
    pub fn new(current: SecretString, previous: Vec<SecretString>) -> Result<Self, SettingsError> {
        let named = std::iter::once(("secret".to_owned(), &current)).chain(
            previous
                .iter()
                .enumerate()
                .map(|(index, secret)| (format!("previous_secrets[{index}]"), secret)),
        );
        for (key, secret) in named {
            if secret.expose_secret().len() < MIN_SECRET_BYTES {
                return Err(SettingsError::new(
                    key,
                    format!(
                        "must have at least {MIN_SECRET_BYTES} bytes; make one with `openssl rand -base64 32`"
                    ),
                ));
            }
        }
        Ok(Self { current, previous })
    }

    /// What seals and opens values for `purpose`, such as `cache`. Two purposes share no key.
    ///
    /// # Errors
    /// [`SealError::NoKey`].
    pub fn sealer(&self, purpose: &'static str) -> Result<Sealer, SealError> {
        Ok(Sealer {
            purpose,
            current: SealingKey::derive(&self.current, purpose)?,
            previous: self
                .previous
                .iter()
                .map(|secret| SealingKey::derive(secret, purpose))
                .collect::<Result<_, _>>()?,
        })
    }

    /// What makes cache keys for `purpose`. Only the current secret counts: after an exchange a cache begins anew.
    ///
    /// # Errors
    /// [`SealError::NoKey`].
    pub fn key_digests(&self, purpose: &'static str) -> Result<KeyDigests, SealError> {
        let key = derive(&self.current, &[b"natsgate digest ", purpose.as_bytes()])?;
        Ok(KeyDigests(hmac::Key::new(hmac::HMAC_SHA256, key.as_slice())))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets")
            .field("previous", &self.previous.len())
            .finish_non_exhaustive()
    }
}

/// The key for `info` from `secret`.
fn derive(secret: &SecretString, info: &[&[u8]]) -> Result<Zeroizing<[u8; KEY_LEN]>, SealError> {
    /// The length that HKDF is asked for.
    struct KeyLen;
    impl hkdf::KeyType for KeyLen {
        fn len(&self) -> usize {
            KEY_LEN
        }
    }
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"natsgate store 1");
    let mut key = Zeroizing::new([0; KEY_LEN]);
    let filled = salt
        .extract(secret.expose_secret().as_bytes())
        .expand(info, KeyLen)
        .and_then(|okm| okm.fill(key.as_mut_slice()));
    filled.map(|()| key).map_err(|_| SealError::NoKey)
}

/// One derived key and what names it in sealed values.
struct SealingKey {
    id: [u8; KEY_ID_LEN],
    key: RandomizedNonceKey,
}

impl SealingKey {
    fn derive(secret: &SecretString, purpose: &'static str) -> Result<Self, SealError> {
        let key = derive(secret, &[b"natsgate seal ", purpose.as_bytes()])?;
        let named = derive(secret, &[b"natsgate seal id ", purpose.as_bytes()])?;
        let mut id = [0; KEY_ID_LEN];
        for (to, from) in id.iter_mut().zip(named.iter()) {
            *to = *from;
        }
        let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, key.as_slice()).map_err(|_| SealError::NoKey)?;
        Ok(Self { id, key })
    }
}

/// Seals and opens values for one purpose.
///
/// A sealed value is a version byte, four bytes that name the key (derived, not secret), the nonce, the ciphertext and
/// its tag: 33 bytes more than what is in it.
pub struct Sealer {
    purpose: &'static str,
    current: SealingKey,
    previous: Vec<SealingKey>,
}

impl Sealer {
    /// Seals `plaintext` so that it opens only with the same `aad`.
    ///
    /// # Errors
    /// [`SealError::CannotSeal`] if the system has no randomness to give.
    pub fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut text = Vec::with_capacity(plaintext.len().saturating_add(AES_256_GCM_SIV.tag_len()));
        text.extend_from_slice(plaintext);
        let nonce = self
            .current
            .key
            .seal_in_place_append_tag(bound(aad), &mut text)
            .map_err(|_| SealError::CannotSeal)?;
        let mut sealed = Vec::with_capacity(HEADER_LEN.saturating_add(text.len()));
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.current.id);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }

    /// Whether `sealed` has the form of a sealed value, and names a secret that is not configured here: more likely a
    /// mistake in somebody's configuration than somebody's forgery.
    pub fn is_of_another_secret(&self, sealed: &[u8]) -> bool {
        let Some((header, _text)) = sealed.split_first_chunk::<HEADER_LEN>() else {
            return false;
        };
        let Some(([version], id)) = header.split_first_chunk::<1>() else {
            return false;
        };
        let keys = std::iter::once(&self.current).chain(&self.previous);
        *version == VERSION && keys.into_iter().all(|key| !id.starts_with(&key.id))
    }

    /// What was sealed with `aad`.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`].
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (header, text) = sealed
            .split_at_checked(HEADER_LEN)
            .ok_or(SealError::DoesNotOpen)?;
        let (version, header) = header.split_first().ok_or(SealError::DoesNotOpen)?;
        let (id, nonce) = header
            .split_at_checked(KEY_ID_LEN)
            .ok_or(SealError::DoesNotOpen)?;
        if *version != VERSION {
            return Err(SealError::DoesNotOpen);
        }
        let keys = std::iter::once(&self.current).chain(&self.previous);
        for key in keys.filter(|key| key.id == id) {
            let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::DoesNotOpen)?;
            let mut text = Zeroizing::new(text.to_vec());
            let opened = key
                .key
                .open_in_place(nonce, bound(aad), text.as_mut_slice())
                .map(|plaintext| plaintext.len());
            if let Ok(length) = opened {
                text.truncate(length);
                return Ok(text);
            }
        }
        Err(SealError::DoesNotOpen)
    }
}

/// Without anything it would belong to: the purpose alone tells one use from another.
impl Sealing for Sealer {
    fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, NotSealed> {
        Self::seal(self, b"", plaintext).map_err(|_| NotSealed)
    }

    fn open(&self, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        Self::open(self, b"", sealed).ok()
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("purpose", &self.purpose)
            .field("previous", &self.previous.len())
            .finish_non_exhaustive()
    }
}

/// The associated data: what the caller gave, behind the version, so that a later form can be told from this one.
fn bound(aad: &[u8]) -> Aad<Vec<u8>> {
    Aad::from([&[VERSION], aad].concat())
}

/// Makes keyed digests. What lies in a shared store under such a digest can be found only by who knows the secret:
/// who reads the store's keys cannot test guesses (a person's e-mail address) against them.
pub struct KeyDigests(hmac::Key);

impl KeyDigests {
    /// The digest of `parts`, in this order and with these boundaries.
    pub fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        let tag = context.sign();
        let mut digest = [0; 32];
        for (to, from) in digest.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        digest
    }

    /// The cache key of `parts` (a source's name and what is asked of it, say) within `kind`.
    pub fn cache_key(&self, kind: &str, parts: &[&[u8]]) -> CacheKey {
        CacheKey::from_digest(kind, self.digest(parts))
    }
}

impl fmt::Debug for KeyDigests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigests")
    }
}

#[cfg(test)]
mod tests;
