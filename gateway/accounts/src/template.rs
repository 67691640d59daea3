//! Templates: what the users of one scoped signing key may do.
//!
//! A template is checked when it is made, so that every nats-server from 2.10 on reads it alike and none reads it wider
//! than it is meant. As in grants, and other than in NATS, an empty `allow` allows nothing. What is stricter than NATS:
//!
//! - `deny` without `allow` is refused: in NATS it would allow everything else.
//! - A template that allows nothing is refused: to end a template's use, retire it ([`crate::account`]).
//! - Functions stand as [`FunctionError`] says. Their values are checked where users are minted: [`Template::tags`].
//! - A subscribe list with a function has no queue groups. When nats-server expands a list it takes an entry with a queue
//!   group for no subject: it drops it from `allow`, and refuses the user for it in `deny`.
//! - No times of day: for users that come through a callout nobody would hold them. Networks and kinds of connection are
//!   not held by the server either; the shim holds them ([`Limits::admit`]).
//!
//! Entries are sorted and there once, so that two templates that say the same are equal.

mod error;
mod function;
mod scope;
mod tags;

use natsgate_core::{Limits, Permissions};

pub use error::{EntryError, TemplateError};
pub use function::FunctionError;
pub use natsgate_core::TagName;
pub use scope::NotOurs;
pub(crate) use scope::{closed, is_closed, read};
pub use tags::{AccountFacts, TagValues, TagsError};

use crate::naming::TemplateName;
use crate::subjects::{self, Difference, List};
use function::{Function, Token, has_braces};

/// The most subjects one list of a user may come to (nats-server's `maxPermTemplateSubjectExpansions`; 2.10, and 2.11 and
/// 2.12 at first, had no bound and could be made to fail).
pub const MAX_EXPANSIONS: usize = 4096;

/// What the users of one scoped signing key may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    name: TemplateName,
    permissions: Permissions,
    limits: Limits,
}

impl Template {
    /// The template `name`, which allows `permissions` within `limits`.
    ///
    /// # Errors
    /// [`TemplateError`] says what must not stand in it.
    pub fn new(name: TemplateName, permissions: Permissions, limits: Limits) -> Result<Self, TemplateError> {
        let permissions = subjects::normal(permissions);
        if let Some(list) = subjects::deny_without_allow(&permissions) {
            return Err(TemplateError::DenyWithoutAllow { template: name, list });
        }
        if subjects::grant_nothing(&permissions) {
            return Err(TemplateError::GrantsNothing { template: name });
        }
        if limits.times.is_some() {
            return Err(TemplateError::Times { template: name });
        }
        for list in List::ALL {
            check(&name, &permissions, list)?;
        }
        // Kept as it is read back, so that what writing changes is never taken for a difference.
        match read(&subjects::written(&permissions, &limits)) {
            Ok((permissions, limits)) => Ok(Self {
                name,
                permissions,
                limits,
            }),
            Err(why) => Err(TemplateError::Unwritable { template: name, why }),
        }
    }

    /// Its name.
    pub fn name(&self) -> &TemplateName {
        &self.name
    }

    /// Subjects, with functions in them, and responses.
    pub fn permissions(&self) -> &Permissions {
        &self.permissions
    }

    /// What bounds its users. Networks and kinds of connection are for the shim to hold.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How `after` differs from this one.
    pub fn difference(&self, after: &Self) -> Difference {
        let other = self.limits != after.limits;
        Difference::between(&self.permissions, &after.permissions, other)
    }
}

/// The numbers in `limits` that no account JWT can say, by the limit's name, with what is wrong.
pub fn limit_problems(limits: &Limits) -> Vec<(&'static str, String)> {
    let most = u64::from(i32::MAX.unsigned_abs());
    let numbers = [
        ("subscriptions", limits.subscriptions, most),
        ("payload", limits.payload, most),
        ("data", limits.data, i64::MAX.unsigned_abs()),
    ];
    let bad = numbers
        .into_iter()
        .filter(|(_, number, most)| number.is_some_and(|number| number == 0 || number > *most));
    bad.map(|(name, _, most)| {
        (
            name,
            format!("must be from 1 to {most}; leave it out for no limit"),
        )
    })
    .collect()
}

/// Checks functions and queue groups of `list`.
fn check(template: &TemplateName, permissions: &Permissions, list: List) -> Result<(), TemplateError> {
    let entries = subjects::entries(permissions, list);
    if entries.len() > MAX_EXPANSIONS {
        return Err(TemplateError::TooManyEntries {
            template: template.clone(),
            list,
            entries: entries.len(),
        });
    }
    let expanded = entries.iter().any(|entry| has_braces(entry.subject.as_str()));
    for entry in entries {
        let wrong = |why: EntryError| TemplateError::Entry {
            template: template.clone(),
            list,
            entry: entry.to_string(),
            why,
        };
        function::tokens(entry.subject.as_str()).map_err(|why| wrong(why.into()))?;
        if let Some(queue) = entry.queue {
            if has_braces(queue.as_str()) {
                return Err(wrong(EntryError::FunctionInQueue));
            }
            if expanded {
                return Err(wrong(EntryError::QueueBesideFunction));
            }
        }
    }
    Ok(())
}

/// The functions in `subject`, with whether each begins it. Subjects of a [`Template`] have been read before.
fn functions(subject: &str) -> Vec<(bool, Function)> {
    let tokens = function::tokens(subject).unwrap_or_default();
    let numbered = tokens.into_iter().enumerate();
    numbered
        .filter_map(|(index, token)| match token {
            Token::Function(function) => Some((index == 0, function)),
            Token::Text(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
