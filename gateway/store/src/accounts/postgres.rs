//! What account writers keep, in PostgreSQL: for writers on any number of machines.
//!
//! Every call is one transaction, and whatever changes something of an account locks the row of its lease first, so calls go one
//! after the other. What the time is, is asked of the server once that lock is had. A standby would answer with what was, so it is
//! not accepted. The tables are made when they are first needed.
//!
//! A server's clock that is set forward ends leases early. Nothing is then written by the holder of before, but what it pushes at
//! that moment may come after what its successor pushed: see the writer's documentation, "What is not kept".

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use natsgate_core::{AccountStore, AccountStoreError, Deadline, Fence, Stored};
use natsgate_postgres::types::{FromSql, ToSql};
use natsgate_postgres::{Access, Pool, PostgresError, Row, Session};
use tokio::sync::OnceCell;

use crate::schema::{self, Tables, Unprepared};
use crate::settings::SettingsError;

const TABLES: Tables = Tables {
    of: "account writers",
    versions: "account_migrations",
    migrations: &[include_str!("postgres/schema.sql")],
};

/// The longest lease that is kept; longer ones end then. Times have an end too.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

type Result<T> = std::result::Result<T, AccountStoreError>;

/// What account writers keep, in a schema of a PostgreSQL database.
pub struct PostgresAccountStore {
    pool: Pool,
    schema: String,
    statements: Statements,
    prepared: OnceCell<()>,
}

/// The statements on one schema. Values are parameters, always.
struct Statements {
    acquire: String,
    holder: String,
    lock: String,
    renew: String,
    release: String,
    read: String,
    version: String,
    write: String,
}

impl Statements {
    fn new(schema: &str) -> Self {
        let text = |sql: &str| sql.replace("{schema}", schema);
        Self {
            // The row is locked before WHERE and SET are worked out, also where WHERE then says no.
            acquire: text(
                "INSERT INTO {schema}.account_leases AS lease (account, fence, holder, ends_at)
                 VALUES ($1, 1, $2, clock_timestamp() + $3::bigint * interval '1 microsecond')
                 ON CONFLICT (account) DO UPDATE
                 SET fence = lease.fence + 1, holder = $2,
                     ends_at = clock_timestamp() + $3::bigint * interval '1 microsecond'
                 WHERE lease.holder IS NULL OR lease.holder = $2 OR lease.ends_at <= clock_timestamp()
                 RETURNING fence",
            ),
            holder: text(
                "SELECT holder, greatest(0, extract(epoch FROM ends_at - clock_timestamp()) * 1000000)::bigint
                 FROM {schema}.account_leases WHERE account = $1",
            ),
            lock: text("SELECT fence FROM {schema}.account_leases WHERE account = $1 FOR UPDATE"),
            renew: text(
                "UPDATE {schema}.account_leases
                 SET ends_at = clock_timestamp() + $3::bigint * interval '1 microsecond'
                 WHERE account = $1 AND fence = $2 AND holder IS NOT NULL AND ends_at > clock_timestamp()",
            ),
            release: text(
                "UPDATE {schema}.account_leases SET holder = NULL, ends_at = clock_timestamp()
                 WHERE account = $1 AND fence = $2 AND holder IS NOT NULL",
            ),
            // One row at least, so that a standby shows itself.
            read: text(
                "SELECT pg_is_in_recovery(), version, body
                 FROM (VALUES (1)) AS always LEFT JOIN {schema}.account_wanted ON account = $1",
            ),
            version: text("SELECT version FROM {schema}.account_wanted WHERE account = $1"),
            write: text(
                "INSERT INTO {schema}.account_wanted (account, version, body) VALUES ($1, $2, $3)
                 ON CONFLICT (account) DO UPDATE SET version = EXCLUDED.version, body = EXCLUDED.body",
            ),
        }
    }
}

