//! Who somebody is: the issuer that vouches for them and the subject it knows them by.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// An identity's issuer and subject (`iss` and `sub` of RFC 7519). Only the pair is unique: two providers may both
/// have an `alice`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Principal {
    /// The provider's issuer identifier, as configured and as in the token.
    pub issuer: String,
    /// The provider's name for this person or service.
    pub subject: String,
}

impl Principal {
    /// A principal of `issuer` and `subject`.
    pub fn new(issuer: impl Into<String>, subject: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            subject: subject.into(),
        }
    }

    /// 26 lower-case base32 characters: the first 128 bits of a SHA-256 over issuer and subject.
    ///
    /// Fit for a subject token, a user JWT's name and a log line, where the subject itself (often an e-mail address)
    /// should not stand.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        // The length first, so that ("ab", "c") and ("a", "bc") differ.
        hash.update((self.issuer.len() as u64).to_be_bytes());
        hash.update(self.issuer.as_bytes());
        hash.update(self.subject.as_bytes());
        let bytes = hash.finalize();
        BASE32_NOPAD
            .encode(bytes.get(..16).unwrap_or_default())
            .to_ascii_lowercase()
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {}",
            self.subject.escape_debug(),
            self.issuer.escape_debug()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_tells_the_pair_apart_not_the_concatenation() {
        let one = Principal::new("https://a", "bc").digest();
        let other = Principal::new("https://ab", "c").digest();
        assert_ne!(one, other);
        assert_eq!(one.len(), 26);
        assert!(one.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()));
    }
}
