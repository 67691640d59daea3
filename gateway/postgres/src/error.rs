//! What can go wrong, in words that hold no value of a query.
//!
//! PostgreSQL's messages may repeat values (`invalid input syntax for type uuid: "alice"`), its details do so as a rule. So
//! only messages of classes that speak of the query's own text, of objects, of resources and of the connection are
//! repeated; of all others there is the code (PostgreSQL's documentation, appendix A), which says what kind of thing it is.

use std::error::Error;

use natsgate_core::{Failure, Unavailable};
use tokio_postgres::error::{DbError, SqlState};

/// The classes whose messages are repeated: connection, read-only transaction, authorization, no such database, no such
/// schema, rollback, syntax and access rules, resources, object not in the right state, operator intervention, system, configuration.
const TOLD: [&str; 12] = [
    "08", "25", "28", "3D", "3F", "40", "42", "53", "55", "57", "58", "F0",
];

/// A setting of a database cannot be used as it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct PostgresSettingsError {
    /// The setting within the database's section: `tls.ca_file`.
    pub field: &'static str,
    /// What is wrong with it, and the mend.
    pub problem: String,
}

impl PostgresSettingsError {
    pub(crate) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self {
            field,
            problem: problem.into(),
        }
    }
}

/// PostgreSQL could not be asked, or did not do what it was asked. Holds no value of a query.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{doing} in PostgreSQL at {at}: {cause}")]
pub struct PostgresError {
    doing: String,
    at: String,
    cause: String,
    code: Option<SqlState>,
    gone: bool,
}

impl PostgresError {
    pub(crate) fn new(doing: &str, at: &str, cause: impl Into<String>) -> Self {
        Self {
            doing: doing.to_owned(),
            at: at.to_owned(),
            cause: cause.into(),
            code: None,
            gone: false,
        }
    }

    pub(crate) fn of(doing: &str, at: &str, error: &tokio_postgres::Error) -> Self {
        let refused = error.as_db_error();
        Self {
            doing: doing.to_owned(),
            at: at.to_owned(),
            cause: refused.map_or_else(|| chain(error), told),
            code: error.code().cloned(),
            gone: lost(error),
        }
    }

    /// What the server answered with, if it answered: `SqlState::UNIQUE_VIOLATION`, say.
    pub fn code(&self) -> Option<&SqlState> {
        self.code.as_ref()
    }

    /// Whether another connection may do better: this one was closed, or the server that had it.
    pub(crate) fn connection_lost(&self) -> bool {
        self.gone
    }
}

impl From<PostgresError> for Unavailable {
    fn from(error: PostgresError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<PostgresError> for Failure {
    fn from(error: PostgresError) -> Self {
        Self::Unavailable(error.into())
    }
}

/// Closed by the other side, broken on the way, or ended by an administrator or a crash.
fn lost(error: &tokio_postgres::Error) -> bool {
    let by_source =
        |error: &tokio_postgres::Error| error.source().is_some_and(|source| source.is::<std::io::Error>());
    match error.as_db_error() {
        Some(refused) => [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::IDLE_SESSION_TIMEOUT,
        ]
        .contains(refused.code()),
        None => error.is_closed() || by_source(error),
    }
}

/// What the server said, as far as it holds no values.
fn told(refused: &DbError) -> String {
    let code = refused.code().code();
    let hint = mend(refused.code()).unwrap_or_default();
    if TOLD.iter().any(|class| code.starts_with(class)) {
        return format!("{} (SQLSTATE {code}){hint}", refused.message());
    }
    format!("refused with SQLSTATE {code}{hint}")
}

/// What to look at, where that is plain.
fn mend(code: &SqlState) -> Option<&'static str> {
    let text = match code {
        code if *code == SqlState::INVALID_PASSWORD => "; check `user` and `password`",
        code if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "; check `user`, `tls` and pg_hba.conf"
        }
        code if *code == SqlState::QUERY_CANCELED => "; is an index missing, or the server overloaded?",
        code if *code == SqlState::INSUFFICIENT_PRIVILEGE => "; grant it to `user`",
        code if *code == SqlState::TOO_MANY_CONNECTIONS => {
            "; lower `max_connections` here, or raise it there"
        }
        code if *code == SqlState::INVALID_TEXT_REPRESENTATION => {
            "; a value does not have the column's type: cast the column, not the value"
        }
        _ => return None,
    };
    Some(text)
}

/// An error of ours with its causes, on one line, and the mend. What it says of values is their types.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mend = match text.as_str() {
        "error connecting to server" => "; is it there, and is this its host and port?",
        "connection closed" => "; was the server restarted, or did it end the connection? try again",
        "error performing TLS handshake" => "; check `tls`, and that the server's certificate names `host`",
        _ => "",
    };
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text.push_str(mend);
    text
}
