//! From a grant's permissions and limits to a user JWT's.
//!
//! One rule differs between the two, and here it is turned: an empty `allow` allows nothing in a grant and everything
//! in a user JWT. Where older servers read a user JWT otherwise than newer ones, it is written so that all read the
//! same.

use natsgate_core::{
    Limits, PublishPermissions, ResponsePermission as Responses, SubscribePermissions, SubscribeSubject,
    TimeWindow,
};

use super::permissions::{NO_LIMIT, Permission, ResponsePermission, TimeRange, UserPermissionLimits};

/// Denies everything.
const EVERYTHING: &str = ">";

/// Every queue group.
const ANY_QUEUE: &str = ">";

const MIDNIGHT: &str = "00:00:00";

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
                .flat_map(time_ranges)
                .collect(),
            times_location: limits.times.as_ref().and_then(|times| times.location.clone()),
            subs: number_32(limits.subscriptions),
            data: number(limits.data),
            payload: number_32(limits.payload),
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
    closed(from.allow.iter().map(entry).collect(), denied(&from.deny))
}

/// nats-server before 2.11.16, 2.12.7 and 2.14.0 lets a queue subscription through that a plain entry denies, as soon as
/// an entry with another queue group matches too (`canSubscribe`). So beside entries with queue groups a plain one says aloud that it is for
/// all of them.
fn denied(from: &[SubscribeSubject]) -> Vec<String> {
    let plain = from.iter().filter(|denied| denied.queue.is_none());
    let for_all = plain.map(|denied| format!("{} {ANY_QUEUE}", denied.subject));
    let mut entries: Vec<String> = from.iter().map(entry).collect();
    if from.iter().any(|denied| denied.queue.is_some()) {
        entries.extend(for_all);
    }
    entries
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

/// nats-server before 2.11.17, 2.12.8 and 2.14.0 knows only the evening of a window past midnight (`validateTimes`). The
/// morning is said once more. The evening stays as it is: cut at midnight, every session would end there.
fn time_ranges(window: &TimeWindow) -> impl Iterator<Item = TimeRange> + use<> {
    let (start, end) = (window.start.to_string(), window.end.to_string());
    let morning = (window.end < window.start && window.end.seconds() > 0).then(|| TimeRange {
        start: MIDNIGHT.to_owned(),
        end: end.clone(),
    });
    [TimeRange { start, end }].into_iter().chain(morning)
}

fn texts<T: ToString>(list: Option<&[T]>) -> Vec<String> {
    list.unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn number(limit: Option<u64>) -> i64 {
    limit.map_or(NO_LIMIT, |limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

/// nats-server 2.10.25 keeps the lower 32 bits only: of 4294967295 that is "no limit".
fn number_32(limit: Option<u64>) -> i64 {
    number(limit).min(i64::from(i32::MAX))
}

#[cfg(test)]
mod tests;
