//! What an entry is found by: a keyed digest, from which nobody learns, or can guess, what was asked.

use natsgate_core::{CacheKey, Fact, Source};

use super::envelope;
use crate::seal::KeyDigests;

/// The digest of one question to one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(pub(super) [u8; 32]);

impl Key {
    /// The key of `query` to `source`.
    pub(super) fn of<S: Source>(digests: &KeyDigests, source: &S, query: &S::Query) -> Self {
        let asked = source.key(query);
        let parts: [&[u8]; 4] = [
            &[envelope::VERSION],
            S::Fact::KIND.as_bytes(),
            source.name().as_bytes(),
            &asked,
        ];
        Self(digests.digest(&parts))
    }

    /// The same in a shared cache.
    pub(super) fn shared<F: Fact>(self) -> CacheKey {
        CacheKey::from_digest(F::KIND, self.0)
    }
}
