//! Reads a grant as strictly as if a stranger had sent it: every subject, network and time of day is parsed, and what
//! cannot be read spoils the whole grant.

use std::time::Duration;

use natsgate_core::{
    ConnectionType, Limits, Permissions, PublishPermissions, ResponsePermission, Subject,
    SubscribePermissions, SubscribeSubject, TimeWindow, TimeWindows,
};
use natsgate_proto::v1;

/// A field of a grant cannot be what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the grant's {field} cannot be used: {why}")]
pub struct BadField {
    /// Which field.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: String,
}

/// The permissions of `grant`; none at all if it has none.
///
/// # Errors
/// [`BadField`].
pub fn permissions(grant: &v1::Grant) -> Result<Permissions, BadField> {
    let Some(given) = &grant.permissions else {
        return Ok(Permissions::default());
    };
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

/// The limits of `grant`.
///
/// # Errors
/// [`BadField`].
pub fn limits(grant: &v1::Grant) -> Result<Limits, BadField> {
    let Some(given) = &grant.limits else {
        return Ok(Limits::default());
    };
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
    BadField {
        field,
        why: why.to_string(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn with_permissions(change: impl FnOnce(&mut v1::Permissions)) -> v1::Grant {
        let mut permissions = v1::Permissions::default();
        change(&mut permissions);
        v1::Grant {
            permissions: Some(permissions),
            ..Default::default()
        }
    }

    fn with_limits(change: impl FnOnce(&mut v1::Limits)) -> v1::Grant {
        let mut limits = v1::Limits::default();
        change(&mut limits);
        v1::Grant {
            limits: Some(limits),
            ..Default::default()
        }
    }

    #[test]
    fn a_subject_that_is_none_spoils_the_grant() {
        let entry = |subject: &str, queue: &str| v1::SubscribeSubject {
            subject: subject.into(),
            queue: queue.into(),
        };
        for grant in [
            with_permissions(|p| p.publish_allow.extend(["a.b".to_owned(), "a..b".to_owned()])),
            with_permissions(|p| p.publish_deny.push(String::new())),
            with_permissions(|p| p.subscribe_allow.push(entry("a b", ""))),
            with_permissions(|p| p.subscribe_allow.push(entry("a", "q r"))),
            with_permissions(|p| p.subscribe_deny.push(entry(">.a", ""))),
            with_permissions(|p| p.responses = Some(v1::ResponsePermission::default())),
        ] {
            assert!(permissions(&grant).is_err(), "{grant:?}");
        }
    }

    #[test]
    fn a_limit_that_cannot_be_read_spoils_the_grant() {
        let window = v1::TimeWindow {
            start: "25:00:00".into(),
            end: "26:00:00".into(),
        };
        for grant in [
            with_limits(|l| l.connection_types.push("standard".into())),
            with_limits(|l| l.source_networks.push("10.0.0.0/33".into())),
            with_limits(|l| l.times.push(window)),
        ] {
            assert!(limits(&grant).is_err(), "{grant:?}");
        }
    }

    #[test]
    fn nothing_said_is_nothing_permitted_and_nothing_bounded() {
        let grant = v1::Grant::default();
        assert_eq!(permissions(&grant), Ok(Permissions::default()));
        assert_eq!(limits(&grant), Ok(Limits::default()));
    }
}
