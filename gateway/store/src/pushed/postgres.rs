//! Pushed memberships in PostgreSQL: for any number of natsgates.
//!
//! Writers lock one row, so they go one after the other and none loses an update. Reads go to the same server: a standby
//! would answer with what was, so it is not accepted. The tables are made when they are first needed.

mod bans;
mod statements;

use std::time::SystemTime;

use async_trait::async_trait;
use natsgate_core::{
    Announced, Announcement, Deadline, Membership, MembershipFilter, MembershipKey, MembershipPage,
    MembershipStore, MembershipStoreError, MembershipWrite, Principal, Purged, Written,
};
use natsgate_postgres::{Access, Pool, PostgresError, Session};
use tokio::sync::OnceCell;

use self::bans::BanStatements;
use self::statements::Statements;
use crate::schema::{self, Tables, Unprepared};
use crate::settings::SettingsError;

/// The tables, bans' among them.
const TABLES: Tables = Tables {
    of: "pushed memberships",
    versions: "migrations",
    migrations: &[
        include_str!("postgres/schema.sql"),
        include_str!("postgres/bans.sql"),
    ],
};

/// Pushed memberships in a schema of a PostgreSQL database.
pub struct PostgresMembershipStore {
    pool: Pool,
    schema: String,
    statements: Statements,
    bans: BanStatements,
    prepared: OnceCell<()>,
}

impl PostgresMembershipStore {
    /// The store in `schema`, which is made when it is first needed, as are its tables, unless they are there.
    ///
    /// # Errors
    /// `schema` is not a plain name.
    pub fn new(pool: Pool, schema: &str) -> Result<Self, SettingsError> {
        schema::check_name(schema)?;
        Ok(Self {
            pool,
            schema: schema.to_owned(),
            statements: Statements::new(schema),
            bans: BanStatements::new(schema),
            prepared: OnceCell::new(),
        })
    }

    /// Makes the tables unless they are there.
    ///
    /// # Errors
    /// [`MembershipStoreError`]: the server cannot be reached or refuses, or the tables are those of a later release.
    pub async fn prepare(&self, deadline: Deadline) -> Result<(), MembershipStoreError> {
        let made = self
            .prepared
            .get_or_try_init(|| TABLES.prepare(&self.pool, &self.schema, deadline));
        // Somebody else may be making them, with a later deadline.
        match deadline.bound(made).await {
            Ok(Ok(_made)) => Ok(()),
            Ok(Err(Unprepared::Failed(error))) => Err(failed(error)),
            Ok(Err(Unprepared::Unfit(why))) => Err(MembershipStoreError::Damaged(why)),
            Err(passed) => Err(MembershipStoreError::Unavailable {
                doing: "looking after the tables of pushed memberships".to_owned(),
                cause: passed.to_string(),
            }),
        }
    }

    async fn begin(&self, doing: &str, deadline: Deadline) -> Result<Session, MembershipStoreError> {
        self.ready(doing, deadline).await?;
        let begun = self.pool.begin(Access::Read, doing, deadline).await;
        begun.map_err(failed)
    }

    async fn begin_write(&self, doing: &str, deadline: Deadline) -> Result<Session, MembershipStoreError> {
        self.ready(doing, deadline).await?;
        schema::begin_write(&self.pool, doing, deadline)
            .await
            .map_err(failed)
    }

    async fn ready(&self, doing: &str, deadline: Deadline) -> Result<(), MembershipStoreError> {
        if deadline.passed() {
            return Err(MembershipStoreError::Unavailable {
                doing: doing.to_owned(),
                cause: "the deadline passed before it began".to_owned(),
            });
        }
        self.prepare(deadline).await
    }
}

/// What PostgreSQL says, in the port's words.
fn failed(error: PostgresError) -> MembershipStoreError {
    MembershipStoreError::Unavailable {
        doing: "pushed memberships".to_owned(),
        cause: error.to_string(),
    }
}

#[async_trait]
impl MembershipStore for PostgresMembershipStore {
    async fn apply(
        &self,
        write: &MembershipWrite,
        deadline: Deadline,
    ) -> Result<Written, MembershipStoreError> {
        let mut session = self.begin_write("writing pushed memberships", deadline).await?;
        let written = match self.statements.apply(&mut session, write).await {
            // Nothing was wrong with the server: the connection stays.
            Err(
                refused @ (MembershipStoreError::Conflict(_)
                | MembershipStoreError::KeyReused
                | MembershipStoreError::Damaged(_)),
            ) => {
                session.rollback().await.map_err(failed)?;
                return Err(refused);
            }
            other => other?,
        };
        session.commit().await.map_err(failed)?;
        Ok(written)
    }

    async fn of(
        &self,
        principal: &Principal,
        deadline: Deadline,
    ) -> Result<Vec<Membership>, MembershipStoreError> {
        let doing = "reading a principal's pushed memberships";
        let mut session = self.begin(doing, deadline).await?;
        let memberships = self.statements.of(&mut session, principal).await?;
        session.rollback().await.map_err(failed)?;
        Ok(memberships)
    }

    async fn list(
        &self,
        filter: &MembershipFilter,
        after: Option<&MembershipKey>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<MembershipPage, MembershipStoreError> {
        let doing = "listing pushed memberships";
        let mut session = self.begin(doing, deadline).await?;
        let page = self.statements.list(&mut session, filter, after, limit).await?;
        session.rollback().await.map_err(failed)?;
        Ok(page)
    }

    async fn pending(
        &self,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Announcement>, MembershipStoreError> {
        let doing = "reading what is to be announced";
        let mut session = self.begin(doing, deadline).await?;
        let pending = self.statements.pending(&mut session, limit).await?;
        session.rollback().await.map_err(failed)?;
        Ok(pending)
    }

    async fn done(
        &self,
        announced: &[Announced],
        at: SystemTime,
        deadline: Deadline,
    ) -> Result<(), MembershipStoreError> {
        let mut session = self.begin_write("noting what was announced", deadline).await?;
        self.statements.done(&mut session, announced, at).await?;
        session.commit().await.map_err(failed)
    }

    async fn purge(&self, before: SystemTime, deadline: Deadline) -> Result<Purged, MembershipStoreError> {
        let mut session = self.begin_write("purging pushed memberships", deadline).await?;
        let purged = self.statements.purge(&mut session, before).await?;
        session.commit().await.map_err(failed)?;
        Ok(purged)
    }
}

#[cfg(test)]
mod tests;