impl PostgresAccountStore {
    /// The store in `schema`, which is made when it is first needed, as are its tables, unless they are there.
    ///
    /// # Errors
    /// `schema` is not a plain name.
    pub fn new(pool: Pool, schema: &str) -> std::result::Result<Self, SettingsError> {
        schema::check_name(schema)?;
        Ok(Self {
            pool,
            schema: schema.to_owned(),
            statements: Statements::new(schema),
            prepared: OnceCell::new(),
        })
    }

    /// Makes the tables unless they are there.
    ///
    /// # Errors
    /// [`AccountStoreError::Unavailable`]: the server cannot be reached or refuses, or the tables are those of a later release.
    pub async fn prepare(&self, deadline: Deadline) -> Result<()> {
        let made = self
            .prepared
            .get_or_try_init(|| TABLES.prepare(&self.pool, &self.schema, deadline));
        // Somebody else may be making them, with a later deadline.
        match deadline.bound(made).await {
            Ok(Ok(_made)) => Ok(()),
            Ok(Err(Unprepared::Failed(error))) => Err(failed(error)),
            Ok(Err(Unprepared::Unfit(why))) => Err(unavailable(why)),
            Err(passed) => Err(unavailable(format!(
                "looking after its tables: {passed}: is the server there, and not overloaded?"
            ))),
        }
    }

    async fn begin(&self, access: Access, doing: &str, deadline: Deadline) -> Result<Session> {
        if deadline.passed() {
            return Err(unavailable(format!(
                "{doing}: the deadline passed before it began"
            )));
        }
        self.prepare(deadline).await?;
        let begun = match access {
            Access::Read => self.pool.begin(Access::Read, doing, deadline).await,
            Access::Write => schema::begin_write(&self.pool, doing, deadline).await,
        };
        begun.map_err(failed)
    }

    /// Locks the account's lease until the end of the transaction; its newest token, 0 if there was none yet.
    async fn lock(&self, session: &mut Session, account: &str) -> Result<Fence> {
        let rows = session.query(&self.statements.lock, &[&account]).await;
        match rows.map_err(failed)?.first() {
            Some(row) => number(row, 0),
            None => Ok(0),
        }
    }

    /// In the transaction of a write that holds the lock. Refused: nothing was written.
    async fn write_locked(
        &self,
        session: &mut Session,
        account: &str,
        expected: Option<u64>,
        body: &[u8],
    ) -> Result<u64> {
        let rows = session.query(&self.statements.version, &[&account]).await;
        let found = match rows.map_err(failed)?.first() {
            Some(row) => Some(number(row, 0)?),
            None => None,
        };
        if found != expected {
            return Err(AccountStoreError::Conflict { expected, found });
        }
        let version = found.unwrap_or(0).saturating_add(1);
        let kept = i64::try_from(version).map_err(|_| unavailable("its versions are used up"))?;
        let parameters: [&(dyn ToSql + Sync); 3] = [&account, &kept, &body];
        session
            .execute(&self.statements.write, &parameters)
            .await
            .map_err(failed)?;
        Ok(version)
    }
}

#[async_trait]
impl AccountStore for PostgresAccountStore {
    async fn acquire(
        &self,
        account: &str,
        holder: &str,
        duration: Duration,
        deadline: Deadline,
    ) -> Result<Fence> {
        let doing = "acquiring an account's lease";
        let mut session = self.begin(Access::Write, doing, deadline).await?;
        let parameters: [&(dyn ToSql + Sync); 3] = [&account, &holder, &micros(duration)];
        let taken = session.query(&self.statements.acquire, &parameters).await;
        if let Some(row) = taken.map_err(failed)?.first() {
            let fence = number(row, 0)?;
            session.commit().await.map_err(failed)?;
            return Ok(fence);
        }
        // The row is locked, so this is who was in the way.
        let rows = session.query(&self.statements.holder, &[&account]).await;
        let rows = rows.map_err(failed)?;
        session.rollback().await.map_err(failed)?;
        let row = rows
            .first()
            .ok_or_else(|| unavailable("a lease that was there is gone: who deletes rows there?"))?;
        Err(AccountStoreError::Held {
            holder: get(row, 0)?,
            remaining: Duration::from_micros(number(row, 1)?),
        })
    }

