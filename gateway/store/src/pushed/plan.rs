//! What a write does, given what is there: the same for every store, which only keeps it.

use natsgate_core::{
    Announcement, Change, Conflict, EntryId, ItemOutcome, Membership, MembershipRecord, MembershipWrite,
    Principal, WriteAct, WriteItem,
};

/// The most memberships one log entry names.
const MAX_IN_ENTRY: usize = 100;

/// What is to be kept, in one transaction.
pub(super) struct Plan {
    /// The number of this write; that of the one before if it changes nothing.
    pub(super) version: u64,
    /// What becomes of the items, in their order. The records of those that changed are to be written.
    pub(super) outcomes: Vec<ItemOutcome>,
    /// What is to be announced: every principal of whom something changed.
    pub(super) announcements: Vec<(Principal, Announcement)>,
    /// The principals of the write of whom nothing changed: what the store still has to announce of them, and announced
    /// last, belongs to the answer.
    pub(super) unchanged: Vec<Principal>,
}

/// Plans `write` on the records `before` (one for each item, in order; `None` where there is none), after the write
/// number `version`.
///
/// # Errors
/// The items that expected other versions.
pub(super) fn plan(
    write: &MembershipWrite,
    before: &[Option<MembershipRecord>],
    version: u64,
) -> Result<Plan, Vec<Conflict>> {
    let found = || write.items().iter().zip(before);
    let conflicts: Vec<Conflict> = found()
        .enumerate()
        .filter(|(_, (item, record))| !expected(item, record.as_ref()))
        .map(|(item, (_, record))| Conflict {
            item,
            current_version: record.as_ref().map_or(0, |record| record.version),
            deleted: record.as_ref().is_some_and(|record| record.deleted),
        })
        .collect();
    if !conflicts.is_empty() {
        return Err(conflicts);
    }

    let next = version.saturating_add(1);
    let outcomes: Vec<ItemOutcome> = found()
        .map(|(item, record)| outcome(write, item, record.as_ref(), next))
        .collect();
    let mut plan = Plan {
        version: if outcomes.iter().any(|outcome| outcome.changed) {
            next
        } else {
            version
        },
        outcomes,
        announcements: Vec::new(),
        unchanged: Vec::new(),
    };
    let mut principals: Vec<&Principal> = write.items().iter().map(|item| &item.key.principal).collect();
    principals.sort();
    principals.dedup();
    for principal in principals {
        let announcements = announce(write, principal, &plan.outcomes);
        if announcements.is_empty() {
            plan.unchanged.push(principal.clone());
        }
        plan.announcements
            .extend(announcements.into_iter().map(|one| (principal.clone(), one)));
    }
    Ok(plan)
}

/// Whether the record is as `item` expects it.
fn expected(item: &WriteItem, record: Option<&MembershipRecord>) -> bool {
    match (item.expected_version, record) {
        (None, _) | (Some(0), None) => true,
        (Some(0), Some(record)) => record.deleted,
        (Some(version), Some(record)) => record.version == version,
        (Some(_), None) => false,
    }
}

fn outcome(
    write: &MembershipWrite,
    item: &WriteItem,
    record: Option<&MembershipRecord>,
    version: u64,
) -> ItemOutcome {
    let is_there = record.is_some_and(|record| !record.deleted);
    let changed = is_there != (item.act == WriteAct::Put);
    let untouched = || match record {
        Some(record) => record.clone(),
        None => MembershipRecord {
            key: item.key.clone(),
            version: 0,
            deleted: true,
            changed_at: std::time::UNIX_EPOCH,
            changed_by: String::new(),
        },
    };
    ItemOutcome {
        record: if changed {
            MembershipRecord {
                key: item.key.clone(),
                version,
                deleted: item.act == WriteAct::Delete,
                changed_at: write.at(),
                changed_by: write.by().to_owned(),
            }
        } else {
            untouched()
        },
        changed,
    }
}

