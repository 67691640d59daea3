//! What can be configured of webhooks.

use std::time::Duration;

use aws_lc_rs::hmac;
use hyper::header::HeaderName;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::Webhook;
use super::mapping::{RevokeRule, Rules};
use super::signature::{Scheme, SignatureEncoding, TimestampFormat};

/// The shortest secret, in bytes: as long as the HMAC's digest (RFC 2104 section 3).
const LEAST_SECRET: usize = 32;

/// The longest `tolerance`. What was carried out is known for as long as the revocation log keeps it, so calls must not be good
/// for longer than that.
const LONGEST_TOLERANCE: Duration = Duration::from_secs(60 * 60);

/// A webhook, at `/webhooks/NAME`: a system that says, signed, that something happened.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Its name, in its path, the log and the audit: letters, digits, `-`, `_` and `.`, 64 at most.
    pub name: String,
    /// What the calls are signed with: HMAC-SHA-256 over the text of the timestamp's header, a full stop, and the body. Secrets of
    /// 32 bytes at least (`openssl rand -base64 32`), of no other webhook; each is accepted, so that one can be put in
    /// the place of another. Write ${NAME} or ${file:PATH}.
    #[schemars(with = "Vec<String>")]
    pub secrets: Vec<SecretString>,
    /// Where the signature is, and how it is written.
    #[serde(default)]
    pub signature: SignatureSettings,
    /// Where the time of signing is, and how it is written.
    #[serde(default)]
    pub timestamp: TimestampSettings,
    /// How far the time of signing may lie from now, before or after; 1h at most.
    #[serde(default = "WebhookSettings::default_tolerance", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub tolerance: Duration,
    /// What is revoked by what is said. A call that no rule counts for revokes nothing.
    pub revokes: Vec<RevokeRule>,
}

/// Where a signature is, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SignatureSettings {
    /// The header.
    pub header: String,
    /// What stands before the signature itself: `sha256=`.
    pub prefix: String,
    /// How the signature is written.
    pub encoding: SignatureEncoding,
}

impl Default for SignatureSettings {
    fn default() -> Self {
        Self {
            header: "X-Signature".to_owned(),
            prefix: "sha256=".to_owned(),
            encoding: SignatureEncoding::default(),
        }
    }
}

/// Where a time of signing is, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimestampSettings {
    /// The header.
    pub header: String,
    /// How the time is written.
    pub format: TimestampFormat,
}

impl Default for TimestampSettings {
    fn default() -> Self {
        Self {
            header: "X-Timestamp".to_owned(),
            format: TimestampFormat::default(),
        }
    }
}

/// A webhook cannot be configured so. Names the key; the text says what is wrong and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct WebhookSettingsError {
    /// The setting: `webhooks[2].secrets`.
    pub key: String,
    /// What is wrong with it, and the mend.
    pub problem: String,
}

impl WebhookSettingsError {
    pub(super) fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            problem: problem.into(),
        }
    }
}

impl WebhookSettings {
    fn default_tolerance() -> Duration {
        Duration::from_secs(5 * 60)
    }
}

/// Makes the webhooks of `settings` ready.
pub(in crate::security_events) fn ready(
    settings: &[WebhookSettings],
) -> Result<Vec<Webhook>, WebhookSettingsError> {
    let mut webhooks = Vec::with_capacity(settings.len());
    let mut secrets: Vec<&str> = Vec::new();
    for (index, one) in settings.iter().enumerate() {
        let at = format!("webhooks[{index}]");
        let wrong = |key: &str, problem: &str| Err(WebhookSettingsError::new(format!("{at}.{key}"), problem));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if one.name.is_empty() || one.name.len() > 64 || !one.name.bytes().all(plain) {
            return wrong("name", "must be letters, digits, `-`, `_` and `.`, 64 at most");
        }
        if settings.iter().take(index).any(|other| other.name == one.name) {
            return wrong("name", "is that of another webhook: rename one");
        }
        if one.secrets.is_empty() {
            return wrong(
                "secrets",
                "must have at least one: without, nobody could be believed",
            );
        }
        for secret in one.secrets.iter().map(ExposeSecret::expose_secret) {
            if secret.len() < LEAST_SECRET {
                return wrong(
                    "secrets",
                    "has one of less than 32 bytes, which could be guessed: make one with `openssl rand -base64 32`",
                );
            }
            if secrets.contains(&secret) {
                return wrong(
                    "secrets",
                    "has one twice, or that of another webhook, whose calls would then count here: make another",
                );
            }
            secrets.push(secret);
        }
        if one.tolerance.is_zero() || one.tolerance > LONGEST_TOLERANCE {
            return wrong("tolerance", "must be longer than 0s, and 1h at most");
        }
        let scheme = scheme(&at, one)?;
        let rules = Rules::new(&one.name, &format!("{at}.revokes"), &one.revokes)?;
        webhooks.push(Webhook::new(&one.name, scheme, rules));
    }
    Ok(webhooks)
}

fn scheme(at: &str, one: &WebhookSettings) -> Result<Scheme, WebhookSettingsError> {
    let header = |key: &str, name: &str| {
        name.parse::<HeaderName>().map_err(|_| {
            WebhookSettingsError::new(
                format!("{at}.{key}.header"),
                "is not the name of a header (`X-Signature`)",
            )
        })
    };
    let signature_header = header("signature", &one.signature.header)?;
    let timestamp_header = header("timestamp", &one.timestamp.header)?;
    if signature_header == timestamp_header {
        return Err(WebhookSettingsError::new(
            format!("{at}.timestamp.header"),
            "is that of the signature: each must have a header of its own",
        ));
    }
    let key = |secret: &SecretString| hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    Ok(Scheme {
        keys: one.secrets.iter().map(key).collect(),
        signature_header,
        prefix: one.signature.prefix.clone(),
        encoding: one.signature.encoding,
        timestamp_header,
        format: one.timestamp.format,
        tolerance: one.tolerance,
    })
}

#[cfg(test)]
mod tests;
