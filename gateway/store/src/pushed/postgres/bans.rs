//! Bans in PostgreSQL, within the same transactions as what is to be announced of them.

use std::time::SystemTime;

use async_trait::async_trait;
use natsgate_core::{
    Ban, BanStore, BanStoreError, BanWritten, Concern, Deadline, EntryId, Idempotency, Lifted,
    MembershipStoreError, Pace,
};
use natsgate_postgres::types::ToSql;
use natsgate_postgres::{Row, Session};

use super::statements::{Statements, execute, get, micros, query};
use super::{PostgresMembershipStore, failed};
use crate::pushed::answer::{decode, encode};
use crate::pushed::bans::{self, KeptBan, KeptCall};

type Result<T> = std::result::Result<T, MembershipStoreError>;

/// The statements on one schema.
pub(super) struct BanStatements {
    call: String,
    keep_call: String,
    find: String,
    put: String,
    in_force: String,
    list: String,
    purge: [String; 2],
}

impl BanStatements {
    /// Those on `schema`.
    pub(super) fn new(schema: &str) -> Self {
        let text = |sql: &str| sql.replace("{schema}", schema);
        Self {
            call: text("SELECT call FROM {schema}.ban_calls WHERE key = $1"),
            keep_call: text("INSERT INTO {schema}.ban_calls (key, at, call) VALUES ($1, $2, $3)"),
            find: text("SELECT ban FROM {schema}.bans WHERE id = $1"),
            put: text(
                "INSERT INTO {schema}.bans (id, concern, ends_at, lifted, ban) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (id) DO UPDATE SET lifted = EXCLUDED.lifted, ban = EXCLUDED.ban",
            ),
            // One row at least, so that a standby shows itself.
            in_force: text(
                "SELECT pg_is_in_recovery(), ban
                 FROM (VALUES (1)) AS always
                 LEFT JOIN {schema}.bans ON concern = ANY ($1::bytea[]) AND NOT lifted AND ends_at >= $2",
            ),
            list: text(
                "SELECT ban FROM {schema}.bans
                 WHERE id > $1 AND ($2 OR NOT lifted AND ends_at >= $3) ORDER BY id LIMIT $4",
            ),
            purge: [
                text("DELETE FROM {schema}.bans WHERE ends_at < $1"),
                text("DELETE FROM {schema}.ban_calls WHERE at < $1"),
            ],
        }
    }

    async fn find(&self, session: &mut Session, id: EntryId) -> Result<Option<KeptBan>> {
        let rows = query(session, &self.find, &[&id.0.as_slice()]).await?;
        rows.first().map(|row| read(row, 0)).transpose()
    }

    async fn put(&self, session: &mut Session, kept: &KeptBan) -> Result<()> {
        let ban = &kept.ban;
        let concern = bans::concern(ban)?;
        let (id, concern) = (ban.id.0.as_slice(), concern.as_bytes().as_slice());
        let (ends_at, lifted, bytes) = (micros(ban.ends_at)?, ban.lifted.is_some(), encode(kept)?);
        let parameters: [&(dyn ToSql + Sync); 5] = [&id, &concern, &ends_at, &lifted, &bytes];
        execute(session, &self.put, &parameters).await?;
        Ok(())
    }

    /// What an earlier call with the same key did; the inner `None` if its ban is forgotten.
    async fn repeated(
        &self,
        outbox: &Statements,
        session: &mut Session,
        asked: &Idempotency,
    ) -> Result<Option<Option<BanWritten>>> {
        let rows = query(session, &self.call, &[&asked.key.as_slice()]).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let call: KeptCall = decode("what is kept of a call", get(row, 0)?)?;
        if call.body != asked.body {
            return Err(MembershipStoreError::KeyReused);
        }
        let Some(kept) = self.find(session, call.ban).await? else {
            return Ok(Some(None));
        };
        let standing = outbox.standing(session, call.entry).await?;
        Ok(Some(Some(bans::written(kept, standing, true))))
    }

    async fn keep_call(&self, session: &mut Session, asked: &Idempotency, call: &KeptCall) -> Result<()> {
        let (key, at, bytes) = (asked.key.as_slice(), micros(call.at)?, encode(call)?);
        execute(session, &self.keep_call, &[&key, &at, &bytes]).await?;
        Ok(())
    }

