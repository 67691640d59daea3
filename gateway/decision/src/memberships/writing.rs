//! A write from its check to its answer: truth, log, note, answer.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use natsgate_core::pushed::write::text_problem;
use natsgate_core::{
    Announced, Deadline, Idempotency, ItemOutcome, MembershipWrite, OtherGrants, Violation, WriteAct,
    WriteItem, Written,
};
use natsgate_proto::v1;
use tonic::{Code, Extensions, Status};
use tracing::{info, warn};

use super::{MembershipsParts, message, store_refusal};
use crate::audit;
use natsgate_api::caller::Caller;
use natsgate_api::gate::Admitted;
use natsgate_api::idempotency::{MAX_KEY, key_digest};
use natsgate_api::refusal;

/// The most memberships that other sources are asked about at once.
const ASKED_AT_ONCE: usize = 8;

/// How long other sources may take: what they say is worth knowing, not worth waiting for.
const OTHERS_WITHIN: Duration = Duration::from_secs(2);

/// What is asked for.
pub(super) struct Asked {
    pub(super) method: &'static str,
    pub(super) act: WriteAct,
    /// A digest of the request, its idempotency key left out.
    pub(super) body: [u8; 32],
    pub(super) key: String,
    pub(super) reason: String,
    pub(super) items: Vec<v1::MembershipItem>,
}

/// What is answered.
pub(super) struct Done {
    pub(super) revision: String,
    pub(super) repeated: bool,
    pub(super) confirmed: bool,
    /// What became of the items, and who else grants them.
    pub(super) outcomes: Vec<(ItemOutcome, OtherGrants)>,
}

/// Does what is asked, if `admitted`'s caller may. Once begun it goes on even if the caller does not wait for it.
pub(super) async fn write(
    parts: &Arc<MembershipsParts>,
    admitted: Admitted,
    extensions: &Extensions,
    asked: Asked,
) -> Result<Done, Status> {
    let method = asked.method;
    let write = checked(parts, &admitted.caller, asked)?;
    within_reach(parts, &admitted.caller, extensions, &write)?;
    let parts = Arc::clone(parts);
    tokio::spawn(async move {
        // The place is taken until the work is over.
        let _place = admitted.place;
        perform(&parts, method, &admitted.caller, &write, admitted.deadline).await
    })
    .await
    .unwrap_or_else(|_| {
        Err(refusal::refusal(
            Code::Internal,
            "STOPPED",
            "the call was stopped half-way: call again with the same idempotency key",
        ))
    })
}

/// The write that `asked` is, if it is one.
fn checked(parts: &MembershipsParts, caller: &Caller, asked: Asked) -> Result<MembershipWrite, Status> {
    let mut violations = Vec::new();
    if let Some(problem) = text_problem(&asked.key, MAX_KEY) {
        violations.push(Violation {
            field: "idempotency_key".to_owned(),
            problem,
        });
    }
    // Counted before anything is made of them.
    let most = MembershipWrite::MAX_ITEMS;
    if asked.items.len() > most {
        violations.push(Violation {
            field: "items".to_owned(),
            problem: format!("{most} at most in one call"),
        });
        return Err(refusal::invalid(&violations));
    }
    let idempotency = Idempotency {
        key: key_digest(caller.name(), asked.method, &asked.key),
        body: asked.body,
    };
    let write = message::items(asked.items, asked.act).and_then(|items| {
        MembershipWrite::new(items, caller.name(), asked.reason, parts.clock.now(), idempotency)
            .map_err(|invalid| invalid.0)
    });
    match write {
        Ok(write) if violations.is_empty() => Ok(write),
        Ok(_) => Err(refusal::invalid(&violations)),
        Err(more) => {
            violations.extend(more);
            Err(refusal::invalid(&violations))
        }
    }
}

