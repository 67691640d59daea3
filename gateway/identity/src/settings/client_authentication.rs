//! How natsgate proves itself as a client of a provider (RFC 6749 section 2.3, RFC 7523, RFC 8705).

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::SettingsError;
use crate::algorithm::Algorithm;

/// How a client proves itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientAuthenticationSettings {
    /// Client id and secret in the Authorization header (RFC 6749 section 2.3.1).
    ClientSecretBasic(ClientSecretSettings),
    /// Client id and secret in the form.
    ClientSecretPost(ClientSecretSettings),
    /// A short-lived JWT signed with the client's private key (RFC 7523).
    PrivateKeyJwt(PrivateKeyJwtSettings),
    /// The certificate of the TLS connection (RFC 8705): set `client_certificate` beside.
    TlsClientAuth,
}

/// A client's secret, here or in a file. `Debug` does not show it.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientSecretSettings {
    /// The secret itself. Better in a file or an environment variable than in the configuration.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub secret: Option<SecretString>,
    /// A file that holds the secret and nothing else; white space at its end is left out.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
}

/// The key of a client, and how it signs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrivateKeyJwtSettings {
    /// A PEM file with the private key (PKCS#8; for RSA also PKCS#1).
    pub key_file: PathBuf,
    /// How it signs. Default: RS256.
    #[serde(default = "rs256")]
    pub algorithm: Algorithm,
    /// The key's id at the provider, if it tells keys apart by it.
    #[serde(default)]
    pub key_id: Option<String>,
    /// Whom the JWT is for (`aud`). Default: the issuer; some providers want the URL of their token endpoint.
    #[serde(default)]
    pub audience: Option<String>,
}

fn rs256() -> Algorithm {
    Algorithm::RS256
}

impl ClientSecretSettings {
    /// The secret itself.
    pub fn of(secret: impl Into<SecretString>) -> Self {
        Self {
            secret: Some(secret.into()),
            secret_file: None,
        }
    }
}

impl PartialEq for ClientSecretSettings {
    fn eq(&self, other: &Self) -> bool {
        let secret = |settings: &Self| settings.secret.as_ref().map(|s| s.expose_secret().to_owned());
        secret(self) == secret(other) && self.secret_file == other.secret_file
    }
}

impl Eq for ClientSecretSettings {}

impl fmt::Debug for ClientSecretSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSecretSettings")
            .field("secret", &self.secret.as_ref().map(|_| "…"))
            .field("secret_file", &self.secret_file)
            .finish()
    }
}

impl ClientAuthenticationSettings {
    /// Checks what types alone do not. Files are read where the client is made.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub(crate) fn validate(&self, key: &str) -> Result<(), SettingsError> {
        match self {
            Self::ClientSecretBasic(settings) | Self::ClientSecretPost(settings) => {
                match (&settings.secret, &settings.secret_file) {
                    (Some(secret), None) if !secret.expose_secret().is_empty() => Ok(()),
                    (None, Some(_)) => Ok(()),
                    (Some(_), None) => Err(SettingsError::new(
                        format!("{key}.secret"),
                        "is empty: set the client's secret",
                    )),
                    _ => Err(SettingsError::new(
                        format!("{key}.secret_file"),
                        "set either `secret_file` or `secret`, and not both",
                    )),
                }
            }
            Self::PrivateKeyJwt(_) | Self::TlsClientAuth => Ok(()),
        }
    }
}
