//! What is wrong with a policy document.

use std::fmt;

/// One thing wrong with a policy document: where it stands, what is wrong and how to mend it.
///
/// Quotes the document at most, which is configuration, never a token or a claim's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct PolicyError {
    /// The key in the document: `rules[2].subscribe.allow[0]`.
    pub key: String,
    /// What is wrong there, and the mend.
    pub problem: String,
}

impl PolicyError {
    /// Something wrong at `key`.
    pub(crate) fn new(key: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self {
            key: key.into(),
            problem: problem.to_string(),
        }
    }
}
