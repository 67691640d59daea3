//! What can be configured of identities and memberships. One file a section; the root package embeds them in its
//! configuration file. What is checked beyond types is checked when a provider or source is made from its settings.

pub mod cache_times;
pub mod certificate;
pub mod client_authentication;
pub mod introspection;
pub mod logout;
pub mod membership;
pub mod oidc;
mod paths;
pub(crate) mod url;
pub mod userinfo;
pub mod verify;

/// A setting cannot be used as it stands. Names the key; the text says what is wrong and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct SettingsError {
    /// The setting: `providers[corp].issuer`.
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
