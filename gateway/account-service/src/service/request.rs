//! Reads what is asked for, as strictly as if a stranger had sent it, and notes all that is wrong with it.

use std::collections::BTreeSet;

use natsgate_accounts::template::limit_problems;
use natsgate_accounts::{DefaultPermissions, Operation, Template, TemplateName};
use natsgate_api::fields::Fields;
use natsgate_core::{Limits, Permissions};
use natsgate_proto::rights::{BadField, read_limits, read_permissions};
use natsgate_proto::v1;
use natsgate_proto::v1::account_changes::DefaultPermissions as Defaults;

/// The most templates that one request names in one list.
const MOST: usize = 1000;

/// The template at `field`, to be put.
pub(super) fn template(
    field: &str,
    template: Option<&v1::Template>,
    fields: &mut Fields,
) -> Option<Operation> {
    let Some(template) = template else {
        fields.say(field, "is missing");
        return None;
    };
    let name = name(&format!("{field}.name"), &template.name, fields);
    let permissions = read(field, template.permissions.as_ref(), fields);
    let limits = match &template.limits {
        None => Some(Limits::default()),
        Some(limits) => take(field, read_limits(limits), fields),
    };
    let limits = limits?;
    let mut bad = false;
    for (limit, problem) in limit_problems(&limits) {
        fields.say(format!("{field}.limits.{limit}"), problem);
        bad = true;
    }
    if bad {
        return None;
    }
    match Template::new(name?, permissions?, limits) {
        Ok(template) => Some(Operation::PutTemplate(Box::new(template))),
        Err(why) => {
            fields.say(field, why.to_string());
            None
        }
    }
}

/// The template whose name is at `field`, to be retired.
pub(super) fn retire(field: &str, text: &str, fields: &mut Fields) -> Option<Operation> {
    name(field, text, fields).map(Operation::RetireTemplate)
}

/// All of `changes`, asked for at `now` (seconds since the Unix epoch).
pub(super) fn changes(changes: Option<&v1::AccountChanges>, now: i64, fields: &mut Fields) -> Vec<Operation> {
    let Some(changes) = changes else { return Vec::new() };
    let mut operations = Vec::new();
    if changes.rotate_keys {
        operations.push(Operation::Rotate);
    }
    for (field, count) in [
        ("changes.put_templates", changes.put_templates.len()),
        ("changes.retire_templates", changes.retire_templates.len()),
    ] {
        if count > MOST {
            fields.say(field, format!("{MOST} at most in one call"));
            return operations;
        }
    }
    let mut named = BTreeSet::new();
    for (index, one) in changes.put_templates.iter().enumerate() {
        let field = format!("changes.put_templates[{index}]");
        if !named.insert(&one.name) {
            fields.say(format!("{field}.name"), "is there twice");
        }
        operations.extend(template(&field, Some(one), fields));
    }
    for (index, name) in changes.retire_templates.iter().enumerate() {
        let field = format!("changes.retire_templates[{index}]");
        if !named.insert(name) {
            fields.say(&field, "is there twice, or is put as well");
        }
        operations.extend(retire(&field, name, fields));
    }
    match &changes.default_permissions {
        None | Some(Defaults::ClearDefaultPermissions(false)) => {}
        Some(Defaults::ClearDefaultPermissions(true)) => operations.push(Operation::ClearDefaults),
        Some(Defaults::SetDefaultPermissions(given)) => {
            let field = "changes.set_default_permissions";
            let permissions = take(field, read_permissions(given), fields);
            match permissions.map(DefaultPermissions::new) {
                None => {}
                Some(Ok(defaults)) => operations.push(Operation::SetDefaults(defaults)),
                Some(Err(why)) => fields.say(field, why.to_string()),
            }
        }
    }
    if changes.revoke_everyone {
        operations.push(Operation::RevokeEveryone { up_to: now });
    }
    operations
}

fn name(field: &str, text: &str, fields: &mut Fields) -> Option<TemplateName> {
    let read: Result<TemplateName, _> = text.parse();
    match read {
        Ok(name) => Some(name),
        Err(why) => {
            fields.say(field, why.to_string());
            None
        }
    }
}

fn read(field: &str, given: Option<&v1::Permissions>, fields: &mut Fields) -> Option<Permissions> {
    match given {
        Some(given) => take(field, read_permissions(given), fields),
        None => {
            fields.say(format!("{field}.permissions"), "is missing");
            None
        }
    }
}

fn take<T>(field: &str, read: Result<T, BadField>, fields: &mut Fields) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(bad) => {
            fields.say(format!("{field}.{}", bad.field), bad.why);
            None
        }
    }
}
