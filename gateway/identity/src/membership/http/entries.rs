//! Memberships out of a JSON document. Whatever is not as configured is a failure, and never passed over.

use natsgate_core::Membership;
use serde_json::{Map, Value};

use crate::claim_path;
use crate::settings::membership::http::HttpMembershipSettings;

/// The list in `document`.
///
/// # Errors
/// If there is none.
pub(super) fn list<'a>(
    settings: &HttpMembershipSettings,
    document: &'a Value,
) -> Result<&'a [Value], String> {
    let found = match &settings.list {
        None => Some(document),
        Some(path) => document
            .as_object()
            .and_then(|object| claim_path::find(object, path)),
    };
    match (found, &settings.list) {
        (Some(Value::Array(list)), _) => Ok(list),
        (Some(_), None) => Err("the answer is not a list: say in `list` where in it the list is".to_owned()),
        (_, Some(path)) => Err(format!("the answer has no list at `{path}`: check `list`")),
        (None, None) => Err("the answer is empty".to_owned()),
    }
}

/// Adds the memberships of `entry`: one, or one a role.
///
/// # Errors
/// What is wrong with it. Holds no value.
pub(super) fn read(
    settings: &HttpMembershipSettings,
    entry: &Value,
    memberships: &mut Vec<Membership>,
) -> Result<(), String> {
    let empty = Map::new();
    let (id, fields) = match entry {
        Value::Object(fields) => (
            id(settings, claim_path::find(fields, &settings.id_field))?,
            fields,
        ),
        // The id alone: what else is needed must be fixed, or is missed below.
        Value::String(_) | Value::Number(_) => (id(settings, Some(entry))?, &empty),
        _ => return Err("an entry is neither an object nor an id".to_owned()),
    };
    let kind = match (&settings.kind, &settings.kind_field) {
        (Some(kind), _) => kind.clone(),
        (None, Some(field)) => text(field, claim_path::find(fields, field))?,
        (None, None) => return Err("no `kind` is configured".to_owned()),
    };
    let roles = match (&settings.role, &settings.role_field) {
        (Some(role), _) => vec![role.clone()],
        (None, Some(field)) => match claim_path::find(fields, field) {
            Some(Value::Array(roles)) => roles
                .iter()
                .map(|role| text(field, Some(role)))
                .collect::<Result<_, _>>()?,
            role => vec![text(field, role)?],
        },
        (None, None) => return Err("no `role` is configured".to_owned()),
    };
    memberships.extend(roles.into_iter().map(|role| Membership {
        kind: kind.clone(),
        id: id.clone(),
        role,
    }));
    Ok(())
}

fn id(settings: &HttpMembershipSettings, value: Option<&Value>) -> Result<String, String> {
    match value {
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {
            if settings.numeric_ids {
                return Ok(number.to_string());
            }
            Err("an entry has a number for its id: set `numeric_ids` if that is as it should be".to_owned())
        }
        value => text(&settings.id_field, value),
    }
}

fn text(field: &str, value: Option<&Value>) -> Result<String, String> {
    match value {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        Some(Value::String(_)) => Err(format!("an entry has an empty `{field}`")),
        Some(_) => Err(format!("an entry has a `{field}` that is no text")),
        None => Err(format!("an entry has no `{field}`")),
    }
}

#[cfg(test)]
mod tests;
