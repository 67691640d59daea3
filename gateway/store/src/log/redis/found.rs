//! What a look at the log's end found, be it by a tick or by somebody who only watches.

use std::time::SystemTime;

use natsgate_core::Head;

use super::form::{self, Form, Record};

/// An answer to `tick.lua` or `watch.lua`.
pub(super) struct Found {
    /// The replication id of the primary that answered.
    pub(super) replid: String,
    /// The record's bytes; empty if there is none.
    pub(super) bytes: Vec<u8>,
    /// How often the log was ticked.
    pub(super) ticks: u64,
    /// The last id the stream ever gave; empty if there is no stream.
    pub(super) last_id: Vec<u8>,
    /// The first entry's id and bytes.
    pub(super) first: Option<(Vec<u8>, Vec<u8>)>,
    /// The last entry's.
    pub(super) last: Option<(Vec<u8>, Vec<u8>)>,
    /// Of a tick the server's time, of a watcher's look how long ago the last tick that counts was, both in ms. `None`
    /// if there is nothing of the kind.
    pub(super) millis: Option<i64>,
}

impl Found {
    /// What the script answered, if it is such an answer.
    pub(super) fn of(answer: Vec<Vec<u8>>) -> Option<Self> {
        let [
            replid,
            bytes,
            ticks,
            last_id,
            first_id,
            first,
            end_id,
            end,
            millis,
        ] = <[Vec<u8>; 9]>::try_from(answer).ok()?;
        let pair = |id: Vec<u8>, bytes| (!id.is_empty()).then_some((id, bytes));
        Some(Self {
            replid: String::from_utf8(replid)
                .ok()
                .filter(|replid| !replid.is_empty())?,
            bytes,
            ticks: std::str::from_utf8(&ticks).ok()?.parse().ok()?,
            last_id,
            first: pair(first_id, first),
            last: pair(end_id, end),
            millis: std::str::from_utf8(&millis)
                .ok()
                .and_then(|millis| millis.parse().ok()),
        })
    }

    /// The last sequence the stream ever gave.
    pub(super) fn last_given(&self) -> u64 {
        let id = std::str::from_utf8(&self.last_id).unwrap_or_default();
        id.split('-')
            .next()
            .and_then(|part| part.parse().ok())
            .unwrap_or(0)
    }

    /// Whether the stream ends where `record` says.
    pub(super) fn ends_as(&self, record: &Record) -> bool {
        let given = if record.tag == form::Tag::default() {
            // No entry since the stream began anew.
            self.last_id.is_empty()
        } else {
            form::sequence_of(&self.last_id) == Some(record.sequence)
        };
        let last = self.last.as_ref().is_none_or(|(id, bytes)| {
            form::sequence_of(id) == Some(record.sequence) && form::tag_of(bytes) == Some(record.tag)
        });
        given && last
    }

    /// Whether record or first entry are of a secret that is not configured here.
    pub(super) fn is_of_another_secret(&self, form: &Form) -> bool {
        let first = self.first.as_ref().map(|(_id, bytes)| bytes.as_slice());
        form.is_of_another_secret(&self.bytes)
            || first.is_some_and(|bytes| form.entry_is_of_another_secret(bytes))
    }

    /// The newest time of any entry that was trimmed, as the first that is held tells; `None` if that does not open.
    pub(super) fn trimmed(&self, form: &Form, record: &Record) -> Option<Option<SystemTime>> {
        match &self.first {
            None => Some(record.newest.map(form::time)),
            Some((id, bytes)) => form::sequence_of(id)
                .and_then(|sequence| form.open_entry(sequence, bytes))
                .map(|opened| opened.newest_before),
        }
    }

    /// Where the log ends, by what `record` and the first entry say.
    pub(super) fn head(&self, record: &Record, trimmed: Option<SystemTime>) -> Head {
        let first = self.first.as_ref().and_then(|(id, _bytes)| form::sequence_of(id));
        Head {
            revision: record.revision(),
            oldest: first.unwrap_or_else(|| record.sequence.saturating_add(1)),
            complete_since: record.complete_since.map(form::time).max(trimmed),
            policy: record.policy.clone(),
        }
    }
}