/// An error unless `caller` may speak for every item.
fn within_reach(
    parts: &MembershipsParts,
    caller: &Caller,
    extensions: &Extensions,
    write: &MembershipWrite,
) -> Result<(), Status> {
    let reach = caller.reach();
    let beyond = |item: &WriteItem| {
        let (principal, membership) = (&item.key.principal, &item.key.membership);
        match reach.beyond(principal, membership) {
            Some("issuer") => Some("principal.issuer"),
            Some("kind") => Some("membership.kind"),
            Some("id") => Some("membership.id"),
            Some(_) => Some("membership.role"),
            // The last word is the caller's, whatever its reach.
            None => (!caller.may_write(principal, membership)).then_some("membership"),
        }
    };
    let violations: Vec<Violation> = write
        .items()
        .iter()
        .enumerate()
        .filter_map(|(index, item)| {
            Some(Violation {
                field: format!("items[{index}].{}", beyond(item)?),
                problem: format!("is not for caller `{}` to speak for", caller.name()),
            })
        })
        .take(20)
        .collect();
    let Some(first) = violations.first() else {
        return Ok(());
    };
    parts
        .callers
        .note_denied(extensions, caller, &format!("{} is out of reach", first.field));
    Err(refusal::of_fields(
        Code::PermissionDenied,
        "OUT_OF_REACH",
        &violations,
    ))
}

async fn perform(
    parts: &MembershipsParts,
    method: &'static str,
    caller: &Caller,
    write: &MembershipWrite,
    deadline: Deadline,
) -> Result<Done, Status> {
    let written = parts.store.apply(write, deadline).await.map_err(|error| {
        // What was written without our knowing is announced without us.
        parts.relay.look();
        store_refusal(&error, true)
    })?;
    record(method, caller, write, &written);
    let mut announced = written.announced;
    // Time is left to say that it is written, should the log be out of reach.
    let announce_by = deadline.or_sooner(deadline.remaining() * 3 / 4);
    match parts.relay.announce(&written.pending, announce_by).await {
        Ok(now) => announced.extend(now),
        Err(error) => {
            parts.relay.look();
            warn!(%error, "pushed memberships are written and not announced yet");
            return Err(refusal::refusal(
                Code::Unavailable,
                "NOT_ANNOUNCED",
                "it is written, and will be announced as soon as the revocation log can be reached: call again with the same \
                 idempotency key to learn the revision",
            ));
        }
    }

    let deleted = write.items().iter().any(|item| item.act == WriteAct::Delete);
    let others = match &parts.others {
        Some(_) if deleted => others(parts, write, deadline).await,
        _ => Vec::new(),
    };
    let mut others = others.into_iter();
    let outcomes = written.outcomes.into_iter();
    Ok(Done {
        revision: newest(&announced)
            .map(|one| one.revision.to_string())
            .unwrap_or_default(),
        repeated: written.repeated,
        confirmed: announced.iter().all(|one| one.confirmed),
        outcomes: outcomes
            .map(|outcome| (outcome, others.next().unwrap_or_default()))
            .collect(),
    })
}

/// The last of what was announced: sequences go on across epochs.
fn newest(announced: &[Announced]) -> Option<&Announced> {
    announced.iter().max_by_key(|one| one.revision.sequence)
}

/// Who else grants each of the items, in their order.
async fn others(parts: &MembershipsParts, write: &MembershipWrite, deadline: Deadline) -> Vec<OtherGrants> {
    let Some(others) = &parts.others else {
        return Vec::new();
    };
    // Some time is left to answer in.
    let deadline = deadline.or_sooner(OTHERS_WITHIN.min(deadline.remaining() / 2));
    let asking: Vec<_> = write
        .items()
        .iter()
        .map(|item| others.granting(&item.key.principal, &item.key.membership, deadline))
        .collect();
    let mut found: Vec<OtherGrants> = futures::stream::iter(asking)
        .buffered(ASKED_AT_ONCE)
        .collect()
        .await;
    for one in &mut found {
        one.granted_by
            .retain(|source| source != natsgate_core::pushed::SOURCE_NAME);
        one.not_checked
            .retain(|source| source != natsgate_core::pushed::SOURCE_NAME);
    }
    found
}

/// Writes to the audit what was changed.
fn record(method: &'static str, caller: &Caller, write: &MembershipWrite, written: &Written) {
    if written.repeated {
        return;
    }
    for outcome in written.outcomes.iter().filter(|outcome| outcome.changed) {
        let (principal, membership) = (&outcome.record.key.principal, &outcome.record.key.membership);
        info!(
            target: audit::TARGET,
            outcome = if outcome.record.deleted { "membership_taken" } else { "membership_given" },
            method,
            caller = caller.name(),
            reason = audit::short(write.reason()),
            issuer = audit::short(&principal.issuer),
            subject = audit::short(&principal.subject),
            kind = audit::short(&membership.kind),
            id = audit::short(&membership.id),
            role = audit::short(&membership.role),
            version = outcome.record.version,
            "a membership was changed",
        );
    }
}
