//! What can be configured wrongly, said in one form for the whole crate. The settings themselves are with what they
//! configure.

/// A setting cannot be used as it stands. Names the key; the text says what is wrong and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct SettingsError {
    /// The setting: `redis.url`.
    pub key: String,
    /// What is wrong with it, and the mend.
    pub problem: String,
}

impl SettingsError {
    /// `key` has `problem`.
    pub fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            problem: problem.into(),
        }
    }
}
