//! The port to memberships that natsgate itself holds, because somebody pushed them: truth, not a cache.
//!
//! A write is one transaction: the records, the answer for whoever asks again with the same idempotency key, and the
//! announcements, which are the log entries still to be appended. So a crash between truth and log loses nothing:
//! whoever looks next at what is [`pending`](MembershipStore::pending) appends it.
//!
//! What a write must look like is in [`mod@write`]. How the log is appended to is [`crate::revocation_log`]'s side.

pub mod write;

use std::time::SystemTime;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::deadline::Deadline;
use crate::membership::Membership;
use crate::principal::Principal;
use crate::reach::Reach;
use crate::revision::Revision;
use crate::revocation::{Change, EntryId};
use crate::revocation_log::{Appended, Idempotency, LogError, NewEntry};

pub use write::{InvalidWrite, MembershipWrite, Violation, WriteAct, WriteItem};

/// The name of the membership source over this store, in logs, errors and answers.
pub const SOURCE_NAME: &str = "pushed";

/// What names a record: who, and what they belong to. Ordered as lists are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MembershipKey {
    /// Who.
    pub principal: Principal,
    /// What they belong to, as what.
    pub membership: Membership,
}

/// One membership as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipRecord {
    /// Who belongs to what.
    pub key: MembershipKey,
    /// The number of the write that changed it last, counted over the whole store; 0 if it never existed.
    pub version: u64,
    /// Whether it was taken: the record is a tombstone then, kept for its version until it is purged.
    pub deleted: bool,
    /// When it was changed last, in whole microseconds.
    pub changed_at: SystemTime,
    /// Who changed it last: a caller's name. Empty if it never existed.
    pub changed_by: String,
}

/// What became of one item of a write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemOutcome {
    /// The record as it is now.
    pub record: MembershipRecord,
    /// Whether the write changed it: putting what is there and deleting what is not change nothing.
    pub changed: bool,
}

/// A log entry that a write calls for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The entry's name: however often it is appended, it is this one entry.
    pub id: EntryId,
    /// When the change was made.
    pub at: SystemTime,
    /// What changed.
    pub change: Change,
}

impl Announcement {
    /// The entry to append. Two who append it get the same revision.
    pub fn entry(&self) -> NewEntry {
        let key = Sha256::new()
            .chain_update(b"natsgate announcement\0")
            .chain_update(self.id.0)
            .finalize();
        NewEntry {
            id: self.id,
            at: self.at,
            change: self.change.clone(),
            // The name stands for the content: it is drawn at random together with it.
            idempotency: Some(Idempotency {
                key: key.into(),
                body: key.into(),
            }),
        }
    }
}

/// An announcement that stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The entry's name.
    pub id: EntryId,
    /// Where it stands.
    pub revision: Revision,
    /// Whether as many replicas have it as the configuration asks for.
    pub confirmed: bool,
}

/// A write is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What became of the items, in the write's order.
    pub outcomes: Vec<ItemOutcome>,
    /// What must still be appended to the log before everybody sees the outcomes. Not only of this write: an item that
    /// changed nothing may rest on another write that is not announced yet.
    pub pending: Vec<Announcement>,
    /// What was appended already.
    pub announced: Vec<Announced>,
    /// Whether the write was done before, by a call with the same idempotency key and body.
    pub repeated: bool,
}

/// Which records to list: those within reach that have what is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipFilter {
    /// What the asker may speak for.
    pub reach: Reach,
    /// Of this issuer's people.
    pub issuer: Option<String>,
    /// Of people of this subject.
    pub subject: Option<String>,
    /// In resources of this kind.
    pub kind: Option<String>,
    /// In resources of this id.
    pub id: Option<String>,
    /// In this role.
    pub role: Option<String>,
    /// Tombstones too.
    pub deleted: bool,
}

impl MembershipFilter {
    /// Everything within `reach` that is not deleted.
    pub fn within(reach: Reach) -> Self {
        Self {
            reach,
            issuer: None,
            subject: None,
            kind: None,
            id: None,
            role: None,
            deleted: false,
        }
    }

