//! What is wanted of an account's part that is natsgate's, whatever its JWT says at the moment.
//!
//! It is changed by requests alone. A JWT in which it does not hold any more, because somebody pushed
//! another, is made to hold it again. Generations are not in it: what they are is in the JWT that was pushed
//! last.

use std::collections::{BTreeMap, BTreeSet};

use crate::account::ManagedAccount;
use crate::defaults::DefaultPermissions;
use crate::naming::{ScopeRole, TemplateName};
use crate::operation::Operation;
use crate::template::Template;

/// What is wanted of the account's default permissions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum WantedDefaults {
    /// Nothing: they are somebody else's.
    #[default]
    Unmanaged,
    /// These.
    Set(DefaultPermissions),
    /// None, so that users that bring none may do everything.
    Cleared,
}

/// What is wanted of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub(super) templates: BTreeMap<TemplateName, Template>,
    pub(super) retired: BTreeSet<TemplateName>,
    pub(super) defaults: WantedDefaults,
    pub(super) revoked_up_to: Option<i64>,
}

impl Wanted {
    /// The templates wanted, by name.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        self.templates.values()
    }

    /// The templates retired.
    pub fn retired(&self) -> impl Iterator<Item = &TemplateName> {
        self.retired.iter()
    }

    /// What is wanted of the default permissions.
    pub fn defaults(&self) -> &WantedDefaults {
        &self.defaults
    }

    /// Up to when everyone is revoked, in seconds since the Unix epoch.
    pub fn revoked_up_to(&self) -> Option<i64> {
        self.revoked_up_to
    }

    /// The same after `operations`. Those that concern generations change nothing here.
    #[must_use]
    pub fn after(&self, operations: &[Operation]) -> Self {
        let mut wanted = self.clone();
        for operation in operations {
            match operation {
                Operation::PutTemplate(template) => {
                    wanted.retired.remove(template.name());
                    wanted
                        .templates
                        .insert(template.name().clone(), (**template).clone());
                }
                Operation::RetireTemplate(name) => {
                    wanted.templates.remove(name);
                    wanted.retired.insert(name.clone());
                }
                Operation::SetDefaults(defaults) => wanted.defaults = WantedDefaults::Set(defaults.clone()),
                Operation::ClearDefaults => wanted.defaults = WantedDefaults::Cleared,
                Operation::RevokeEveryone { up_to } => {
                    wanted.revoked_up_to = wanted.revoked_up_to.max(Some(*up_to));
                }
                Operation::RemoveGeneration(_) | Operation::Rotate => {}
            }
        }
        wanted
    }

    /// The operations that bring `account` to what is wanted after `requested`, and do besides what of those
    /// concerns generations. What a request names is done even if it seems to be there, so that it is
    /// checked; what it does not is done only where it does not hold, so that an account which a template
    /// does not fit any more can still be written.
    pub(super) fn operations(&self, account: &ManagedAccount, requested: &[Operation]) -> Vec<Operation> {
        let wanted = self.after(requested);
        let named = |name: &TemplateName| {
            requested.iter().any(|operation| match operation {
                Operation::PutTemplate(template) => template.name() == name,
                Operation::RetireTemplate(retired) => retired == name,
                _ => false,
            })
        };
        let mut operations = Vec::new();
        for (name, template) in &wanted.templates {
            let there = account.template(name).and_then(|state| state.current());
            if there != Some(template) || named(name) {
                operations.push(Operation::PutTemplate(Box::new(template.clone())));
            }
        }
        for name in &wanted.retired {
            let open = account.template(name).is_some_and(|state| !state.is_retired());
            // One retired before may have gone since.
            if open || (named(name) && !self.retired.contains(name)) {
                operations.push(Operation::RetireTemplate(name.clone()));
            }
        }
        match wanted.defaults {
            WantedDefaults::Unmanaged => {}
            WantedDefaults::Set(defaults) => operations.push(Operation::SetDefaults(defaults)),
            WantedDefaults::Cleared => operations.push(Operation::ClearDefaults),
        }
        if let Some(up_to) = wanted.revoked_up_to
            && account.revoked_up_to() < Some(up_to)
        {
            operations.push(Operation::RevokeEveryone { up_to });
        }
        // A removal asked for again is done.
        let there = |role: &ScopeRole| {
            let state = account.template(&role.template);
            state.is_some_and(|state| state.generation(role.generation).is_some())
        };
        operations.extend(requested.iter().filter_map(|operation| match operation {
            Operation::Rotate => Some(Operation::Rotate),
            Operation::RemoveGeneration(role) if there(role) => {
                Some(Operation::RemoveGeneration(role.clone()))
            }
            _ => None,
        }));
        operations
    }
}
