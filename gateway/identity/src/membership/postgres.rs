//! Memberships that a query to PostgreSQL gives.
//!
//! A value never becomes part of the query's text: placeholders become parameters. What the query gives is taken whole or
//! not at all: a missing column, an empty id, a row too many mean that the source is broken, and that is no answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use natsgate_core::{
    Deadline, Denial, DenialReason, Failure, Identity, Membership, MembershipSource, Unavailable,
};
use natsgate_postgres::types::ToSql;
use natsgate_postgres::{Access, Pool, Row, Rows};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::placeholder::{self, Part, Placeholder};
use crate::settings::SettingsError;
use crate::settings::membership::postgres::PostgresMembershipSettings;
use shape::Shape;

mod shape;

/// How long the check at the start may take.
const CHECK_WITHIN: Duration = Duration::from_secs(30);

/// What is being done, in errors.
const DOING: &str = "reading memberships";

/// Memberships that a query gives.
pub struct PostgresMemberships {
    settings: PostgresMembershipSettings,
    name: String,
    pool: Pool,
    /// With `$1`, `$2`, … for the placeholders.
    query: String,
    parameters: Vec<Placeholder>,
}

impl fmt::Debug for PostgresMemberships {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresMemberships").field(&self.name).finish()
    }
}

impl PostgresMemberships {
    /// The source of `settings`. The database need not be there.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn new(settings: &PostgresMembershipSettings) -> Result<Self, SettingsError> {
        settings.validate()?;
        let (query, parameters) = numbered(&settings.query)
            .map_err(|problem| SettingsError::new(settings.key("query"), problem))?;
        let pool = Pool::new(&settings.database).map_err(|error| {
            SettingsError::new(settings.key(&format!("database.{}", error.field)), error.problem)
        })?;
        Ok(Self {
            name: format!("postgres {}", settings.name),
            settings: settings.clone(),
            pool,
            query,
            parameters,
        })
    }

    /// As [`Self::new`], and checks the query in the background, so that a wrong one is in the log before anybody asks.
    /// Must run within a Tokio runtime.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn open(settings: &PostgresMembershipSettings) -> Result<Arc<Self>, SettingsError> {
        let source = Arc::new(Self::new(settings)?);
        let checked = Arc::clone(&source);
        tokio::spawn(async move {
            match checked.check(Deadline::after(CHECK_WITHIN)).await {
                Ok(()) => tracing::info!(source = checked.name, "the memberships' query is in order"),
                Err(error) => tracing::error!(
                    source = checked.name,
                    %error,
                    "memberships are unavailable until this is mended"
                ),
            }
        });
        Ok(source)
    }

    /// Whether the database is there and has what the query wants, and the query gives what memberships are made of.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn check(&self, deadline: Deadline) -> Result<(), Unavailable> {
        let mut session = self
            .pool
            .begin(Access::Read, "checking the query", deadline)
            .await
            .map_err(|e| self.broken(e))?;
        let statement = session.prepare(&self.query).await.map_err(|e| self.broken(e))?;
        self.shape(&statement)?;
        session.rollback().await.map_err(|e| self.broken(e))
    }

    fn shape(&self, statement: &natsgate_postgres::Statement) -> Result<Shape, Unavailable> {
        Shape::of(statement, &self.parameters, &self.settings).map_err(|problem| self.broken(problem))
    }

    async fn ask(&self, values: &[String], deadline: Deadline) -> Result<Vec<Membership>, Unavailable> {
        let parameters: Vec<&(dyn ToSql + Sync)> =
            values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        let mut session = self
            .pool
            .begin(Access::Read, DOING, deadline)
            .await
            .map_err(|e| self.broken(e))?;
        let statement = session.prepare(&self.query).await.map_err(|e| self.broken(e))?;
        let shape = self.shape(&statement)?;
        let most = self.settings.max_rows;
        let rows = session
            .query_at_most(most, &self.query, &parameters)
            .await
            .map_err(|e| self.broken(e))?;
        let Rows::All(rows) = rows else {
            return Err(self.broken(format!(
                "one person has more than {most} rows: is a condition missing in `query`? If not, raise `max_rows`"
            )));
        };
        session.rollback().await.map_err(|e| self.broken(e))?;
        self.read(&shape, &rows)
    }

    fn read(&self, shape: &Shape, rows: &[Row]) -> Result<Vec<Membership>, Unavailable> {
        let mut memberships = rows
            .iter()
            .map(|row| shape.read(row, &self.settings))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|problem| self.broken(problem))?;
        memberships.sort();
        memberships.dedup();
        Ok(memberships)
    }

    fn values(&self, identity: &Identity) -> Result<Vec<String>, Denial> {
        let value = |placeholder: &Placeholder| {
            let value = placeholder.value(identity)?;
            if value.contains('\0') {
                return Err(Denial::new(
                    DenialReason::UnsafeValue,
                    format!("{placeholder} holds a NUL, which no text in {} can", self.name),
                ));
            }
            Ok(value)
        };
        self.parameters.iter().map(value).collect()
    }

    fn applies(&self, identity: &Identity) -> bool {
        self.settings.providers.is_empty() || self.settings.providers.contains(&identity.provider)
    }

    fn broken(&self, problem: impl fmt::Display) -> Unavailable {
        Unavailable::new(format!("membership source `{}`: {problem}", self.name))
    }
}

#[async_trait]
impl MembershipSource for PostgresMemberships {
    fn name(&self) -> &str {
        &self.name
    }

    async fn memberships(&self, identity: &Identity, deadline: Deadline) -> Result<Vec<Membership>, Failure> {
        if !self.applies(identity) {
            return Ok(Vec::new());
        }
        let values = self.values(identity)?;
        Ok(self.ask(&values, deadline).await?)
    }

    fn cache_key(&self, identity: &Identity) -> Option<Zeroizing<Vec<u8>>> {
        if !self.applies(identity) {
            return None;
        }
        // What was asked, and what is made of the answer: with other settings an older answer does not count.
        let settings = &self.settings;
        let database = &settings.database;
        let mapping = format!(
            "{:?}",
            (
                (&settings.query, &settings.kind, &settings.role),
                (&database.host, database.port, &database.database, &database.user),
            )
        );
        let mut key = placeholder::cache_key(identity, self.parameters.iter());
        key.extend_from_slice(&Sha256::digest(mapping.as_bytes()));
        Some(key)
    }

    fn lag(&self) -> Duration {
        self.settings.lag
    }
}

/// The query with a number of its own for every placeholder. The server tells how many parameters it sees, so that one
/// inside quotes, which is no parameter, is noticed.
fn numbered(query: &str) -> Result<(String, Vec<Placeholder>), String> {
    let mut text = String::new();
    let mut parameters = Vec::new();
    for part in placeholder::parse(query)? {
        match part {
            Part::Text(plain) if plain.contains('$') && has_parameter(&plain) => {
                return Err("numbers a parameter itself ($1): write placeholders only".to_owned());
            }
            Part::Text(plain) => text.push_str(&plain),
            Part::Value(placeholder) => {
                if text.ends_with('\'') {
                    return Err(format!(
                        "has {placeholder} in quotes: remove them, it is a parameter"
                    ));
                }
                parameters.push(placeholder);
                text.push_str(&format!("${}", parameters.len()));
            }
        }
    }
    if parameters.is_empty() {
        return Err(
            "has no placeholder, so everybody would have the same memberships: use {principal.subject}"
                .to_owned(),
        );
    }
    Ok((text, parameters))
}

fn has_parameter(text: &str) -> bool {
    text.split('$')
        .skip(1)
        .any(|after| after.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
