//! What makes a call happen once: digests of the caller's key, and of what was asked for.

use natsgate_core::EntryId;
use prost::Message;
use sha2::{Digest, Sha256};

/// The longest idempotency key, in bytes.
pub const MAX_KEY: usize = 128;

/// A digest of a request, by which a repetition is told from another request.
pub fn body_digest(request: &impl Message) -> [u8; 32] {
    Sha256::digest(request.encode_to_vec()).into()
}

/// A digest of the caller's key: another caller's same key, and the same key for another method, are others.
pub fn key_digest(caller: &str, method: &str, key: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [caller, method, key] {
        // The length first, so that no two lists of parts read the same.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

/// The name of the log entry that a call with this key makes: a repetition finds it by that.
pub fn entry_id(key: &[u8; 32]) -> EntryId {
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(key) {
        *to = *from;
    }
    EntryId(id)
}
