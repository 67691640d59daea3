//! One transaction on one connection, until its deadline.

use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object};
use futures::TryStreamExt;
use natsgate_core::Deadline;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use crate::error::PostgresError;
use crate::pool::Access;
use crate::quiet::quiet;

/// A transaction. Ends with [`commit`](Self::commit) or [`rollback`](Self::rollback); one that is dropped, for having
/// failed, say, or run late, is undone, and its connection is closed.
#[derive(Debug)]
pub struct Session {
    connection: Option<Object>,
    doing: String,
    at: String,
    deadline: Deadline,
    statement_timeout: Duration,
    standing: Standing,
}

/// What is known of everything asked so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It was done.
    Sound,
    /// Something was refused, so the server will undo all of it.
    Failed,
    /// Something was left before its answer came.
    Unknown,
}

/// The rows of an answer that was to have a certain number at most.
#[derive(Debug)]
pub enum Rows {
    /// All of them.
    All(Vec<Row>),
    /// There are more than that. The session is over.
    TooMany,
}

impl Session {
    pub(crate) fn new(
        connection: Object,
        doing: &str,
        at: &str,
        deadline: Deadline,
        statement_timeout: Duration,
    ) -> Self {
        Self {
            connection: Some(connection),
            doing: doing.to_owned(),
            at: at.to_owned(),
            deadline,
            statement_timeout,
            standing: Standing::Sound,
        }
    }

    /// Begins the transaction. The server gives up a statement when the deadline passes, and the whole transaction, with
    /// every lock it has, when nothing comes from us for as long. Notices, which may hold values, would be logged by the
    /// library.
    pub(crate) async fn begin(&mut self, access: Access) -> Result<(), PostgresError> {
        let access = match access {
            Access::Read => "READ ONLY",
            Access::Write => "READ WRITE",
        };
        let bound = self.deadline.remaining().min(self.statement_timeout);
        // 0 would mean for ever.
        let bound = bound.as_millis().max(1);
        self.batch(&format!(
            "BEGIN {access}; SET LOCAL statement_timeout = {bound}; \
             SET LOCAL idle_in_transaction_session_timeout = {bound}; SET LOCAL client_min_messages = error"
        ))
        .await
    }

    /// The rows that `sql` gives, prepared once a connection.
    ///
    /// # Errors
    /// [`PostgresError`], also when the deadline passes. The session is of no more use then.
    pub async fn query(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, PostgresError> {
        let work = async |connection: &ClientWrapper| {
            let statement = connection.prepare_cached(sql).await?;
            let rows = connection.query_raw(&statement, quiet(parameters)).await?;
            rows.try_collect().await
        };
        self.bound(work).await
    }

    /// As [`Self::query`], but no more than `most` rows are taken from the server.
    ///
    /// # Errors
    /// As for [`Self::query`].
    pub async fn query_at_most(
        &mut self,
        most: usize,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Rows, PostgresError> {
        let work = async |connection: &ClientWrapper| {
            let statement = connection.prepare_cached(sql).await?;
            let stream = connection.query_raw(&statement, quiet(parameters)).await?;
            let mut stream = std::pin::pin!(stream);
            let mut rows = Vec::new();
            while let Some(row) = stream.try_next().await? {
                if rows.len() >= most {
                    return Ok(Rows::TooMany);
                }
                rows.push(row);
            }
            Ok(Rows::All(rows))
        };
        let rows = self.bound(work).await?;
        if matches!(rows, Rows::TooMany) {
            // The rest is still on its way.
            self.discard();
        }
        Ok(rows)
    }

    /// Runs `sql`; how many rows it touched.
    ///
    /// # Errors
    /// As for [`Self::query`].
    pub async fn execute(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, PostgresError> {
        let work = async |connection: &ClientWrapper| {
            let statement = connection.prepare_cached(sql).await?;
            connection.execute_raw(&statement, quiet(parameters)).await
        };
        self.bound(work).await
    }

    /// Runs several statements that have no parameters, such as those that make tables.
    ///
    /// # Errors
    /// As for [`Self::query`].
    pub async fn batch(&mut self, sql: &str) -> Result<(), PostgresError> {
        self.bound(async |connection: &ClientWrapper| connection.batch_execute(sql).await)
            .await
    }

    /// Has the server read `sql` without running it: the types of its parameters, the names and types of its columns.
    ///
    /// # Errors
    /// As for [`Self::query`].
    pub async fn prepare(&mut self, sql: &str) -> Result<Statement, PostgresError> {
        self.bound(async |connection: &ClientWrapper| connection.prepare_cached(sql).await)
            .await
    }

    /// Makes it so.
    ///
    /// # Errors
    /// [`PostgresError`]: whether it was done is not known, unless the error has a [`code`](PostgresError::code): then it
    /// was not.
    pub async fn commit(self) -> Result<(), PostgresError> {
        if self.standing != Standing::Sound {
            // The server would say nothing against it, and undo it all.
            return Err(self.wrong("an earlier step has failed, so nothing of it was done"));
        }
        self.end("COMMIT").await
    }

    /// Undoes it, and keeps the connection for others.
    ///
    /// # Errors
    /// As for [`Self::query`]. It is undone all the same.
    pub async fn rollback(self) -> Result<(), PostgresError> {
        match self.standing {
            Standing::Unknown => Ok(()),
            Standing::Sound | Standing::Failed => self.end("ROLLBACK").await,
        }
    }

    async fn end(mut self, sql: &str) -> Result<(), PostgresError> {
        self.batch(sql).await?;
        // Back into the pool.
        drop(self.connection.take());
        Ok(())
    }

    async fn bound<T>(
        &mut self,
        work: impl AsyncFnOnce(&ClientWrapper) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, PostgresError> {
        let Some(connection) = &self.connection else {
            return Err(self.wrong("an earlier step has failed"));
        };
        let before = std::mem::replace(&mut self.standing, Standing::Unknown);
        match self.deadline.bound(work(connection)).await {
            Ok(Ok(done)) => {
                self.standing = before;
                Ok(done)
            }
            Ok(Err(error)) => {
                self.standing = Standing::Failed;
                Err(PostgresError::of(&self.doing, &self.at, &error))
            }
            Err(_passed) => {
                self.discard();
                Err(self.wrong(
                    "no answer before the request's deadline: is an index missing, or the server overloaded?",
                ))
            }
        }
    }

    fn wrong(&self, cause: &str) -> PostgresError {
        PostgresError::new(&self.doing, &self.at, cause)
    }

    /// Closes the connection, and so undoes whatever it was at.
    fn discard(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(Object::take(connection));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.discard();
    }
}
