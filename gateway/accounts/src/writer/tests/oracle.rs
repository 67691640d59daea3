//! What must hold whatever happens, told from outside the writers: by what they ask, store and push.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use natsgate_claims::{AccountBody, SigningKey, decode};
use natsgate_core::Fence;

use super::world::issued_at;
use crate::account::ManagedAccount;
use crate::naming::{Generation, ScopeRole, TemplateName};
use crate::operation::Operation;
use crate::testing::{NOW, keys, operator};
use crate::writer::record::{LastPushed, Record};
use crate::writer::wanted::WantedDefaults;

/// Seconds by which clocks may differ, as the settings have it.
const SKEW: i64 = 30;

/// What happened how often.
pub(super) type Counted = BTreeMap<&'static str, u64>;

/// What was last asked of the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Store,
    Servers,
}

/// One process.
#[derive(Debug, Default)]
struct Process {
    fence: Fence,
    operations: Vec<Operation>,
    last_asked: Option<Asked>,
    /// What its last look saw.
    seen: BTreeSet<String>,
    /// Whether, at some moment of its request, what that wants was wanted.
    wanted: bool,
}

/// An edit by somebody else.
#[derive(Debug, Default)]
struct Edit {
    /// Whether it was merged, or was seen with a newer one that was.
    merged: bool,
    /// Whether it was so old when it was first seen that it did not count.
    too_late: bool,
}

#[derive(Debug, Default)]
pub(super) struct Oracle {
    processes: BTreeMap<usize, Process>,
    edits: BTreeMap<String, Edit>,
    /// What is stored, and natsgate's part of the JWT in it.
    record: Record,
    own: Own,
    /// What stands under a generation.
    contents: BTreeMap<(TemplateName, Generation), SigningKey>,
    pub(super) broken: Vec<String>,
    pub(super) counted: Counted,
}

/// An account JWT of the tests.
pub(super) fn read(jwt: &str) -> ManagedAccount {
    let operators = [operator().public_key().to_owned()];
    ManagedAccount::read(jwt, Arc::new(keys()), &operators, NOW).unwrap()
}

/// What of an account JWT is not natsgate's.
pub(super) fn foreign_part(jwt: &str) -> AccountBody {
    let mut body = decode::<AccountBody>(jwt, NOW).unwrap().body;
    body.signing_keys.clear();
    body.tags.retain(|tag| !tag.starts_with("natsgate-fence:"));
    body.revocations.remove("*");
    body.default_permissions = Default::default();
    body
}

type Own = BTreeMap<(TemplateName, Generation), SigningKey>;

fn own(account: &ManagedAccount) -> Own {
    let mut own = Own::new();
    for state in account.templates() {
        for generation in state.generations() {
            let entry = account.claims().body.signing_key(generation.public_key());
            own.insert(
                (state.name().clone(), generation.generation()),
                entry.unwrap().clone(),
            );
        }
    }
    own
}

impl Oracle {
    fn process(&mut self, process: usize) -> &mut Process {
        self.processes.entry(process).or_default()
    }

    fn count(&mut self, what: &'static str) {
        *self.counted.entry(what).or_default() += 1;
    }

    pub(super) fn requested(&mut self, process: usize, operations: &[Operation]) {
        let process = self.process(process);
        process.operations = operations.to_vec();
        process.wanted = false;
    }

    /// The request was answered with success.
    pub(super) fn succeeded(&mut self, process: usize) {
        self.count("requests that succeeded");
        if !self.process(process).wanted {
            self.broken.push(format!(
                "process {process}: its request succeeded and was never stored"
            ));
        }
    }

    /// The last token that a process got; 0 for none.
    pub(super) fn fence(&self, process: usize) -> Fence {
        self.processes.get(&process).map_or(0, |process| process.fence)
    }

    pub(super) fn edited(&mut self, jwt: &str) {
        self.count("edits by others");
        self.edits.insert(jwt.to_owned(), Edit::default());
    }

    pub(super) fn looked(&mut self, process: usize, found: &BTreeSet<String>) {
        let process = self.process(process);
        process.last_asked = Some(Asked::Servers);
        process.seen = found.clone();
    }

