//! The bodies of an authorization request and its response (NATS ADR-26).
//!
//! A request carries the client's credentials: they are secrets here, kept out of `Debug` and wiped when dropped.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::user::check_issuer_account;
use super::{is_default, is_empty_text, or_default, text};
use crate::claims::{ClaimsBody, Envelope, Inconsistency};
use crate::nkey::check_public_key;
use crate::role::Role;

/// The `aud` of every authorization request. (The sample in ADR-26 shows another.)
pub const AUTHORIZATION_REQUEST_AUDIENCE: &str = "nats-authorization-request";

/// What a nats-server asks: all it knows of a client that wants to connect.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuthorizationRequest {
    /// The server that asks.
    pub server_id: ServerId,
    /// The public nkey the server made for this one connection; the user JWT must be about it.
    pub user_nkey: String,
    /// What the server knows of the client.
    pub client_info: ClientInfo,
    /// What the client sent in its CONNECT.
    pub connect_opts: ConnectOptions,
    /// The TLS connection's state, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_tls: Option<ClientTls>,
    /// A nonce of the request (unused by the servers known).
    #[serde(default, deserialize_with = "text", skip_serializing_if = "is_empty_text")]
    pub request_nonce: Option<String>,
}

/// A nats-server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerId {
    /// Its configured name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// The host it listens on.
    #[serde(default, deserialize_with = "or_default")]
    pub host: String,
    /// Its id: a public nkey, new at every start, the one that signs its requests.
    pub id: String,
    /// Its version.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub version: String,
    /// Its cluster's name.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub cluster: String,
    /// Its configured tags.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub tags: Vec<String>,
    /// Its public xkey, which the response must be sealed to; only if it sealed the request.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "is_empty_text")]
    pub xkey: Option<String>,
}

/// What a server knows of a client.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ClientInfo {
    /// The address it comes from.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub host: String,
    /// Its id, unique on its server.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub id: u64,
    /// What it authenticates with, as the server sees it: an nkey, a user name or, on older servers, the token itself.
    #[serde(
        default,
        deserialize_with = "secret",
        serialize_with = "expose",
        skip_serializing_if = "Option::is_none"
    )]
    pub user: Option<SecretString>,
    /// The name it gave itself.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub name: String,
    /// Tags of its account.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub tags: Vec<String>,
    /// Its account's name tag.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub name_tag: String,
    /// `Client` or `Leafnode`.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub kind: String,
    /// The protocol: `nats`, `mqtt`, `websocket`.
    #[serde(
        rename = "type",
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub client_type: String,
    /// The MQTT client id.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub mqtt_id: String,
    /// The nonce that `sig` signs.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub nonce: String,
}

/// What a client sent in its CONNECT.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ConnectOptions {
    /// A user JWT (sentinel credentials, say).
    #[serde(
        default,
        deserialize_with = "secret",
        serialize_with = "expose",
        skip_serializing_if = "Option::is_none"
    )]
    pub jwt: Option<SecretString>,
    /// A public user nkey.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub nkey: String,
    /// The signature over the server's nonce.
    #[serde(
        rename = "sig",
        default,
        deserialize_with = "secret",
        serialize_with = "expose",
        skip_serializing_if = "Option::is_none"
    )]
    pub signature: Option<SecretString>,
    /// A token.
    #[serde(
        default,
        deserialize_with = "secret",
        serialize_with = "expose",
        skip_serializing_if = "Option::is_none"
    )]
    pub auth_token: Option<SecretString>,
    /// A user name.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub user: String,
    /// A password.
    #[serde(
        rename = "pass",
        default,
        deserialize_with = "secret",
        serialize_with = "expose",
        skip_serializing_if = "Option::is_none"
    )]
    pub password: Option<SecretString>,
    /// The client's name.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub name: String,
    /// The client library's language.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub lang: String,
    /// The client library's version.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub version: String,
    /// The protocol version the client speaks.
    #[serde(default, deserialize_with = "or_default")]
    pub protocol: i64,
}

