//! What shims tell of themselves, in Redis, all of it in one hash slot.
//!
//! With `ns` for the namespace, everything begins with `{ns}:shim:`. `here` (sorted set: shims by the server's time when they
//! last said that they are there) and `presences` (hash: what they said); `clusters` and `names`, the same of clusters;
//! `sessions:…` (hash, one a cluster: its sessions) and `gone:…` (sorted set: those that are gone, for a minute);
//! `done:ENTRY` (hash: what each shim has done for an entry of the log). The channels `bell` (acknowledgements came) and
//! `events` (of sessions). Fields and members are keyed digests of names, and every value is sealed for its key and field: what does not
//! open is not there. Times are the server's own, so that clocks that differ make nobody absent.
//!
//! A digest is made with the first secret: while secrets are being exchanged, lists show only what was told by those who
//! seal with the same one.

mod form;
mod listening;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use natsgate_core::board::{ACKNOWLEDGED_FOR, PRESENT_FOR};
use natsgate_core::{
    Acknowledgement, Board, BoardError, Deadline, EntryId, SessionEvent, SessionKey, SessionPage,
    SessionRecord, ShimPresence,
};
use redis::FromRedisValue;
use tokio::sync::{broadcast, watch};

use self::form::Form;
use self::listening::Listening;
use super::{GONE_FOR, MAX_PAGE, knows_whom};
use crate::redis::{RedisConnection, RedisError, Script};
use crate::seal::{SealError, Secrets};

/// How long a cluster and its sessions are kept after the last shim of it has said anything.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// How many events are told at once: Redis does nothing else meanwhile.
const AT_ONCE: usize = 128;

/// A [`Board`] in Redis.
pub struct RedisBoard {
    connection: RedisConnection,
    form: Arc<Form>,
    note: Script,
    roster: Script,
    done: Script,
    tell: Script,
    listening: OnceLock<Listening>,
}

impl RedisBoard {
    /// The board in the Redis that `connection` leads to, under its namespace.
    ///
    /// # Errors
    /// [`SealError`] if no keys can be derived from `secrets`.
    pub fn new(connection: &RedisConnection, secrets: &Secrets) -> Result<Self, SealError> {
        Ok(Self {
            connection: connection.clone(),
            form: Arc::new(Form::new(connection.namespace(), secrets)?),
            note: Script::new(include_str!("redis/note.lua")),
            roster: Script::new(include_str!("redis/roster.lua")),
            done: Script::new(include_str!("redis/done.lua")),
            tell: Script::new(include_str!("redis/tell.lua")),
            listening: OnceLock::new(),
        })
    }

    async fn run<T: FromRedisValue>(
        &self,
        doing: &str,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
        deadline: Deadline,
    ) -> Result<T, BoardError> {
        self.connection
            .script(script, keys, args, deadline)
            .await
            .map_err(|error| failed(doing, &error))
    }

    /// Sends a command that reads `key`; nothing if somebody put something else there.
    async fn read<T: FromRedisValue + Default>(
        &self,
        doing: &str,
        key: &str,
        command: &redis::Cmd,
        deadline: Deadline,
    ) -> Result<T, BoardError> {
        match self.connection.command(key, command, deadline).await {
            Err(error) if error.code() == Some("WRONGTYPE") => Ok(T::default()),
            answer => answer.map_err(|error| failed(doing, &error)),
        }
    }