    pub(super) fn asked(&mut self, process: usize, found: Option<&str>) {
        let process = self.process(process);
        process.last_asked = Some(Asked::Servers);
        process.seen.extend(found.map(str::to_owned));
    }

    pub(super) fn acquired(&mut self, process: usize, fence: Fence) {
        let process = self.process(process);
        process.last_asked = Some(Asked::Store);
        process.fence = fence;
    }

    pub(super) fn read(&mut self, process: usize) {
        let process = self.processes.entry(process).or_default();
        process.last_asked = Some(Asked::Store);
        process.wanted |= self.record.wanted.after(&process.operations) == self.record.wanted;
    }

    /// The generations that are not the newest.
    pub(super) fn older(&self) -> Vec<ScopeRole> {
        let newest = |role: &(TemplateName, Generation)| {
            let next = (role.0.clone(), role.1.next().unwrap());
            self.own.range(next..).all(|((name, _), _)| *name != role.0)
        };
        let older = self.own.keys().filter(|role| !newest(role));
        let role = |(template, generation): &(TemplateName, Generation)| ScopeRole {
            template: template.clone(),
            generation: *generation,
        };
        older.map(role).collect()
    }

    /// A push begins: by who has the lease, of what is stored, directly after a look that saw no news.
    pub(super) fn pushing(&mut self, process: usize, jwt: &str, live: Option<Fence>) {
        self.count("pushes");
        let last = self.record.last.clone();
        let state = self.process(process);
        let (fence, asked) = (state.fence, state.last_asked);
        state.last_asked = None;
        if live != Some(fence) {
            self.broken
                .push(format!("process {process} pushed without the lease"));
        } else if last.as_ref().map(|last| last.jwt.as_str()) != Some(jwt) {
            self.broken
                .push(format!("process {process} pushed what is not stored"));
        }
        if asked != Some(Asked::Servers) {
            self.broken
                .push(format!("process {process} pushed without a look before"));
        }
        for seen in self.processes[&process].seen.clone() {
            let Some(edit) = self
                .edits
                .get_mut(&seen)
                .filter(|edit| !edit.merged && !edit.too_late)
            else {
                continue;
            };
            edit.too_late = !new_enough(&seen, last.as_ref());
            if edit.too_late {
                self.count("edits too late");
            } else {
                self.broken
                    .push(format!("process {process} pushed over an edit that it had seen"));
            }
        }
    }

    /// A push arrives at a server that has `there`, when `newest` is the newest token.
    pub(super) fn overwriting(&mut self, process: usize, newest: Fence, there: Option<&str>) {
        if self.fence(process) != newest {
            self.count("late pushes of a frozen writer, at a server");
        }
        let edit = there.and_then(|there| self.edits.get(there));
        if edit.is_some_and(|edit| !edit.merged && !edit.too_late) {
            self.count("edits overwritten in the window, at a server");
        }
    }

    pub(super) fn refused(&mut self) {
        self.count("writes of a frozen writer, refused");
    }

    pub(super) fn written(&mut self, process: usize, fence: Fence, body: &[u8]) {
        self.count("writes");
        let after = Record::read(body).unwrap();
        let before = std::mem::replace(&mut self.record, after.clone());
        let state = self.process(process);
        state.last_asked = Some(Asked::Store);
        let asked_for = before.wanted.after(&state.operations);
        state.wanted |= after.wanted.after(&state.operations) == after.wanted;
        if after.wanted != asked_for && after.wanted != before.wanted {
            self.broken.push(format!(
                "process {process} changed what is wanted as nobody had asked"
            ));
        }
        for jwt in self.processes[&process].seen.clone() {
            self.saw(&jwt, before.last.as_ref());
        }
        let last = after.last.clone().unwrap();
        if before.last.as_ref() == Some(&last) {
            return;
        }
        let account = read(&last.jwt);
        let own_before = std::mem::replace(&mut self.own, own(&account));
        if let Some(wrong) = holds(&after, &account) {
            self.broken
                .push(format!("process {process} stored a JWT in which {wrong}"));
        }
        let Some(previous) = before.last else {
            self.contents = self.own.clone();
            return;
        };
        if last.issued_at <= previous.issued_at || issued_at(&last.jwt) != last.issued_at {
            self.broken.push(format!("process {process}: iat does not rise"));
        }
        let tags = &account.claims().body.tags;
        let fences: Vec<_> = tags
            .iter()
            .filter(|tag| tag.starts_with("natsgate-fence:"))
            .collect();
        if fences != [&format!("natsgate-fence:{fence}")] {
            self.broken
                .push(format!("process {process}, fence {fence}: the tags are {tags:?}"));
        }
        self.compare(process, &own_before, &self.own.clone());
    }

