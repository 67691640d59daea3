//! Why something is no template.

use super::function::FunctionError;
use super::scope::NotOurs;
use crate::naming::TemplateName;
use crate::subjects::List;

/// Why something is no template. Names the template and what in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// An entry that must not stand where it does.
    #[error("template {template}: {list}: {entry:?}: {why}")]
    Entry {
        /// The template.
        template: TemplateName,
        /// Where.
        list: List,
        /// The entry.
        entry: String,
        /// Why not.
        why: EntryError,
    },
    /// A list too long.
    #[error("template {template}: {list} has {entries} entries; a nats-server takes 4096 at most")]
    TooManyEntries {
        /// The template.
        template: TemplateName,
        /// The list.
        list: List,
        /// How many it has.
        entries: usize,
    },
    /// Denies something and allows nothing, which to NATS allows everything else.
    #[error(
        "template {template}: {list} without an allow list denies some of what is not allowed anyway; \
         if everything else should be allowed, say so: allow: [\">\"]"
    )]
    DenyWithoutAllow {
        /// The template.
        template: TemplateName,
        /// The list that denies.
        list: List,
    },
    /// Neither publishing nor subscribing is allowed.
    #[error(
        "template {template} allows nothing; allow a subject, or retire the template if nobody should have it any more"
    )]
    GrantsNothing {
        /// The template.
        template: TemplateName,
    },
    /// Limited to times of day.
    #[error(
        "template {template}: limits.times: a nats-server does not hold a template's times against users that come \
         through the auth callout; leave them out, or grant these users in mode reconnect"
    )]
    Times {
        /// The template.
        template: TemplateName,
    },
    /// What was written does not read back.
    #[error("template {template} cannot be written into an account JWT: {why}")]
    Unwritable {
        /// The template.
        template: TemplateName,
        /// What does not read back.
        why: NotOurs,
    },
}

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Its functions.
    #[error(transparent)]
    Function(#[from] FunctionError),
    /// A function in the name of a queue group.
    #[error("a queue group's name must not have a function in it: nats-server does not expand it")]
    FunctionInQueue,
    /// A queue group in a list that is expanded.
    #[error(
        "an entry with a queue group must not stand in a list that has functions: nats-server drops it when it expands \
         the list; allow the subject without the queue group, or make a template of its own"
    )]
    QueueBesideFunction,
}
