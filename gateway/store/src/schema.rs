//! Schemas in PostgreSQL: their names, and how the tables in one come to be what this release needs.
//!
//! Several stores may be in one schema: each counts the versions of its own tables. What is in the tables is theirs to know.

use natsgate_core::Deadline;
use natsgate_postgres::{Access, Pool, PostgresError, Session};

use crate::settings::SettingsError;

/// The tables of one store.
pub(crate) struct Tables {
    /// What they are of, for people: `pushed memberships`.
    pub(crate) of: &'static str,
    /// The table that tells their version.
    pub(crate) versions: &'static str,
    /// What leads from each version to the next; `{schema}` stands for the schema.
    pub(crate) migrations: &'static [&'static str],
}

/// Why tables are not what this release needs.
pub(crate) enum Unprepared {
    /// The server did not say, or would not make them.
    Failed(PostgresError),
    /// They are there, and not for this release: why, and the mend.
    Unfit(String),
}

impl From<PostgresError> for Unprepared {
    fn from(error: PostgresError) -> Self {
        Self::Failed(error)
    }
}

/// Whether `name` can be a schema's.
///
/// # Errors
/// What a name must be.
pub(crate) fn check_name(name: &str) -> Result<(), SettingsError> {
    if is_name(name) {
        return Ok(());
    }
    Err(SettingsError::new(
        "schema",
        "must be lower-case letters, digits and `_`, 48 at most, beginning with a letter but not with `pg_`",
    ))
}

/// A schema's name becomes part of statements, so it holds nothing that would need quotes.
fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 48
        && bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !name.starts_with("pg_")
}

/// Begins a transaction that writes: each statement sees what was committed before it, after a lock everything. And what we are told is
/// committed must survive a crash of the server, whatever its default is.
pub(crate) async fn begin_write(
    pool: &Pool,
    doing: &str,
    deadline: Deadline,
) -> Result<Session, PostgresError> {
    let mut session = pool.begin(Access::Write, doing, deadline).await?;
    session
        .batch(
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
             SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'",
        )
        .await?;
    Ok(session)
}

impl Tables {
    /// Brings them, in `schema`, to the version this release needs. Several instances may do so at once.
    pub(crate) async fn prepare(
        &self,
        pool: &Pool,
        schema: &str,
        deadline: Deadline,
    ) -> Result<(), Unprepared> {
        let newest = self.migrations.len();
        let doing = format!("looking after the tables of {}", self.of);
        let mut session = pool.begin(Access::Read, &doing, deadline).await?;
        let found = self.version(&mut session, schema).await?;
        session.rollback().await?;
        // The usual case; it needs no right to make tables.
        if found == Some(newest) {
            return Ok(());
        }

        let mut session = begin_write(pool, &doing, deadline).await?;
        // One after the other, until the end of the transaction.
        session
            .query(
                "SELECT pg_advisory_xact_lock(hashtextextended('natsgate schema ' || $1, 0))::text",
                &[&schema],
            )
            .await?;
        let found = self.version(&mut session, schema).await?.unwrap_or(0);
        if found > newest {
            return Err(Unprepared::Unfit(format!(
                "the tables of {} in schema {schema} are of version {found}, this natsgate knows {newest}: use the release \
                 that made them, or a later one",
                self.of
            )));
        }
        let versions = self.versions;
        if found == 0 {
            let begin = format!(
                "CREATE SCHEMA IF NOT EXISTS {schema};
                 CREATE TABLE IF NOT EXISTS {schema}.{versions} (
                     version integer PRIMARY KEY,
                     applied_at timestamptz NOT NULL DEFAULT now()
                 )"
            );
            session.batch(&begin).await?;
        }
        for (index, migration) in self.migrations.iter().enumerate().skip(found) {
            session.batch(&migration.replace("{schema}", schema)).await?;
            let note = format!("INSERT INTO {schema}.{versions} (version) VALUES ({})", index + 1);
            session.batch(&note).await?;
        }
        session.commit().await?;
        if found < newest {
            tracing::info!(
                schema,
                from = found,
                to = newest,
                at = pool.at(),
                "the tables of {} were made or changed",
                self.of
            );
        }
        Ok(())
    }

    /// The version in `schema`; `None` if there is none.
    async fn version(&self, session: &mut Session, schema: &str) -> Result<Option<usize>, Unprepared> {
        // From the catalogue's rows: `to_regclass` would answer from the backend's memory, which does not learn of tables that
        // were made while it waited for the lock.
        let there = session
            .query(
                "SELECT EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                                WHERE n.nspname = $1::text AND c.relname = $2::text)",
                &[&schema, &self.versions],
            )
            .await?;
        if !there.first().is_some_and(|row| row.try_get(0).unwrap_or(false)) {
            return Ok(None);
        }
        let table = format!("{schema}.{}", self.versions);
        let rows = session
            .query(&format!("SELECT coalesce(max(version), 0) FROM {table}"), &[])
            .await?;
        let version: i32 = rows
            .first()
            .and_then(|row| row.try_get(0).ok())
            .ok_or_else(|| Unprepared::Unfit(format!("{table} cannot be read")))?;
        Ok(usize::try_from(version).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_has_a_plain_name() {
        assert!(is_name("natsgate") && is_name("n") && is_name("natsgate_2"));
        for bad in [
            "",
            "2n",
            "_n",
            "Natsgate",
            "nats-gate",
            "n;x",
            "n\"x",
            "n x",
            "é",
            "pg_x",
            &"n".repeat(49),
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