    /// Digests and values of what was noted within `lifetime`.
    async fn noted(
        &self,
        doing: &str,
        keys: [&str; 2],
        lifetime: Duration,
        deadline: Deadline,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, BoardError> {
        let lifetime = millis(lifetime);
        let answer: Vec<Vec<u8>> = self
            .run(doing, &self.roster, &keys, &[lifetime.as_bytes()], deadline)
            .await?;
        let mut words = answer.into_iter();
        Ok(std::iter::from_fn(|| Some((words.next()?, words.next()?))).collect())
    }
}

fn failed(doing: &str, error: &RedisError) -> BoardError {
    let cause = match error.code() {
        Some("NOPERM") => format!("{error}; its user may not do that: see deploy/redis/users.acl"),
        _ => error.to_string(),
    };
    BoardError {
        doing: doing.to_owned(),
        cause,
    }
}

fn unsealed(doing: &'static str) -> impl Fn(SealError) -> BoardError {
    move |error| BoardError {
        doing: doing.to_owned(),
        cause: error.to_string(),
    }
}

/// Nobody was told of such a place in a list.
pub(super) fn no_such_place() -> BoardError {
    BoardError {
        doing: "listing sessions".to_owned(),
        cause: "this is no place that an earlier page named: begin without one".to_owned(),
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

impl fmt::Debug for RedisBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBoard")
            .field("redis", &self.connection)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Board for RedisBoard {
    async fn present(&self, presence: &ShimPresence, deadline: Deadline) -> Result<(), BoardError> {
        let doing = "saying in Redis that a shim is there";
        let form = &self.form;
        let (shim, sealed) = form.seal_presence(presence).map_err(unsealed(doing))?;
        let cluster = form.cluster(&presence.cluster);
        let name = form
            .seal_name(&presence.cluster, &cluster.digest)
            .map_err(unsealed(doing))?;
        let keys = [
            form.here.as_str(),
            &form.presences,
            &form.clusters,
            &form.names,
            &cluster.sessions,
        ];
        let (there, kept) = (millis(PRESENT_FOR), millis(KEPT_FOR));
        let args: [&[u8]; 6] = [
            &shim,
            &sealed,
            there.as_bytes(),
            &cluster.digest,
            &name,
            kept.as_bytes(),
        ];
        let _one: i64 = self.run(doing, &self.note, &keys, &args, deadline).await?;
        Ok(())
    }

    async fn leave(&self, shim: &str, deadline: Deadline) -> Result<(), BoardError> {
        let field = self.form.shim(shim);
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZREM").arg(&self.form.here).arg(field.as_slice());
        pipeline
            .cmd("HDEL")
            .arg(&self.form.presences)
            .arg(field.as_slice());
        // What is of another kind there names no shim.
        self.connection
            .pipeline(&self.form.here, &pipeline, deadline)
            .await
            .map(drop)
            .map_err(|error| failed("saying in Redis that a shim is gone", &error))
    }

    async fn acknowledge(&self, done: &Acknowledgement, deadline: Deadline) -> Result<(), BoardError> {
        let doing = "acknowledging a revocation in Redis";
        let key = self.form.done(done.entry);
        let (shim, sealed) = self.form.seal_done(&key, done).map_err(unsealed(doing))?;
        let kept = millis(ACKNOWLEDGED_FOR);
        let args: [&[u8]; 4] = [&shim, &sealed, kept.as_bytes(), self.form.bell.as_bytes()];
        let _one: i64 = self.run(doing, &self.done, &[&key], &args, deadline).await?;
        Ok(())
    }

    async fn tell(
        &self,
        cluster: &str,
        events: &[SessionEvent],
        deadline: Deadline,
    ) -> Result<(), BoardError> {
        let doing = "telling of sessions in Redis";
        let form = &self.form;
        let its = form.cluster(cluster);
        let name = form.seal_name(cluster, &its.digest).map_err(unsealed(doing))?;
        let keys = [its.sessions.as_str(), &its.gone, &form.clusters, &form.names];
        let (kept, gone) = (millis(KEPT_FOR), millis(GONE_FOR));
        for events in events.chunks(AT_ONCE) {
            let told: Vec<form::Told> = events
                .iter()
                .map(|event| form.seal_event(&its, event))
                .collect::<Result<_, _>>()
                .map_err(unsealed(doing))?;
            let mut args: Vec<&[u8]> = vec![
                form.events.as_bytes(),
                &its.digest,
                &name,
                kept.as_bytes(),
                gone.as_bytes(),
            ];
            for one in &told {
                args.extend([std::slice::from_ref(&one.kind), &one.field, &one.sealed]);
            }
            let _one: i64 = self.run(doing, &self.tell, &keys, &args, deadline).await?;
        }
        Ok(())
    }

    async fn shims(&self, deadline: Deadline) -> Result<Vec<ShimPresence>, BoardError> {
        let keys = [self.form.here.as_str(), &self.form.presences];
        let noted = self
            .noted(
                "reading from Redis which shims are there",
                keys,
                PRESENT_FOR,
                deadline,
            )
            .await?;
        let open = |(field, sealed): (Vec<u8>, Vec<u8>)| self.form.open_presence(&field, &sealed);
        Ok(noted.into_iter().filter_map(open).collect())
    }

    async fn acknowledgements(
        &self,
        entry: EntryId,
        deadline: Deadline,
    ) -> Result<Vec<Acknowledgement>, BoardError> {
        let key = self.form.done(entry);
        let mut all = redis::cmd("HGETALL");
        all.arg(&key);
        let found: Vec<(Vec<u8>, Vec<u8>)> = self
            .read("reading acknowledgements from Redis", &key, &all, deadline)
            .await?;
        let open = |(field, sealed): (Vec<u8>, Vec<u8>)| self.form.open_done(&key, &field, &sealed);
        Ok(found.into_iter().filter_map(open).collect())
    }

    async fn sessions(
        &self,
        cluster: &str,
        from: Option<&str>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<SessionPage, BoardError> {
        let mut cursor: u64 = match from {
            None => 0,
            Some(from) => from.parse().map_err(|_| no_such_place())?,
        };
        let its = self.form.cluster(cluster);
        let limit = limit.clamp(1, MAX_PAGE);
        let mut page = SessionPage::default();
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(&its.sessions).arg(cursor).arg("COUNT").arg(limit);
            let (next, found): (u64, Vec<(Vec<u8>, Vec<u8>)>) = self
                .read("listing sessions in Redis", &its.sessions, &scan, deadline)
                .await?;
            let open = |(field, bytes): (Vec<u8>, Vec<u8>)| self.form.open_session(&its, &field, &bytes);
            page.sessions.extend(found.into_iter().filter_map(open));
            cursor = next;
            // A part of a sparse index may hold none.
            if cursor == 0 || page.sessions.len() >= limit.div_ceil(2) {
                page.next = (cursor != 0).then(|| cursor.to_string());
                return Ok(page);
            }
        }
    }

    async fn look_up(
        &self,
        cluster: &str,
        keys: &[SessionKey],
        deadline: Deadline,
    ) -> Result<Vec<SessionRecord>, BoardError> {
        let its = self.form.cluster(cluster);
        let mut there = Vec::with_capacity(keys.len());
        for keys in keys.chunks(AT_ONCE) {
            let fields: Vec<_> = keys
                .iter()
                .map(|key| self.form.session(&its.digest, key))
                .collect();
            let mut get = redis::cmd("HMGET");
            get.arg(&its.sessions);
            for field in &fields {
                get.arg(field.as_slice());
            }
            let found: Vec<Option<Vec<u8>>> = self
                .read("looking sessions up in Redis", &its.sessions, &get, deadline)
                .await?;
            let open = |(field, bytes): (_, Option<Vec<u8>>)| {
                let field: &form::Digest = field;
                self.form.open_session(&its, field, &bytes?)
            };
            there.extend(fields.iter().zip(found).filter_map(open));
        }
        Ok(there)
    }

    async fn clusters(&self, deadline: Deadline) -> Result<Vec<String>, BoardError> {
        let keys = [self.form.clusters.as_str(), &self.form.names];
        let noted = self
            .noted("reading the clusters from Redis", keys, KEPT_FOR, deadline)
            .await?;
        let open = |(field, sealed): (Vec<u8>, Vec<u8>)| self.form.open_name(&field, &sealed);
        let names: BTreeSet<String> = noted.into_iter().filter_map(open).collect();
        Ok(names.into_iter().collect())
    }

    fn acknowledged(&self) -> watch::Receiver<u64> {
        self.connection.doorbell(&self.form.bell)
    }

    fn session_events(&self) -> broadcast::Receiver<SessionEvent> {
        let begin = || Listening::begin(self.connection.clone(), self.form.clone());
        self.listening.get_or_init(begin).listen()
    }
}
