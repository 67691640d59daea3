//! What a grant lets a session publish and subscribe to.
//!
//! One rule differs from a NATS user JWT, on purpose: here an empty `allow` list allows nothing. (In a user JWT no
//! `allow` list means everything; whoever mints one from these types writes `deny: [">"]` instead.)

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::subject::{QueueGroup, Subject};

/// Publish and subscribe permissions. `deny` wins over `allow`, as in nats-server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// Where the session may publish.
    pub publish: PublishPermissions,
    /// What it may subscribe to.
    pub subscribe: SubscribePermissions,
    /// Whether it may publish to the reply subjects of requests it received, in spite of `publish`.
    pub responses: Option<ResponsePermission>,
}

/// Publish subjects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishPermissions {
    /// Allowed subjects; empty allows nothing.
    pub allow: Vec<Subject>,
    /// Denied subjects, whatever `allow` says.
    pub deny: Vec<Subject>,
}

/// Subscribe subjects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribePermissions {
    /// Allowed subjects; empty allows nothing.
    pub allow: Vec<SubscribeSubject>,
    /// Denied subjects, whatever `allow` says.
    pub deny: Vec<SubscribeSubject>,
}

/// A subject to subscribe to, perhaps only as a member of a queue group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubscribeSubject {
    /// The subject.
    pub subject: Subject,
    /// The queue group it applies to; `None` for plain subscriptions (and, in an `allow`, any queue group).
    pub queue: Option<QueueGroup>,
}

/// Permission to answer requests (nats-server's `allow_responses`, the user JWT's `resp`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponsePermission {
    /// Messages allowed to one reply subject.
    pub max_messages: u32,
    /// How long after the request they are allowed; `None` for no bound in time.
    pub ttl: Option<Duration>,
}
