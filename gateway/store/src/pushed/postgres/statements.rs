//! The statements, and what their rows mean. Values are parameters, always; only the schema's name, which is a plain
//! word, is part of a statement's text.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use natsgate_core::{
    Announced, Announcement, EntryId, Membership, MembershipFilter, MembershipKey, MembershipPage,
    MembershipRecord, MembershipStoreError, MembershipWrite, Names, Principal, Purged, Written,
};
use natsgate_postgres::types::{FromSql, ToSql};
use natsgate_postgres::{Row, Session};

use super::failed;
use crate::pushed::MAX_PER_PRINCIPAL;
use crate::pushed::answer::{Answer, decode, encode};
use crate::pushed::bans::Standing;
use crate::pushed::plan::{Plan, plan};

type Result<T> = std::result::Result<T, MembershipStoreError>;

/// The columns of a record, in the order [`record`] reads them in.
const RECORD: &str = "issuer, subject, kind, id, role, version, deleted, changed_at, changed_by";

/// The statements on one schema.
pub(super) struct Statements {
    lock: String,
    answer: String,
    before: String,
    put: String,
    head: String,
    announce: String,
    rests_on: String,
    keep_answer: String,
    announced: String,
    of: String,
    list: String,
    pending: String,
    done: String,
    purge: [String; 3],
}

