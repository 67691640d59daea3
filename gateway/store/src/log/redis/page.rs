//! What a read of the log found: entries that open, and follow each other to where the log ends.

use natsgate_core::{Epoch, LogEntry, LogError, LogPage};

use super::errors::{another_secret, damaged};
use super::form::{self, Form, Record};
use super::{READING, no_epoch};

/// An answer to `read.lua` cannot be used.
pub(super) enum Unread {
    /// It says nothing of the entries.
    Failed(LogError),
    /// Entries of this epoch cannot be right.
    Damaged(Epoch, &'static str),
}

impl Unread {
    /// What the reader is told, whatever else is made of it.
    pub(super) fn into_error(self) -> LogError {
        match self {
            Self::Failed(error) => error,
            Self::Damaged(_epoch, what) => damaged(what),
        }
    }
}

/// The entries in an `answer` to `read.lua` that asked for `limit`.
pub(super) fn page(form: &Form, answer: &[Vec<u8>], limit: usize) -> Result<LogPage, Unread> {
    let failed = |error| Err(Unread::Failed(error));
    let Some(record) = answer.first() else {
        return failed(damaged("Redis answered nothing"));
    };
    if record.is_empty() {
        return failed(no_epoch(READING));
    }
    if form.is_of_another_secret(record) {
        return failed(another_secret(READING));
    }
    let Some(record) = form.open_record(record) else {
        return failed(damaged("the record of where it ends does not open"));
    };
    let rest = answer.get(1..).unwrap_or_default();
    if rest.iter().any(|bytes| form.entry_is_of_another_secret(bytes)) {
        return failed(another_secret(READING));
    }
    let epoch = record.epoch();
    match chained(form, &record, rest, limit) {
        Ok(entries) => Ok(LogPage { epoch, entries }),
        Err(what) => Err(Unread::Damaged(epoch, what)),
    }
}

/// The entries, if each opens and follows the one before, and the last is the record's.
fn chained(
    form: &Form,
    record: &Record,
    answer: &[Vec<u8>],
    limit: usize,
) -> Result<Vec<LogEntry>, &'static str> {
    let mut pairs = answer.chunks_exact(2);
    let mut last: Option<(u64, form::Tag)> = None;
    if let Some([id, bytes]) = pairs.next()
        && !id.is_empty()
    {
        let sequence = form::sequence_of(id).ok_or("an entry has an id that natsgate does not give")?;
        last = Some((sequence, form::tag_of(bytes).ok_or("an entry is empty")?));
    }
    let mut entries = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let [id, bytes] = pair else { continue };
        let sequence = form::sequence_of(id).ok_or("an entry has an id that natsgate does not give")?;
        let opened = form.open_entry(sequence, bytes).ok_or("an entry does not open")?;
        let follows = (opened.entry.predecessor, opened.predecessor_tag);
        if last.is_some_and(|last| last != follows) {
            return Err("an entry does not follow the one before it");
        }
        last = Some((sequence, opened.tag));
        entries.push(opened.entry);
    }
    let at_the_end = entries.len() < limit;
    if at_the_end && last.is_some_and(|last| last != (record.sequence, record.tag)) {
        return Err("its last entry is not the one that it ends with");
    }
    Ok(entries)
}
