//! Credentials files (`.creds`): a user JWT and its seed, each between lines of dashes, as `nsc` writes them.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::body::user::UserBody;
use crate::decode::{DecodeError, decode_at_any_time};
use crate::nkey::{KeyError, KeyPair};
use crate::role::Role;

/// A user's JWT and seed.
#[derive(Clone)]
pub struct Credentials {
    /// The user JWT. With a bearer token, a secret too.
    pub jwt: String,
    /// The user's seed (`SU…`).
    pub seed: SecretString,
}

/// Why a text is not a credentials file. Holds nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// No two blocks between lines of dashes.
    #[error(
        "reading a credentials file: it must have a user JWT and a seed, each between lines of dashes (as nsc writes them)"
    )]
    Form,
    /// The first block is not a user JWT.
    #[error("reading a credentials file: its JWT: {0}")]
    Jwt(#[from] DecodeError),
    /// The second block is not a user's seed.
    #[error("reading a credentials file: its seed: {0}")]
    Seed(#[from] KeyError),
    /// The seed is another user's.
    #[error("reading a credentials file: the seed is not that of the JWT's user: two files were mixed up")]
    Mismatch,
}

impl Credentials {
    /// Reads a credentials file: a user JWT and that user's seed. Whether the JWT has expired is for the server to
    /// say.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn parse(file: &str) -> Result<Self, CredentialsError> {
        let mut blocks = blocks(file);
        let (Some(jwt), Some(seed)) = (blocks.next(), blocks.next()) else {
            return Err(CredentialsError::Form);
        };
        let seed = SecretString::from(seed);
        let key = KeyPair::from_seed(&seed, Role::User)?;
        let claims = decode_at_any_time::<UserBody>(jwt)?;
        if claims.subject != key.public_key() {
            return Err(CredentialsError::Mismatch);
        }
        let jwt = jwt.to_owned();
        Ok(Self { jwt, seed })
    }

    /// The file's text, as `nsc` writes it.
    pub fn format(&self) -> Zeroizing<String> {
        let Self { jwt, seed } = self;
        let seed = seed.expose_secret();
        let rest = [
            "-----BEGIN NATS USER JWT-----\n",
            jwt,
            "\n------END NATS USER JWT------\n\n",
            "************************* IMPORTANT *************************\n",
            "NKEY Seed printed below can be used to sign and prove identity.\n",
            "NKEYs are sensitive and should be treated as secrets.\n\n",
            "-----BEGIN USER NKEY SEED-----\n",
            seed,
            "\n------END USER NKEY SEED------\n\n",
            "*************************************************************\n",
        ];
        Zeroizing::new(rest.concat())
    }

    /// The user's key pair.
    ///
    /// # Errors
    /// [`KeyError`] if `seed` is not a user's.
    pub fn key_pair(&self) -> Result<KeyPair, KeyError> {
        KeyPair::from_seed(&self.seed, Role::User)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials([REDACTED])")
    }
}

/// What stands alone on a line between two lines of dashes.
fn blocks(file: &str) -> impl Iterator<Item = &str> {
    let dashes = |line: &str| line.starts_with("---") && line.ends_with("---");
    let mut lines = file.lines().map(str::trim);
    std::iter::from_fn(move || {
        loop {
            if dashes(lines.next()?) {
                let block = lines.next()?;
                if dashes(lines.next()?) {
                    return Some(block);
                }
            }
        }
    })
}

#[cfg(test)]
mod tests;
