//! Between the messages of `membership.proto` and the vocabulary.

use natsgate_core::{
    Conflict, Membership, MembershipKey, MembershipRecord, Principal, Violation, WriteAct, WriteItem,
};
use natsgate_proto::v1;
use tonic::{Code, Status};
use tonic_types::{PreconditionViolation, StatusExt};

use crate::convert;
use natsgate_api::refusal::details;

/// The items of a write; what is missing in them is a violation.
pub(super) fn items(items: Vec<v1::MembershipItem>, act: WriteAct) -> Result<Vec<WriteItem>, Vec<Violation>> {
    let mut missing = Vec::new();
    let mut read = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let mut need = |what: &str| {
            missing.push(Violation {
                field: format!("items[{index}].{what}"),
                problem: "must be set".to_owned(),
            });
        };
        match (item.principal, item.membership) {
            (Some(principal), Some(membership)) => read.push(WriteItem {
                key: MembershipKey {
                    principal: Principal::new(principal.issuer, principal.subject),
                    membership: Membership {
                        kind: membership.kind,
                        id: membership.id,
                        role: membership.role,
                    },
                },
                act,
                expected_version: item.expected_version,
            }),
            (None, _) => need("principal"),
            (_, None) => need("membership"),
        }
    }
    if missing.is_empty() {
        Ok(read)
    } else {
        Err(missing)
    }
}

/// A record as a message.
pub(super) fn record(record: MembershipRecord) -> v1::MembershipRecord {
    let MembershipKey {
        principal,
        membership,
    } = record.key;
    v1::MembershipRecord {
        principal: Some(v1::Principal {
            issuer: principal.issuer,
            subject: principal.subject,
        }),
        membership: Some(v1::Membership {
            kind: membership.kind,
            id: membership.id,
            role: membership.role,
        }),
        version: record.version,
        deleted: record.deleted,
        changed_at: (record.version > 0).then(|| convert::exact(record.changed_at)),
        changed_by: record.changed_by,
    }
}

/// An `ABORTED` that names the items.
pub(super) fn conflict(conflicts: &[Conflict]) -> Status {
    let mut details = details("VERSION_CONFLICT");
    let violations: Vec<PreconditionViolation> = conflicts
        .iter()
        .map(|one| {
            let subject = format!("items[{}]", one.item);
            PreconditionViolation::new("VERSION", subject, one.current_version.to_string())
        })
        .collect();
    details.set_precondition_failure(violations);
    let told: Vec<String> = conflicts
        .iter()
        .take(20)
        .map(|one| {
            let state = match (one.current_version, one.deleted) {
                (0, _) => "does not exist".to_owned(),
                (version, true) => format!("is deleted, of version {version}"),
                (version, false) => format!("is of version {version}"),
            };
            format!("items[{}] {state}", one.item)
        })
        .collect();
    let message = format!(
        "nothing was written, since not every membership is of the version expected: {}",
        told.join(", ")
    );
    Status::with_error_details(Code::Aborted, message, details)
}
