//! Between the messages of `revocation.proto` and the vocabulary, selectors aside.

use data_encoding::BASE32_NOPAD;
use natsgate_core::{Ban, BanScope, Change, EntryId, LogEntry, Membership, PolicyGeneration, Revision};
use natsgate_proto::v1;
use natsgate_proto::v1::ban::Scope;
use natsgate_proto::v1::watch_revocations_response::Change as Told;

use super::selector::write;
use crate::convert;

/// The selector of one session.
pub(crate) fn session(session: Option<v1::SessionSelector>) -> v1::Selector {
    v1::Selector {
        selector: session.map(v1::selector::Selector::Session),
    }
}

/// The entry of this name; `None` if `text` is none.
pub(super) fn entry_id(text: &str) -> Option<EntryId> {
    let bytes = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok()?;
    bytes.try_into().ok().map(EntryId)
}

/// A ban.
pub(super) fn ban(ban: Ban) -> v1::Ban {
    let (lifted_at, lifted_by, lifted_for) = match ban.lifted {
        None => (None, String::new(), String::new()),
        Some(lifted) => (Some(convert::exact(lifted.at)), lifted.actor, lifted.reason),
    };
    v1::Ban {
        id: ban.id.to_string(),
        selector: Some(write(ban.selector)),
        scope: Some(match ban.scope {
            BanScope::IssuedUntil(time) => Scope::TokensIssuedUntil(convert::exact(time)),
            BanScope::Everyone { until } => Scope::EveryoneUntil(convert::exact(until)),
        }),
        reason: ban.reason,
        actor: ban.actor,
        imposed_at: Some(convert::exact(ban.imposed_at)),
        ends_at: Some(convert::exact(ban.ends_at)),
        lifted_at,
        lifted_by,
        lifted_for,
    }
}

/// Where watching begins.
pub(super) fn begun(revision: Revision) -> v1::WatchRevocationsResponse {
    v1::WatchRevocationsResponse {
        revision: revision.to_string(),
        id: String::new(),
        at: None,
        change: None,
    }
}

/// An entry of the log, of which `seen` may be seen.
pub(super) fn entry(entry: &LogEntry, seen: Option<Change>) -> v1::WatchRevocationsResponse {
    v1::WatchRevocationsResponse {
        revision: entry.revision.to_string(),
        id: entry.id.to_string(),
        at: Some(convert::exact(entry.at)),
        change: seen.and_then(change),
    }
}

fn change(change: Change) -> Option<Told> {
    Some(match change {
        Change::Revoked {
            selector,
            reason,
            actor,
            ban,
            ..
        } => Told::Revoked(v1::Revoked {
            selector: Some(write(selector)),
            reason,
            actor,
            banned: ban.is_some(),
        }),
        Change::MembershipsChanged {
            principal,
            given,
            taken,
            actor,
        } => Told::MembershipsChanged(v1::MembershipsChanged {
            principal: Some(convert::principal(principal)),
            given: memberships(given),
            taken: memberships(taken),
            actor,
        }),
        Change::PolicyChanged {
            policy: PolicyGeneration { generation, digest },
        } => Told::PolicyChanged(v1::PolicyChanged { generation, digest }),
        Change::BanLifted {
            ban,
            selector,
            reason,
            actor,
        } => Told::BanLifted(v1::BanLifted {
            ban: ban.to_string(),
            selector: Some(write(selector)),
            reason,
            actor,
        }),
        _ => return None,
    })
}

fn memberships(memberships: Vec<Membership>) -> Vec<v1::Membership> {
    let message = |Membership { kind, id, role }| v1::Membership { kind, id, role };
    memberships.into_iter().map(message).collect()
}