    /// Whether `record` is to be listed.
    pub fn admits(&self, record: &MembershipRecord) -> bool {
        let is =
            |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        let MembershipKey {
            principal,
            membership,
        } = &record.key;
        is(&self.issuer, &principal.issuer)
            && is(&self.subject, &principal.subject)
            && is(&self.kind, &membership.kind)
            && is(&self.id, &membership.id)
            && is(&self.role, &membership.role)
            && (self.deleted || !record.deleted)
            && self.reach.covers(principal, membership)
    }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipPage {
    /// The records, by key.
    pub records: Vec<MembershipRecord>,
    /// The key to go on after, if there is more.
    pub next: Option<MembershipKey>,
}

/// How much was purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Purged {
    /// Tombstones.
    pub tombstones: u64,
    /// Answers kept for idempotency.
    pub answers: u64,
    /// Announcements that were appended.
    pub announcements: u64,
}

/// An item of a write did not find the version it expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The item's place in the write.
    pub item: usize,
    /// The record's version; 0 if there is none.
    pub current_version: u64,
    /// Whether the record is a tombstone.
    pub deleted: bool,
}

/// The store could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipStoreError {
    /// It could not be reached, or not in time. Whether a write happened is then not known: write again with the same
    /// idempotency key.
    #[error("{doing}: {cause}")]
    Unavailable {
        /// What was being done.
        doing: String,
        /// What went wrong, and what to look at. Holds no value of a record.
        cause: String,
    },
    /// Items expected other versions. Nothing was written.
    #[error("{} of the items did not find the version they expected: read them again and decide anew", .0.len())]
    Conflict(Vec<Conflict>),
    /// The idempotency key was used before, for something else. Nothing was written.
    #[error("the idempotency key was used before for another request: use a new key for every request")]
    KeyReused,
    /// What the store holds cannot be right.
    #[error("the store of pushed memberships is damaged: {0}")]
    Damaged(String),
}

/// Holds pushed memberships.
#[async_trait]
pub trait MembershipStore: Send + Sync {
    /// Does `write`: all of its items or none, once.
    ///
    /// # Errors
    /// [`MembershipStoreError`].
    async fn apply(
        &self,
        write: &MembershipWrite,
        deadline: Deadline,
    ) -> Result<Written, MembershipStoreError>;

    /// What `principal` belongs to now, tombstones left out.
    ///
    /// # Errors
    /// [`MembershipStoreError`]; never a part of the list.
    async fn of(
        &self,
        principal: &Principal,
        deadline: Deadline,
    ) -> Result<Vec<Membership>, MembershipStoreError>;

    /// Records that `filter` admits, in the order of their keys, beginning after `after`; `limit` at most.
    ///
    /// # Errors
    /// [`MembershipStoreError`].
    async fn list(
        &self,
        filter: &MembershipFilter,
        after: Option<&MembershipKey>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<MembershipPage, MembershipStoreError>;

    /// Announcements not yet known to be appended, oldest first, `limit` at most.
    ///
    /// # Errors
    /// [`MembershipStoreError`].
    async fn pending(
        &self,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Announcement>, MembershipStoreError>;

    /// Notes that these announcements stand in the log, known at the time `at`. Those it does not know are passed over.
    ///
    /// # Errors
    /// [`MembershipStoreError`].
    async fn done(
        &self,
        announced: &[Announced],
        at: SystemTime,
        deadline: Deadline,
    ) -> Result<(), MembershipStoreError>;

    /// Forgets tombstones and answers from before `before`, and announcements known since before then to be appended. A caller who asks again with an
    /// idempotency key from before then makes a new write.
    ///
    /// # Errors
    /// [`MembershipStoreError`].
    async fn purge(&self, before: SystemTime, deadline: Deadline) -> Result<Purged, MembershipStoreError>;
}

/// Appends to the revocation log, and applies what it appended in this instance.
#[async_trait]
pub trait Announcer: Send + Sync {
    /// Appends `entry`.
    ///
    /// # Errors
    /// [`LogError`].
    async fn append(&self, entry: NewEntry, deadline: Deadline) -> Result<Appended, LogError>;
}

/// Who else grants a membership.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OtherGrants {
    /// The sources that grant it.
    pub granted_by: Vec<String>,
    /// The sources that could not be asked: out of reach, or only to be asked with the person's own claims.
    pub not_checked: Vec<String>,
}

/// Asks all sources of memberships whether they grant one.
#[async_trait]
pub trait OtherSources: Send + Sync {
    /// Who grants `membership` to `principal`. Answers by `deadline`: sources that did not are among those not checked.
    async fn granting(
        &self,
        principal: &Principal,
        membership: &Membership,
        deadline: Deadline,
    ) -> OtherGrants;
}