    /// An edit was seen in a look that led to a write.
    fn saw(&mut self, jwt: &str, last: Option<&LastPushed>) {
        let Some(edit) = self.edits.get_mut(jwt) else {
            return;
        };
        if edit.merged || edit.too_late {
            return;
        }
        edit.merged = new_enough(jwt, last);
        edit.too_late = !edit.merged;
        let what = if edit.merged {
            "edits merged"
        } else {
            "edits too late"
        };
        self.count(what);
    }

    /// Generations go only where that was asked for, come only above those that were, and never change.
    fn compare(&mut self, process: usize, before: &Own, after: &Own) {
        let operations = self.processes[&process].operations.clone();
        for (name, generation) in before.keys().filter(|role| !after.contains_key(*role)) {
            let asked = operations.iter().any(|operation| match operation {
                Operation::RemoveGeneration(role) => role.template == *name && role.generation == *generation,
                _ => false,
            });
            if !asked {
                self.broken
                    .push(format!("process {process} lost {name}.{generation}"));
            }
        }
        for (role, entry) in after {
            let newest = before.keys().filter(|(name, _)| *name == role.0).max();
            if !before.contains_key(role) && newest.is_some_and(|newest| newest > role) {
                self.broken
                    .push(format!("process {process} added {role:?} below {newest:?}"));
            }
            let known = self.contents.entry(role.clone()).or_insert_with(|| entry.clone());
            if known != entry {
                self.broken
                    .push(format!("process {process} used {role:?} for two contents"));
            }
        }
    }

    /// When all has settled: `jwt` is what every server has.
    pub(super) fn settled(&mut self, first: &str, record: &Record) {
        let jwt = &record.last.as_ref().unwrap().jwt;
        if let Some(wrong) = holds(record, &read(jwt)) {
            self.broken.push(format!("in the end {wrong}"));
        }
        let merged = self.edits.iter().filter(|(_, edit)| edit.merged);
        let newest = merged
            .map(|(jwt, _)| jwt.as_str())
            .max_by_key(|jwt| issued_at(jwt));
        if foreign_part(newest.unwrap_or(first)) != foreign_part(jwt) {
            self.broken
                .push("in the end an edit that was merged is lost".to_owned());
        }
    }
}

/// Whether an edit counts: it is not so old that it is taken for an old copy.
fn new_enough(jwt: &str, last: Option<&LastPushed>) -> bool {
    last.is_none_or(|last| {
        let at = issued_at(jwt);
        at >= last.looked_at - SKEW && at >= last.foreign_up_to
    })
}

/// What of what is wanted does not hold in the last JWT.
fn holds(record: &Record, account: &ManagedAccount) -> Option<String> {
    for template in record.wanted.templates() {
        let there = account
            .template(template.name())
            .and_then(|state| state.current());
        if there != Some(template) {
            return Some(format!("template {} is not as it is wanted", template.name()));
        }
    }
    for name in record.wanted.retired() {
        if account.template(name).is_some_and(|state| !state.is_retired()) {
            return Some(format!("template {name} is not retired"));
        }
    }
    let defaults = match record.wanted.defaults() {
        WantedDefaults::Unmanaged => true,
        WantedDefaults::Cleared => account.defaults() == Ok(None),
        WantedDefaults::Set(defaults) => account.defaults() == Ok(Some(defaults.clone())),
    };
    if !defaults {
        return Some("the default permissions are not as they are wanted".to_owned());
    }
    if account.revoked_up_to() < record.wanted.revoked_up_to() {
        return Some("a revocation is missing".to_owned());
    }
    None
}
