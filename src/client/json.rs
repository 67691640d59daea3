//! What the API says, as JSON for programs: keys as in the .proto files, times as RFC 3339, durations as `0.012s`.

use natsgate_proto::v1;
use natsgate_proto::v1::selector::Selector;
use natsgate_proto::v1::watch_revocations_response::Change;
use natsgate_proto::v1::{ban, watch_sessions_response as watched};
use serde_json::{Value, json};

/// The answer to a revocation.
pub fn revoked(answer: &v1::RevokeResponse, idempotency_key: &str) -> Value {
    json!({
        "idempotency_key": idempotency_key,
        "revision": answer.revision,
        "id": answer.id,
        "repeated": answer.repeated,
        "confirmed": answer.confirmed,
        "complete": answer.complete,
        "clusters": answer.clusters.iter().map(cluster).collect::<Vec<_>>(),
    })
}

/// The answer to lifting a ban.
pub fn lifted(answer: &v1::LiftBanResponse, idempotency_key: &str) -> Value {
    json!({
        "idempotency_key": idempotency_key,
        "revision": answer.revision,
        "repeated": answer.repeated,
        "confirmed": answer.confirmed,
        "ban": answer.ban.as_ref().map(ban),
    })
}

/// A ban.
pub fn ban(one: &v1::Ban) -> Value {
    let scope = match &one.scope {
        Some(ban::Scope::TokensIssuedUntil(at)) => json!({ "tokens_issued_until": time(Some(*at)) }),
        Some(ban::Scope::EveryoneUntil(at)) => json!({ "everyone_until": time(Some(*at)) }),
        None => Value::Null,
    };
    json!({
        "id": one.id,
        "selector": selector(one.selector.as_ref()),
        "scope": scope,
        "reason": one.reason,
        "actor": one.actor,
        "imposed_at": time(one.imposed_at),
        "ends_at": time(one.ends_at),
        "lifted_at": time(one.lifted_at),
        "lifted_by": one.lifted_by,
        "lifted_for": one.lifted_for,
    })
}

/// Whom or what a revocation concerns; null for what is not known here.
pub fn selector(selector: Option<&v1::Selector>) -> Value {
    match selector.and_then(|selector| selector.selector.as_ref()) {
        Some(Selector::Principal(one)) => json!({ "principal": principal(Some(one)) }),
        Some(Selector::Membership(one)) => json!({ "membership": {
            "principal": principal(one.principal.as_ref()), "kind": one.kind, "id": one.id
        } }),
        Some(Selector::Resource(one)) => json!({ "resource": { "kind": one.kind, "id": one.id } }),
        Some(Selector::Role(one)) => json!({ "role": { "kind": one.kind, "role": one.role } }),
        Some(Selector::Rule(name)) => json!({ "rule": name }),
        Some(Selector::Session(one)) => {
            json!({ "session": { "server_id": one.server_id, "client_id": one.client_id } })
        }
        Some(Selector::Account(name)) => json!({ "account": name }),
        Some(Selector::Provider(issuer)) => json!({ "provider": issuer }),
        Some(Selector::SigningKey(one)) => {
            json!({ "signing_key": { "issuer": one.issuer, "key_id": one.key_id } })
        }
        Some(Selector::Token(one)) => json!({ "token": { "issuer": one.issuer, "token_id": one.token_id } }),
        Some(Selector::ProviderSession(one)) => {
            json!({ "provider_session": { "issuer": one.issuer, "session_id": one.session_id } })
        }
        None => Value::Null,
    }
}

/// Something that was revoked or changed.
pub fn change(answer: &v1::WatchRevocationsResponse) -> Value {
    let change = match &answer.change {
        Some(Change::Revoked(one)) => json!({ "revoked": {
            "selector": selector(one.selector.as_ref()), "reason": one.reason, "actor": one.actor, "banned": one.banned
        } }),
        Some(Change::MembershipsChanged(one)) => json!({ "memberships_changed": {
            "principal": principal(one.principal.as_ref()),
            "given": one.given.iter().map(membership).collect::<Vec<_>>(),
            "taken": one.taken.iter().map(membership).collect::<Vec<_>>(),
            "actor": one.actor
        } }),
        Some(Change::PolicyChanged(one)) => {
            json!({ "policy_changed": { "generation": one.generation, "digest": one.digest } })
        }
        Some(Change::BanLifted(one)) => json!({ "ban_lifted": {
            "ban": one.ban, "selector": selector(one.selector.as_ref()), "reason": one.reason, "actor": one.actor
        } }),
        None => Value::Null,
    };
    json!({ "revision": answer.revision, "id": answer.id, "at": time(answer.at), "change": change })
}

/// A session.
pub fn session(one: &v1::Session) -> Value {
    json!({
        "cluster": one.cluster,
        "server_id": one.server_id,
        "server_name": one.server_name,
        "client_id": one.client_id,
        "account": one.account,
        "principal": principal(one.principal.as_ref()),
        "name": one.name,
        "principal_digest": one.principal_digest,
        "shim": one.shim,
        "as_of": one.as_of,
        "policy_generation": one.policy_generation,
        "connected_at": time(one.connected_at),
        "expires_at": time(one.expires_at),
        "client_host": one.client_host,
        "client_name": one.client_name,
        "client_kind": one.client_kind,
        "client_type": one.client_type,
    })
}

/// A shim.
pub fn shim(one: &v1::ShimState) -> Value {
    json!({
        "shim": one.shim,
        "cluster": one.cluster,
        "seen_at": time(one.seen_at),
        "applied": one.applied,
        "confirmed": one.confirmed,
        "sessions": one.sessions,
        "pending": one.pending,
        "unreachable_servers": one.unreachable_servers,
    })
}

/// What happened to a session; `None` for what is not known here.
pub fn event(event: &watched::Event) -> Value {
    match event {
        watched::Event::Connected(one) => json!({ "connected": session(one) }),
        watched::Event::Gone(one) => json!({ "gone": {
            "cluster": one.cluster, "server_id": one.server_id, "client_id": one.client_id, "reason": one.reason
        } }),
        watched::Event::Begun(_) => json!({ "begun": {} }),
    }
}

fn cluster(one: &v1::ClusterResult) -> Value {
    json!({
        "cluster": one.cluster,
        "closed": one.closed,
        "complete": one.complete,
        "shims": one.shims.iter().map(shim_result).collect::<Vec<_>>(),
    })
}

fn shim_result(one: &v1::ShimResult) -> Value {
    json!({
        "shim": one.shim,
        "answered": one.answered,
        "closed": one.closed,
        "gone": one.gone,
        "spared": one.spared,
        "pending": one.pending,
        "took": one.took.map(|took| took.to_string()),
        "unreachable_servers": one.unreachable_servers,
    })
}

fn principal(one: Option<&v1::Principal>) -> Value {
    one.map_or(
        Value::Null,
        |one| json!({ "issuer": one.issuer, "subject": one.subject }),
    )
}

fn membership(one: &v1::Membership) -> Value {
    json!({ "kind": one.kind, "id": one.id, "role": one.role })
}

fn time(at: Option<prost_types::Timestamp>) -> Value {
    at.map_or(Value::Null, |at| Value::String(at.to_string()))
}
