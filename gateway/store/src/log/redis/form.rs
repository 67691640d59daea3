//! How the log lies in Redis: the head's record, the entries, the idempotency records, all sealed.
//!
//! An entry is sealed to its place: epoch, sequence, predecessor and the predecessor's tag are its associated data. So an
//! entry that is altered, moved, or put in by somebody else does not open, and one that is taken out leaves two that do
//! not follow each other. The record is sealed to the log's name and holds the last entry's tag, which ends the chain.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use natsgate_core::{Change, EntryId, Epoch, Idempotency, LogEntry, NewEntry, PolicyGeneration, Revision};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::seal::{SealError, Sealer};

/// The form of what is sealed here. Another release that writes another form has another number.
const FORM: u8 = 1;

/// What stands in front of the sealed part of an entry: epoch, predecessor, the predecessor's tag.
const PREFIX: usize = 16 + 8 + TAG;

/// The length of a tag: the authentication tag that a sealed entry ends with.
const TAG: usize = 16;

/// The tag that an entry's bytes end with: no other entry has it.
pub(super) type Tag = [u8; TAG];

/// Where the log ends, and what else is known of it as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The number of this form.
    pub(super) form: u8,
    /// The log's present life.
    pub(super) epoch: [u8; 16],
    /// The replication id of the primary that the epoch is bound to.
    pub(super) replid: String,
    /// The last entry's sequence; that which the next one counts on from if there is none.
    pub(super) sequence: u64,
    /// The last entry's tag; zeros if there is none.
    pub(super) tag: Tag,
    /// Since when nothing that was appended was lost, in ns of Unix time; `None` for ever.
    pub(super) complete_since: Option<u64>,
    /// The newest time of any entry that was appended and not lost since, in ns of Unix time.
    pub(super) newest: Option<u64>,
    /// Idempotency records of this sequence and before do not count: what they tell of is lost.
    pub(super) purged: u64,
    /// The policy in force.
    pub(super) policy: Option<PolicyGeneration>,
    /// The epoch before, until somebody who saw its end has said what he knows.
    pub(super) before: Option<Before>,
}

/// What was found of the epoch before, when this one began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    /// Which it was; `None` if nothing was found that said so.
    pub(super) epoch: Option<[u8; 16]>,
    /// Its end, as far as that was still there.
    pub(super) sequence: u64,
    /// How often it had ticked, as far as that was still there.
    pub(super) ticks: u64,
}

/// What of an entry is sealed.
#[derive(Serialize, Deserialize)]
struct Sealed {
    id: EntryId,
    at: u64,
    change: Change,
    idempotency: Option<Idempotency>,
    /// The newest time of all entries before it.
    newest_before: Option<u64>,
}

/// What an idempotency record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Once {
    epoch: [u8; 16],
    /// Where the entry stands.
    pub(super) sequence: u64,
    /// The digest of the request that appended it.
    pub(super) body: [u8; 32],
}

impl Once {
    /// The entry's position when it was appended.
    pub(super) fn revision(&self) -> Revision {
        Revision::new(Epoch::from_bytes(self.epoch), self.sequence)
    }
}

/// An entry as it lies in Redis, read and found authentic.
#[derive(Debug)]
pub(super) struct Opened {
    /// The entry.
    pub(super) entry: LogEntry,
    /// The tag of the entry before it.
    pub(super) predecessor_tag: Tag,
    /// Its own.
    pub(super) tag: Tag,
    /// The newest time of all entries before it.
    pub(super) newest_before: Option<SystemTime>,
}

impl Record {
    /// The first record of a new epoch, which holds nothing and knows nothing.
    pub(super) fn begin(epoch: Epoch, replid: String) -> Self {
        Self {
            form: FORM,
            epoch: *epoch.as_bytes(),
            replid,
            sequence: 0,
            tag: [0; TAG],
            complete_since: None,
            newest: None,
            purged: 0,
            policy: None,
            before: None,
        }
    }