impl Statements {
    /// Those on `schema`.
    pub(super) fn new(schema: &str) -> Self {
        let text = |sql: &str| sql.replace("{schema}", schema).replace("{record}", RECORD);
        Self {
            lock: text("SELECT version FROM {schema}.pushed_head FOR UPDATE"),
            answer: text("SELECT body, answer FROM {schema}.pushed_answers WHERE key = $1"),
            before: text(
                "SELECT asked.place, {record}
                 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
                      WITH ORDINALITY AS asked (issuer, subject, kind, id, role, place)
                 JOIN {schema}.pushed_memberships USING (issuer, subject, kind, id, role)",
            ),
            put: text(
                "INSERT INTO {schema}.pushed_memberships ({record})
                 SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[],
                                      $6::bigint[], $7::boolean[], $8::bigint[], $9::text[])
                 ON CONFLICT (issuer, subject, kind, id, role) DO UPDATE
                 SET version = EXCLUDED.version, deleted = EXCLUDED.deleted,
                     changed_at = EXCLUDED.changed_at, changed_by = EXCLUDED.changed_by",
            ),
            head: text("UPDATE {schema}.pushed_head SET version = $1"),
            announce: text(
                "INSERT INTO {schema}.pushed_announcements (id, issuer, subject, announcement) VALUES ($1, $2, $3, $4)",
            ),
            rests_on: text(
                "SELECT id FROM {schema}.pushed_announcements
                 WHERE issuer = $1 AND subject = $2 AND revision IS NULL
                 UNION
                 (SELECT id FROM {schema}.pushed_announcements
                  WHERE issuer = $1 AND subject = $2 AND revision IS NOT NULL
                  ORDER BY number DESC LIMIT 1)",
            ),
            keep_answer: text(
                "INSERT INTO {schema}.pushed_answers (key, body, at, answer) VALUES ($1, $2, $3, $4)",
            ),
            announced: text(
                "SELECT id, announcement, revision, confirmed FROM {schema}.pushed_announcements
                 WHERE id = ANY ($1) ORDER BY number",
            ),
            // One row at least, so that a standby shows itself.
            of: text(
                "SELECT pg_is_in_recovery(), kind, id, role
                 FROM (VALUES (1)) AS always
                 LEFT JOIN {schema}.pushed_memberships ON issuer = $1 AND subject = $2 AND NOT deleted
                 ORDER BY kind, id, role LIMIT $3",
            ),
            list: text("SELECT {record} FROM {schema}.pushed_memberships"),
            pending: text(
                "SELECT announcement FROM {schema}.pushed_announcements
                 WHERE revision IS NULL ORDER BY number LIMIT $1",
            ),
            done: text(
                "UPDATE {schema}.pushed_announcements
                 SET revision = $2, confirmed = $3, known_since = $4 WHERE id = $1 AND revision IS NULL",
            ),
            purge: [
                text("DELETE FROM {schema}.pushed_memberships WHERE deleted AND changed_at < $1"),
                text("DELETE FROM {schema}.pushed_answers WHERE at < $1"),
                text("DELETE FROM {schema}.pushed_announcements WHERE known_since < $1"),
            ],
        }
    }

    /// Does `write`, or finds that it was done.
    pub(super) async fn apply(&self, session: &mut Session, write: &MembershipWrite) -> Result<Written> {
        let version = self.lock(session).await?;
        let asked = write.idempotency();
        let kept = query(session, &self.answer, &[&asked.key.as_slice()]).await?;
        if let Some(row) = kept.first() {
            if get::<&[u8]>(row, 0)? != asked.body {
                return Err(MembershipStoreError::KeyReused);
            }
            let answer = decode("an answer", get(row, 1)?)?;
            return self.written(session, answer, true).await;
        }

        let before = self.before(session, write).await?;
        let plan = plan(write, &before, version).map_err(MembershipStoreError::Conflict)?;
        if plan.version != version {
            self.put(session, &plan).await?;
            execute(session, &self.head, &[&number(plan.version)?]).await?;
        }
        let mut announcements = Vec::new();
        for principal in &plan.unchanged {
            let rows = query(session, &self.rests_on, &[&principal.issuer, &principal.subject]).await?;
            for row in &rows {
                announcements.push(entry_id(row, 0)?);
            }
        }
        for (principal, announcement) in &plan.announcements {
            announcements.push(announcement.id);
            self.announce(session, principal, announcement).await?;
        }
        let answer = Answer {
            outcomes: plan.outcomes,
            announcements,
        };
        let (key, body) = (asked.key.as_slice(), asked.body.as_slice());
        let (at, bytes) = (micros(write.at())?, encode(&answer)?);
        execute(session, &self.keep_answer, &[&key, &body, &at, &bytes]).await?;
        self.written(session, answer, false).await
    }

    /// The number of the last write. Nobody else writes until this transaction is over.
    pub(super) async fn lock(&self, session: &mut Session) -> Result<u64> {
        let rows = query(session, &self.lock, &[]).await?;
        let row = rows.first().ok_or_else(|| damaged("its head is missing"))?;
        version(row, 0)
    }

    /// The records that `write` is about, in its order.
    async fn before(
        &self,
        session: &mut Session,
        write: &MembershipWrite,
    ) -> Result<Vec<Option<MembershipRecord>>> {
        let keys = Keys::of(write.items().iter().map(|item| &item.key));
        let rows = query(session, &self.before, &keys.parameters()).await?;
        let mut before = vec![None; write.items().len()];
        for row in &rows {
            // Counted from 1.
            let place = usize::try_from(get::<i64>(row, 0)?).ok();
            let slot = place.and_then(|place| before.get_mut(place.checked_sub(1)?));
            *slot.ok_or_else(|| damaged("an answer was out of place"))? = Some(record(row, 1)?);
        }
        Ok(before)
    }

    async fn put(&self, session: &mut Session, plan: &Plan) -> Result<()> {
        let changed: Vec<&MembershipRecord> = plan
            .outcomes
            .iter()
            .filter(|outcome| outcome.changed)
            .map(|outcome| &outcome.record)
            .collect();
        let keys = Keys::of(changed.iter().map(|record| &record.key));
        let mut versions = Vec::new();
        let mut times = Vec::new();
        for record in &changed {
            versions.push(number(record.version)?);
            times.push(micros(record.changed_at)?);
        }
        let deleted: Vec<bool> = changed.iter().map(|record| record.deleted).collect();
        let by: Vec<&str> = changed.iter().map(|record| record.changed_by.as_str()).collect();
        let mut parameters = keys.parameters().to_vec();
        parameters.extend([&versions as &(dyn ToSql + Sync), &deleted, &times, &by]);
        execute(session, &self.put, &parameters).await?;
        Ok(())
    }

    /// Puts `announcement` into the outbox, under `principal`.
    pub(super) async fn announce(
        &self,
        session: &mut Session,
        principal: &Principal,
        announcement: &Announcement,
    ) -> Result<()> {
        let (id, bytes) = (announcement.id.0.as_slice(), encode(announcement)?);
        let parameters: [&(dyn ToSql + Sync); 4] = [&id, &principal.issuer, &principal.subject, &bytes];
        execute(session, &self.announce, &parameters).await?;
        Ok(())
    }

    /// The answer, with what is announced and what is not by now.
    async fn written(&self, session: &mut Session, answer: Answer, repeated: bool) -> Result<Written> {
        let mut written = Written {
            outcomes: answer.outcomes,
            pending: Vec::new(),
            announced: Vec::new(),
            repeated,
        };
        for standing in self.standings(session, &answer.announcements).await? {
            written.announced.extend(standing.announced);
            written.pending.extend(standing.pending);
        }
        Ok(written)
    }

    /// How far the announcement `id` has come.
    pub(super) async fn standing(&self, session: &mut Session, id: EntryId) -> Result<Standing> {
        let mut standings = self.standings(session, &[id]).await?;
        Ok(standings.pop().unwrap_or_default())
    }

    /// How far these have, in the order they were made in; those that were purged are left out.
    async fn standings(&self, session: &mut Session, ids: &[EntryId]) -> Result<Vec<Standing>> {
        let ids: Vec<&[u8]> = ids.iter().map(|id| id.0.as_slice()).collect();
        let mut standings = Vec::new();
        for row in &query(session, &self.announced, &[&ids]).await? {
            standings.push(match get::<Option<&str>>(row, 2)? {
                Some(revision) => Standing {
                    pending: None,
                    announced: Some(Announced {
                        id: entry_id(row, 0)?,
                        revision: revision
                            .parse()
                            .map_err(|_| damaged("an announcement's revision cannot be read"))?,
                        confirmed: get::<Option<bool>>(row, 3)?.unwrap_or(false),
                    }),
                },
                None => Standing {
                    pending: Some(decode("an announcement", get(row, 1)?)?),
                    announced: None,
                },
            });
        }
        Ok(standings)
    }

    /// What `principal` belongs to.
    pub(super) async fn of(&self, session: &mut Session, principal: &Principal) -> Result<Vec<Membership>> {
        if has_nul([&principal.issuer, &principal.subject]) {
            return Ok(Vec::new());
        }
        let most = MAX_PER_PRINCIPAL as i64 + 1;
        let rows = query(session, &self.of, &[&principal.issuer, &principal.subject, &most]).await?;
        let unavailable = |cause: &str| MembershipStoreError::Unavailable {
            doing: "reading a principal's pushed memberships".to_owned(),
            cause: cause.to_owned(),
        };
        if rows.len() > MAX_PER_PRINCIPAL {
            return Err(unavailable("there are more than 10,000"));
        }
        let mut memberships = Vec::new();
        for row in &rows {
            if get::<bool>(row, 0)? {
                return Err(unavailable(
                    "the server is a standby, which may be behind: name the primary as `host`",
                ));
            }
            let Some(kind) = get::<Option<String>>(row, 1)? else {
                continue;
            };
            memberships.push(Membership {
                kind,
                id: get(row, 2)?,
                role: get(row, 3)?,
            });
        }
        Ok(memberships)
    }

    /// A page of records.
    pub(super) async fn list(
        &self,
        session: &mut Session,
        filter: &MembershipFilter,
        after: Option<&MembershipKey>,
        limit: usize,
    ) -> Result<MembershipPage> {
        let wanted = [
            ("issuer", &filter.issuer),
            ("subject", &filter.subject),
            ("kind", &filter.kind),
            ("id", &filter.id),
            ("role", &filter.role),
        ];
        let reach = &filter.reach;
        let within = [
            ("issuer = ANY", &reach.issuers),
            ("kind = ANY", &reach.kinds),
            ("role = ANY", &reach.roles),
            ("id ^@ ANY", &reach.id_prefixes),
        ]
        .map(|(condition, names)| match names {
            Names::All => None,
            Names::Only(names) => Some((condition, names.iter().map(String::as_str).collect::<Vec<_>>())),
        });
        let after = after.map(|after| {
            let MembershipKey {
                principal,
                membership,
            } = after;
            [
                &principal.issuer,
                &principal.subject,
                &membership.kind,
                &membership.id,
                &membership.role,
            ]
        });
        let page = |records: Vec<MembershipRecord>, next| MembershipPage { records, next };
        if has_nul(wanted.iter().filter_map(|(_, value)| value.as_ref())) || after.is_some_and(has_nul) {
            return Ok(page(Vec::new(), None));
        }

        let mut parameters: Vec<&(dyn ToSql + Sync)> = Vec::new();
        let mut conditions = Vec::new();
        for (column, value) in &wanted {
            if let Some(value) = value {
                parameters.push(value);
                conditions.push(format!("{column} = ${}", parameters.len()));
            }
        }
        for (condition, names) in within.iter().flatten() {
            parameters.push(names);
            conditions.push(format!("{condition} (${}::text[])", parameters.len()));
        }
        if let Some(after) = &after {
            let first = parameters.len() + 1;
            parameters.extend(after.iter().map(|part| *part as &(dyn ToSql + Sync)));
            let places: Vec<String> = (first..first + after.len())
                .map(|place| format!("${place}"))
                .collect();
            conditions.push(format!(
                "(issuer, subject, kind, id, role) > ({})",
                places.join(", ")
            ));
        }
        if !filter.deleted {
            conditions.push("NOT deleted".to_owned());
        }
        let mut sql = self.list.clone();
        if !conditions.is_empty() {
            sql.push_str(" WHERE ");
            sql.push_str(&conditions.join(" AND "));
        }
        let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        parameters.push(&most);
        sql.push_str(&format!(
            " ORDER BY issuer, subject, kind, id, role LIMIT ${}",
            parameters.len()
        ));
        let rows = query(session, &sql, &parameters).await?;
        let mut records = Vec::with_capacity(rows.len().min(limit));
        for row in rows.iter().take(limit) {
            records.push(record(row, 0)?);
        }
        let more = rows.len() > limit;
        let next = records.last().filter(|_| more).map(|last| last.key.clone());
        Ok(page(records, next))
    }

    /// The oldest announcements not yet known to be appended.
    pub(super) async fn pending(&self, session: &mut Session, limit: usize) -> Result<Vec<Announcement>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = query(session, &self.pending, &[&limit]).await?;
        rows.iter()
            .map(|row| decode("an announcement", get(row, 0)?))
            .collect()
    }

    /// Notes that announcements were appended.
    pub(super) async fn done(
        &self,
        session: &mut Session,
        announced: &[Announced],
        at: SystemTime,
    ) -> Result<()> {
        let at = micros(at)?;
        // In one order, so that two who note the same do not lock each other out.
        let mut announced: Vec<&Announced> = announced.iter().collect();
        announced.sort_by_key(|one| one.id.0);
        for one in announced {
            let (id, revision) = (one.id.0.as_slice(), one.revision.to_string());
            execute(session, &self.done, &[&id, &revision, &one.confirmed, &at]).await?;
        }
        Ok(())
    }

    /// Forgets what is from before `before`.
    pub(super) async fn purge(&self, session: &mut Session, before: SystemTime) -> Result<Purged> {
        // No write is under way that rests on what is purged.
        self.lock(session).await?;
        let before = micros(before)?;
        let [tombstones, answers, announcements] = &self.purge;
        Ok(Purged {
            tombstones: execute(session, tombstones, &[&before]).await?,
            answers: execute(session, answers, &[&before]).await?,
            announcements: execute(session, announcements, &[&before]).await?,
        })
    }
}

