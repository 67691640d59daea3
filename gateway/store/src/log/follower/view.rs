//! What a follower knows of the log at one moment, and what it judges facts by.
//!
//! Plain state: nothing here waits, or asks the log.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, SystemTime};

use natsgate_core::{
    Change, ClaimsStanding, Concern, EntryId, Head, Held, LogEntry, Missed, NewEntry, PolicyGeneration,
    Position, Revision, Witness,
};
use tokio::time::Instant;

use super::history::History;
use super::index::Index;

/// An entry does not follow what was applied: something between the two is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap;

/// What is known of the log.
#[derive(Debug)]
pub(super) struct View {
    /// How far it is applied.
    pub(super) applied: Revision,
    /// When the last successful tick began.
    pub(super) confirmed_at: Option<Instant>,
    /// Whether the log turned out to be another one, or damaged: then nothing of before counts.
    pub(super) void: bool,
    /// Stamps and positions below it cannot be judged: entries after them are missing.
    floor: u64,
    /// Since when no entry is missing, as the log says.
    complete_since: Option<SystemTime>,
    /// The newest time of an entry that was forgotten here because the log trimmed it.
    trimmed: Option<SystemTime>,
    index: Index,
    /// The entries the log holds, to append them again should it lose them.
    entries: VecDeque<LogEntry>,
    ids: HashSet<EntryId>,
    history: History,
    policy: Option<PolicyGeneration>,
    /// The generation that the log itself knows, 0 if none.
    policy_in_log: u64,
    /// What this instance appended and has not read yet.
    own: HashMap<EntryId, NewEntry>,
    /// What an earlier epoch held and this one does not, the oldest first.
    pub(super) lost: VecDeque<NewEntry>,
    /// Index over what was lost, for claims: their entries' times say the same in any epoch.
    lost_index: Index,
    /// What was known of the epoch before, until the log was told.
    former: Option<Witness>,
}

impl View {
    /// The log of `head` before anything of it was read.
    pub(super) fn before(head: &Head) -> Self {
        let nothing = head.oldest.saturating_sub(1);
        Self {
            applied: Revision::new(head.revision.epoch, nothing),
            confirmed_at: None,
            void: false,
            floor: nothing,
            complete_since: head.complete_since,
            trimmed: None,
            index: Index::default(),
            entries: VecDeque::new(),
            ids: HashSet::new(),
            history: History::begin(Instant::now(), nothing),
            policy: head.policy.clone(),
            policy_in_log: 0,
            own: HashMap::new(),
            lost: VecDeque::new(),
            lost_index: Index::default(),
            former: None,
        }
    }

    /// Since when no entry is missing here, be it lost or trimmed.
    fn complete_since(&self) -> Option<SystemTime> {
        self.complete_since.max(self.trimmed)
    }

    /// The history begins: the log was read up to where it is applied.
    pub(super) fn begin_history(&mut self, now: Instant) {
        self.history = History::begin(now, self.applied.sequence);
    }

    /// What was applied so far is applied since `now`.
    pub(super) fn note(&mut self, now: Instant) {
        self.history.applied(now, self.applied.sequence);
    }

    /// Applies an entry that follows; one that was applied before changes nothing.
    pub(super) fn apply(&mut self, entry: LogEntry) -> Result<(), Gap> {
        if entry.revision.sequence <= self.applied.sequence {
            return Ok(());
        }
        if entry.predecessor > self.applied.sequence {
            return Err(Gap);
        }
        if let Change::PolicyChanged { policy } = &entry.change {
            self.learn_policy(Some(policy));
            self.told(policy.clone());
        }
        self.own.remove(&entry.id);
        self.ids.insert(entry.id);
        self.index.add(&entry);
        self.applied.sequence = entry.revision.sequence;
        self.entries.push_back(entry);
        Ok(())
    }

    /// Goes on from `sequence`, though entries up to it were trimmed before they were read: facts stamped before cannot
    /// be judged. Since when claims can be, the log says itself ([`Head::complete_since`]).
    pub(super) fn skip_to(&mut self, sequence: u64) {
        self.applied.sequence = self.applied.sequence.max(sequence);
        self.floor = self.floor.max(self.applied.sequence);
    }

    /// Nothing counts any more that was stamped when everything up to `sequence` of this epoch was applied, or before.
    pub(super) fn forget_stamps(&mut self, sequence: u64) {
        self.floor = self.applied.sequence.max(sequence.saturating_add(1));
    }

    /// Takes in what a tick said of the log, beside where it ends.
    pub(super) fn learn(&mut self, head: &Head, now: SystemTime) {
        self.complete_since = head.complete_since;
        self.learn_policy(head.policy.as_ref());
        if let Some(policy) = &head.policy {
            self.told(policy.clone());
        }
        self.floor = self.floor.max(head.oldest.saturating_sub(1));
        while let Some(first) = self.entries.front()
            && first.revision.sequence < head.oldest
        {
            self.trimmed = self.trimmed.max(Some(first.at.min(now)));
            self.index.forget(first);
            self.ids.remove(&first.id);
            self.entries.pop_front();
        }
        if self.lost.is_empty() {
            self.lost_index = Index::default();
        }
    }

    /// The policy in force, if the log does not know it (any more).
    pub(super) fn policy_to_tell(&self) -> Option<PolicyGeneration> {
        self.policy
            .clone()
            .filter(|policy| policy.generation > self.policy_in_log)
    }

    /// The log knows `policy`.
    pub(super) fn told(&mut self, policy: PolicyGeneration) {
        self.policy_in_log = self.policy_in_log.max(policy.generation);
    }

