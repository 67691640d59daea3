//! Token introspection (RFC 7662): where to ask, as whom, and what an answer must say.

use std::path::PathBuf;
use std::time::Duration;

use natsgate_core::CacheTimes;
use schemars::JsonSchema;
use serde::Deserialize;

use super::SettingsError;
use super::cache_times::CacheTimesSettings;
use super::client_authentication::ClientAuthenticationSettings;

/// Asking the provider whether a token is in force, and what it says (RFC 7662).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntrospectionSettings {
    /// Where to ask. Default: the discovery document's `introspection_endpoint`.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The client that natsgate is at the provider.
    pub client_id: String,
    /// How that client proves itself.
    pub authentication: ClientAuthenticationSettings,
    /// A certificate to present in the TLS handshake; required for `tls_client_auth`.
    #[serde(default)]
    pub client_certificate: Option<ClientCertificateSettings>,
    /// Whether an answer must name its audience (`aud`). One that names audiences must name one of `audiences` either
    /// way. Turned off, a token that says nothing of whom it is for opens NATS, so name `client_ids` then.
    #[serde(default = "yes")]
    pub require_audience: bool,
    /// The clients whose tokens are accepted, by the answer's `client_id`; empty for all.
    #[serde(default)]
    pub client_ids: Vec<String>,
    /// How long answers are kept: `fresh` 30s, `stale_if_error` 0s and `negative` 10s unless set.
    #[serde(default)]
    pub cache: CacheTimesSettings,
}

/// A certificate and its key, for TLS connections that natsgate opens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificateSettings {
    /// A PEM file with the certificate, and intermediate ones after it.
    pub certificate_file: PathBuf,
    /// A PEM file with the certificate's private key.
    pub key_file: PathBuf,
}

fn yes() -> bool {
    true
}

impl IntrospectionSettings {
    /// Settings with nothing but defaults beside what has none.
    pub fn new(client_id: impl Into<String>, authentication: ClientAuthenticationSettings) -> Self {
        Self {
            endpoint: None,
            client_id: client_id.into(),
            authentication,
            client_certificate: None,
            require_audience: true,
            client_ids: Vec::new(),
            cache: CacheTimesSettings::default(),
        }
    }

    /// How long answers are kept.
    pub fn cache_times(&self) -> CacheTimes {
        self.cache.or(CacheTimes {
            fresh: Duration::from_secs(30),
            stale_if_error: Duration::ZERO,
            negative: Duration::from_secs(10),
        })
    }

    /// Checks what types alone do not. `key` names the section: `providers[corp].introspection`.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self, key: &str) -> Result<(), SettingsError> {
        if self.client_id.trim().is_empty() {
            return Err(SettingsError::new(
                format!("{key}.client_id"),
                "must not be empty: register a client for natsgate at the provider",
            ));
        }
        if self.client_ids.iter().any(|id| id.trim().is_empty()) {
            return Err(SettingsError::new(
                format!("{key}.client_ids"),
                "has an empty entry: remove it",
            ));
        }
        let by_certificate = matches!(self.authentication, ClientAuthenticationSettings::TlsClientAuth);
        if by_certificate && self.client_certificate.is_none() {
            return Err(SettingsError::new(
                format!("{key}.client_certificate"),
                "must be set for `authentication: tls_client_auth`",
            ));
        }
        self.authentication.validate(&format!("{key}.authentication"))?;
        self.cache.validate(&format!("{key}.cache"))
    }
}
