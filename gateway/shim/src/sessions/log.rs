//! The entries that were held against all sessions lately, to be held against grants and sessions that come later.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use natsgate_core::{Concern, EntryId, Epoch, LogEntry, Measure, Revision, Touches};

use super::session::Session;

/// How many entries are remembered. A grant is some milliseconds old when it arrives; one older than what is remembered is asked
/// for again.
const REMEMBERED: usize = 8192;

/// Whether an entry concerns a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touch {
    /// It does not.
    No,
    /// That cannot be told from what is known.
    Maybe,
    /// It does.
    Yes,
}

/// How far the log was taken in, and what came last.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// How far; `None` before anything was read.
    pub(super) applied: Option<Revision>,
    /// Positions before this one cannot be judged: what came after them is not remembered.
    floor: u64,
    recent: VecDeque<Arc<LogEntry>>,
    /// The epochs that are over.
    past: HashSet<Epoch>,
}

/// How a position stands to what was taken in.
#[derive(Debug)]
pub(super) enum Since {
    /// Nothing that is known of came after it.
    Nothing,
    /// These did.
    Entries(Vec<Arc<LogEntry>>),
    /// What came after it cannot be told.
    Unknown,
}

impl Taken {
    /// Takes an entry in. A log that goes on in another epoch holds entries of the one before, under the same sequences: how far
    /// it was taken in is said in its own epoch.
    pub(super) fn push(&mut self, entry: Arc<LogEntry>) {
        let epoch = self.applied.map_or(entry.revision.epoch, |applied| applied.epoch);
        self.applied = Some(Revision::new(epoch, entry.revision.sequence));
        self.recent.push_back(entry);
        if self.recent.len() > REMEMBERED
            && let Some(oldest) = self.recent.pop_front()
        {
            self.floor = self.floor.max(oldest.revision.sequence);
        }
    }

    /// Goes on from `position`, with `entries`, all that the log holds after the sequence `before`. What else came between is
    /// not known.
    pub(super) fn jump(&mut self, position: Revision, before: u64, entries: Vec<Arc<LogEntry>>) {
        if let Some(applied) = self.applied
            && applied.epoch != position.epoch
        {
            self.past.insert(applied.epoch);
            self.past.remove(&position.epoch);
        }
        self.applied = Some(Revision::new(position.epoch, before));
        self.floor = before;
        self.recent.clear();
        for entry in entries {
            self.push(entry);
        }
        self.applied = Some(position);
    }

    /// Which of `entries`, all that the log holds in the epoch `now`, oldest first, were not taken in. None if none was before: then they
    /// are of before this shim, and what it finds is held against them.
    pub(super) fn missed(&self, now: Epoch, entries: &[Arc<LogEntry>]) -> Vec<Arc<LogEntry>> {
        let Some(applied) = self.applied else {
            return Vec::new();
        };
        let remembered: HashSet<EntryId> = self.recent.iter().map(|entry| entry.id).collect();
        let first = first_later(&applied, entries.iter()).unwrap_or(0);
        let missed = entries.iter().skip(first).filter(|entry| {
            let Revision { epoch, sequence } = entry.revision;
            // Of these nothing is remembered any more, so they were there long before. What is of the epoch that begins now was not.
            let before = self.past.contains(&epoch) || epoch != applied.epoch && sequence <= self.floor;
            !remembered.contains(&entry.id) && (epoch == now && epoch != applied.epoch || !before)
        });
        missed.cloned().collect()
    }

    /// The entries that are remembered and came after `as_of`, be it of another epoch; none if that cannot be told. All of this epoch came
    /// after those that are over. So they did after those that were never heard of, if this one is known to be the `newest`.
    pub(super) fn later(&self, as_of: &Revision, newest: bool) -> impl Iterator<Item = &Arc<LogEntry>> {
        let first = first_later(as_of, self.recent.iter()).or_else(|| {
            let now = self
                .applied
                .filter(|_| newest || self.past.contains(&as_of.epoch))
                .map(|applied| applied.epoch)
                .filter(|now| *now != as_of.epoch)?;
            self.recent.iter().position(|entry| entry.revision.epoch == now)
        });
        self.recent.iter().skip(first.unwrap_or(self.recent.len()))
    }

    /// Whether what is valid as of `as_of` is newer than an entry at `revision`: it includes it, or is of the epoch that the log is
    /// in now, and the entry of one before. What this epoch has of an entry that was lost is another entry.
    pub(super) fn covers(&self, as_of: Option<Revision>, revision: &Revision) -> bool {
        let now = self.applied.map(|applied| applied.epoch);
        as_of.is_some_and(|as_of| {
            as_of.includes(revision) || Some(as_of.epoch) == now && Some(revision.epoch) != now
        })
    }

