//! The tables of the file, and what is done with them within a transaction.

use std::time::SystemTime;

use natsgate_core::{
    Announced, Announcement, Deadline, EntryId, Membership, MembershipFilter, MembershipKey, MembershipPage,
    MembershipRecord, MembershipStoreError, MembershipWrite, Principal, Purged, Revision, Written,
};
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction,
};
use serde::{Deserialize, Serialize};

use super::bans as ban_tables;
use crate::pushed::MAX_PER_PRINCIPAL;
use crate::pushed::answer::{Answer, decode, encode};
use crate::pushed::bans::Standing;
use crate::pushed::plan::plan;

/// The form of the tables below; another form is another number.
const FORMAT: u64 = 1;

/// Numbers by name: [`FORMAT`], the last write's version, the last announcement's number.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// Records by issuer, subject, kind, id and role.
const RECORDS: TableDefinition<'_, RecordKey<'_>, &[u8]> = TableDefinition::new("records");
/// Answers by idempotency key.
const ANSWERS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("answers");
/// Announcements by the order they were made in.
const ANNOUNCEMENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("announcements");
/// Those of them not yet known to be appended.
const PENDING: TableDefinition<'_, u64, ()> = TableDefinition::new("pending");
/// An announcement's number by its name.
const NAMES: TableDefinition<'_, &[u8; 16], u64> = TableDefinition::new("announcement_names");
/// The announcements about a principal: issuer, subject, number.
const ABOUT: TableDefinition<'_, (&str, &str, u64), ()> = TableDefinition::new("announcements_about");

type RecordKey<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

const VERSION: &str = "version";
const ANNOUNCED: &str = "announcements";

type Result<T> = std::result::Result<T, MembershipStoreError>;

/// An answer as the file keeps it.
#[derive(Serialize, Deserialize)]
struct KeptAnswer {
    body: [u8; 32],
    at: SystemTime,
    answer: Answer,
}

/// An announcement as the file keeps it.
#[derive(Serialize, Deserialize)]
struct KeptAnnouncement {
    principal: Principal,
    announcement: Announcement,
    /// Where it stands in the log, if that is known.
    appended: Option<KeptPlace>,
}

/// Where an announcement stands, and since when that is known.
#[derive(Serialize, Deserialize)]
struct KeptPlace {
    revision: Revision,
    confirmed: bool,
    known_since: SystemTime,
}

/// What redb says, in the port's words.
pub(super) fn failed(error: redb::Error) -> MembershipStoreError {
    match error {
        redb::Error::Corrupted(what) => MembershipStoreError::Damaged(what),
        other => MembershipStoreError::Unavailable {
            doing: "reading or writing the file of pushed memberships".to_owned(),
            cause: format!("{other}: is the disk full, or broken?"),
        },
    }
}

/// Turns any of redb's errors into the port's.
pub(super) fn no<E: Into<redb::Error>>(error: E) -> MembershipStoreError {
    failed(error.into())
}

/// Makes the tables, so that every later transaction finds them, and checks the format.
pub(super) fn prepare(database: &Database) -> std::result::Result<(), String> {
    let text = |error: redb::Error| error.to_string();
    let read = database.begin_read().map_err(|error| text(error.into()))?;
    match read.open_table(NUMBERS) {
        Ok(numbers) => {
            let format = numbers.get("format").map_err(|error| text(error.into()))?;
            match format.map(|format| format.value()) {
                Some(FORMAT) => {}
                other => {
                    return Err(format!(
                        "it is of format {}, this natsgate knows {FORMAT}: use the release that wrote it, or a later one",
                        other.unwrap_or_default()
                    ));
                }
            }
            if ban_tables::are_there(&read).map_err(|error| text(error.into()))? {
                return Ok(());
            }
            // A file from before there were bans. An earlier release that opens it again does not look at them.
            let make = || -> std::result::Result<(), redb::Error> {
                let write = database.begin_write()?;
                ban_tables::make(&write)?;
                write.commit()?;
                Ok(())
            };
            return make().map_err(text);
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(text(error.into())),
    }
    let make = || -> std::result::Result<(), redb::Error> {
        let write = database.begin_write()?;
        write.open_table(NUMBERS)?.insert("format", FORMAT)?;
        write.open_table(RECORDS)?;
        write.open_table(ANSWERS)?;
        write.open_table(ANNOUNCEMENTS)?;
        write.open_table(PENDING)?;
        write.open_table(NAMES)?;
        write.open_table(ABOUT)?;
        ban_tables::make(&write)?;
        write.commit()?;
        Ok(())
    };
    make().map_err(text)
}

fn key(key: &MembershipKey) -> RecordKey<'_> {
    let MembershipKey {
        principal,
        membership,
    } = key;
    (
        &principal.issuer,
        &principal.subject,
        &membership.kind,
        &membership.id,
        &membership.role,
    )
}

