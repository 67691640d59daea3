//! An account's default permissions: those of users that bring none of their own.
//!
//! nats-server expands no functions in them. Without any, such users may do everything: so does clearing them, at once
//! and for live connections where servers apply them live.

use natsgate_claims::{Permissions as WirePermissions, UserPermissionLimits};
use natsgate_core::{Limits, Permissions};

use crate::subjects::{self, Difference, List};
use crate::template::{NotOurs, read};

/// Default permissions. As in grants, and other than in NATS, an empty `allow` allows nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultPermissions(Permissions);

/// Why permissions cannot be an account's default ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefaultsError {
    /// A function, or braces.
    #[error(
        "default permissions: {list}: {entry:?}: nats-server expands no functions in default permissions; \
         where users differ, use templates (scoped_key) or grants (reconnect)"
    )]
    Function {
        /// Where.
        list: List,
        /// The entry.
        entry: String,
    },
    /// Denies something and allows nothing, which to NATS allows everything else.
    #[error(
        "default permissions: {list} without an allow list denies some of what is not allowed anyway; \
         if everything else should be allowed, say so: allow: [\">\"]"
    )]
    DenyWithoutAllow {
        /// The list that denies.
        list: List,
    },
    /// What was written does not read back.
    #[error("default permissions cannot be written into an account JWT: {why}")]
    Unwritable {
        /// What does not read back.
        why: NotOurs,
    },
}

impl DefaultPermissions {
    /// `permissions` for every user that brings none. They may allow nothing.
    ///
    /// # Errors
    /// [`DefaultsError`].
    pub fn new(permissions: Permissions) -> Result<Self, DefaultsError> {
        let permissions = subjects::normal(permissions);
        if let Some(list) = subjects::deny_without_allow(&permissions) {
            return Err(DefaultsError::DenyWithoutAllow { list });
        }
        for list in List::ALL {
            for entry in subjects::entries(&permissions, list) {
                let entry = entry.to_string();
                if entry.contains(['{', '}']) {
                    return Err(DefaultsError::Function { list, entry });
                }
            }
        }
        match read(&written(&permissions)) {
            Ok((permissions, _)) => Ok(Self(permissions)),
            Err(why) => Err(DefaultsError::Unwritable { why }),
        }
    }

    /// What they allow.
    pub fn permissions(&self) -> &Permissions {
        &self.0
    }

    /// How `after` differs from these.
    pub fn difference(&self, after: &Self) -> Difference {
        Difference::between(&self.0, &after.0, false)
    }

    /// Writes them over what stands in `into`; fields that are not known stay.
    pub(crate) fn write(&self, into: &mut WirePermissions) {
        let UserPermissionLimits {
            publish,
            subscribe,
            responses,
            ..
        } = written(&self.0);
        into.publish = publish;
        into.subscribe = subscribe;
        into.responses = responses;
    }

    /// Takes them out of `from`; fields that are not known stay.
    pub(crate) fn clear(from: &mut WirePermissions) {
        from.publish = Default::default();
        from.subscribe = Default::default();
        from.responses = None;
    }

    /// Those in `from`, if there are any.
    pub(crate) fn read(from: &WirePermissions) -> Result<Option<Self>, NotOurs> {
        let none = from.publish == Default::default()
            && from.subscribe == Default::default()
            && from.responses.is_none();
        if none {
            return Ok(None);
        }
        let limits = UserPermissionLimits {
            publish: from.publish.clone(),
            subscribe: from.subscribe.clone(),
            responses: from.responses,
            ..UserPermissionLimits::unlimited()
        };
        let (permissions, _) = read(&limits)?;
        Self::new(permissions)
            .map(Some)
            .map_err(|_| NotOurs("natsgate would refuse such default permissions"))
    }
}

fn written(permissions: &Permissions) -> UserPermissionLimits {
    subjects::written(permissions, &Limits::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{permissions, subject};

    #[test]
    fn they_are_read_back_as_they_were() {
        for permissions in [
            permissions(&["a"], &["b.>"]),
            permissions(&["a"], &[]),
            permissions(&[], &[]),
        ] {
            let defaults = DefaultPermissions::new(permissions).unwrap();
            let mut wire = WirePermissions {
                unknown: serde_json::from_value(serde_json::json!({"new": 1})).unwrap(),
                ..WirePermissions::default()
            };
            defaults.write(&mut wire);
            assert!(!wire.publish.allow.is_empty() || wire.publish.deny == [">"]);
            assert!(!wire.subscribe.allow.is_empty() || wire.subscribe.deny == [">"]);
            assert_eq!(DefaultPermissions::read(&wire).unwrap(), Some(defaults));

            DefaultPermissions::clear(&mut wire);
            assert_eq!(DefaultPermissions::read(&wire).unwrap(), None);
            assert_eq!(wire.unknown.names().collect::<Vec<_>>(), ["new"]);
        }
    }

    #[test]
    fn what_would_mean_something_else_to_a_server_is_refused() {
        let function = DefaultPermissions::new(permissions(&["a.{{tag(x)}}"], &[]));
        assert!(matches!(function, Err(DefaultsError::Function { .. })));
        let mut denying = permissions(&[], &["b"]);
        denying.publish.deny.push(subject("a"));
        let denying = DefaultPermissions::new(denying);
        assert!(matches!(denying, Err(DefaultsError::DenyWithoutAllow { .. })));
    }

    #[test]
    fn what_natsgate_does_not_write_is_not_read() {
        let mut wire = WirePermissions::default();
        wire.publish.deny.push("a".into());
        assert!(DefaultPermissions::read(&wire).is_err());
    }
}
