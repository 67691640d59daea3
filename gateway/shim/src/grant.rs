//! Reads a grant as strictly as if a stranger had sent it: every subject, network and time of day is parsed, and what
//! cannot be read spoils the whole grant.

use natsgate_core::{Limits, Permissions, Rights, TagName, TagValues, TemplateUse};
pub use natsgate_proto::rights::BadField;
use natsgate_proto::rights::{read_limits, read_permissions};
use natsgate_proto::v1;

/// Whether what `grant` gives is written in the account's JWT.
pub fn is_written(grant: &v1::Grant) -> bool {
    grant.template.is_some() || grant.account_defaults
}

/// What `grant` gives, or where that is written.
///
/// # Errors
/// [`BadField`]; also for a grant that says so in two places.
pub fn rights(grant: &v1::Grant) -> Result<Rights, BadField> {
    let places = [
        grant.permissions.is_some(),
        grant.template.is_some(),
        grant.account_defaults,
    ];
    if places.into_iter().filter(|is_set| *is_set).count() > 1 {
        let why = "only one of permissions, template and account_defaults may be set";
        return Err(BadField::new("permissions", why));
    }
    if let Some(used) = &grant.template {
        return template(used).map(Rights::Template);
    }
    if grant.account_defaults {
        return Ok(Rights::AccountDefaults);
    }
    permissions(grant).map(Rights::Own)
}

fn template(used: &v1::TemplateUse) -> Result<TemplateUse, BadField> {
    let template = used
        .name
        .parse()
        .map_err(|why| BadField::new("template.name", why))?;
    let mut tags = TagValues::new();
    for tag in &used.tags {
        let name = TagName::parse(&tag.name).ok_or_else(|| {
            BadField::new(
                "template.tags",
                "a tag's name has 1 to 64 characters from a-z, 0-9, '_' and '-'",
            )
        })?;
        tags.entry(name).or_default().insert(tag.value.clone());
    }
    Ok(TemplateUse { template, tags })
}

/// The permissions of `grant`; none at all if it has none.
///
/// # Errors
/// [`BadField`].
pub fn permissions(grant: &v1::Grant) -> Result<Permissions, BadField> {
    let given = grant.permissions.as_ref();
    given.map_or_else(|| Ok(Permissions::default()), read_permissions)
}

/// The limits of `grant`.
///
/// # Errors
/// [`BadField`].
pub fn limits(grant: &v1::Grant) -> Result<Limits, BadField> {
    grant
        .limits
        .as_ref()
        .map_or_else(|| Ok(Limits::default()), read_limits)
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
    fn what_a_session_may_do_is_said_in_one_place() {
        let used = |name: &str, tag: &str| {
            let tag = v1::TemplateTag {
                name: tag.into(),
                value: "x".into(),
            };
            Some(v1::TemplateUse {
                name: name.into(),
                tags: vec![tag],
            })
        };
        let template = |name: &str, tag: &str| v1::Grant {
            template: used(name, tag),
            ..Default::default()
        };
        assert!(matches!(
            rights(&template("member", "project")),
            Ok(Rights::Template(_))
        ));
        for bad in [
            template("a.b", "project"),
            template("", "project"),
            template("member", "P"),
        ] {
            assert!(rights(&bad).is_err(), "{bad:?}");
        }
        let mut two = template("member", "project");
        two.account_defaults = true;
        assert!(rights(&two).is_err());
        two.account_defaults = false;
        // Empty ones too: who sends both does not know what he says.
        two.permissions = Some(v1::Permissions::default());
        assert!(rights(&two).is_err());
        two.template = None;
        two.account_defaults = true;
        assert!(rights(&two).is_err());
    }

    #[test]
    fn nothing_said_is_nothing_permitted_and_nothing_bounded() {
        let grant = v1::Grant::default();
        assert_eq!(permissions(&grant), Ok(Permissions::default()));
        assert_eq!(limits(&grant), Ok(Limits::default()));
    }
}
