//! Permissions and limits of users, as they stand in user JWTs and in the templates of scoped signing keys.

use serde::{Deserialize, Deserializer, Serialize};

use super::unknown::Unknown;
use super::{is_default, is_empty_text, or_default, text};

/// No limit, where a limit is a number. Zero is a limit of zero.
pub const NO_LIMIT: i64 = -1;

/// Subjects allowed and denied; `deny` wins. A subscribe entry may name a queue group after a space.
///
/// To nats-server an empty `allow` allows everything that is not denied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// Allowed subjects.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub allow: Vec<String>,
    /// Denied subjects.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub deny: Vec<String>,
}

/// Permission to publish to the reply subjects of messages received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponsePermission {
    /// Messages to one reply subject; zero: nats-server's default, one; negative: any number.
    #[serde(rename = "max", default, deserialize_with = "or_default")]
    pub max_messages: i64,
    /// For how long, in nanoseconds; zero: nats-server's default, two minutes; negative: without end.
    #[serde(rename = "ttl", default, deserialize_with = "or_default")]
    pub ttl_nanoseconds: i64,
}

/// An account's default permissions: those of users that bring none of their own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Permissions {
    /// Where a user may publish.
    #[serde(
        rename = "pub",
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "is_default"
    )]
    pub publish: Permission,
    /// What it may subscribe to.
    #[serde(
        rename = "sub",
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "is_default"
    )]
    pub subscribe: Permission,
    /// Whether it may answer requests in spite of `publish`.
    #[serde(rename = "resp", default, skip_serializing_if = "Option::is_none")]
    pub responses: Option<ResponsePermission>,
    /// What else is there.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// From `start` to `end`, each `HH:MM:SS`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeRange {
    /// When it begins.
    #[serde(default, deserialize_with = "or_default")]
    pub start: String,
    /// When it ends.
    #[serde(default, deserialize_with = "or_default")]
    pub end: String,
}

/// What a user may do and what bounds it (Go's `UserPermissionLimits`).
///
/// The default is Go's zero value: limits of zero, not "unlimited". Begin with [`Self::unlimited`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UserPermissionLimits {
    /// Where it may publish.
    #[serde(
        rename = "pub",
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "is_default"
    )]
    pub publish: Permission,
    /// What it may subscribe to.
    #[serde(
        rename = "sub",
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "is_default"
    )]
    pub subscribe: Permission,
    /// Whether it may answer requests in spite of `publish`.
    #[serde(rename = "resp", default, skip_serializing_if = "Option::is_none")]
    pub responses: Option<ResponsePermission>,
    /// Networks it may come from, in CIDR notation; empty: any. Read from a list or from one comma-separated text.
    #[serde(
        rename = "src",
        default,
        deserialize_with = "networks",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub source_networks: Vec<String>,
    /// Times of day at which it may be connected; empty: any.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub times: Vec<TimeRange>,
    /// The IANA time zone of `times`.
    #[serde(
        rename = "times_location",
        default,
        deserialize_with = "text",
        skip_serializing_if = "is_empty_text"
    )]
    pub times_location: Option<String>,
    /// Subscriptions at most, or [`NO_LIMIT`].
    #[serde(default, deserialize_with = "or_default")]
    pub subs: i64,
    /// Bytes at most, or [`NO_LIMIT`].
    #[serde(default, deserialize_with = "or_default")]
    pub data: i64,
    /// Bytes of one message at most, or [`NO_LIMIT`].
    #[serde(default, deserialize_with = "or_default")]
    pub payload: i64,
    /// Whether the JWT alone lets in, without the user's key.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub bearer_token: bool,
    /// Whether it may come only through a trusted proxy (nats-server 2.12).
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub proxy_required: bool,
    /// Kinds of connection allowed; empty: any.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub allowed_connection_types: Vec<String>,
    /// What else is there.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl UserPermissionLimits {
    /// Everything allowed, nothing bounded.
    pub fn unlimited() -> Self {
        Self {
            subs: NO_LIMIT,
            data: NO_LIMIT,
            payload: NO_LIMIT,
            ..Self::default()
        }
    }
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Networks {
        List(Vec<String>),
        Text(String),
    }
    Ok(match Option::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Networks::List(list)) => list,
        Some(Networks::Text(text)) => text
            .split(',')
            .map(|network| network.trim().to_ascii_lowercase())
            .filter(|network| !network.is_empty())
            .collect(),
    })
}
