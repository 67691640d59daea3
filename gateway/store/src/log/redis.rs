//! The revocation log in Redis: a stream, a record of where it ends, and idempotency records, in one hash slot.
//!
//! One script appends an entry together with all that goes with it. Since an entry is sealed to its place, the place must
//! be known first: the appender reads the record, seals, and the script appends only if the record is still that one.
//! What lies there is in `form`, when a new epoch begins and who may vouch for the old one in `epoch`, and how somebody
//! follows it who may only read in `watched`.
//!
//! In Redis, with `ns` for the namespace: `{ns}:log` (stream; entry ids are `SEQUENCE-1`, so that Redis itself takes
//! no sequence twice), `{ns}:log:head` (hash: `record`, sealed; `ticks`, how many there were; `ticked`, the
//! server's time in ms at the last one that counts), `{ns}:log:once:…` (idempotency), and the channel `{ns}:log:bell`.

mod epoch;
mod errors;
mod form;
mod found;
mod page;
mod watched;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use natsgate_core::{
    Appended, Change, Clock, Deadline, Epoch, Head, LogError, LogPage, NewEntry, Revision, RevocationLog,
    Witness,
};
use tokio::sync::watch;

use self::epoch::Former;
use self::errors::{another_secret, unavailable, unsealed};
use self::form::{Form, Once, Record};
use self::page::Unread;
pub use self::watched::WatchedLog;
use super::settings::LogSettings;
use crate::redis::{RedisConnection, Script};
use crate::seal::{KeyDigests, SealError, Secrets};

/// How much longer than the entries their idempotency records are kept.
const ONCE_LONGER: Duration = Duration::from_secs(3600);

const APPENDING: &str = "appending to the revocation log in Redis";
const READING: &str = "reading the revocation log in Redis";
const TICKING: &str = "asking for the end of the revocation log in Redis";

/// A [`RevocationLog`] in Redis.
pub struct RedisLog {
    connection: RedisConnection,
    /// For appends that wait for replicas, which would make everything else on their connection wait.
    append_lane: RedisConnection,
    /// For ticks that do.
    tick_lane: RedisConnection,
    form: Form,
    digests: KeyDigests,
    settings: LogSettings,
    clock: Arc<dyn Clock>,
    keys: Keys,
    scripts: Scripts,
    bell: watch::Receiver<u64>,
    /// This instance's own appends, one at a time: they would only get into each other's way.
    turn: tokio::sync::Mutex<()>,
    seen: Mutex<Seen>,
}

/// What it lies under.
struct Keys {
    stream: String,
    head: String,
    once: String,
    bell: String,
}

impl Keys {
    /// In `namespace`.
    fn under(namespace: &str) -> Self {
        let name = format!("{{{namespace}}}:log");
        Self {
            head: format!("{name}:head"),
            once: format!("{name}:once:"),
            bell: format!("{name}:bell"),
            stream: name,
        }
    }
}

struct Scripts {
    append: Script,
    begin: Script,
    read: Script,
    tick: Script,
}

/// What this instance saw last.
#[derive(Default)]
struct Seen {
    /// The record's bytes.
    record: Option<Vec<u8>>,
    /// The epoch in which something was found that cannot be right.
    damaged: Option<Epoch>,
    /// What it heard of the present epoch and of the one before.
    former: Former,
}

/// What became of one attempt to append.
enum Attempt {
    Done(Appended),
    /// The log has moved on: try again.
    Moved,
    /// An idempotency record lies there that does not count; try again and replace it.
    Replace(Vec<u8>),
}