fn record(bytes: &[u8]) -> Result<MembershipRecord> {
    decode("a record", bytes)
}

/// Does `write`, or finds that it was done.
pub(super) fn apply(transaction: &WriteTransaction, write: &MembershipWrite) -> Result<Written> {
    let mut answers = transaction.open_table(ANSWERS).map_err(no)?;
    let asked = write.idempotency();
    let kept = answers
        .get(&asked.key)
        .map_err(no)?
        .map(|bytes| decode::<KeptAnswer>("an answer", bytes.value()))
        .transpose()?;
    if let Some(kept) = kept {
        if kept.body != asked.body {
            return Err(MembershipStoreError::KeyReused);
        }
        return written(transaction, kept.answer, true);
    }

    let mut numbers = transaction.open_table(NUMBERS).map_err(no)?;
    let mut records = transaction.open_table(RECORDS).map_err(no)?;
    let version = number(&numbers, VERSION)?;
    let mut before = Vec::with_capacity(write.items().len());
    for item in write.items() {
        let found = records.get(key(&item.key)).map_err(no)?;
        before.push(found.map(|bytes| record(bytes.value())).transpose()?);
    }
    let plan = plan(write, &before, version).map_err(MembershipStoreError::Conflict)?;

    numbers.insert(VERSION, plan.version).map_err(no)?;
    for outcome in plan.outcomes.iter().filter(|outcome| outcome.changed) {
        let bytes = encode(&outcome.record)?;
        records
            .insert(key(&outcome.record.key), bytes.as_slice())
            .map_err(no)?;
    }
    let mut rests_on = Vec::new();
    for principal in &plan.unchanged {
        rests_on.extend(rest(transaction, principal)?);
    }
    for (principal, announcement) in plan.announcements {
        rests_on.push(announcement.id);
        announce(transaction, &mut numbers, principal, announcement)?;
    }
    drop((numbers, records));
    let answer = Answer {
        outcomes: plan.outcomes,
        announcements: rests_on,
    };
    let kept = KeptAnswer {
        body: asked.body,
        at: write.at(),
        answer,
    };
    answers
        .insert(&asked.key, encode(&kept)?.as_slice())
        .map_err(no)?;
    written(transaction, kept.answer, false)
}

fn number(numbers: &impl ReadableTable<&'static str, u64>, name: &'static str) -> Result<u64> {
    Ok(numbers.get(name).map_err(no)?.map_or(0, |number| number.value()))
}

/// The announcements about `principal` that are pending, and the last one that is not.
fn rest(transaction: &WriteTransaction, principal: &Principal) -> Result<Vec<EntryId>> {
    let about = transaction.open_table(ABOUT).map_err(no)?;
    let announcements = transaction.open_table(ANNOUNCEMENTS).map_err(no)?;
    let (issuer, subject) = (principal.issuer.as_str(), principal.subject.as_str());
    let mut found = Vec::new();
    // From the newest. Those before the first that was appended may be pending too, so all are looked at: they are
    // purged after their time.
    let mut appended = false;
    let range = about
        .range((issuer, subject, 0)..=(issuer, subject, u64::MAX))
        .map_err(no)?;
    for entry in range.rev() {
        let (place, ()) = entry.map(|(place, _)| (place, ())).map_err(no)?;
        let kept = announcement(&announcements, place.value().2)?;
        if kept.appended.is_none() || !appended {
            appended |= kept.appended.is_some();
            found.push(kept.announcement.id);
        }
    }
    Ok(found)
}

fn announcement(
    announcements: &impl ReadableTable<u64, &'static [u8]>,
    number: u64,
) -> Result<KeptAnnouncement> {
    let bytes = announcements.get(number).map_err(no)?;
    let bytes =
        bytes.ok_or_else(|| MembershipStoreError::Damaged("an announcement is missing".to_owned()))?;
    decode("an announcement", bytes.value())
}