    /// What came after `as_of`. A position of an epoch that was never heard of is newer than all that was: whoever gave it has
    /// read on.
    pub(super) fn since(&self, as_of: &Revision) -> Since {
        let Some(applied) = &self.applied else {
            return Since::Nothing;
        };
        if as_of.includes(applied) {
            return Since::Nothing;
        }
        if as_of.epoch != applied.epoch {
            return if self.past.contains(&as_of.epoch) {
                Since::Unknown
            } else {
                Since::Nothing
            };
        }
        if as_of.sequence < self.floor {
            return Since::Unknown;
        }
        let later = self
            .recent
            .iter()
            .rev()
            .take_while(|entry| entry.revision.sequence > as_of.sequence);
        Since::Entries(later.cloned().collect())
    }
}

impl Taken {
    /// How far a session comes that was looked at again and would get the same as of `now`: not past what was not taken in yet,
    /// and not past an entry that closes it whatever it would get. Looking at it does not carry that one out.
    pub(super) fn reached(&self, session: &Session, now: Option<Revision>) -> Option<Revision> {
        let (Some(now), Some(applied)) = (now, self.applied) else {
            return now;
        };
        // Of another epoch's entries none was taken in here.
        if now.epoch != applied.epoch {
            return session.as_of();
        }
        let end = if now.sequence > applied.sequence {
            applied
        } else {
            now
        };
        let Some(as_of) = session.as_of() else {
            return Some(end);
        };
        let closes = |entry: &&Arc<LogEntry>| {
            entry.revision.sequence <= end.sequence
                && entry.change.effect().measure == Measure::Kick
                && touches(entry, session) != Touch::No
        };
        let Since::Entries(entries) = self.since(&as_of) else {
            // Never back; and no further where an entry of another epoch is still to close it.
            let back = as_of.epoch == end.epoch && as_of.sequence > end.sequence;
            let stays = back || self.later(&as_of, false).any(|entry| closes(&entry));
            return Some(if stays { as_of } else { end });
        };
        // The newest stands first.
        let closing = entries.iter().rev().find(closes);
        Some(closing.map_or(end, |entry| {
            Revision::new(end.epoch, entry.revision.sequence.saturating_sub(1))
        }))
    }
}

/// The place of the first of `entries`, oldest first, that came after `position`; `None` if that cannot be told: none of them is
/// of its epoch.
fn first_later<'a>(
    position: &Revision,
    entries: impl ExactSizeIterator<Item = &'a Arc<LogEntry>> + DoubleEndedIterator + Clone,
) -> Option<usize> {
    let mut all = entries.clone();
    let later = all.position(|entry| {
        entry.revision.epoch == position.epoch && entry.revision.sequence > position.sequence
    });
    later.or_else(|| {
        let mut all = entries;
        let last = all.rposition(|entry| position.includes(&entry.revision))?;
        Some(last.saturating_add(1))
    })
}

/// Whether `entry` concerns something that is about `concerns` (`None`: not known), of whom `digest` is the principal's, in
/// `account`.
pub(super) fn touch(entry: &LogEntry, concerns: Option<&[Concern]>, digest: &str, account: &str) -> Touch {
    let effect = entry.change.effect();
    match effect.touches {
        Touches::Nobody | Touches::Session { .. } => Touch::No,
        Touches::Everybody => Touch::Yes,
        Touches::Concern(concern) => match concerns {
            Some(concerns) if concerns.contains(&concern) => Touch::Yes,
            Some(_) => Touch::No,
            None => match effect.principal {
                Some(principal) if principal.digest() != digest => Touch::No,
                // Of one membership of theirs it is not known whether the session rests on it.
                Some(_) if effect.measure == Measure::Recheck => Touch::Maybe,
                Some(_) => Touch::Yes,
                None if concern == Concern::account(account) => Touch::Yes,
                None => Touch::Maybe,
            },
        },
    }
}

/// Whether `entry` concerns `session`, whatever it is valid as of.
pub(super) fn touches(entry: &LogEntry, session: &Session) -> Touch {
    if let Touches::Session { server_id, client_id } = entry.change.effect().touches {
        let key = session.key();
        return if key.server_id == server_id && key.client_id == client_id {
            Touch::Yes
        } else {
            Touch::No
        };
    }
    let facts = session.facts.as_ref();
    touch(
        entry,
        facts.and_then(|facts| facts.concerns.as_deref()),
        &session.record.principal_digest,
        &session.record.account,
    )
}