/// The state of a client's TLS connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientTls {
    /// The TLS version: `1.3`.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub version: String,
    /// The cipher suite's name.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub cipher: String,
    /// The client's certificates in PEM, leaf first, if they were not verified.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub certs: Vec<String>,
    /// The chains that were verified, each leaf first, in PEM.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub verified_chains: Vec<Vec<String>>,
}

impl ClaimsBody for AuthorizationRequest {
    const TYPE: &'static str = "authorization_request";
    const ISSUERS: &'static [Role] = &[Role::Server];
    /// The callout account (operator mode) or the configured issuer (config mode).
    const SUBJECT: Role = Role::Account;
    const AUDIENCE: Option<&'static str> = Some(AUTHORIZATION_REQUEST_AUDIENCE);
    const EXPIRES: bool = true;

    fn check(&self, envelope: Envelope<'_>) -> Result<(), Inconsistency> {
        // The connection is named by this id: a server must not name another's.
        if self.server_id.id != envelope.issuer {
            return Err(Inconsistency("server_id.id is not the key that signed (iss)"));
        }
        if check_public_key(&self.user_nkey, Role::User).is_err() {
            return Err(Inconsistency("user_nkey is not a user's public key"));
        }
        match self
            .server_id
            .xkey
            .as_deref()
            .map(|key| check_public_key(key, Role::Curve))
        {
            Some(Err(_)) => Err(Inconsistency("server_id.xkey is not a public xkey")),
            _ => Ok(()),
        }
    }
}

/// What a nats-server is answered: a user JWT, or why not.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationResponse {
    /// The user JWT, about the request's `user_nkey`.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "is_empty_text")]
    pub jwt: Option<String>,
    /// Why there is none: for the server's log, the client never sees it.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "is_empty_text")]
    pub error: Option<String>,
    /// The callout account's public key, if one of its signing keys signs the response.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "is_empty_text")]
    pub issuer_account: Option<String>,
}

impl AuthorizationResponse {
    /// Lets the client in as `jwt` says.
    pub fn granted(jwt: impl Into<String>) -> Self {
        Self {
            jwt: Some(jwt.into()),
            ..Self::default()
        }
    }

    /// Refuses it; the server logs `error`.
    pub fn denied(error: impl Into<String>) -> Self {
        Self {
            error: Some(error.into()),
            ..Self::default()
        }
    }

    /// The same, signed by one of `account`'s signing keys. Operator mode only.
    #[must_use]
    pub fn of_account(mut self, account: impl Into<String>) -> Self {
        self.issuer_account = Some(account.into());
        self
    }
}

impl fmt::Debug for AuthorizationResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizationResponse")
            .field("jwt", &self.jwt.as_ref().map(|_| "[REDACTED]"))
            .field("error", &self.error)
            .field("issuer_account", &self.issuer_account)
            .finish()
    }
}

impl ClaimsBody for AuthorizationResponse {
    const TYPE: &'static str = "authorization_response";
    const ISSUERS: &'static [Role] = &[Role::Account];
    /// The request's `user_nkey`.
    const SUBJECT: Role = Role::User;

    fn check(&self, envelope: Envelope<'_>) -> Result<(), Inconsistency> {
        let audience = envelope.audience.unwrap_or_default();
        if check_public_key(audience, Role::Server).is_err() {
            return Err(Inconsistency(
                "the audience (aud) of an authorization response is the id of the server that asked",
            ));
        }
        if is_empty_text(&self.jwt) == is_empty_text(&self.error) {
            return Err(Inconsistency(
                "an authorization response has a user JWT or an error: one of them, not both",
            ));
        }
        check_issuer_account(self.issuer_account.as_deref())
    }
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    let secret = Option::<SecretString>::deserialize(deserializer)?;
    Ok(secret.filter(|secret| !secret.expose_secret().is_empty()))
}

/// Requests are written by servers; here only where one is played.
fn expose<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret
        .as_ref()
        .map(ExposeSecret::expose_secret)
        .serialize(serializer)
}

#[cfg(test)]
mod tests;