/// Puts `announcement` into the outbox, under `principal`.
pub(super) fn announce_next(
    transaction: &WriteTransaction,
    principal: Principal,
    announcement: Announcement,
) -> Result<()> {
    let mut numbers = transaction.open_table(NUMBERS).map_err(no)?;
    announce(transaction, &mut numbers, principal, announcement)
}

fn announce(
    transaction: &WriteTransaction,
    numbers: &mut redb::Table<'_, &'static str, u64>,
    principal: Principal,
    announcement: Announcement,
) -> Result<()> {
    let number = self::number(numbers, ANNOUNCED)?.saturating_add(1);
    numbers.insert(ANNOUNCED, number).map_err(no)?;
    let id = announcement.id;
    let place = (principal.issuer.clone(), principal.subject.clone());
    let kept = KeptAnnouncement {
        principal,
        announcement,
        appended: None,
    };
    let mut announcements = transaction.open_table(ANNOUNCEMENTS).map_err(no)?;
    announcements
        .insert(number, encode(&kept)?.as_slice())
        .map_err(no)?;
    transaction
        .open_table(PENDING)
        .map_err(no)?
        .insert(number, ())
        .map_err(no)?;
    transaction
        .open_table(NAMES)
        .map_err(no)?
        .insert(&id.0, number)
        .map_err(no)?;
    transaction
        .open_table(ABOUT)
        .map_err(no)?
        .insert((place.0.as_str(), place.1.as_str(), number), ())
        .map_err(no)?;
    Ok(())
}

/// The answer, with what is announced and what is not by now.
fn written(transaction: &WriteTransaction, answer: Answer, repeated: bool) -> Result<Written> {
    let mut written = Written {
        outcomes: answer.outcomes,
        pending: Vec::new(),
        announced: Vec::new(),
        repeated,
    };
    for id in answer.announcements {
        let standing = standing(transaction, id)?;
        written.announced.extend(standing.announced);
        written.pending.extend(standing.pending);
    }
    Ok(written)
}

/// How far the announcement `id` has come.
pub(super) fn standing(transaction: &WriteTransaction, id: EntryId) -> Result<Standing> {
    let names = transaction.open_table(NAMES).map_err(no)?;
    let Some(number) = names.get(&id.0).map_err(no)? else {
        return Ok(Standing::default());
    };
    let announcements = transaction.open_table(ANNOUNCEMENTS).map_err(no)?;
    let kept = announcement(&announcements, number.value())?;
    Ok(match kept.appended {
        Some(place) => Standing {
            pending: None,
            announced: Some(Announced {
                id,
                revision: place.revision,
                confirmed: place.confirmed,
            }),
        },
        None => Standing {
            pending: Some(kept.announcement),
            announced: None,
        },
    })
}

/// What `principal` belongs to.
pub(super) fn of(transaction: &ReadTransaction, principal: &Principal) -> Result<Vec<Membership>> {
    let records = transaction.open_table(RECORDS).map_err(no)?;
    let mut memberships = Vec::new();
    let first = (principal.issuer.as_str(), principal.subject.as_str(), "", "", "");
    for entry in records.range(first..).map_err(no)? {
        let (_, bytes) = entry.map_err(no)?;
        let record = record(bytes.value())?;
        if record.key.principal != *principal {
            break;
        }
        if record.deleted {
            continue;
        }
        if memberships.len() == MAX_PER_PRINCIPAL {
            return Err(MembershipStoreError::Unavailable {
                doing: "reading a principal's pushed memberships".to_owned(),
                cause: format!("there are more than {MAX_PER_PRINCIPAL}"),
            });
        }
        memberships.push(record.key.membership);
    }
    Ok(memberships)
}