/// Keys, column by column.
struct Keys<'a>([Vec<&'a str>; 5]);

impl<'a> Keys<'a> {
    fn of(keys: impl Iterator<Item = &'a MembershipKey>) -> Self {
        let mut columns: [Vec<&str>; 5] = Default::default();
        for MembershipKey {
            principal,
            membership,
        } in keys
        {
            let parts = [
                &principal.issuer,
                &principal.subject,
                &membership.kind,
                &membership.id,
                &membership.role,
            ];
            for (column, part) in columns.iter_mut().zip(parts) {
                column.push(part);
            }
        }
        Self(columns)
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 5] {
        self.0.each_ref().map(|column| column as &(dyn ToSql + Sync))
    }
}

pub(super) async fn query(
    session: &mut Session,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>> {
    session.query(sql, parameters).await.map_err(failed)
}

pub(super) async fn execute(
    session: &mut Session,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<u64> {
    session.execute(sql, parameters).await.map_err(failed)
}

fn damaged(what: &str) -> MembershipStoreError {
    MembershipStoreError::Damaged(what.to_owned())
}

pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T> {
    row.try_get(column).map_err(|_| {
        damaged(&format!(
            "column {column} of an answer has another type than expected"
        ))
    })
}

fn entry_id(row: &Row, column: usize) -> Result<EntryId> {
    let bytes: &[u8] = get(row, column)?;
    bytes
        .try_into()
        .map(EntryId)
        .map_err(|_| damaged("an announcement's name has not 16 bytes"))
}

fn version(row: &Row, column: usize) -> Result<u64> {
    u64::try_from(get::<i64>(row, column)?).map_err(|_| damaged("a version is negative"))
}

fn number(version: u64) -> Result<i64> {
    i64::try_from(version).map_err(|_| damaged("there are no more versions"))
}

/// The record in the columns of [`RECORD`], the first of which is `first`.
fn record(row: &Row, first: usize) -> Result<MembershipRecord> {
    let changed_at = u64::try_from(get::<i64>(row, first + 7)?)
        .ok()
        .and_then(|micros| UNIX_EPOCH.checked_add(Duration::from_micros(micros)));
    Ok(MembershipRecord {
        key: MembershipKey {
            principal: Principal {
                issuer: get(row, first)?,
                subject: get(row, first + 1)?,
            },
            membership: Membership {
                kind: get(row, first + 2)?,
                id: get(row, first + 3)?,
                role: get(row, first + 4)?,
            },
        },
        version: version(row, first + 5)?,
        deleted: get(row, first + 6)?,
        changed_at: changed_at.ok_or_else(|| damaged("a time cannot be one"))?,
        changed_by: get(row, first + 8)?,
    })
}

/// `time` as it is kept.
pub(super) fn micros(time: SystemTime) -> Result<i64> {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_micros()).map_err(|_| damaged("a time is too far ahead"))
}

/// Whether one of `texts` has the one character that PostgreSQL cannot keep: then no record has that text.
fn has_nul<'a>(texts: impl IntoIterator<Item = &'a String>) -> bool {
    texts.into_iter().any(|text| text.contains('\0'))
}
