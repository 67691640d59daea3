//! The subjects of a set of permissions, list by list: their normal form, and how two sets differ.
//!
//! Shared by templates and default permissions. Permissions here are `natsgate_core`'s: an empty `allow` allows nothing.

use std::collections::BTreeSet;
use std::fmt;

use natsgate_claims::UserPermissionLimits;
use natsgate_core::{Limits, Permissions, Subject, SubscribeSubject};

/// Every queue group, as an entry names it.
const ANY_QUEUE: &str = ">";

/// One of the four lists of subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum List {
    /// Where to publish.
    PublishAllow,
    /// Where not to publish.
    PublishDeny,
    /// What to subscribe to.
    SubscribeAllow,
    /// What not to subscribe to.
    SubscribeDeny,
}

impl List {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::PublishAllow,
        Self::PublishDeny,
        Self::SubscribeAllow,
        Self::SubscribeDeny,
    ];

    /// Whether its entries take something away.
    pub fn denies(self) -> bool {
        matches!(self, Self::PublishDeny | Self::SubscribeDeny)
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PublishAllow => "publish.allow",
            Self::PublishDeny => "publish.deny",
            Self::SubscribeAllow => "subscribe.allow",
            Self::SubscribeDeny => "subscribe.deny",
        })
    }
}

/// An entry of a list. Only subscribe entries have queue groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) queue: Option<&'a Subject>,
}

impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.subject.fmt(f)?;
        match self.queue {
            Some(queue) => write!(f, " {queue}"),
            None => Ok(()),
        }
    }
}

/// The entries of `list`, as they stand there.
pub(crate) fn entries(permissions: &Permissions, list: List) -> Vec<Entry<'_>> {
    fn plain(subject: &Subject) -> Entry<'_> {
        Entry { subject, queue: None }
    }
    fn queued(entry: &SubscribeSubject) -> Entry<'_> {
        Entry {
            subject: &entry.subject,
            queue: entry.queue.as_ref(),
        }
    }
    match list {
        List::PublishAllow => permissions.publish.allow.iter().map(plain).collect(),
        List::PublishDeny => permissions.publish.deny.iter().map(plain).collect(),
        List::SubscribeAllow => permissions.subscribe.allow.iter().map(queued).collect(),
        List::SubscribeDeny => permissions.subscribe.deny.iter().map(queued).collect(),
    }
}

/// Whether nothing may be published or subscribed to.
pub(crate) fn grant_nothing(permissions: &Permissions) -> bool {
    permissions.publish.allow.is_empty() && permissions.subscribe.allow.is_empty()
}

/// The list that denies beside an empty one that allows: to NATS that allows everything else.
pub(crate) fn deny_without_allow(permissions: &Permissions) -> Option<List> {
    let (publish, subscribe) = (&permissions.publish, &permissions.subscribe);
    if publish.allow.is_empty() && !publish.deny.is_empty() {
        return Some(List::PublishDeny);
    }
    (subscribe.allow.is_empty() && !subscribe.deny.is_empty()).then_some(List::SubscribeDeny)
}

/// Sorted, each entry once, and without what says nothing: the same permissions, written the same.
pub(crate) fn normal(mut permissions: Permissions) -> Permissions {
    fn sort<T: Ord>(list: &mut Vec<T>) {
        list.sort();
        list.dedup();
    }
    sort(&mut permissions.publish.allow);
    sort(&mut permissions.publish.deny);
    sort(&mut permissions.subscribe.allow);
    sort(&mut permissions.subscribe.deny);
    without_covered(&mut permissions.subscribe.allow);
    without_covered(&mut permissions.subscribe.deny);
    permissions.responses = permissions
        .responses
        .filter(|responses| responses.max_messages > 0);
    permissions
}

/// What a user JWT, or a template, says to give exactly `permissions` within `limits`.
///
/// To nats-server entries with queue groups shut all other groups out of a plain entry's subjects (`canSubscribe`). So
/// beside them a plain one says aloud that it is for every group.
pub(crate) fn written(permissions: &Permissions, limits: &Limits) -> UserPermissionLimits {
    let mut permissions = permissions.clone();
    let allow = &mut permissions.subscribe.allow;
    if allow.iter().any(|entry| entry.queue.is_some()) {
        let any = Subject::parse(ANY_QUEUE).ok();
        let plain = allow.iter().filter(|entry| entry.queue.is_none());
        let for_all: Vec<SubscribeSubject> = plain
            .map(|entry| SubscribeSubject {
                subject: entry.subject.clone(),
                queue: any.clone(),
            })
            .collect();
        allow.extend(for_all);
    }
    UserPermissionLimits::granting(&permissions, limits)
}

/// A plain entry is for every queue group: one that says so besides is left out.
fn without_covered(list: &mut Vec<SubscribeSubject>) {
    let plain: BTreeSet<Subject> = list
        .iter()
        .filter(|entry| entry.queue.is_none())
        .map(|entry| entry.subject.clone())
        .collect();
    list.retain(|entry| !(is_any_queue(entry) && plain.contains(&entry.subject)));
}

fn is_any_queue(entry: &SubscribeSubject) -> bool {
    entry
        .queue
        .as_ref()
        .is_some_and(|queue| queue.as_str() == ANY_QUEUE)
}

/// How one set of permissions differs from another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Entries that are there only afterwards, with their queue group behind a space.
    pub added: Vec<(List, String)>,
    /// Entries that were there only before.
    pub removed: Vec<(List, String)>,
    /// Whether something else differs: responses, limits, or one of the two cannot be told as a list of subjects.
    pub other: bool,
    narrowed: bool,
}

impl Difference {
    /// From `before` to `after`, both in normal form. `other` says that they differ beside their subjects.
    pub(crate) fn between(before: &Permissions, after: &Permissions, other: bool) -> Self {
        let mut difference = Self {
            other: other || before.responses != after.responses,
            ..Self::default()
        };
        difference.narrowed = difference.other;
        for list in List::ALL {
            let (old, new) = (entries(before, list), entries(after, list));
            for entry in new.iter().filter(|entry| !old.contains(entry)) {
                difference.added.push((list, entry.to_string()));
                // A queue group in `allow` may shut others out of what a wildcard allows (`canSubscribe`).
                difference.narrowed |= list.denies() || entry.queue.is_some();
            }
            for entry in old.iter().filter(|entry| !new.contains(entry)) {
                difference.removed.push((list, entry.to_string()));
                difference.narrowed = true;
            }
        }
        difference
    }

    /// From something that cannot be read, or to it.
    pub(crate) fn unknown() -> Self {
        Self {
            other: true,
            narrowed: true,
            ..Self::default()
        }
    }

    /// From some permissions to all there are.
    pub(crate) fn to_everything() -> Self {
        Self {
            other: true,
            ..Self::default()
        }
    }

    /// Whether they are the same.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && !self.other
    }

    /// Whether somebody may lose something by it. Only a difference of nothing but more plain subjects allowed is known
    /// not to take anything; everything else counts as taking.
    pub fn narrows(&self) -> bool {
        self.narrowed
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let added = self.added.iter().map(|(list, entry)| format!("+ {list} {entry}"));
        let removed = self
            .removed
            .iter()
            .map(|(list, entry)| format!("- {list} {entry}"));
        let other = self
            .other
            .then(|| "~ responses or limits, or what cannot be compared".to_owned());
        let lines: Vec<String> = added.chain(removed).chain(other).collect();
        f.write_str(&lines.join("\n"))
    }
}

#[cfg(test)]
mod tests;
