//! Permissions and limits: between the messages and the vocabulary. What is read is read as strictly as if a stranger had sent it: every
//! subject, network and time of day is parsed, and what cannot be read spoils the whole.

use std::time::Duration;

use natsgate_core::{
    ConnectionType, Limits, Permissions, PublishPermissions, ResponsePermission, Subject,
    SubscribePermissions, SubscribeSubject, TimeWindow, TimeWindows,
};

use crate::v1;

/// A field cannot be what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} cannot be used: {why}")]
pub struct BadField {
    /// Which field.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: String,
}

impl BadField {
    /// `field` cannot be used, for that reason.
    pub fn new(field: &'static str, why: impl ToString) -> Self {
        Self {
            field,
            why: why.to_string(),
        }
    }
}

/// The permissions that `given` says.
///
/// # Errors
/// [`BadField`].
pub fn read_permissions(given: &v1::Permissions) -> Result<Permissions, BadField> {
    Ok(Permissions {
        publish: PublishPermissions {
            allow: each(&given.publish_allow, |text| {
                subject("permissions.publish_allow", text)
            })?,
            deny: each(&given.publish_deny, |text| {
                subject("permissions.publish_deny", text)
            })?,
        },
        subscribe: SubscribePermissions {
            allow: each(&given.subscribe_allow, |entry| {
                subscribe_subject("permissions.subscribe_allow", entry)
            })?,
            deny: each(&given.subscribe_deny, |entry| {
                subscribe_subject("permissions.subscribe_deny", entry)
            })?,
        },
        responses: given.responses.as_ref().map(responses).transpose()?,
    })
}

/// The limits that `given` says.
///
/// # Errors
/// [`BadField`].
pub fn read_limits(given: &v1::Limits) -> Result<Limits, BadField> {
    let connection_types = each(&given.connection_types, |text| {
        text.parse::<ConnectionType>()
            .map_err(|why| bad("limits.connection_types", why))
    })?;
    let source_networks = each(&given.source_networks, |text| {
        text.parse().map_err(|why| bad("limits.source_networks", why))
    })?;
    let windows = each(&given.times, |window| {
        let time = |text: &str| text.parse().map_err(|why: String| bad("limits.times", why));
        Ok(TimeWindow {
            start: time(&window.start)?,
            end: time(&window.end)?,
        })
    })?;
    let location = (!given.times_location.is_empty()).then(|| given.times_location.clone());
    Ok(Limits {
        subscriptions: given.subscriptions,
        payload: given.payload,
        data: given.data,
        connection_types: some(connection_types),
        source_networks: some(source_networks),
        times: some(windows).map(|windows| TimeWindows { windows, location }),
    })
}

fn each<T, U>(list: &[T], read: impl Fn(&T) -> Result<U, BadField>) -> Result<Vec<U>, BadField> {
    list.iter().map(read).collect()
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn bad(field: &'static str, why: impl ToString) -> BadField {
    BadField::new(field, why)
}

fn subject(field: &'static str, text: &str) -> Result<Subject, BadField> {
    Subject::parse(text).map_err(|why| bad(field, why))
}

fn subscribe_subject(
    field: &'static str,
    entry: &v1::SubscribeSubject,
) -> Result<SubscribeSubject, BadField> {
    let queue = (!entry.queue.is_empty())
        .then(|| subject(field, &entry.queue))
        .transpose()?;
    Ok(SubscribeSubject {
        subject: subject(field, &entry.subject)?,
        queue,
    })
}

fn responses(given: &v1::ResponsePermission) -> Result<ResponsePermission, BadField> {
    let field = "permissions.responses";
    if given.max_messages == 0 {
        return Err(bad(field, "max_messages must be at least 1"));
    }
    let ttl = given
        .ttl
        .map(Duration::try_from)
        .transpose()
        .map_err(|why| bad(field, why))?;
    Ok(ResponsePermission {
        max_messages: given.max_messages,
        ttl,
    })
}

/// `permissions` as a message.
pub fn write_permissions(permissions: Permissions) -> v1::Permissions {
    let texts = |subjects: Vec<Subject>| subjects.into_iter().map(String::from).collect();
    let subscriptions = |subjects: Vec<SubscribeSubject>| subjects.into_iter().map(written_subject).collect();
    v1::Permissions {
        publish_allow: texts(permissions.publish.allow),
        publish_deny: texts(permissions.publish.deny),
        subscribe_allow: subscriptions(permissions.subscribe.allow),
        subscribe_deny: subscriptions(permissions.subscribe.deny),
        responses: permissions.responses.map(response_permission),
    }
}

fn written_subject(subject: SubscribeSubject) -> v1::SubscribeSubject {
    v1::SubscribeSubject {
        subject: subject.subject.into(),
        queue: subject.queue.map(String::from).unwrap_or_default(),
    }
}

fn response_permission(permission: ResponsePermission) -> v1::ResponsePermission {
    v1::ResponsePermission {
        max_messages: permission.max_messages,
        // Longer than the type can say is as good as no bound; a session does not live that long.
        ttl: permission
            .ttl
            .and_then(|ttl| prost_types::Duration::try_from(ttl).ok()),
    }
}

/// `limits` as a message.
pub fn write_limits(limits: Limits) -> v1::Limits {
    let (windows, location) = limits
        .times
        .map(|times| (times.windows, times.location))
        .unwrap_or_default();
    v1::Limits {
        subscriptions: limits.subscriptions,
        payload: limits.payload,
        data: limits.data,
        connection_types: limits
            .connection_types
            .unwrap_or_default()
            .into_iter()
            .map(|kind| kind.as_str().to_owned())
            .collect(),
        source_networks: limits
            .source_networks
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect(),
        times: windows.into_iter().map(time_window).collect(),
        times_location: location.unwrap_or_default(),
    }
}

fn time_window(window: TimeWindow) -> v1::TimeWindow {
    v1::TimeWindow {
        start: window.start.to_string(),
        end: window.end.to_string(),
    }
}
