//! Who signs account JWTs for the operator: a key at hand, or a command, so that the key can stay in a vault or an HSM.
//!
//! # A signer command
//!
//! It is started once a signature, with the environment natsgate has. On its standard input it gets one line: the bytes
//! to sign, in base64 (RFC 4648 section 4, padded). It answers on its standard output with one line: the Ed25519
//! signature of those bytes (RFC 8032: of the bytes themselves, not of a digest), in base64 or base64url, padded or not,
//! and ends with status 0. What it answers is held against the operator's public key before it is used. When its time is
//! up it is killed; what it has started in turn is its own to end.
//!
//! Other arguments may make the same program say its public key (`O…`), one line on standard output.

mod command;

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use natsgate_claims::{
    ClaimsBody, ClaimsToSign, EncodeError, KeyError, KeyPair, Role, check_public_key, prepare,
};
use secrecy::SecretString;

pub use command::SignerCommand;

/// Who signs for the operator.
#[derive(Debug, Clone)]
pub enum OperatorSigner {
    /// A key at hand.
    Key(KeyPair),
    /// A command.
    Command(SignerCommand),
}

/// Why there is no signature. Names the program, and what it last said on its standard error.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The operator's seed or public key is none.
    #[error("the operator's signing key: {0}")]
    Key(#[source] KeyError),
    /// The claims are not such as can be signed.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The program did not start.
    #[error("starting the signer command {program}: {cause}; check the path, and that it may be executed")]
    Start {
        /// The program.
        program: String,
        /// Why not.
        cause: io::Error,
    },
    /// Speaking with it failed.
    #[error("speaking with the signer command {program}: {cause}")]
    Io {
        /// The program.
        program: String,
        /// What failed.
        cause: io::Error,
    },
    /// It took too long, and was killed.
    #[error("the signer command {program} did not answer within {}{stderr}", seconds(*.limit))]
    TimedOut {
        /// The program.
        program: String,
        /// How long it may take.
        limit: Duration,
        /// What it last said.
        stderr: LastWords,
    },
    /// It said by its status that it failed.
    #[error("the signer command {program} failed ({status}){stderr}")]
    Failed {
        /// The program.
        program: String,
        /// Its status.
        status: ExitStatus,
        /// What it last said.
        stderr: LastWords,
    },
    /// It answered something else.
    #[error("the signer command {program} must answer {expected}, and answered something else{stderr}")]
    Answer {
        /// The program.
        program: String,
        /// What it must answer.
        expected: &'static str,
        /// What it last said.
        stderr: LastWords,
    },
    /// It signed something else, or with another key.
    #[error(
        "the signer command {program} answered a signature that is not {public_key}'s over what it was given; \
         check that it signs with that key, and the decoded bytes themselves, not a digest of them{stderr}"
    )]
    NotTheirs {
        /// The program.
        program: String,
        /// The operator's public key.
        public_key: String,
        /// What it last said.
        stderr: LastWords,
    },
}

/// The end of what a command said on its standard error, on one line; empty if it said nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastWords(String);

impl fmt::Display for LastWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, "; it said: {}", self.0)
    }
}

impl OperatorSigner {
    /// The key of `seed`, an operator's (`SO…`).
    ///
    /// # Errors
    /// [`SignerError::Key`].
    pub fn from_seed(seed: &SecretString) -> Result<Self, SignerError> {
        let key = KeyPair::from_seed(seed, Role::Operator).map_err(SignerError::Key)?;
        Ok(Self::Key(key))
    }

    /// The public key that signs.
    pub fn public_key(&self) -> &str {
        match self {
            Self::Key(key) => key.public_key(),
            Self::Command(command) => command.public_key(),
        }
    }

    /// Signs `claims` as issued at `now` (seconds since the Unix epoch). Claims that cannot be signed, too large ones
    /// say, never reach a command.
    ///
    /// # Errors
    /// [`SignerError`].
    pub async fn sign<B: ClaimsBody>(
        &self,
        claims: &ClaimsToSign<B>,
        now: i64,
    ) -> Result<String, SignerError> {
        let unsigned = prepare(claims, self.public_key(), now)?;
        match self {
            Self::Key(key) => {
                let signature = key.sign(unsigned.signing_input()).map_err(SignerError::Key)?;
                Ok(unsigned.attach(&signature)?)
            }
            Self::Command(command) => command.sign(unsigned).await,
        }
    }
}

fn check_operator(public_key: &str) -> Result<(), SignerError> {
    check_public_key(public_key, Role::Operator).map_err(SignerError::Key)
}

fn seconds(limit: Duration) -> String {
    format!("{} s", limit.as_secs_f64())
}

#[cfg(test)]
mod tests;
