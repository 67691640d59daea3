//! When an epoch ends, how the next one begins, and whom to believe of the one before.
//!
//! An epoch is bound to one primary (its replication id) and to one history of the log. If either turns out to be
//! another, nobody knows what is missing, and the log is complete only from then on. An instance that saw the old epoch's
//! end and has appended again what was lost may vouch for the time before.

use natsgate_core::{Deadline, Epoch, Head, LogError, Witness};
use tokio::time::Instant;

use super::errors::{another_secret, damaged, unavailable, unsealed};
use super::form::{self, Before, Record};
use super::found::Found;
use super::{RedisLog, TICKING};

/// How often the log is looked at again when somebody else was faster.
const ATTEMPTS: usize = 5;

/// What this instance heard of the present epoch, and of the one before.
#[derive(Debug, Default)]
pub(super) struct Former {
    now: Option<Heard>,
    before: Option<Ended>,
}

#[derive(Debug)]
struct Heard {
    epoch: Epoch,
    ticks: u64,
    at: Instant,
}

/// An epoch that ended without this instance seeing how.
#[derive(Debug)]
struct Ended {
    epoch: Epoch,
    ticks: u64,
    /// How long nothing had been heard of it when the next one was met.
    silent: std::time::Duration,
}

impl Former {
    /// Whether an earlier tick was answered in `epoch`.
    fn knows(&self, epoch: Epoch) -> bool {
        self.now.as_ref().is_some_and(|now| now.epoch == epoch)
    }

    /// A tick that began at `at` was answered in `epoch`.
    fn heard(&mut self, epoch: Epoch, ticks: u64, at: Instant) {
        match self.now.take() {
            Some(before) if before.epoch != epoch => {
                self.before = Some(Ended {
                    epoch: before.epoch,
                    ticks: before.ticks,
                    silent: at.saturating_duration_since(before.at),
                });
            }
            _ => {}
        }
        self.now = Some(Heard { epoch, ticks, at });
    }
}

