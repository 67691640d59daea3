//! The revocation log in Redis for whoever may only read it: a shim.
//!
//! A watcher cannot write, so no answer proves to it that it speaks to the primary: one that was cut off answers reads as
//! before. What proves it are the ticks of the decision services, which are writes. Every tick that counts (where replicas
//! are asked for, one that they have) leaves its time, and a watcher's look counts only if the last such tick was made
//! no longer ago than [`TICKED_WITHIN`], by the server's own clock. So a watcher may take as long as that more than its
//! follower's `max_lag` to notice that it is cut off. While no decision service is there nothing is confirmed, and as nobody
//! appends nothing is missed either.
//!
//! It begins no epoch, mends nothing, and appends nothing again: decision services do.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use natsgate_core::{Appended, Deadline, Head, LogError, LogPage, NewEntry, RevocationLog, Witness};
use tokio::sync::watch;

use super::errors::{another_secret, damaged, unavailable};
use super::form::Form;
use super::found::Found;
use super::{Keys, READING, page};
use crate::redis::{RedisConnection, Script};
use crate::seal::{SealError, Secrets};

/// How long ago the last tick of a decision service may be, for the log's end to count as confirmed. Twice what decision
/// services take between two.
const TICKED_WITHIN: Duration = Duration::from_secs(1);

const WATCHING: &str = "watching the revocation log in Redis";

/// A [`RevocationLog`] in Redis that is only read.
pub struct WatchedLog {
    connection: RedisConnection,
    form: Form,
    keys: Keys,
    watch: Script,
    read: Script,
    bell: watch::Receiver<u64>,
}

impl WatchedLog {
    /// The log in the Redis that `connection` leads to, under its namespace; `secrets` are the decision services'. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// [`SealError`] if no keys can be derived from `secrets`.
    pub fn new(connection: &RedisConnection, secrets: &Secrets) -> Result<Self, SealError> {
        let keys = Keys::under(connection.namespace());
        Ok(Self {
            connection: connection.clone(),
            form: Form::new(secrets.sealer("revocation log")?, keys.stream.clone()),
            watch: Script::reading(include_str!("watch.lua")),
            read: Script::reading(include_str!("read.lua")),
            bell: connection.doorbell(&keys.bell),
            keys,
        })
    }

    async fn run(
        &self,
        script: &Script,
        args: &[&[u8]],
        doing: &str,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>, LogError> {
        let keys = [self.keys.head.as_str(), self.keys.stream.as_str()];
        self.connection
            .script(script, &keys, args, deadline)
            .await
            .map_err(|error| unavailable(doing, &error))
    }

    /// Where the log ends, if what was found says so.
    fn judge(&self, found: &Found, witness: Option<&Witness>) -> Result<Head, LogError> {
        if found.is_of_another_secret(&self.form) {
            return Err(another_secret(WATCHING));
        }
        let record = self
            .form
            .open_record(&found.bytes)
            .ok_or_else(|| next_epoch("the record of where it ends is missing, or does not open"))?;
        if record.replid != found.replid {
            return Err(next_epoch("Redis is another primary, or was restarted"));
        }
        if !found.ends_as(&record) {
            return Err(damaged("the stream does not end where its record says"));
        }
        let trimmed = found
            .trimmed(&self.form, &record)
            .ok_or_else(|| damaged("its first entry does not open"))?;
        let ahead = |witness: &Witness| {
            witness.applied.epoch == record.epoch() && witness.applied.sequence > record.sequence
        };
        if witness.is_some_and(ahead) {
            return Err(next_epoch("it was set back"));
        }
        let ticked = found.millis.and_then(|millis| u64::try_from(millis).ok());
        if ticked.is_none_or(|ticked| Duration::from_millis(ticked) > TICKED_WITHIN) {
            return Err(silent());
        }
        Ok(found.head(&record, trimmed))
    }
}

/// Only a decision service can put it right.
fn next_epoch(why: &str) -> LogError {
    LogError::Unavailable {
        doing: WATCHING.to_owned(),
        cause: format!(
            "{why}: a decision service has to begin the next epoch; is one running, and does it reach Redis?"
        ),
    }
}

/// It is there, but nobody vouches for it.
fn silent() -> LogError {
    LogError::Unavailable {
        doing: WATCHING.to_owned(),
        cause: format!(
            "no decision service has confirmed its end within the last {} ms: is one running, does it reach this Redis, and is its \
             `revocation_log.follow.tick` no longer than that?",
            TICKED_WITHIN.as_millis()
        ),
    }
}

impl fmt::Debug for WatchedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedLog")
            .field("stream", &self.keys.stream)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl RevocationLog for WatchedLog {
    async fn append(&self, _entry: &NewEntry, _deadline: Deadline) -> Result<Appended, LogError> {
        Err(LogError::Unavailable {
            doing: super::APPENDING.to_owned(),
            cause: "it is read only here: ask a decision service".to_owned(),
        })
    }

    fn takes_appends(&self) -> bool {
        false
    }

    async fn tick(&self, witness: Option<&Witness>, deadline: Deadline) -> Result<Head, LogError> {
        let answer = self.run(&self.watch, &[], WATCHING, deadline).await?;
        if answer.first().is_some_and(Vec::is_empty) {
            return Err(LogError::Unavailable {
                doing: WATCHING.to_owned(),
                cause: "this is a replica: name the primary, its sentinels or the cluster in redis.*"
                    .to_owned(),
            });
        }
        let found = Found::of(answer)
            .ok_or_else(|| damaged("Redis answered with something else than was asked for"))?;
        self.judge(&found, witness)
    }

    async fn read(&self, after: u64, limit: usize, deadline: Deadline) -> Result<LogPage, LogError> {
        let (after, most) = (after.to_string(), limit.to_string());
        let args = [after.as_bytes(), most.as_bytes()];
        let answer = self.run(&self.read, &args, READING, deadline).await?;
        page::page(&self.form, &answer, limit).map_err(page::Unread::into_error)
    }

    fn doorbell(&self) -> watch::Receiver<u64> {
        self.bell.clone()
    }
}
