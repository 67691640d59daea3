//! From a grant's permissions and limits to a user JWT's.
//!
//! One rule differs between the two, and here it is turned: an empty `allow` allows nothing in a grant and everything
//! in a user JWT.

use natsgate_core::{
    Limits, PublishPermissions, ResponsePermission as Responses, SubscribePermissions, SubscribeSubject,
};

use super::permissions::{NO_LIMIT, Permission, ResponsePermission, TimeRange, UserPermissionLimits};

/// Denies everything.
const EVERYTHING: &str = ">";

impl UserPermissionLimits {
    /// What a user JWT says to give exactly `permissions` within `limits`.
    pub fn granting(permissions: &natsgate_core::Permissions, limits: &Limits) -> Self {
        Self {
            publish: publish(&permissions.publish),
            subscribe: subscribe(&permissions.subscribe),
            responses: permissions.responses.and_then(responses),
            source_networks: texts(limits.source_networks.as_deref()),
            times: limits
                .times
                .iter()
                .flat_map(|times| &times.windows)
                .map(time_range)
                .collect(),
            times_location: limits.times.as_ref().and_then(|times| times.location.clone()),
            subs: number(limits.subscriptions),
            data: number(limits.data),
            payload: number(limits.payload),
            allowed_connection_types: limits
                .connection_types
                .iter()
                .flatten()
                .map(|kind| kind.as_str().to_owned())
                .collect(),
            ..Self::default()
        }
    }
}

fn publish(from: &PublishPermissions) -> Permission {
    closed(texts(Some(&from.allow)), texts(Some(&from.deny)))
}

fn subscribe(from: &SubscribePermissions) -> Permission {
    let entries = |list: &[SubscribeSubject]| list.iter().map(entry).collect();
    closed(entries(&from.allow), entries(&from.deny))
}

/// An empty `allow` would mean everything.
fn closed(allow: Vec<String>, deny: Vec<String>) -> Permission {
    if allow.is_empty() {
        let deny = vec![EVERYTHING.to_owned()];
        return Permission { allow, deny };
    }
    Permission { allow, deny }
}

fn entry(subject: &SubscribeSubject) -> String {
    match &subject.queue {
        Some(queue) => format!("{} {queue}", subject.subject),
        None => subject.subject.to_string(),
    }
}

/// To the server zero means its defaults, one message and two minutes: no messages is no permission, no time the
/// shortest, and no bound is said as such.
fn responses(from: Responses) -> Option<ResponsePermission> {
    (from.max_messages > 0).then(|| ResponsePermission {
        max_messages: i64::from(from.max_messages),
        ttl_nanoseconds: match from.ttl {
            None => NO_LIMIT,
            Some(ttl) => i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX).max(1),
        },
    })
}

fn time_range(window: &natsgate_core::TimeWindow) -> TimeRange {
    TimeRange {
        start: window.start.to_string(),
        end: window.end.to_string(),
    }
}

fn texts<T: ToString>(list: Option<&[T]>) -> Vec<String> {
    list.unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn number(limit: Option<u64>) -> i64 {
    limit.map_or(NO_LIMIT, |limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