impl RedisLog {
    /// The log in the Redis that `connection` leads to, under its namespace. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`SealError`] if no keys can be derived from `secrets`.
    pub fn new(
        connection: &RedisConnection,
        secrets: &Secrets,
        settings: &LogSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SealError> {
        let keys = Keys::under(connection.namespace());
        Ok(Self {
            append_lane: lane(connection, settings),
            tick_lane: lane(connection, settings),
            connection: connection.clone(),
            form: Form::new(secrets.sealer("revocation log")?, keys.stream.clone()),
            digests: secrets.key_digests("revocation log")?,
            settings: settings.clone(),
            clock,
            bell: connection.doorbell(&keys.bell),
            keys,
            scripts: Scripts {
                append: Script::new(include_str!("redis/append.lua")),
                begin: Script::new(include_str!("redis/begin.lua")),
                read: Script::new(include_str!("redis/read.lua")),
                tick: Script::new(include_str!("redis/tick.lua")),
            },
            turn: tokio::sync::Mutex::new(()),
            seen: Mutex::new(Seen::default()),
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record as this instance knows it, or as Redis has it.
    async fn record(&self, deadline: Deadline) -> Result<(Vec<u8>, Record), LogError> {
        let known = self.seen().record.clone();
        let bytes = match known {
            Some(bytes) => bytes,
            None => {
                let mut command = redis::cmd("HGET");
                command.arg(&self.keys.head).arg("record");
                let found: Option<Vec<u8>> = self
                    .connection
                    .command(&self.keys.head, &command, deadline)
                    .await
                    .map_err(|error| unavailable(APPENDING, &error))?;
                found.ok_or_else(|| no_epoch(APPENDING))?
            }
        };
        match self.form.open_record(&bytes) {
            Some(record) => Ok((bytes, record)),
            None if self.form.is_of_another_secret(&bytes) => Err(another_secret(APPENDING)),
            None => Err(no_epoch(APPENDING)),
        }
    }

    async fn attempt(
        &self,
        entry: &NewEntry,
        once: Option<&str>,
        replaced: &[u8],
        deadline: Deadline,
    ) -> Result<Attempt, LogError> {
        let (before, record) = self.record(deadline).await?;
        let revision = Revision::new(record.epoch(), record.sequence.saturating_add(1));
        let (bytes, tag) = self
            .form
            .seal_entry(entry, &revision, &record)
            .map_err(|error| unsealed(APPENDING, error))?;
        let after = self.after(&record, entry, &revision, tag);
        let after = self
            .form
            .seal_record(&after)
            .map_err(|error| unsealed(APPENDING, error))?;
        let (mut keys, mut remembered) = (
            vec![self.keys.head.as_str(), self.keys.stream.as_str()],
            Vec::new(),
        );
        if let (Some(key), Some(idempotency)) = (once, &entry.idempotency) {
            keys.push(key);
            remembered = self
                .form
                .seal_once(key, &revision, idempotency.body)
                .map_err(|error| unsealed(APPENDING, error))?;
        }
        let id = form::stream_id(revision.sequence);
        let retention = millis(self.settings.retention);
        let most = self.settings.max_entries.to_string();
        let once_for = millis(self.settings.retention.saturating_add(ONCE_LONGER));
        let args: [&[u8]; 11] = [
            &before,
            &after,
            record.replid.as_bytes(),
            id.as_bytes(),
            &bytes,
            self.keys.bell.as_bytes(),
            retention.as_bytes(),
            most.as_bytes(),
            &remembered,
            once_for.as_bytes(),
            replaced,
        ];
        let ((what, instead), confirmed) = self.run_append(&keys, &args, deadline).await?;
        match what.as_str() {
            "done" => {
                self.seen().record = Some(after);
                Ok(Attempt::Done(Appended {
                    revision,
                    repeated: false,
                    confirmed,
                }))
            }
            "repeated" => self.repeated(entry, once, instead, confirmed, deadline).await,
            "moved" => {
                self.seen().record = Some(instead).filter(|record| !record.is_empty());
                Ok(Attempt::Moved)
            }
            _ => {
                // The primary is another one, or the stream is not the one that the record ends: a tick mends that.
                let mut seen = self.seen();
                seen.record = None;
                if what == "stream" {
                    seen.damaged = Some(record.epoch());
                }
                Err(no_epoch(APPENDING))
            }
        }
    }

    /// The record once `entry` stands at `revision`.
    fn after(&self, record: &Record, entry: &NewEntry, revision: &Revision, tag: form::Tag) -> Record {
        let mut after = record.clone();
        after.sequence = revision.sequence;
        after.tag = tag;
        // A maker whose clock is ahead must not make the whole log look incomplete for as long.
        after.newest = after
            .newest
            .max(Some(form::nanos(entry.at.min(self.clock.now()))));
        if let Change::PolicyChanged { policy } = &entry.change
            && after
                .policy
                .as_ref()
                .is_none_or(|known| known.generation < policy.generation)
        {
            after.policy = Some(policy.clone());
        }
        after
    }

    /// Runs the script and, if replicas are asked for, waits for them: its answer, and whether enough have it.
    async fn run_append(
        &self,
        keys: &[&str],
        args: &[&[u8]],
        deadline: Deadline,
    ) -> Result<((String, Vec<u8>), bool), LogError> {
        let script = &self.scripts.append;
        if self.settings.replicas == 0 {
            let answer = self.connection.script(script, keys, args, deadline).await;
            return Ok((answer.map_err(|error| unavailable(APPENDING, &error))?, true));
        }
        let (replicas, within) = (self.settings.replicas, self.settings.replicas_timeout);
        let (answer, have_it) = self
            .append_lane
            .script_then_wait(script, keys, args, replicas, within, deadline)
            .await
            .map_err(|error| unavailable(APPENDING, &error))?;
        Ok((answer, have_it >= replicas))
    }

    /// There is an idempotency record already. It counts if it is authentic and the entry that it tells of was not lost.
    async fn repeated(
        &self,
        entry: &NewEntry,
        once: Option<&str>,
        found: Vec<u8>,
        confirmed: bool,
        deadline: Deadline,
    ) -> Result<Attempt, LogError> {
        let Some(known) = once.and_then(|key| self.form.open_once(key, &found)) else {
            return Ok(Attempt::Replace(found));
        };
        if !self.still_stands(&known, entry, deadline).await? {
            return Ok(Attempt::Replace(found));
        }
        let body = entry.idempotency.as_ref().map(|idempotency| idempotency.body);
        if body != Some(known.body) {
            return Err(LogError::KeyReused);
        }
        Ok(Attempt::Done(Appended {
            revision: known.revision(),
            repeated: true,
            confirmed,
        }))
    }

    /// Whether the log holds the entry that `once` tells of, or held it until it was trimmed.
    async fn still_stands(
        &self,
        once: &Once,
        entry: &NewEntry,
        deadline: Deadline,
    ) -> Result<bool, LogError> {
        let answer = self
            .look(once.sequence.saturating_sub(1), 1, APPENDING, deadline)
            .await?;
        let [record, before, _bytes, rest @ ..] = answer.as_slice() else {
            return Ok(false);
        };
        let purged = self.form.open_record(record).map(|record| record.purged);
        if purged.is_none_or(|purged| once.sequence <= purged) {
            return Ok(false);
        }
        let key = entry.idempotency.as_ref().map(|idempotency| idempotency.key);
        match rest {
            [id, bytes] if form::sequence_of(id) == Some(once.sequence) => {
                let opened = self.form.open_entry(once.sequence, bytes);
                let its = opened.and_then(|opened| opened.entry.idempotency);
                Ok(its.map(|its| its.key) == key)
            }
            // Only what came first can have been trimmed.
            _ => Ok(before.is_empty()),
        }
    }

    /// What `read.lua` answers.
    async fn look(
        &self,
        after: u64,
        limit: usize,
        doing: &str,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>, LogError> {
        let (after, limit) = (after.to_string(), limit.to_string());
        self.connection
            .script(
                &self.scripts.read,
                &[&self.keys.head, &self.keys.stream],
                &[after.as_bytes(), limit.as_bytes()],
                deadline,
            )
            .await
            .map_err(|error| unavailable(doing, &error))
    }
}

/// The log has no epoch that could be appended to; the next tick begins one.
fn no_epoch(doing: &str) -> LogError {
    LogError::Unavailable {
        doing: doing.to_owned(),
        cause:
            "Redis is another primary than before, or has lost the log: a new epoch begins with the next tick"
                .to_owned(),
    }
}

/// A connection of its own for what waits for replicas; where nothing does, the common one.
fn lane(connection: &RedisConnection, settings: &LogSettings) -> RedisConnection {
    if settings.replicas == 0 {
        connection.clone()
    } else {
        connection.lane()
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

impl fmt::Debug for RedisLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLog")
            .field("stream", &self.keys.stream)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl RevocationLog for RedisLog {
    async fn append(&self, entry: &NewEntry, deadline: Deadline) -> Result<Appended, LogError> {
        // What is seen under a key's name in Redis tells nobody which caller's key it was.
        let once = entry.idempotency.as_ref().map(|idempotency| {
            let digest = self.digests.digest(&[&idempotency.key]);
            format!("{}{}", self.keys.once, data_encoding::HEXLOWER.encode(&digest))
        });
        let mut replaced = Vec::new();
        let work = async {
            let _turn = self.turn.lock().await;
            loop {
                match self.attempt(entry, once.as_deref(), &replaced, deadline).await {
                    Ok(Attempt::Done(appended)) => return Ok(appended),
                    Ok(Attempt::Moved) => {}
                    Ok(Attempt::Replace(found)) => replaced = found,
                    Err(error) => {
                        // What this instance believes may be why.
                        self.seen().record = None;
                        return Err(error);
                    }
                }
            }
        };
        deadline.bound(work).await.unwrap_or_else(|_passed| {
            Err(LogError::Unavailable {
                doing: APPENDING.to_owned(),
                cause: "the request's deadline passed: is Redis overloaded?".to_owned(),
            })
        })
    }

    async fn tick(&self, witness: Option<&Witness>, deadline: Deadline) -> Result<Head, LogError> {
        self.follow_epoch(witness, deadline).await
    }

    async fn read(&self, after: u64, limit: usize, deadline: Deadline) -> Result<LogPage, LogError> {
        let answer = self.look(after, limit, READING, deadline).await?;
        page::page(&self.form, &answer, limit).map_err(|unread| {
            if let Unread::Damaged(epoch, _what) = unread {
                self.seen().damaged = Some(epoch);
            }
            unread.into_error()
        })
    }

    fn doorbell(&self) -> watch::Receiver<u64> {
        self.bell.clone()
    }
}