    /// This log in a new epoch.
    pub(super) fn in_epoch(self, epoch: Epoch, replid: String) -> Self {
        Self {
            epoch: *epoch.as_bytes(),
            replid,
            ..self
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        Epoch::from_bytes(self.epoch)
    }

    /// The log's end.
    pub(super) fn revision(&self) -> Revision {
        Revision::new(self.epoch(), self.sequence)
    }
}

/// Seals and opens what lies in Redis under one log's name.
#[derive(Debug)]
pub(super) struct Form {
    sealer: Sealer,
    name: String,
}

impl Form {
    /// For the log of this name.
    pub(super) fn new(sealer: Sealer, name: String) -> Self {
        Self { sealer, name }
    }

    fn place(&self, what: &str, parts: &[&[u8]]) -> Vec<u8> {
        let mut place = Vec::new();
        let name = [what.as_bytes(), self.name.as_bytes()];
        for part in name.iter().chain(parts) {
            place.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            place.extend_from_slice(part);
        }
        place
    }

    fn seal<T: Serialize>(&self, place: &[u8], what: &T) -> Result<Vec<u8>, SealError> {
        let text = serde_json::to_vec(what).map_err(|_| SealError::CannotSeal)?;
        let text = zeroize::Zeroizing::new(text);
        self.sealer.seal(place, &text)
    }

    fn open<T: DeserializeOwned>(&self, place: &[u8], sealed: &[u8]) -> Option<T> {
        let text = self.sealer.open(place, sealed).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// The record's bytes.
    pub(super) fn seal_record(&self, record: &Record) -> Result<Vec<u8>, SealError> {
        self.seal(&self.place("record", &[]), record)
    }

    /// The record of these bytes, if they are one.
    pub(super) fn open_record(&self, bytes: &[u8]) -> Option<Record> {
        self.open(&self.place("record", &[]), bytes)
            .filter(|record: &Record| record.form == FORM)
    }

    /// Whether these bytes, a record's, are of a secret that this instance does not have.
    pub(super) fn is_of_another_secret(&self, bytes: &[u8]) -> bool {
        self.sealer.is_of_another_secret(bytes)
    }

    /// Whether an entry's bytes are of a secret that this instance does not have.
    pub(super) fn entry_is_of_another_secret(&self, bytes: &[u8]) -> bool {
        bytes
            .get(PREFIX..)
            .is_some_and(|sealed| self.sealer.is_of_another_secret(sealed))
    }

    /// The idempotency record's bytes; `key` is what it lies under.
    pub(super) fn seal_once(&self, key: &str, at: &Revision, body: [u8; 32]) -> Result<Vec<u8>, SealError> {
        let once = Once {
            epoch: *at.epoch.as_bytes(),
            sequence: at.sequence,
            body,
        };
        self.seal(&self.place("once", &[key.as_bytes()]), &once)
    }

    /// The idempotency record of these bytes, if they are the one of `key`.
    pub(super) fn open_once(&self, key: &str, bytes: &[u8]) -> Option<Once> {
        self.open(&self.place("once", &[key.as_bytes()]), bytes)
    }

    /// The bytes of `entry` at `revision`, following the end that `record` tells of, and its tag.
    pub(super) fn seal_entry(
        &self,
        entry: &NewEntry,
        revision: &Revision,
        record: &Record,
    ) -> Result<(Vec<u8>, Tag), SealError> {
        let mut bytes = Vec::with_capacity(PREFIX);
        bytes.extend_from_slice(revision.epoch.as_bytes());
        bytes.extend_from_slice(&record.sequence.to_be_bytes());
        bytes.extend_from_slice(&record.tag);
        let place = self.place("entry", &[&revision.sequence.to_be_bytes(), &bytes]);
        let sealed = self.seal(
            &place,
            &Sealed {
                id: entry.id,
                at: nanos(entry.at),
                change: entry.change.clone(),
                idempotency: entry.idempotency.clone(),
                newest_before: record.newest,
            },
        )?;
        let tag = *sealed.last_chunk().ok_or(SealError::CannotSeal)?;
        bytes.extend_from_slice(&sealed);
        Ok((bytes, tag))
    }

    /// The entry of these bytes, if they are the one that stands at `sequence`.
    pub(super) fn open_entry(&self, sequence: u64, bytes: &[u8]) -> Option<Opened> {
        let (prefix, sealed) = bytes.split_at_checked(PREFIX)?;
        let (epoch, rest) = prefix.split_first_chunk::<16>()?;
        let (predecessor, rest) = rest.split_first_chunk::<8>()?;
        let (predecessor_tag, _) = rest.split_first_chunk::<TAG>()?;
        let place = self.place("entry", &[&sequence.to_be_bytes(), prefix]);
        let opened: Sealed = self.open(&place, sealed)?;
        Some(Opened {
            entry: LogEntry {
                id: opened.id,
                revision: Revision::new(Epoch::from_bytes(*epoch), sequence),
                predecessor: u64::from_be_bytes(*predecessor),
                at: time(opened.at),
                change: opened.change,
                idempotency: opened.idempotency,
            },
            predecessor_tag: *predecessor_tag,
            tag: *sealed.last_chunk()?,
            newest_before: opened.newest_before.map(time),
        })
    }
}

/// The tag of an entry's bytes, without opening it.
pub(super) fn tag_of(bytes: &[u8]) -> Option<Tag> {
    bytes.last_chunk().copied()
}

/// The stream's id of entry `sequence`.
pub(super) fn stream_id(sequence: u64) -> String {
    format!("{sequence}-1")
}

/// The sequence of a stream's id, if it is one of ours.
pub(super) fn sequence_of(id: &[u8]) -> Option<u64> {
    let (sequence, one) = std::str::from_utf8(id).ok()?.split_once('-')?;
    (one == "1").then(|| sequence.parse().ok()).flatten()
}

/// Nanoseconds of Unix time.
pub(super) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The time of [`nanos`].
pub(super) fn time(nanos: u64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_nanos(nanos))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use natsgate_core::Selector;
    use secrecy::SecretString;

