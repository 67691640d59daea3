//! Templates as they stand in an account JWT, in the scope of a signing key.

use std::time::Duration;

use natsgate_claims::{
    NO_LIMIT, Permission, ResponsePermission as WireResponses, SigningKey, Unknown, UserPermissionLimits,
    UserScope,
};
use natsgate_core::{
    Limits, Permissions, PublishPermissions, ResponsePermission, Subject, SubscribePermissions,
    SubscribeSubject,
};

use super::Template;
use crate::naming::{Generation, ScopeRole, TemplateName};
use crate::subjects;

/// What an empty `allow` is written as: nothing allowed, everything denied.
const EVERYTHING: &str = ">";

/// What in a scope natsgate does not write, in words that hold no value of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotOurs(pub &'static str);

impl Template {
    /// The signing key `key`, which stands for `generation` of this template. It has no description: to change one
    /// would be to change the scope, and nats-server closes a changed scope's connections.
    pub fn to_signing_key(&self, key: &str, generation: Generation) -> SigningKey {
        let template = subjects::written(&self.permissions, &self.limits);
        signing_key(key, &self.name, generation, template)
    }

    /// The template that `scope` holds under `name`.
    ///
    /// # Errors
    /// [`NotOurs`] if natsgate would not have written it so.
    pub fn from_scope(name: TemplateName, scope: &UserScope) -> Result<Self, NotOurs> {
        let (permissions, limits) = read(&scope.template)?;
        Self::new(name, permissions, limits).map_err(|_| NotOurs("natsgate would refuse such a template"))
    }
}

/// A signing key whose users may do nothing, as the newest generation of a template that is retired.
pub(crate) fn closed(key: &str, template: &TemplateName, generation: Generation) -> SigningKey {
    let nothing = subjects::written(&Permissions::default(), &Limits::default());
    signing_key(key, template, generation, nothing)
}

/// Whether the users of `scope` may do nothing.
pub(crate) fn is_closed(scope: &UserScope) -> bool {
    read(&scope.template).is_ok_and(|(permissions, _)| subjects::grant_nothing(&permissions))
}

fn signing_key(
    key: &str,
    template: &TemplateName,
    generation: Generation,
    scope: UserPermissionLimits,
) -> SigningKey {
    let role = ScopeRole {
        template: template.clone(),
        generation,
    };
    SigningKey::scoped(key, role.to_string(), scope)
}

/// The permissions and limits that `written` stands for, if natsgate writes them so ([`subjects::written`]).
pub(crate) fn read(written: &UserPermissionLimits) -> Result<(Permissions, Limits), NotOurs> {
    if written.bearer_token || written.proxy_required {
        return Err(NotOurs("it allows bearer tokens, or requires a proxy"));
    }
    if !written.times.is_empty() || written.times_location.is_some() {
        return Err(NotOurs("it has times of day"));
    }
    if written.unknown != Unknown::default() {
        return Err(NotOurs("it has fields that are not known"));
    }
    let connection_types = written
        .allowed_connection_types
        .iter()
        .map(|kind| kind.parse())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| NotOurs("it has kinds of connection that are not known"))?;
    let source_networks = written
        .source_networks
        .iter()
        .map(|network| network.parse())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| NotOurs("it has a source network that is none"))?;
    let limits = Limits {
        subscriptions: number(written.subs)?,
        payload: number(written.payload)?,
        data: number(written.data)?,
        connection_types: (!connection_types.is_empty()).then_some(connection_types),
        source_networks: (!source_networks.is_empty()).then_some(source_networks),
        times: None,
    };
    let (publish_allow, publish_deny) = open(&written.publish)?;
    let (subscribe_allow, subscribe_deny) = open(&written.subscribe)?;
    let permissions = Permissions {
        publish: PublishPermissions {
            allow: list(publish_allow, subject)?,
            deny: list(publish_deny, subject)?,
        },
        subscribe: SubscribePermissions {
            allow: list(subscribe_allow, subscribe_subject)?,
            deny: list(subscribe_deny, subscribe_subject)?,
        },
        responses: written.responses.map(responses).transpose()?,
    };
    Ok((subjects::normal(permissions), limits))
}

/// `allow` and `deny`, where an empty `allow` again allows nothing.
fn open(permission: &Permission) -> Result<(&[String], &[String]), NotOurs> {
    match (permission.allow.as_slice(), permission.deny.as_slice()) {
        ([], [all]) if all == EVERYTHING => Ok((&[], &[])),
        ([], _) => Err(NotOurs("it allows everything that it does not deny")),
        lists => Ok(lists),
    }
}

fn list<T>(texts: &[String], read: fn(&str) -> Option<T>) -> Result<Vec<T>, NotOurs> {
    let entries: Option<Vec<T>> = texts.iter().map(|text| read(text)).collect();
    entries.ok_or(NotOurs("it has an entry that is no subject"))
}

fn subject(text: &str) -> Option<Subject> {
    Subject::parse(text).ok()
}

fn subscribe_subject(text: &str) -> Option<SubscribeSubject> {
    let (subject_text, queue_text) = match text.split_once(' ') {
        Some((subject, queue)) => (subject, Some(queue)),
        None => (text, None),
    };
    Some(SubscribeSubject {
        subject: subject(subject_text)?,
        queue: match queue_text {
            Some(queue) => Some(subject(queue)?),
            None => None,
        },
    })
}

fn number(limit: i64) -> Result<Option<u64>, NotOurs> {
    match u64::try_from(limit) {
        Ok(limit) => Ok(Some(limit)),
        Err(_) if limit == NO_LIMIT => Ok(None),
        Err(_) => Err(NotOurs("it has a limit below -1")),
    }
}

fn responses(written: WireResponses) -> Result<ResponsePermission, NotOurs> {
    let max_messages = u32::try_from(written.max_messages).ok().filter(|max| *max > 0);
    let ttl = match u64::try_from(written.ttl_nanoseconds) {
        Ok(0) => return Err(NotOurs("it allows responses for the server's own time")),
        Ok(nanoseconds) => Some(Duration::from_nanos(nanoseconds)),
        Err(_) => None,
    };
    let max_messages = max_messages.ok_or(NotOurs("it allows any number of responses"))?;
    Ok(ResponsePermission { max_messages, ttl })
}