/// What a tick found the log to be.
enum Standing {
    /// As it should be; with what its first entry tells of those before it.
    Sound(Record, Option<std::time::SystemTime>),
    /// Sound, but of a primary that is another now, or set back: it goes on in a new epoch. With how many of the old one's
    /// ticks can be believed to be in it.
    Moved(Record, u64, &'static str),
    /// Not to be believed: it begins anew, with the record if that at least is authentic.
    Lost(Option<Record>, &'static str),
}

impl RedisLog {
    /// Asks for the log's end, and begins a new epoch if need be.
    pub(super) async fn follow_epoch(
        &self,
        witness: Option<&Witness>,
        deadline: Deadline,
    ) -> Result<Head, LogError> {
        for _attempt in 0..ATTEMPTS {
            let began = Instant::now();
            let found = self.ask(deadline).await?;
            if found.is_of_another_secret(&self.form) {
                return Err(another_secret(TICKING));
            }
            match self.judge(&found, witness) {
                Standing::Sound(record, trimmed) => {
                    let vouched = {
                        let mut seen = self.seen();
                        seen.record = Some(found.bytes.clone());
                        // Who has not been told of this epoch yet cannot know what it lacks.
                        let told = seen.former.knows(record.epoch());
                        seen.former.heard(record.epoch(), found.ticks, began);
                        witness
                            .filter(|_witness| told)
                            .and_then(|witness| self.vouched(&record, witness, &seen.former))
                    };
                    let Some(vouched) = vouched else {
                        return Ok(found.head(&record, trimmed));
                    };
                    self.write(&found, &vouched, false, deadline).await?;
                }
                Standing::Moved(record, ticks, why) => {
                    let next = Record {
                        before: Some(Before {
                            epoch: Some(*record.epoch().as_bytes()),
                            sequence: record.sequence,
                            ticks,
                        }),
                        complete_since: Some(form::nanos(self.clock.now())),
                        ..record.in_epoch(new_epoch(), found.replid.clone())
                    };
                    self.begin(&found, &next, false, why, deadline).await?;
                }
                Standing::Lost(record, why) => {
                    let next = self.anew(&found, record, witness);
                    self.begin(&found, &next, true, why, deadline).await?;
                }
            }
        }
        Err(LogError::Unavailable {
            doing: TICKING.to_owned(),
            cause: "it changes faster than it can be looked at: do instances under the same namespace have \
                    different secrets?"
                .to_owned(),
        })
    }

    async fn ask(&self, deadline: Deadline) -> Result<Found, LogError> {
        let retention = super::millis(self.settings.retention);
        let (script, keys) = (
            &self.scripts.tick,
            [self.keys.head.as_str(), self.keys.stream.as_str()],
        );
        let (replicas, within) = (self.settings.replicas, self.settings.replicas_timeout);
        let by_itself: &[u8] = if replicas == 0 { b"1" } else { b"0" };
        let args = [retention.as_bytes(), by_itself];
        let answer = if replicas == 0 {
            self.connection.script(script, &keys, &args, deadline).await
        } else {
            // A primary that was replaced while it was cut off has lost its replicas, and may not know of it yet.
            let waited = self
                .tick_lane
                .script_then_wait(script, &keys, &args, replicas, within, deadline)
                .await;
            match waited {
                Ok((_answer, have_it)) if have_it < replicas => return Err(too_few(have_it, replicas)),
                waited => waited.map(|(answer, _have_it)| answer),
            }
        };
        let answer: Vec<Vec<u8>> = answer.map_err(|error| unavailable(TICKING, &error))?;
        let found = Found::of(answer)
            .ok_or_else(|| damaged("Redis answered with something else than was asked for"))?;
        if let (1.., Some(at)) = (replicas, found.millis) {
            self.note_tick(at, deadline).await;
        }
        Ok(found)
    }

    /// Leaves word for those who only watch that the replicas have the tick that was made `at` that time of the server's.
    /// Without it they are degraded, and nothing else goes wrong.
    async fn note_tick(&self, at: i64, deadline: Deadline) {
        let mut note = redis::cmd("HSET");
        note.arg(&self.keys.head).arg("ticked").arg(at);
        let noted: Result<redis::Value, _> = self.connection.command(&self.keys.head, &note, deadline).await;
        if let Err(error) = noted {
            tracing::debug!(%error, "shims could not be told of a tick");
        }
    }

    fn judge(&self, found: &Found, witness: Option<&Witness>) -> Standing {
        if found.bytes.is_empty() {
            return Standing::Lost(None, "there is none");
        }
        let Some(record) = self.form.open_record(&found.bytes) else {
            return Standing::Lost(None, "the record of where it ends does not open");
        };
        if !found.ends_as(&record) {
            return Standing::Lost(Some(record), "the stream does not end where its record says");
        }
        if self.seen().damaged == Some(record.epoch()) {
            return Standing::Lost(Some(record), "entries were altered, put in or taken out");
        }
        let Some(trimmed) = found.trimmed(&self.form, &record) else {
            return Standing::Lost(Some(record), "its first entry does not open");
        };
        if record.replid != found.replid {
            return Standing::Moved(record, found.ticks, "Redis is another primary, or was restarted");
        }
        let ahead = |witness: &Witness| {
            witness.applied.epoch == record.epoch() && witness.applied.sequence > record.sequence
        };
        if witness.is_some_and(ahead) {
            return Standing::Moved(record, 0, "it was set back");
        }
        Standing::Sound(record, trimmed)
    }

    /// The record with what `witness` vouches for, if he may: he saw the end of the epoch before, as far as anybody can
    /// tell.
    fn vouched(&self, record: &Record, witness: &Witness, former: &Former) -> Option<Record> {
        if self.settings.vouch_within.is_zero() {
            return None;
        }
        let (before, ended) = (record.before.as_ref()?, former.before.as_ref()?);
        let same_epoch = before
            .epoch
            .is_none_or(|epoch| epoch == *witness.applied.epoch.as_bytes());
        let saw_the_end = witness.applied.epoch == ended.epoch && witness.applied.sequence >= before.sequence;
        // Either nothing that he had heard of was missing, or he had heard of it a moment before.
        let nothing_missing = before.epoch.is_some() && before.ticks >= ended.ticks;
        let heard_lately = ended.silent <= self.settings.vouch_within;
        if !(same_epoch && saw_the_end && (nothing_missing || heard_lately)) {
            return None;
        }
        Some(Record {
            before: None,
            complete_since: witness.complete_since.map(form::nanos),
            ..record.clone()
        })
    }

    /// A log without entries that counts on from the one that was lost.
    fn anew(&self, found: &Found, record: Option<Record>, witness: Option<&Witness>) -> Record {
        let sequence = record
            .as_ref()
            .map_or(0, |record| record.sequence)
            .max(found.last_given())
            .max(witness.map_or(0, |witness| witness.applied.sequence));
        Record {
            sequence,
            purged: sequence,
            complete_since: Some(form::nanos(self.clock.now())),
            before: Some(Before {
                epoch: record.as_ref().map(|record| *record.epoch().as_bytes()),
                sequence: record.as_ref().map_or(0, |record| record.sequence),
                ticks: 0,
            }),
            policy: record.and_then(|record| record.policy),
            ..Record::begin(new_epoch(), found.replid.clone())
        }
    }

    async fn begin(
        &self,
        found: &Found,
        next: &Record,
        purge: bool,
        why: &str,
        deadline: Deadline,
    ) -> Result<(), LogError> {
        if self.write(found, next, purge, deadline).await? {
            tracing::warn!(
                epoch = %next.epoch(),
                why,
                "a new epoch of the revocation log began: nothing cached from before counts"
            );
        }
        Ok(())
    }

    /// Puts `next` in the place of the record that was found; false if that is not there any more.
    async fn write(
        &self,
        found: &Found,
        next: &Record,
        purge: bool,
        deadline: Deadline,
    ) -> Result<bool, LogError> {
        let bytes = self
            .form
            .seal_record(next)
            .map_err(|error| unsealed(TICKING, error))?;
        let purge: &[u8] = if purge { b"1" } else { b"0" };
        let done: i64 = self
            .connection
            .script(
                &self.scripts.begin,
                &[&self.keys.head, &self.keys.stream],
                &[
                    &found.bytes,
                    &bytes,
                    found.replid.as_bytes(),
                    &found.last_id,
                    purge,
                    self.keys.bell.as_bytes(),
                ],
                deadline,
            )
            .await
            .map_err(|error| unavailable(TICKING, &error))?;
        Ok(done == 1)
    }
}

fn too_few(replicas: u32, wanted: u32) -> LogError {
    LogError::Unavailable {
        doing: TICKING.to_owned(),
        cause: format!(
            "only {replicas} of {wanted} replicas confirmed it within `replicas_timeout`: bring them back, or lower `replicas`"
        ),
    }
}

fn new_epoch() -> Epoch {
    Epoch::from_bytes(rand::random())
}
