//! What can be asked of an account, as values: what a plan is made of.

use crate::account::{AccountError, ManagedAccount};
use crate::defaults::DefaultPermissions;
use crate::naming::{ScopeRole, TemplateName};
use crate::template::Template;

/// A change to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// [`ManagedAccount::put_template`].
    PutTemplate(Box<Template>),
    /// [`ManagedAccount::retire_template`].
    RetireTemplate(TemplateName),
    /// [`ManagedAccount::remove_generation`].
    RemoveGeneration(ScopeRole),
    /// [`ManagedAccount::rotate`].
    Rotate,
    /// [`ManagedAccount::set_defaults`].
    SetDefaults(DefaultPermissions),
    /// [`ManagedAccount::clear_defaults`].
    ClearDefaults,
    /// [`ManagedAccount::revoke_everyone`].
    RevokeEveryone {
        /// Up to when, in seconds since the Unix epoch.
        up_to: i64,
    },
}

impl ManagedAccount {
    /// Does `operation`, at `now` (seconds since the Unix epoch).
    ///
    /// # Errors
    /// Those of the method that the operation names. What came before it stays done.
    pub fn apply(&mut self, operation: &Operation, now: i64) -> Result<(), AccountError> {
        match operation {
            Operation::PutTemplate(template) => self.put_template(template).map(drop),
            Operation::RetireTemplate(name) => self.retire_template(name).map(drop),
            Operation::RemoveGeneration(role) => self.remove_generation(&role.template, role.generation),
            Operation::Rotate => self.rotate().map(drop),
            Operation::SetDefaults(defaults) => {
                self.set_defaults(defaults);
                Ok(())
            }
            Operation::ClearDefaults => {
                self.clear_defaults();
                Ok(())
            }
            Operation::RevokeEveryone { up_to } => self.revoke_everyone(*up_to, now).map(drop),
        }
    }
}