/// A page of records.
pub(super) fn list(
    transaction: &ReadTransaction,
    filter: &MembershipFilter,
    after: Option<&MembershipKey>,
    limit: usize,
    deadline: Deadline,
) -> Result<MembershipPage> {
    use std::ops::Bound;

    let records = transaction.open_table(RECORDS).map_err(no)?;
    // Keys begin with the issuer and the subject: known ones bound what is looked at.
    let issuer = filter.issuer.as_deref();
    let subject = filter.subject.as_deref().filter(|_| issuer.is_some());
    let start = (issuer.unwrap_or(""), subject.unwrap_or(""), "", "", "");
    let from = match after {
        Some(after) if key(after) >= start => Bound::Excluded(key(after)),
        _ => Bound::Included(start),
    };
    let mut page = MembershipPage {
        records: Vec::new(),
        next: None,
    };
    let range = records
        .range::<RecordKey<'_>>((from, Bound::Unbounded))
        .map_err(no)?;
    for entry in range {
        if deadline.passed() {
            return Err(super::late(
                "listing pushed memberships",
                "nothing is changed by a list",
            ));
        }
        let (place, bytes) = entry.map_err(no)?;
        let place = place.value();
        if issuer.is_some_and(|issuer| issuer != place.0) || subject.is_some_and(|subject| subject != place.1)
        {
            break;
        }
        let record = record(bytes.value())?;
        if !filter.admits(&record) {
            continue;
        }
        if page.records.len() == limit {
            page.next = page.records.last().map(|last| last.key.clone());
            break;
        }
        page.records.push(record);
    }
    Ok(page)
}

/// The oldest announcements not yet known to be appended.
pub(super) fn pending(transaction: &ReadTransaction, limit: usize) -> Result<Vec<Announcement>> {
    let pending = transaction.open_table(PENDING).map_err(no)?;
    let announcements = transaction.open_table(ANNOUNCEMENTS).map_err(no)?;
    let mut found = Vec::new();
    for entry in pending.iter().map_err(no)?.take(limit) {
        let (number, _) = entry.map_err(no)?;
        found.push(announcement(&announcements, number.value())?.announcement);
    }
    Ok(found)
}

/// Notes that announcements were appended.
pub(super) fn done(transaction: &WriteTransaction, announced: &[Announced], at: SystemTime) -> Result<()> {
    let mut pending = transaction.open_table(PENDING).map_err(no)?;
    let mut announcements = transaction.open_table(ANNOUNCEMENTS).map_err(no)?;
    let names = transaction.open_table(NAMES).map_err(no)?;
    for one in announced {
        let Some(number) = names.get(&one.id.0).map_err(no)?.map(|number| number.value()) else {
            continue;
        };
        if pending.remove(number).map_err(no)?.is_none() {
            continue;
        }
        let mut kept = announcement(&announcements, number)?;
        kept.appended = Some(KeptPlace {
            revision: one.revision,
            confirmed: one.confirmed,
            known_since: at,
        });
        announcements
            .insert(number, encode(&kept)?.as_slice())
            .map_err(no)?;
    }
    Ok(())
}

/// Forgets what is from before `before`.
pub(super) fn purge(transaction: &WriteTransaction, before: SystemTime) -> Result<Purged> {
    let mut purged = Purged::default();

    let mut records = transaction.open_table(RECORDS).map_err(no)?;
    let mut gone = Vec::new();
    for entry in records.iter().map_err(no)? {
        let record = record(entry.map_err(no)?.1.value())?;
        if record.deleted && record.changed_at < before {
            gone.push(record.key);
        }
    }
    for one in &gone {
        records.remove(key(one)).map_err(no)?;
        purged.tombstones += 1;
    }

    let mut answers = transaction.open_table(ANSWERS).map_err(no)?;
    let mut gone = Vec::new();
    for entry in answers.iter().map_err(no)? {
        let (name, bytes) = entry.map_err(no)?;
        if decode::<KeptAnswer>("an answer", bytes.value())?.at < before {
            gone.push(*name.value());
        }
    }
    for one in &gone {
        answers.remove(one).map_err(no)?;
        purged.answers += 1;
    }

    let mut announcements = transaction.open_table(ANNOUNCEMENTS).map_err(no)?;
    let mut gone = Vec::new();
    for entry in announcements.iter().map_err(no)? {
        let (number, bytes) = entry.map_err(no)?;
        let kept: KeptAnnouncement = decode("an announcement", bytes.value())?;
        if kept
            .appended
            .as_ref()
            .is_some_and(|place| place.known_since < before)
        {
            gone.push((number.value(), kept));
        }
    }
    let mut names = transaction.open_table(NAMES).map_err(no)?;
    let mut about = transaction.open_table(ABOUT).map_err(no)?;
    for (number, kept) in &gone {
        announcements.remove(number).map_err(no)?;
        names.remove(&kept.announcement.id.0).map_err(no)?;
        let principal = &kept.principal;
        about
            .remove((principal.issuer.as_str(), principal.subject.as_str(), *number))
            .map_err(no)?;
        purged.announcements += 1;
    }
    Ok(purged)
}
