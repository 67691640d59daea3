//! The claims every NATS JWT has, and what a kind of JWT adds: its body, under `nats`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::role::Role;

/// The largest token signed or read, in bytes: nats-server's own bound (2.11.17, 2.12.6, 2.14.0 and later).
pub const MAX_TOKEN_BYTES: usize = 1024 * 1024;

/// The only version of claims written and read. Version 1 went with nats-server 2.2.
pub(crate) const VERSION: i64 = 2;

/// The `alg` of version 2.
pub(crate) const ALGORITHM: &str = "ed25519-nkey";

/// What [`decode`](crate::decode) read from a token and verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims<B> {
    /// `iss`: the public nkey that signed. Whether to trust it is for the caller to say.
    pub issuer: String,
    /// `sub`: whom the token is about, a public nkey.
    pub subject: String,
    /// `aud`: whom it is for.
    pub audience: Option<String>,
    /// `exp`, in seconds since the Unix epoch. `None`: never.
    pub expires_at: Option<i64>,
    /// `iat`, in seconds since the Unix epoch.
    pub issued_at: i64,
    /// `nbf`, in seconds since the Unix epoch.
    pub not_before: Option<i64>,
    /// `jti`: a digest of the other standard claims. Not unique: two tokens of one second may share it.
    pub id: String,
    /// `name`: for people, and what nats-servers show of a user.
    pub name: Option<String>,
    /// What is under `nats`.
    pub body: B,
}

/// What [`encode`](crate::encode) signs; issuer, time and id are its own doing.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimsToSign<B> {
    /// `sub`: whom the token is about, a public nkey of [`ClaimsBody::SUBJECT`]'s role.
    pub subject: String,
    /// `aud`: whom it is for.
    pub audience: Option<String>,
    /// `exp`, in seconds since the Unix epoch. `None`: never.
    pub expires_at: Option<i64>,
    /// `nbf`, in seconds since the Unix epoch.
    pub not_before: Option<i64>,
    /// `name`: for people, and what nats-servers show of a user.
    pub name: Option<String>,
    /// What goes under `nats`.
    pub body: B,
}

impl<B> ClaimsToSign<B> {
    /// Claims about `subject`: for nobody in particular, without a name, and without an end.
    pub fn new(subject: impl Into<String>, body: B) -> Self {
        Self {
            subject: subject.into(),
            audience: None,
            expires_at: None,
            not_before: None,
            name: None,
            body,
        }
    }

    /// The same, with `aud`.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// The same, with `exp`, in seconds since the Unix epoch.
    #[must_use]
    pub fn expires_at(mut self, seconds: i64) -> Self {
        self.expires_at = Some(seconds);
        self
    }

    /// The same, with `nbf`, in seconds since the Unix epoch.
    #[must_use]
    pub fn not_before(mut self, seconds: i64) -> Self {
        self.not_before = Some(seconds);
        self
    }

    /// The same, with `name`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// To sign again what somebody else wrote, changed.
impl<B> From<Claims<B>> for ClaimsToSign<B> {
    fn from(claims: Claims<B>) -> Self {
        Self {
            subject: claims.subject,
            audience: claims.audience,
            expires_at: claims.expires_at,
            not_before: claims.not_before,
            name: claims.name,
            body: claims.body,
        }
    }
}

/// A kind of NATS JWT: what is under `nats`, and who may sign it about whom.
pub trait ClaimsBody: Serialize + DeserializeOwned {
    /// `nats.type`.
    const TYPE: &'static str;
    /// The roles whose keys may sign it.
    const ISSUERS: &'static [Role];
    /// The role of the key it is about.
    const SUBJECT: Role;
    /// The one `aud` it may have, where it is fixed.
    const AUDIENCE: Option<&'static str> = None;
    /// Whether it must have an `exp`.
    const EXPIRES: bool = false;

    /// Checks the body, alone and against the standard claims, whenever it is signed or read.
    ///
    /// # Errors
    /// What does not fit.
    fn check(&self, _envelope: Envelope<'_>) -> Result<(), Inconsistency> {
        Ok(())
    }

    /// Checks more, of what is about to be signed: that a nats-server will take it.
    ///
    /// # Errors
    /// What does not fit.
    fn check_to_sign(&self) -> Result<(), Inconsistency> {
        Ok(())
    }
}

/// The standard claims a body may be checked against.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// `iss`.
    pub issuer: &'a str,
    /// `aud`.
    pub audience: Option<&'a str>,
}

/// What in a body does not fit, in words that hold no value of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Inconsistency(pub &'static str);

/// The standard claims as they are written, in the order and with the omissions of Go's `jwt.ClaimsData`: the digest
/// in `jti` is over exactly this.
#[derive(Serialize)]
pub(crate) struct Standard<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) aud: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) exp: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) jti: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) iat: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) iss: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) name: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) nbf: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) sub: &'a str,
}

pub(crate) fn is_zero(number: &i64) -> bool {
    *number == 0
}
