//! The facts as CEL values.

use std::collections::HashMap;

use cel::objects::{Key, Map};
use cel::{Context, Value};
use chrono::{DateTime, Utc};
use natsgate_core::Membership;
use serde_json::Value as Json;

use crate::condition::Used;
use crate::facts::Facts;

/// Puts the facts that conditions look at (`used`) into `context`.
pub(crate) fn bind(
    context: &mut Context<'_, '_>,
    facts: &Facts<'_>,
    memberships: &[&Membership],
    used: Used,
) {
    let identity = facts.identity;
    let connection = facts.connection;
    if used.claims {
        let claims = identity
            .claims
            .iter()
            .map(|(name, claim)| (name.as_str(), json(claim)));
        context.add_variable_from_value("claims", map(claims));
    }
    if used.principal {
        let principal = &identity.principal;
        context.add_variable_from_value(
            "principal",
            map([
                ("issuer", principal.issuer.as_str().into()),
                ("subject", principal.subject.as_str().into()),
                ("digest", principal.digest().into()),
            ]),
        );
    }
    if used.provider {
        context.add_variable_from_value("provider", identity.provider.as_str());
    }
    if used.memberships {
        let memberships: Vec<Value> = memberships.iter().map(|m| membership(m)).collect();
        context.add_variable_from_value("memberships", memberships);
    }
    if used.connection {
        let tags: Vec<Value> = connection.server_tags.iter().map(|t| t.as_str().into()).collect();
        context.add_variable_from_value(
            "connection",
            map([
                ("cluster", connection.cluster.as_str().into()),
                ("server_name", connection.server_name.as_str().into()),
                ("server_version", connection.server_version.as_str().into()),
                ("server_tags", tags.into()),
                ("client_host", connection.client_host.as_str().into()),
                ("client_name", connection.client_name.as_str().into()),
                ("client_kind", connection.client_kind.as_str().into()),
                ("client_type", connection.client_type.as_str().into()),
                ("mqtt_id", connection.mqtt_id.as_str().into()),
                ("user_nkey", connection.user_nkey.as_str().into()),
            ]),
        );
    }
    if used.now {
        // Beyond what a timestamp holds there is no variable, and conditions that ask for it cannot be evaluated.
        let seconds = natsgate_core::clock::unix_seconds(facts.now);
        if let Some(now) = DateTime::<Utc>::from_timestamp(seconds, 0) {
            context.add_variable_from_value("now", Value::Timestamp(now.fixed_offset()));
        }
    }
}

/// Puts the membership a rule is being evaluated for into `context`.
pub(crate) fn bind_membership(context: &mut Context<'_, '_>, of: &Membership) {
    context.add_variable_from_value("membership", membership(of));
}

/// The number of elements in the largest list or object a condition could run through.
pub(crate) fn widest(facts: &Facts<'_>, memberships: usize) -> u64 {
    fn of(value: &Json) -> usize {
        match value {
            Json::Array(items) => items.iter().map(of).max().unwrap_or(0).max(items.len()),
            Json::Object(map) => map.values().map(of).max().unwrap_or(0).max(map.len()),
            _ => 0,
        }
    }
    let claims = &facts.identity.claims;
    let widest = claims.values().map(of).max().unwrap_or(0).max(claims.len());
    let widest = widest.max(memberships).max(facts.connection.server_tags.len());
    u64::try_from(widest).unwrap_or(u64::MAX)
}

fn membership(of: &Membership) -> Value {
    map([
        ("kind", of.kind.as_str().into()),
        ("id", of.id.as_str().into()),
        ("role", of.role.as_str().into()),
    ])
}

fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let map: HashMap<Key, Value> = entries
        .into_iter()
        .map(|(name, value)| (Key::from(name), value))
        .collect();
    Value::Map(Map { map: map.into() })
}

/// A claim. Integers stay integers (CEL compares them with every number), unlike in CEL's own reading of JSON.
fn json(value: &Json) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => number
            .as_i64()
            .map(Value::Int)
            .or_else(|| number.as_u64().map(Value::UInt))
            .unwrap_or_else(|| Value::Float(number.as_f64().unwrap_or(f64::NAN))),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::from(items.iter().map(json).collect::<Vec<_>>()),
        Json::Object(fields) => map(fields.iter().map(|(name, field)| (name.as_str(), json(field)))),
    }
}
