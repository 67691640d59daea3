//! How an entry is written for the shared cache, and read again.
//!
//! The concerns are not written: they follow from the question and the answer, and a release that counts more of them
//! must count them for old entries too.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use natsgate_core::{Concern, Denial, DenialReason, Fact, Revision};
use serde::{Deserialize, Serialize};

use super::entry::{Entry, Said};

/// The version of this form. It goes into the key's digest, so that releases with different forms do not meet.
pub(super) const VERSION: u8 = 1;

#[derive(Serialize)]
struct Written<'a, F> {
    stamp: Revision,
    /// Milliseconds since the Unix epoch.
    fetched_at: u64,
    said: WrittenSaid<'a, F>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum WrittenSaid<'a, F> {
    Fact(&'a F),
    Denied { reason: DenialReason, detail: &'a str },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound = "F: Fact")]
struct Read<F> {
    stamp: Revision,
    fetched_at: u64,
    said: ReadSaid<F>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields, bound = "F: Fact")]
enum ReadSaid<F> {
    Fact(F),
    Denied { reason: DenialReason, detail: String },
}

/// `entry` in bytes; `None` for what JSON cannot say, which is then not kept.
pub(super) fn write<F: Fact>(entry: &Entry<F>) -> Option<Vec<u8>> {
    let since = entry.fetched_at.duration_since(UNIX_EPOCH).ok()?;
    let written = Written {
        stamp: entry.stamp,
        fetched_at: u64::try_from(since.as_millis()).ok()?,
        said: match &entry.said {
            Said::Fact(fact) => WrittenSaid::Fact(fact),
            Said::Denied(denial) => WrittenSaid::Denied {
                reason: denial.reason,
                detail: &denial.detail,
            },
        },
    };
    serde_json::to_vec(&written).ok()
}

/// The entry in `bytes`, which answers a question about `asked`. `None` for anything but what [`write`] wrote.
pub(super) fn read<F: Fact>(bytes: &[u8], asked: Vec<Concern>) -> Option<Entry<F>> {
    let read: Read<F> = serde_json::from_slice(bytes).ok()?;
    let fetched_at: SystemTime = UNIX_EPOCH.checked_add(Duration::from_millis(read.fetched_at))?;
    let said = match read.said {
        ReadSaid::Fact(fact) => Said::Fact(fact),
        ReadSaid::Denied { reason, detail } => Said::Denied(Denial { reason, detail }),
    };
    Some(Entry::new(said, read.stamp, fetched_at, asked))
}
