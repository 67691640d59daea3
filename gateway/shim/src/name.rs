//! The name of a user JWT: all that monitoring shows of a session, and so all that a shim knows of one it finds.
//!
//! `READABLE~PRINCIPAL~AS_OF~SHIM`: who it is for a person to read; the digest of the principal, since two issuers may both
//! have an alice; what the permissions are valid as of (`EPOCH.NUMBER`, or `-`); the shim that answered (or `-`). The
//! readable part has no `~`.

use natsgate_core::{Principal, Revision};

/// The longest readable part, in characters.
pub const READABLE: usize = 64;

/// The characters of a principal's digest.
const DIGEST: usize = 26;

/// What stands for nothing.
const NONE: &str = "-";

/// What a user JWT's name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionName {
    /// The subject, as far as it can be read by people; white space and `~` replaced, cut short.
    pub readable: String,
    /// [`Principal::digest`].
    pub principal_digest: String,
    /// What the permissions are valid as of.
    pub as_of: Option<Revision>,
    /// The shim that answered.
    pub shim: Option<String>,
}

impl SessionName {
    /// The name of a session of `principal`, answered by `shim`.
    pub fn new(principal: &Principal, as_of: Option<Revision>, shim: &str) -> Self {
        let readable = principal
            .subject
            .chars()
            .map(|c| {
                if c.is_control() || c.is_whitespace() || c == '~' {
                    '_'
                } else {
                    c
                }
            })
            .take(READABLE)
            .collect();
        Self {
            readable,
            principal_digest: principal.digest(),
            as_of,
            shim: Some(shim.to_owned()).filter(|shim| !shim.is_empty()),
        }
    }

    /// What `name` says, if it is one of ours. A name of an earlier release, without the last two parts, is one of which
    /// nothing is known but the principal.
    pub fn parse(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split('~').collect();
        let (readable, digest, as_of, shim) = match parts.as_slice() {
            [readable, digest] => (readable, digest, NONE, NONE),
            [readable, digest, as_of, shim] => (readable, digest, *as_of, *shim),
            _ => return None,
        };
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if digest.len() != DIGEST || !digest.bytes().all(plain) {
            return None;
        }
        let as_of = match as_of {
            NONE => None,
            text => Some(text.parse().ok()?),
        };
        Some(Self {
            readable: (*readable).to_owned(),
            principal_digest: (*digest).to_owned(),
            as_of,
            shim: (shim != NONE).then(|| shim.to_owned()),
        })
    }
}

impl std::fmt::Display for SessionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}~{}~", self.readable, self.principal_digest)?;
        match &self.as_of {
            Some(as_of) => write!(f, "{as_of}")?,
            None => f.write_str(NONE)?,
        }
        write!(f, "~{}", self.shim.as_deref().unwrap_or(NONE))
    }
}

#[cfg(test)]
mod tests {
    use natsgate_core::Epoch;

    use super::*;

    #[test]
    fn a_name_says_what_it_was_made_of() {
        let alice = Principal::new("https://a", "alice");
        let as_of = Revision::new(Epoch::from_bytes([7; 16]), 42);
        for (as_of, shim) in [(Some(as_of), "abc"), (None, "")] {
            let name = SessionName::new(&alice, as_of, shim);
            assert_eq!(SessionName::parse(&name.to_string()), Some(name.clone()));
            assert_eq!(name.principal_digest, alice.digest());
        }
        let old = format!("alice~{}", alice.digest());
        let parsed = SessionName::parse(&old).unwrap();
        assert_eq!((parsed.as_of, parsed.shim), (None, None));
    }

    #[test]
    fn a_readable_part_has_no_white_space_and_a_bounded_length() {
        let long = Principal::new("i", format!("a\0b c~{}", "x".repeat(500)));
        let name = SessionName::new(&long, None, "s");
        assert!(name.readable.starts_with("a_b_c_x"));
        assert_eq!(name.readable.chars().count(), READABLE);
        assert_eq!(name.to_string().matches('~').count(), 3);
    }

    #[test]
    fn others_names_are_not_ours() {
        let digest = Principal::new("i", "s").digest();
        for other in [
            "",
            "alice",
            "break-glass",
            "a~b",
            &format!("a~{digest}~-"),
            &format!("a~{digest}~x~y"),
            &format!("a~{}~-~-", digest.to_uppercase()),
            &format!("a~b~{digest}~-~-"),
        ] {
            assert_eq!(SessionName::parse(other), None, "{other:?}");
        }
    }
}
