//! Memberships that a query gives.

use std::time::Duration;

use natsgate_core::CacheTimes;
use natsgate_postgres::PostgresSettings;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{default_times, no_longer_than_an_hour, not_empty};
use crate::settings::SettingsError;
use crate::settings::cache_times::CacheTimesSettings;

/// The largest row bound that can be configured.
const MAX_MAX_ROWS: usize = 1_000_000;

/// Memberships that a query to PostgreSQL gives: one row a membership, in columns named `kind`, `id` and `role`, all of
/// them text. It runs in a transaction that may only read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresMembershipSettings {
    /// A short name of your choice, for logs, errors and answers. No two sources may share it.
    pub name: String,
    /// Where the database is.
    pub database: PostgresSettings,
    /// One SELECT statement. `{principal.subject}`, `{principal.issuer}`, `{principal.digest}` and `{claims.NAME}` become
    /// parameters of it, of type text; never put them in quotes. A brace of the query itself is written twice. Example:
    /// `SELECT project_id::text AS id, role FROM members WHERE user_name = {principal.subject}`.
    pub query: String,
    /// The kind of resource of every row. Without it the query must give a column `kind`.
    #[serde(default)]
    pub kind: Option<String>,
    /// The role of every row. Without it the query must give a column `role`.
    #[serde(default)]
    pub role: Option<String>,
    /// The most rows for one person. More are no answer at all, rather than some of them.
    #[serde(default = "default_max_rows")]
    pub max_rows: usize,
    /// How far this database may be behind the truth, if it is a replica: an answer counts only if nothing was revoked
    /// within that time before it.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "String")]
    pub lag: Duration,
    /// How long answers are kept. Default: fresh for 30s, 5m beyond while the database cannot be asked, "nothing" for 10s.
    #[serde(default)]
    pub cache: CacheTimesSettings,
    /// The providers (by name) whose people are asked about; empty for all. Others have no memberships here.
    #[serde(default)]
    pub providers: Vec<String>,
}

fn default_max_rows() -> usize {
    10_000
}

impl PostgresMembershipSettings {
    /// Settings with nothing but defaults beside what has none.
    pub fn new(name: impl Into<String>, database: PostgresSettings, query: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            database,
            query: query.into(),
            kind: None,
            role: None,
            max_rows: default_max_rows(),
            lag: Duration::ZERO,
            cache: CacheTimesSettings::default(),
            providers: Vec::new(),
        }
    }

    /// How long answers are kept.
    pub fn cache_times(&self) -> CacheTimes {
        self.cache.or(default_times())
    }

    pub(crate) fn key(&self, field: &str) -> String {
        format!("memberships.postgres[{}].{field}", self.name.escape_debug())
    }

    /// Checks what types alone do not. The query is read where the source is made.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let key = |field: &str| self.key(field);
        not_empty(&key, "name", Some(&self.name))?;
        not_empty(&key, "query", Some(&self.query))?;
        not_empty(&key, "kind", self.kind.as_ref())?;
        not_empty(&key, "role", self.role.as_ref())?;
        if !(1..=MAX_MAX_ROWS).contains(&self.max_rows) {
            return Err(SettingsError::new(
                key("max_rows"),
                "must be between 1 and 1000000",
            ));
        }
        no_longer_than_an_hour(&key, "lag", self.lag)?;
        self.cache.validate(&key("cache"))?;
        self.database
            .validate()
            .map_err(|error| SettingsError::new(key(&format!("database.{}", error.field)), error.problem))
    }
}