    async fn impose(
        &self,
        outbox: &Statements,
        session: &mut Session,
        ban: &Ban,
        pace: Pace,
        asked: &Idempotency,
    ) -> Result<Option<BanWritten>> {
        outbox.lock(session).await?;
        if let Some(before) = self.repeated(outbox, session, asked).await? {
            return Ok(before);
        }
        let there = self.find(session, ban.id).await?;
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
            self.put(session, &kept).await?;
            let announcement = bans::imposed(ban, pace);
            outbox
                .announce(session, &bans::nobody(ban.id), &announcement)
                .await?;
        }
        let call = KeptCall {
            body: asked.body,
            at: ban.imposed_at,
            ban: ban.id,
            entry: ban.id,
        };
        self.keep_call(session, asked, &call).await?;
        let standing = outbox.standing(session, ban.id).await?;
        Ok(Some(bans::written(kept, standing, is_there)))
    }

    async fn lift(
        &self,
        outbox: &Statements,
        session: &mut Session,
        (id, entry): (EntryId, EntryId),
        lifted: &Lifted,
        asked: &Idempotency,
    ) -> Result<Option<BanWritten>> {
        outbox.lock(session).await?;
        if let Some(before) = self.repeated(outbox, session, asked).await? {
            return Ok(before);
        }
        let Some(mut kept) = self.find(session, id).await? else {
            return Ok(None);
        };
        let entry = match kept.lifted_by {
            Some(before) => before,
            None => {
                kept.ban.lifted = Some(lifted.clone());
                kept.lifted_by = Some(entry);
                self.put(session, &kept).await?;
                let announcement = bans::lifted(&kept.ban, entry, lifted);
                outbox.announce(session, &bans::nobody(id), &announcement).await?;
                entry
            }
        };
        let call = KeptCall {
            body: asked.body,
            at: lifted.at,
            ban: id,
            entry,
        };
        self.keep_call(session, asked, &call).await?;
        let standing = outbox.standing(session, entry).await?;
        Ok(Some(bans::written(kept, standing, false)))
    }

    async fn in_force(
        &self,
        session: &mut Session,
        concerns: &[Concern],
        now: SystemTime,
    ) -> Result<Vec<Ban>> {
        let concerns: Vec<&[u8]> = concerns
            .iter()
            .map(|concern| concern.as_bytes().as_slice())
            .collect();
        let rows = query(session, &self.in_force, &[&concerns, &micros(now)?]).await?;
        let mut found = Vec::new();
        for row in &rows {
            if get::<bool>(row, 0)? {
                return Err(MembershipStoreError::Unavailable {
                    doing: String::new(),
                    cause: "the server is a standby, which may be behind: name the primary as `host`"
                        .to_owned(),
                });
            }
            if get::<Option<&[u8]>>(row, 1)?.is_none() {
                continue;
            }
            let ban = read(row, 1)?.ban;
            // To the microsecond only, so far.
            if ban.is_in_force(now) {
                found.push(ban);
            }
        }
        Ok(found)
    }

    async fn list(
        &self,
        session: &mut Session,
        all: bool,
        after: Option<EntryId>,
        limit: usize,
        now: SystemTime,
    ) -> Result<Vec<Ban>> {
        let after = after.as_ref().map_or(&[] as &[u8], |after| &after.0);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = query(session, &self.list, &[&after, &all, &micros(now)?, &limit]).await?;
        let bans = rows.iter().map(|row| read(row, 0).map(|kept| kept.ban));
        bans.filter(|ban| all || ban.as_ref().is_ok_and(|ban| ban.is_in_force(now)) || ban.is_err())
            .collect()
    }

    async fn purge(&self, outbox: &Statements, session: &mut Session, before: SystemTime) -> Result<u64> {
        // No call is under way that rests on what is purged.
        outbox.lock(session).await?;
        let before = micros(before)?;
        let [ended, calls] = &self.purge;
        execute(session, calls, &[&before]).await?;
        execute(session, ended, &[&before]).await
    }
}

fn read(row: &Row, column: usize) -> Result<KeptBan> {
    decode("a ban", get(row, column)?)
}

impl PostgresMembershipStore {
    /// Commits what was written, if it was.
    async fn settle(
        session: Session,
        written: Result<Option<BanWritten>>,
    ) -> Result<std::result::Result<BanWritten, BanStoreError>> {
        match written {
            Ok(Some(written)) => {
                session.commit().await.map_err(failed)?;
                Ok(Ok(written))
            }
            // Nothing was wrong with the server: the connection stays.
            Ok(None) => {
                session.rollback().await.map_err(failed)?;
                Ok(Err(BanStoreError::NotFound))
            }
            Err(refused @ (MembershipStoreError::KeyReused | MembershipStoreError::Damaged(_))) => {
                session.rollback().await.map_err(failed)?;
                Err(refused)
            }
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl BanStore for PostgresMembershipStore {
    async fn impose(
        &self,
        ban: &Ban,
        pace: Pace,
        idempotency: &Idempotency,
        deadline: Deadline,
    ) -> std::result::Result<BanWritten, BanStoreError> {
        let doing = "imposing a ban";
        let work = async {
            let mut session = self.begin_write(doing, deadline).await?;
            let (bans, outbox) = (&self.bans, &self.statements);
            let written = bans.impose(outbox, &mut session, ban, pace, idempotency).await;
            Self::settle(session, written).await
        };
        work.await.map_err(bans::failed(doing))?
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
        let work = async {
            let mut session = self.begin_write(doing, deadline).await?;
            let (bans, outbox) = (&self.bans, &self.statements);
            let written = bans
                .lift(outbox, &mut session, (id, entry), lifted, idempotency)
                .await;
            Self::settle(session, written).await
        };
        work.await.map_err(bans::failed(doing))?
    }

    async fn in_force(
        &self,
        concerns: &[Concern],
        now: SystemTime,
        deadline: Deadline,
    ) -> std::result::Result<Vec<Ban>, BanStoreError> {
        let doing = "reading which bans are in force";
        let work = async {
            let mut session = self.begin(doing, deadline).await?;
            let found = self.bans.in_force(&mut session, concerns, now).await?;
            session.rollback().await.map_err(failed)?;
            Ok(found)
        };
        work.await.map_err(bans::failed(doing))
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
        let work = async {
            let mut session = self.begin(doing, deadline).await?;
            let found = self.bans.list(&mut session, all, after, limit, now).await?;
            session.rollback().await.map_err(failed)?;
            Ok(found)
        };
        work.await.map_err(bans::failed(doing))
    }

    async fn purge_bans(
        &self,
        before: SystemTime,
        deadline: Deadline,
    ) -> std::result::Result<u64, BanStoreError> {
        let doing = "purging bans";
        let work = async {
            let mut session = self.begin_write(doing, deadline).await?;
            let purged = self.bans.purge(&self.statements, &mut session, before).await?;
            session.commit().await.map_err(failed)?;
            Ok(purged)
        };
        work.await.map_err(bans::failed(doing))
    }
}