    async fn renew(&self, account: &str, fence: Fence, duration: Duration, deadline: Deadline) -> Result<()> {
        let doing = "renewing an account's lease";
        // No such token was ever given.
        let kept = i64::try_from(fence).map_err(|_| AccountStoreError::Lost { fence })?;
        let mut session = self.begin(Access::Write, doing, deadline).await?;
        self.lock(&mut session, account).await?;
        let parameters: [&(dyn ToSql + Sync); 3] = [&account, &kept, &micros(duration)];
        let renewed = session.execute(&self.statements.renew, &parameters).await;
        let renewed = renewed.map_err(failed)?;
        session.commit().await.map_err(failed)?;
        if renewed == 0 {
            return Err(AccountStoreError::Lost { fence });
        }
        Ok(())
    }

    async fn release(&self, account: &str, fence: Fence, deadline: Deadline) -> Result<()> {
        let Ok(kept) = i64::try_from(fence) else {
            return Ok(());
        };
        let doing = "releasing an account's lease";
        let mut session = self.begin(Access::Write, doing, deadline).await?;
        let released = session
            .execute(&self.statements.release, &[&account, &kept])
            .await;
        released.map_err(failed)?;
        session.commit().await.map_err(failed)
    }

    async fn read(&self, account: &str, deadline: Deadline) -> Result<Option<Stored>> {
        let doing = "reading what is wanted of an account";
        let mut session = self.begin(Access::Read, doing, deadline).await?;
        let rows = session.query(&self.statements.read, &[&account]).await;
        let rows = rows.map_err(failed)?;
        session.rollback().await.map_err(failed)?;
        let row = rows.first().ok_or_else(|| unavailable("no row came"))?;
        if get(row, 0)? {
            return Err(unavailable(format!(
                "PostgreSQL at {} is a standby, which may not have the newest: name the primary",
                self.pool.at()
            )));
        }
        let Some(body) = get::<Option<&[u8]>>(row, 2)? else {
            return Ok(None);
        };
        Ok(Some(Stored {
            version: number(row, 1)?,
            body: Bytes::copy_from_slice(body),
        }))
    }

    async fn write(
        &self,
        account: &str,
        fence: Fence,
        expected: Option<u64>,
        body: Bytes,
        deadline: Deadline,
    ) -> Result<u64> {
        let doing = "writing what is wanted of an account";
        let mut session = self.begin(Access::Write, doing, deadline).await?;
        let newest = self.lock(&mut session, account).await?;
        // 0 was never given.
        let written = if newest == fence && fence != 0 {
            self.write_locked(&mut session, account, expected, &body).await
        } else {
            Err(AccountStoreError::Fenced { fence, newest })
        };
        match written {
            Ok(version) => {
                session.commit().await.map_err(failed)?;
                Ok(version)
            }
            // Nothing was wrong with the server: the connection stays.
            Err(refused @ (AccountStoreError::Fenced { .. } | AccountStoreError::Conflict { .. })) => {
                session.rollback().await.map_err(failed)?;
                Err(refused)
            }
            Err(other) => Err(other),
        }
    }
}

/// What PostgreSQL says, in the port's words.
fn failed(error: PostgresError) -> AccountStoreError {
    unavailable(error.to_string())
}

fn unavailable(cause: impl Into<String>) -> AccountStoreError {
    AccountStoreError::Unavailable {
        doing: "what account writers keep".to_owned(),
        cause: cause.into(),
    }
}

/// `duration` as it is added to a time.
fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.min(LONGEST).as_micros()).unwrap_or(i64::MAX)
}

/// A column whose type the statement gives.
fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T> {
    row.try_get(column).map_err(|_| {
        unavailable(format!(
            "column {column} of an answer cannot be read: somebody changed the tables; put them back as they were made"
        ))
    })
}

fn number(row: &Row, column: usize) -> Result<u64> {
    let number: i64 = get(row, column)?;
    u64::try_from(number).map_err(|_| unavailable(format!("column {column} of an answer is below 0")))
}

#[cfg(test)]
mod tests;