    /// Of two policies the newer is in force.
    fn learn_policy(&mut self, policy: Option<&PolicyGeneration>) {
        if let Some(new) = policy
            && self
                .policy
                .as_ref()
                .is_none_or(|known| known.generation < new.generation)
        {
            self.policy = Some(new.clone());
        }
    }

    /// This instance appended an entry, which stands at `revision`.
    pub(super) fn appended(&mut self, entry: NewEntry, revision: &Revision) {
        if !self.applied.includes(revision) && !self.ids.contains(&entry.id) {
            self.own.insert(entry.id, entry);
        }
    }

    /// Takes over from the view of an earlier epoch what this one lacks.
    pub(super) fn take_over(&mut self, mut before: Self) {
        self.former = Some(Witness {
            applied: before.applied,
            complete_since: before.complete_since(),
        });
        self.learn_policy(before.policy.as_ref());
        let mut own: Vec<NewEntry> = before.own.drain().map(|(_id, entry)| entry).collect();
        own.sort_by_key(|entry| entry.at);
        let held = before.entries.into_iter().map(|entry| NewEntry {
            id: entry.id,
            at: entry.at,
            change: entry.change,
            idempotency: entry.idempotency,
        });
        for entry in before.lost.into_iter().chain(held).chain(own) {
            if self.ids.contains(&entry.id) {
                continue;
            }
            self.lost_index.add(&LogEntry {
                id: entry.id,
                revision: self.applied,
                predecessor: 0,
                at: entry.at,
                change: entry.change.clone(),
                idempotency: None,
            });
            self.lost.push_back(entry);
        }
    }

    /// The next of what was lost that nobody has appended again yet.
    pub(super) fn next_lost(&mut self) -> Option<NewEntry> {
        while let Some(entry) = self.lost.front() {
            if !self.ids.contains(&entry.id) {
                return Some(entry.clone());
            }
            self.lost.pop_front();
        }
        None
    }

    /// The next of what was lost, which is `id`, needs no appending any more.
    pub(super) fn found(&mut self, id: EntryId) {
        if self.lost.front().is_some_and(|entry| entry.id == id) {
            self.lost.pop_front();
        }
    }

    /// What this follower can vouch for: the epoch before, as soon as the present one has all that was known of it; else
    /// the present one.
    pub(super) fn witness(&self) -> Witness {
        match &self.former {
            Some(former) if self.lost.is_empty() => former.clone(),
            _ => Witness {
                applied: self.applied,
                complete_since: self.complete_since(),
            },
        }
    }

    /// The log has heard `witness`, after it told of this epoch; it needs not hear of the epoch before twice.
    pub(super) fn heard(&mut self, witness: &Witness) {
        if self.former.as_ref() == Some(witness) {
            self.former = None;
        }
    }

    /// Whether the log is still to be told of the epoch before, and can be.
    pub(super) fn has_more_to_tell(&self) -> bool {
        self.former.is_some() && self.lost.is_empty()
    }

    /// The policy in force.
    pub(super) fn policy(&self) -> Option<&PolicyGeneration> {
        self.policy.as_ref()
    }

    /// See [`natsgate_core::Freshness::position`].
    pub(super) fn position(&self, now: Instant, max_lag: Duration) -> Position {
        let lately = |began: Instant| now.saturating_duration_since(began) <= max_lag;
        if !self.void && self.confirmed_at.is_some_and(lately) {
            Position::Confirmed(self.applied)
        } else {
            Position::Degraded(self.applied)
        }
    }

    /// See [`natsgate_core::Freshness::stamp`].
    pub(super) fn stamp(&self, now: Instant, max_lag: Duration, lag: Duration) -> Option<Revision> {
        let Position::Confirmed(revision) = self.position(now, max_lag) else {
            return None;
        };
        if lag.is_zero() {
            return Some(revision);
        }
        let sequence = self.history.as_of(now, lag)?;
        Some(Revision::new(revision.epoch, sequence))
    }

    /// See [`natsgate_core::Freshness::superseded`].
    pub(super) fn superseded(&self, stamp: &Revision, concerns: &[Concern]) -> bool {
        self.void
            || !self.applied.includes(stamp)
            || stamp.sequence < self.floor
            || self.index.touched_after(stamp.sequence, concerns)
    }

    /// See [`natsgate_core::RevocationFeed::after`].
    pub(super) fn after(&self, after: &Revision, limit: usize) -> Result<Vec<LogEntry>, Missed> {
        if self.void || after.epoch != self.applied.epoch || after.sequence < self.floor {
            return Err(Missed);
        }
        let begin = self
            .entries
            .partition_point(|entry| entry.revision.sequence <= after.sequence);
        Ok(self.entries.range(begin..).take(limit).cloned().collect())
    }

    /// See [`natsgate_core::RevocationFeed::held`].
    pub(super) fn held(&self) -> Option<Held> {
        if self.void {
            return None;
        }
        let first = self.entries.front();
        let before = first.map_or(self.applied.sequence, |first| {
            first.revision.sequence.saturating_sub(1)
        });
        Some(Held {
            position: self.applied,
            before: before.max(self.floor.min(self.applied.sequence)),
            entries: self.entries.iter().cloned().collect(),
        })
    }

    /// See [`natsgate_core::Freshness::claims`]; `since` is the time of issue, skew allowed for.
    pub(super) fn claims(&self, since: SystemTime, concerns: &[Concern], confirmed: bool) -> ClaimsStanding {
        if self.index.touched_since(since, concerns) || self.lost_index.touched_since(since, concerns) {
            ClaimsStanding::Superseded
        } else if !confirmed || self.complete_since().is_some_and(|complete| since < complete) {
            ClaimsStanding::Unknown
        } else {
            ClaimsStanding::Current
        }
    }

    /// How many entries, concerns and lost entries it holds.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        (self.entries.len(), self.index.len(), self.lost.len())
    }
}
