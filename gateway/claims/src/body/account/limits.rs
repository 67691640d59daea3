//! What bounds an account.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::body::permissions::NO_LIMIT;
use crate::body::unknown::Unknown;
use crate::body::{is_default, or_default};
use crate::claims::is_zero;

/// An account's limits (Go's `OperatorLimits`), each a number or [`NO_LIMIT`].
///
/// The default is Go's zero value: limits of zero. Begin with [`Self::unlimited`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Subscriptions.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub subs: i64,
    /// Bytes.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub data: i64,
    /// Bytes of one message.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub payload: i64,
    /// Imports.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub imports: i64,
    /// Exports.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub exports: i64,
    /// Whether exports may have wildcards.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub wildcards: bool,
    /// Whether users must not be bearer tokens.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub disallow_bearer: bool,
    /// Connections.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub conn: i64,
    /// Leaf node connections.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub leaf: i64,
    /// JetStream: bytes in memory; zero: none.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub mem_storage: i64,
    /// JetStream: bytes on disk; zero: none.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub disk_storage: i64,
    /// JetStream: streams.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub streams: i64,
    /// JetStream: consumers.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub consumer: i64,
    /// JetStream: unacknowledged messages of a stream.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub max_ack_pending: i64,
    /// JetStream: bytes of one stream in memory; zero: no limit.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub mem_max_stream_bytes: i64,
    /// JetStream: bytes of one stream on disk; zero: no limit.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub disk_max_stream_bytes: i64,
    /// JetStream: whether every stream must bound its bytes.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub max_bytes_required: bool,
    /// JetStream limits by replication tier, as they are.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Map::is_empty"
    )]
    pub tiered_limits: Map<String, Value>,
    /// What else is there.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl Limits {
    /// No limits, and no JetStream (what Go's `NewAccountClaims` begins with).
    pub fn unlimited() -> Self {
        Self {
            subs: NO_LIMIT,
            data: NO_LIMIT,
            payload: NO_LIMIT,
            imports: NO_LIMIT,
            exports: NO_LIMIT,
            wildcards: true,
            conn: NO_LIMIT,
            leaf: NO_LIMIT,
            ..Self::default()
        }
    }

    /// The same, with all of JetStream.
    #[must_use]
    pub fn with_jetstream(self) -> Self {
        Self {
            mem_storage: NO_LIMIT,
            disk_storage: NO_LIMIT,
            streams: NO_LIMIT,
            consumer: NO_LIMIT,
            ..self
        }
    }
}