    use super::*;
    use crate::seal::Secrets;

    fn form(name: &str) -> Form {
        let secrets = Secrets::new(SecretString::from("x".repeat(32)), Vec::new()).unwrap();
        Form::new(secrets.sealer("revocation log").unwrap(), name.to_owned())
    }

    #[test]
    fn what_is_sealed_opens_only_where_it_belongs() {
        let (form, other) = (form("{a}:log"), form("{b}:log"));
        let record = Record {
            sequence: 4,
            ..Record::begin(Epoch::from_bytes([7; 16]), "replid".to_owned())
        };
        let entry = NewEntry {
            id: EntryId([1; 16]),
            at: UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789),
            change: Change::revoked(
                Selector::Account {
                    name: "APP".to_owned(),
                },
                "",
                "backend",
            ),
            idempotency: None,
        };
        let revision = Revision::new(record.epoch(), 5);
        let (bytes, tag) = form.seal_entry(&entry, &revision, &record).unwrap();
        let opened = form.open_entry(5, &bytes).unwrap();
        assert_eq!((opened.tag, opened.predecessor_tag), (tag, record.tag));
        assert_eq!(opened.entry.revision, revision);
        assert_eq!((opened.entry.predecessor, opened.entry.at), (4, entry.at));
        assert!(form.open_entry(6, &bytes).is_none());
        assert!(other.open_entry(5, &bytes).is_none());
        for place in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[place] ^= 1;
            assert!(form.open_entry(5, &altered).is_none(), "byte {place}");
            assert!(form.open_entry(5, &bytes[..place]).is_none());
        }

        let sealed = form.seal_record(&record).unwrap();
        assert_eq!(form.open_record(&sealed), Some(record));
        assert_eq!(other.open_record(&sealed), None);
        let once = form.seal_once("one", &revision, [3; 32]).unwrap();
        assert_eq!(form.open_once("one", &once).unwrap().revision(), revision);
        assert_eq!(form.open_once("two", &once), None);
        assert_eq!(form.open_record(&once), None);
    }

    #[test]
    fn only_ids_that_natsgate_gives_are_read() {
        assert_eq!(sequence_of(stream_id(u64::MAX).as_bytes()), Some(u64::MAX));
        for id in ["", "5", "5-0", "5-2", "5-1-1", "-1", "x-1"] {
            assert_eq!(sequence_of(id.as_bytes()), None, "{id}");
        }
    }
}