/// The log entries about what changed for `principal`.
fn announce(write: &MembershipWrite, principal: &Principal, outcomes: &[ItemOutcome]) -> Vec<Announcement> {
    let changed: Vec<&MembershipRecord> = outcomes
        .iter()
        .filter(|outcome| outcome.changed && outcome.record.key.principal == *principal)
        .map(|outcome| &outcome.record)
        .collect();
    let named = |records: &[&MembershipRecord], deleted: bool| -> Vec<Membership> {
        let of_kind = records.iter().filter(|record| record.deleted == deleted);
        of_kind.map(|record| record.key.membership.clone()).collect()
    };
    changed
        .chunks(MAX_IN_ENTRY)
        .map(|records| Announcement {
            id: EntryId(rand::random()),
            at: write.at(),
            change: Change::MembershipsChanged {
                principal: principal.clone(),
                given: named(records, false),
                taken: named(records, true),
                actor: write.by().to_owned(),
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use natsgate_core::{Idempotency, MembershipKey};

    use super::*;

    fn item(id: &str, expected_version: Option<u64>) -> WriteItem {
        WriteItem {
            key: MembershipKey {
                principal: Principal::new("i", "alice"),
                membership: Membership {
                    kind: "project".into(),
                    id: id.into(),
                    role: "member".into(),
                },
            },
            act: WriteAct::Put,
            expected_version,
        }
    }

    fn record(id: &str, version: u64, deleted: bool) -> Option<MembershipRecord> {
        Some(MembershipRecord {
            key: item(id, None).key,
            version,
            deleted,
            changed_at: UNIX_EPOCH,
            changed_by: "before".into(),
        })
    }

    fn planned(item: WriteItem, before: Option<MembershipRecord>) -> Result<Plan, Vec<Conflict>> {
        let idempotency = Idempotency {
            key: [0; 32],
            body: [0; 32],
        };
        let at = UNIX_EPOCH + Duration::from_secs(9);
        let write = MembershipWrite::new(vec![item], "crm", "", at, idempotency).unwrap();
        plan(&write, &[before], 40)
    }

    #[test]
    fn an_expected_version_is_matched_exactly() {
        let live = || record("a", 7, false);
        let tombstone = || record("a", 8, true);
        for (expected, before, fits) in [
            (None, None, true),
            (None, live(), true),
            (None, tombstone(), true),
            (Some(0), None, true),
            (Some(0), tombstone(), true),
            (Some(0), live(), false),
            (Some(7), live(), true),
            (Some(8), live(), false),
            (Some(6), live(), false),
            (Some(8), tombstone(), true),
            (Some(7), tombstone(), false),
            (Some(7), None, false),
        ] {
            let now = before.as_ref().map(|one| (one.version, one.deleted));
            let told = planned(item("a", expected), before).err();
            let conflict = now.unwrap_or((0, false));
            let wanted = (!fits).then(|| {
                vec![Conflict {
                    item: 0,
                    current_version: conflict.0,
                    deleted: conflict.1,
                }]
            });
            assert_eq!(told, wanted, "{expected:?} on {now:?}");
        }
    }

    #[test]
    fn what_changes_nothing_keeps_its_version_and_is_not_announced() {
        let plan = planned(item("a", None), record("a", 7, false)).unwrap();
        assert_eq!(plan.version, 40);
        assert_eq!(plan.outcomes.len(), 1);
        assert_eq!(
            (plan.outcomes[0].changed, plan.outcomes[0].record.version),
            (false, 7)
        );
        assert!(plan.announcements.is_empty());
        assert_eq!(plan.unchanged, [Principal::new("i", "alice")]);

        let mut delete = item("a", None);
        delete.act = WriteAct::Delete;
        let plan = planned(delete, None).unwrap();
        assert_eq!(
            (plan.outcomes[0].changed, plan.outcomes[0].record.version),
            (false, 0)
        );
        assert!(plan.outcomes[0].record.deleted && plan.announcements.is_empty());
    }

    #[test]
    fn a_large_change_is_announced_in_parts_that_name_everything_once() {
        let items: Vec<WriteItem> = (0..250).map(|n| item(&n.to_string(), None)).collect();
        let before = vec![None; items.len()];
        let idempotency = Idempotency {
            key: [0; 32],
            body: [0; 32],
        };
        let write = MembershipWrite::new(items, "crm", "", UNIX_EPOCH, idempotency).unwrap();
        let plan = plan(&write, &before, 0).unwrap();
        let mut named = Vec::new();
        for (_, announcement) in &plan.announcements {
            let Change::MembershipsChanged { given, taken, .. } = &announcement.change else {
                panic!("another change");
            };
            assert!(given.len() <= MAX_IN_ENTRY && taken.is_empty());
            named.extend(given.iter().map(|membership| membership.id.clone()));
        }
        assert_eq!(plan.announcements.len(), 3);
        assert_eq!(named, (0..250).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}
