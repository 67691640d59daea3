//! Bans in the file, within the same transactions as what is to be announced of them.

use std::ops::Bound;
use std::time::SystemTime;

use async_trait::async_trait;
use natsgate_core::{
    Ban, BanStore, BanStoreError, BanWritten, Concern, Deadline, EntryId, Idempotency, Lifted,
    MembershipStoreError, Pace,
};
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::FileMembershipStore;
use super::tables::{announce_next, no, standing};
use crate::pushed::answer::{decode, encode};
use crate::pushed::bans::{self, KeptBan, KeptCall};

/// Bans by name.
const BANS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("bans");
/// Bans by what they are looked up by, and name.
const ON: TableDefinition<'_, (&[u8; 16], &[u8; 16]), ()> = TableDefinition::new("bans_on");
/// What was called for, by idempotency key.
const CALLS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("ban_calls");

type Result<T> = std::result::Result<T, MembershipStoreError>;

/// Makes the tables.
pub(super) fn make(transaction: &WriteTransaction) -> std::result::Result<(), redb::TableError> {
    transaction.open_table(BANS)?;
    transaction.open_table(ON)?;
    transaction.open_table(CALLS)?;
    Ok(())
}

/// Whether the tables are there: a file may be older than they are.
pub(super) fn are_there(transaction: &ReadTransaction) -> std::result::Result<bool, redb::TableError> {
    match transaction.open_table(CALLS) {
        Ok(_) => Ok(true),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn read(bytes: &[u8]) -> Result<KeptBan> {
    decode("a ban", bytes)
}

fn find(transaction: &WriteTransaction, id: EntryId) -> Result<Option<KeptBan>> {
    let bans = transaction.open_table(BANS).map_err(no)?;
    let found = bans.get(&id.0).map_err(no)?;
    found.map(|bytes| read(bytes.value())).transpose()
}

fn put(transaction: &WriteTransaction, kept: &KeptBan) -> Result<()> {
    let mut bans = transaction.open_table(BANS).map_err(no)?;
    bans.insert(&kept.ban.id.0, encode(kept)?.as_slice())
        .map_err(no)?;
    Ok(())
}

/// What an earlier call with the same key did; the inner `None` if its ban is forgotten.
fn repeated(transaction: &WriteTransaction, asked: &Idempotency) -> Result<Option<Option<BanWritten>>> {
    let calls = transaction.open_table(CALLS).map_err(no)?;
    let Some(bytes) = calls.get(&asked.key).map_err(no)? else {
        return Ok(None);
    };
    let call: KeptCall = decode("what is kept of a call", bytes.value())?;
    if call.body != asked.body {
        return Err(MembershipStoreError::KeyReused);
    }
    let Some(kept) = find(transaction, call.ban)? else {
        return Ok(Some(None));
    };
    let standing = standing(transaction, call.entry)?;
    Ok(Some(Some(bans::written(kept, standing, true))))
}

fn keep_call(transaction: &WriteTransaction, asked: &Idempotency, call: &KeptCall) -> Result<()> {
    let mut calls = transaction.open_table(CALLS).map_err(no)?;
    calls.insert(&asked.key, encode(call)?.as_slice()).map_err(no)?;
    Ok(())
}

fn impose(
    transaction: &WriteTransaction,
    ban: &Ban,
    pace: Pace,
    asked: &Idempotency,
) -> Result<Option<BanWritten>> {
    if let Some(before) = repeated(transaction, asked)? {
        return Ok(before);
    }
    let there = find(transaction, ban.id)?;
    if there
        .as_ref()
        .is_some_and(|there| !bans::is_the_same(ban, &there.ban))
    {
        return Err(MembershipStoreError::KeyReused);
    }
    let is_there = there.is_some();
    let kept = there.unwrap_or_else(|| KeptBan {
        ban: ban.clone(),
        lifted_by: None,
    });
    if !is_there {
        let concern = bans::concern(ban)?;
        put(transaction, &kept)?;
        let mut on = transaction.open_table(ON).map_err(no)?;
        on.insert((concern.as_bytes(), &ban.id.0), ()).map_err(no)?;
        announce_next(transaction, bans::nobody(ban.id), bans::imposed(ban, pace))?;
    }
    let call = KeptCall {
        body: asked.body,
        at: ban.imposed_at,
        ban: ban.id,
        entry: ban.id,
    };
    keep_call(transaction, asked, &call)?;
    let standing = standing(transaction, ban.id)?;
    Ok(Some(bans::written(kept, standing, is_there)))
}

fn lift(
    transaction: &WriteTransaction,
    id: EntryId,
    entry: EntryId,
    lifted: &Lifted,
    asked: &Idempotency,
) -> Result<Option<BanWritten>> {
    if let Some(before) = repeated(transaction, asked)? {
        return Ok(before);
    }
    let Some(mut kept) = find(transaction, id)? else {
        return Ok(None);
    };
    let entry = match kept.lifted_by {
        Some(before) => before,
        None => {
            kept.ban.lifted = Some(lifted.clone());
            kept.lifted_by = Some(entry);
            put(transaction, &kept)?;
            let announcement = bans::lifted(&kept.ban, entry, lifted);
            announce_next(transaction, bans::nobody(id), announcement)?;
            entry
        }
    };
    let call = KeptCall {
        body: asked.body,
        at: lifted.at,
        ban: id,
        entry,
    };
    keep_call(transaction, asked, &call)?;
    let standing = standing(transaction, entry)?;
    Ok(Some(bans::written(kept, standing, false)))
}

fn in_force(transaction: &ReadTransaction, concerns: &[Concern], now: SystemTime) -> Result<Vec<Ban>> {
    let on = transaction.open_table(ON).map_err(no)?;
    let table = transaction.open_table(BANS).map_err(no)?;
    let mut found = Vec::new();
    for concern in concerns {
        let concern = concern.as_bytes();
        let range = on
            .range((concern, &[0; 16])..=(concern, &[0xFF; 16]))
            .map_err(no)?;
        for entry in range {
            let (place, _) = entry.map_err(no)?;
            let bytes = table.get(place.value().1).map_err(no)?;
            let bytes = bytes.ok_or_else(|| MembershipStoreError::Damaged("a ban is missing".to_owned()))?;
            let ban = read(bytes.value())?.ban;
            if ban.is_in_force(now) {
                found.push(ban);
            }
        }
    }
    Ok(found)
}

fn list(
    transaction: &ReadTransaction,
    all: bool,
    after: Option<EntryId>,
    limit: usize,
    now: SystemTime,
    deadline: Deadline,
) -> Result<Vec<Ban>> {
    let table = transaction.open_table(BANS).map_err(no)?;
    let from = after
        .as_ref()
        .map_or(Bound::Unbounded, |after| Bound::Excluded(&after.0));
    let mut found = Vec::new();
    for entry in table.range::<&[u8; 16]>((from, Bound::Unbounded)).map_err(no)? {
        if found.len() >= limit {
            break;
        }
        if deadline.passed() {
            return Err(super::late("listing bans", "nothing is changed by a list"));
        }
        let (_, bytes) = entry.map_err(no)?;
        let ban = read(bytes.value())?.ban;
        if all || ban.is_in_force(now) {
            found.push(ban);
        }
    }
    Ok(found)
}

fn purge(transaction: &WriteTransaction, before: SystemTime) -> Result<u64> {
    let mut table = transaction.open_table(BANS).map_err(no)?;
    let mut ended = Vec::new();
    for entry in table.iter().map_err(no)? {
        let ban = read(entry.map_err(no)?.1.value())?.ban;
        if ban.ends_at < before {
            ended.push(ban);
        }
    }
    let mut on = transaction.open_table(ON).map_err(no)?;
    let mut purged = 0;
    for ban in &ended {
        table.remove(&ban.id.0).map_err(no)?;
        on.remove((bans::concern(ban)?.as_bytes(), &ban.id.0))
            .map_err(no)?;
        purged += 1;
    }
    let mut calls = transaction.open_table(CALLS).map_err(no)?;
    let mut old = Vec::new();
    for entry in calls.iter().map_err(no)? {
        let (key, bytes) = entry.map_err(no)?;
        if decode::<KeptCall>("what is kept of a call", bytes.value())?.at < before {
            old.push(*key.value());
        }
    }
    for key in &old {
        calls.remove(key).map_err(no)?;
    }
    Ok(purged)
}

#[async_trait]
impl BanStore for FileMembershipStore {
    async fn impose(
        &self,
        ban: &Ban,
        pace: Pace,
        idempotency: &Idempotency,
        deadline: Deadline,
    ) -> std::result::Result<BanWritten, BanStoreError> {
        let doing = "imposing a ban";
        let (ban, idempotency) = (ban.clone(), idempotency.clone());
        let written = self
            .write(doing, deadline, move |transaction| {
                impose(transaction, &ban, pace, &idempotency)
            })
            .await
            .map_err(bans::failed(doing))?;
        written.ok_or(BanStoreError::NotFound)
    }

    async fn lift(
        &self,
        id: EntryId,
        entry: EntryId,
        lifted: &Lifted,
        idempotency: &Idempotency,
        deadline: Deadline,
    ) -> std::result::Result<BanWritten, BanStoreError> {
        let doing = "lifting a ban";
        let (lifted, idempotency) = (lifted.clone(), idempotency.clone());
        let written = self
            .write(doing, deadline, move |transaction| {
                lift(transaction, id, entry, &lifted, &idempotency)
            })
            .await
            .map_err(bans::failed(doing))?;
        written.ok_or(BanStoreError::NotFound)
    }

    async fn in_force(
        &self,
        concerns: &[Concern],
        now: SystemTime,
        deadline: Deadline,
    ) -> std::result::Result<Vec<Ban>, BanStoreError> {
        let doing = "reading which bans are in force";
        let concerns = concerns.to_vec();
        self.read(doing, deadline, move |transaction| {
            in_force(transaction, &concerns, now)
        })
        .await
        .map_err(bans::failed(doing))
    }

    async fn list(
        &self,
        all: bool,
        after: Option<EntryId>,
        limit: usize,
        now: SystemTime,
        deadline: Deadline,
    ) -> std::result::Result<Vec<Ban>, BanStoreError> {
        let doing = "listing bans";
        self.read(doing, deadline, move |transaction| {
            list(transaction, all, after, limit, now, deadline)
        })
        .await
        .map_err(bans::failed(doing))
    }

    async fn purge_bans(
        &self,
        before: SystemTime,
        deadline: Deadline,
    ) -> std::result::Result<u64, BanStoreError> {
        let doing = "purging bans";
        self.write(doing, deadline, move |transaction| purge(transaction, before))
            .await
            .map_err(bans::failed(doing))
    }
}
