//! From an event to its entry in the revocation log, once.

use natsgate_core::{
    Appended, Change, Deadline, EntryId, Idempotency, LogError, NewEntry, Selector, Unavailable,
};
use sha2::{Digest, Sha256};
use tracing::{error, info};

use super::Shared;
use super::refusal::{Refusal, Refused};
use crate::audit;

/// A digest of `parts`, each told from the next by its length, for `purpose`.
pub(super) fn digest(purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in std::iter::once(&purpose.as_bytes()).chain(parts) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// A digest of what is revoked.
pub(super) fn selector_digest(selector: &Selector) -> Result<[u8; 32], Refused> {
    let text = serde_json::to_vec(selector).map_err(|error| {
        Refused::new(
            Refusal::Malformed,
            format!("writing down what is revoked: {error}"),
        )
    })?;
    Ok(digest("natsgate selector", &[&text]))
}

/// Appends that `selector` is revoked by `actor` for `reason`, once for `idempotency`. An entry that stood there before is
/// [`Appended::repeated`].
pub(super) async fn append(
    shared: &Shared,
    selector: &Selector,
    reason: &str,
    actor: &str,
    idempotency: Idempotency,
    deadline: Deadline,
) -> Result<Appended, Refused> {
    let mut id = [0; 16];
    for (byte, of_key) in id.iter_mut().zip(idempotency.key) {
        *byte = of_key;
    }
    let entry = NewEntry {
        id: EntryId(id),
        at: shared.clock.now(),
        change: Change::revoked(selector.clone(), reason, actor),
        idempotency: Some(idempotency),
    };
    let appended = deadline.bound(shared.log.append(entry, deadline)).await;
    let appended = appended.unwrap_or_else(|passed| {
        Err(LogError::Unavailable {
            doing: "appending to the revocation log".to_owned(),
            cause: passed.to_string(),
        })
    });
    let appended = appended.map_err(|why| match why {
        LogError::KeyReused => Refused::new(
            Refusal::Reused,
            "its id was used before for another event: whoever sends it must use a new one for each",
        ),
        LogError::Unavailable { .. } => Refused::new(Refusal::Unavailable, why.to_string()),
        LogError::Damaged(_) => {
            error!(error = %why, "the revocation log must be looked after");
            Refused::new(Refusal::Unavailable, why.to_string())
        }
    })?;
    if !appended.repeated {
        record(selector, reason, actor, EntryId(id), &appended);
    }
    Ok(appended)
}

impl From<Unavailable> for Refused {
    fn from(why: Unavailable) -> Self {
        Self::new(Refusal::Unavailable, why.0)
    }
}

/// Writes to the audit what was revoked.
fn record(selector: &Selector, reason: &str, actor: &str, id: EntryId, appended: &Appended) {
    let told = Told::of(selector);
    info!(
        target: audit::TARGET,
        outcome = "revoked",
        actor,
        reason = audit::short(reason),
        by = told.by,
        issuer = told.issuer.map(audit::short),
        subject = told.subject.map(audit::short),
        kind = told.kind.map(audit::short),
        id = told.id.map(audit::short),
        role = told.role.map(audit::short),
        name = told.name.map(audit::short),
        server = told.server.map(audit::short),
        client = told.client,
        entry = %id,
        revision = %appended.revision,
        confirmed = appended.confirmed,
        "an event from outside revoked",
    );
}

/// A selector as the audit tells of it.
#[derive(Default)]
struct Told<'a> {
    by: &'static str,
    issuer: Option<&'a str>,
    subject: Option<&'a str>,
    kind: Option<&'a str>,
    id: Option<&'a str>,
    role: Option<&'a str>,
    name: Option<&'a str>,
    server: Option<&'a str>,
    client: Option<u64>,
}

impl<'a> Told<'a> {
    fn of(selector: &'a Selector) -> Self {
        let none = Self::default;
        match selector {
            Selector::Principal { principal } => Self {
                by: "principal",
                issuer: Some(&principal.issuer),
                subject: Some(&principal.subject),
                ..none()
            },
            Selector::Membership { principal, kind, id } => Self {
                by: "membership",
                issuer: Some(&principal.issuer),
                subject: Some(&principal.subject),
                kind: Some(kind),
                id: Some(id),
                ..none()
            },
            Selector::Resource { kind, id } => Self {
                by: "resource",
                kind: Some(kind),
                id: Some(id),
                ..none()
            },
            Selector::Role { kind, role } => Self {
                by: "role",
                kind: Some(kind),
                role: Some(role),
                ..none()
            },
            Selector::Rule { name } => Self {
                by: "rule",
                name: Some(name),
                ..none()
            },
            Selector::Session { server_id, client_id } => Self {
                by: "session",
                server: Some(server_id),
                client: Some(*client_id),
                ..none()
            },
            Selector::Account { name } => Self {
                by: "account",
                name: Some(name),
                ..none()
            },
            Selector::Provider { issuer } => Self {
                by: "provider",
                issuer: Some(issuer),
                ..none()
            },
            Selector::SigningKey { issuer, key_id } => Self {
                by: "signing_key",
                issuer: Some(issuer),
                id: Some(key_id),
                ..none()
            },
            Selector::Token { issuer, token_id } => Self {
                by: "token",
                issuer: Some(issuer),
                id: Some(token_id),
                ..none()
            },
            Selector::ProviderSession { issuer, session_id } => Self {
                by: "provider_session",
                issuer: Some(issuer),
                id: Some(session_id),
                ..none()
            },
            _ => Self {
                by: "another",
                ..none()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_digested_cannot_be_moved_from_one_part_to_the_next() {
        let of = |parts: &[&str]| digest("p", &parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>());
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab"]), of(&["ab", ""]));
        assert_ne!(digest("p", &[b"a"]), digest("q", &[b"a"]));
    }
}
