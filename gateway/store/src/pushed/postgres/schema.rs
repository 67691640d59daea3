//! The schema: its name, and how it comes to be what this release needs.

use natsgate_core::{Deadline, MembershipStoreError};
use natsgate_postgres::{Access, Pool};

use super::failed;

/// What leads from each version of the schema to the next.
const MIGRATIONS: [&str; 2] = [include_str!("schema.sql"), include_str!("bans.sql")];

/// Whether `name` can be a schema's: it becomes part of statements, so it holds nothing that would need quotes.
pub(super) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 48
        && bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !name.starts_with("pg_")
}

/// Brings `schema` to the version this release needs. Several instances may do so at once.
pub(super) async fn prepare(
    pool: &Pool,
    schema: &str,
    deadline: Deadline,
) -> Result<(), MembershipStoreError> {
    let doing = "looking after the tables of pushed memberships";
    let mut session = pool.begin(Access::Read, doing, deadline).await.map_err(failed)?;
    let found = version(&mut session, schema).await?;
    session.rollback().await.map_err(failed)?;
    // The usual case; it needs no right to make tables.
    if found == Some(MIGRATIONS.len()) {
        return Ok(());
    }

    let mut session = pool.begin(Access::Write, doing, deadline).await.map_err(failed)?;
    session
        .batch("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        .await
        .map_err(failed)?;
    // One after the other, until the end of the transaction.
    session
        .query(
            "SELECT pg_advisory_xact_lock(hashtextextended('natsgate schema ' || $1, 0))::text",
            &[&schema],
        )
        .await
        .map_err(failed)?;
    let found = version(&mut session, schema).await?.unwrap_or(0);
    if found > MIGRATIONS.len() {
        return Err(MembershipStoreError::Damaged(format!(
            "schema {schema} is of version {found}, this natsgate knows {}: use the release that made it, or a later one",
            MIGRATIONS.len()
        )));
    }
    if found == 0 {
        let begin = format!(
            "CREATE SCHEMA IF NOT EXISTS {schema};
             CREATE TABLE IF NOT EXISTS {schema}.migrations (
                 version integer PRIMARY KEY,
                 applied_at timestamptz NOT NULL DEFAULT now()
             )"
        );
        session.batch(&begin).await.map_err(failed)?;
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(found) {
        let sql = migration.replace("{schema}", schema);
        session.batch(&sql).await.map_err(failed)?;
        let note = format!("INSERT INTO {schema}.migrations (version) VALUES ({})", index + 1);
        session.batch(&note).await.map_err(failed)?;
    }
    session.commit().await.map_err(failed)?;
    if found < MIGRATIONS.len() {
        tracing::info!(
            schema,
            from = found,
            to = MIGRATIONS.len(),
            at = pool.at(),
            "the tables of pushed memberships were made or changed"
        );
    }
    Ok(())
}

/// The version of `schema`; `None` if it is not there.
async fn version(
    session: &mut natsgate_postgres::Session,
    schema: &str,
) -> Result<Option<usize>, MembershipStoreError> {
    let table = format!("{schema}.migrations");
    // From the catalogue's rows: `to_regclass` would answer from the backend's memory, which does not learn of tables that
    // were made while it waited for the lock.
    let there = session
        .query(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                            WHERE n.nspname = $1::text AND c.relname = 'migrations')",
            &[&schema],
        )
        .await
        .map_err(failed)?;
    if !there.first().is_some_and(|row| row.try_get(0).unwrap_or(false)) {
        return Ok(None);
    }
    let rows = session
        .query(&format!("SELECT coalesce(max(version), 0) FROM {table}"), &[])
        .await
        .map_err(failed)?;
    let version: i32 = rows
        .first()
        .and_then(|row| row.try_get(0).ok())
        .ok_or_else(|| MembershipStoreError::Damaged(format!("{table} cannot be read")))?;
    Ok(usize::try_from(version).ok())
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
