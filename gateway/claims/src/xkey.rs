//! Sealing between a nats-server and an authorization service: NaCl boxes (X25519, XSalsa20, Poly1305) behind the
//! four bytes `xkv1` and a nonce of 24, as nkeys' curve keys make them (NATS ADR-26).
//!
//! `nkeys` does the X25519 step anew at every call, which is most of the work; here the shared secret of each peer is
//! kept.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crypto_box::aead::Aead;
use crypto_box::{PublicKey, SalsaBox, SecretKey};
use rand::TryRngCore;
use rand::rngs::OsRng;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::nkey::{self, KeyError};
use crate::role::Role;

/// What a sealed message begins with.
const VERSION: &[u8; 4] = b"xkv1";
/// Bytes of a nonce.
const NONCE: usize = 24;
/// Bytes of the authenticator.
const TAG: usize = 16;
/// Peers whose shared secret is kept. A peer is a nats-server process; past this many the least recently used goes.
const PEERS: usize = 256;

/// Why something could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XKeyError {
    /// The peer's public xkey is none.
    #[error("the peer's public xkey cannot be used: {0}")]
    Peer(#[from] KeyError),
    /// What should be opened does not begin with `xkv1`.
    #[error(
        "the message is not sealed in the form xkv1: the server seals only if an xkey is configured there"
    )]
    NotXkv1,
    /// It ends before the least a sealed message has.
    #[error("the sealed message is cut off")]
    Truncated,
    /// It was sealed to another key or by another sender, or was changed on the way: which one cannot be told.
    #[error(
        "the sealed message does not open: it was sealed to another xkey than ours, or by another sender, or was changed"
    )]
    CannotOpen,
    /// Sealing failed: no randomness for the nonce, or a message too large.
    #[error("sealing the message failed: no randomness from the operating system, or too large a message")]
    CannotSeal,
}

/// An xkey: opens what was sealed to it and seals to others.
pub struct XKeyPair {
    secret: SecretKey,
    public: String,
    /// The shared secrets in use, most recently used first.
    peers: Mutex<VecDeque<Peer>>,
}

/// A peer's public xkey and what the two keys have in common.
type Peer = (String, Arc<SalsaBox>);

impl XKeyPair {
    /// A new xkey.
    ///
    /// # Errors
    /// [`KeyError::Random`] if the operating system gives no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        Ok(Self::from_raw(&*nkey::random_key()?))
    }

    /// The xkey of `seed` (`SX…`).
    ///
    /// # Errors
    /// [`KeyError`] says what the text is instead; never the text itself.
    pub fn from_seed(seed: &SecretString) -> Result<Self, KeyError> {
        Ok(Self::from_raw(&*nkey::decode_seed(
            seed.expose_secret(),
            Role::Curve,
        )?))
    }

    fn from_raw(raw: &[u8; 32]) -> Self {
        let secret = SecretKey::from_bytes(*raw);
        let public = nkey::encode_public(Role::Curve, secret.public_key().as_bytes());
        Self {
            secret,
            public,
            peers: Mutex::default(),
        }
    }

    /// The public xkey's text (`X…`).
    pub fn public_key(&self) -> &str {
        &self.public
    }

    /// The seed's text (`SX…`): whoever has it can open every request, and in operator mode mint responses too.
    pub fn seed(&self) -> SecretString {
        nkey::encode_seed(Role::Curve, &Zeroizing::new(self.secret.to_bytes()))
    }

    /// Opens `sealed`, which `sender_public` sealed to this key. What comes out is wiped when dropped.
    ///
    /// # Errors
    /// [`XKeyError`].
    pub fn open(&self, sealed: &[u8], sender_public: &str) -> Result<Zeroizing<Vec<u8>>, XKeyError> {
        let Some(rest) = sealed.strip_prefix(VERSION) else {
            // Too short to tell, but right as far as it goes.
            let cut = VERSION.starts_with(sealed);
            return Err(if cut {
                XKeyError::Truncated
            } else {
                XKeyError::NotXkv1
            });
        };
        let Some((nonce, boxed)) = rest.split_first_chunk::<NONCE>() else {
            return Err(XKeyError::Truncated);
        };
        if boxed.len() < TAG {
            return Err(XKeyError::Truncated);
        }
        let shared = self.shared_with(sender_public)?;
        let plain = shared.decrypt(&(*nonce).into(), boxed);
        plain.map(Zeroizing::new).map_err(|_| XKeyError::CannotOpen)
    }

    /// Seals `plain` so that only the holder of `recipient_public`'s seed opens it.
    ///
    /// # Errors
    /// [`XKeyError`].
    pub fn seal(&self, plain: &[u8], recipient_public: &str) -> Result<Vec<u8>, XKeyError> {
        let shared = self.shared_with(recipient_public)?;
        let mut nonce = [0; NONCE];
        OsRng
            .try_fill_bytes(&mut nonce)
            .map_err(|_| XKeyError::CannotSeal)?;
        let boxed = shared
            .encrypt(&nonce.into(), plain)
            .map_err(|_| XKeyError::CannotSeal)?;
        Ok([VERSION.as_slice(), &nonce, &boxed].concat())
    }

    /// The shared secret with `peer`: kept, or made now (some 55 µs) and kept.
    fn shared_with(&self, peer: &str) -> Result<Arc<SalsaBox>, XKeyError> {
        if let Some(shared) = self.kept(peer) {
            return Ok(shared);
        }
        // Outside the lock: two callers may both do it, and then have the same result.
        let point = nkey::curve_point(peer)?;
        let shared = Arc::new(SalsaBox::new(&PublicKey::from_bytes(point), &self.secret));
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.truncate(PEERS - 1);
        peers.push_front((peer.to_owned(), Arc::clone(&shared)));
        Ok(shared)
    }

    fn kept(&self, peer: &str) -> Option<Arc<SalsaBox>> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let at = peers.iter().position(|(public, _)| public == peer)?;
        let entry = peers.remove(at)?;
        let shared = Arc::clone(&entry.1);
        peers.push_front(entry);
        Some(shared)
    }
}

impl fmt::Debug for XKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("XKeyPair").field(&self.public).finish()
    }
}

#[cfg(test)]
mod tests;
