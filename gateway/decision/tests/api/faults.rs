//! A log and a store of bans that fail, or hang, where a test wants them to.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use natsgate_core::{
    Announced, Announcement, Announcer, Appended, Ban, BanStore, BanStoreError, BanWritten, Concern,
    Deadline, EntryId, Idempotency, Lifted, LogError, Membership, MembershipFilter, MembershipKey,
    MembershipPage, MembershipStore, MembershipStoreError, MembershipWrite, NewEntry, Pace, Principal,
    Purged, Written,
};
use natsgate_store::{FileMembershipStore, Follower};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::desk::soon;

/// What goes wrong with the next call, and only with that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    /// It fails, and nothing was done.
    Before,
    /// It is done, and its answer is lost.
    After,
    /// It never begins.
    HangsBefore,
    /// It is done, and never answers.
    HangsAfter,
}

/// Something that may go wrong.
pub(crate) struct Faulty {
    next: Mutex<Fault>,
    calls: watch::Sender<usize>,
}

impl Default for Faulty {
    fn default() -> Self {
        Self {
            next: Mutex::new(Fault::Nothing),
            calls: watch::Sender::new(0),
        }
    }
}

impl Faulty {
    pub(crate) fn next(&self, fault: Fault) {
        *self.next.lock().unwrap() = fault;
    }

    /// Does `work`, or not, as the next fault says; `None` if it seems to have failed.
    async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let fault = std::mem::replace(&mut *self.next.lock().unwrap(), Fault::Nothing);
        let done = match fault {
            Fault::Before => None,
            Fault::HangsBefore => {
                self.calls.send_modify(|calls| *calls += 1);
                std::future::pending().await
            }
            _ => Some(work.await),
        };
        self.calls.send_modify(|calls| *calls += 1);
        match fault {
            Fault::After => None,
            Fault::HangsAfter => std::future::pending().await,
            _ => done,
        }
    }

    /// Waits until so many calls were done, failed or hang.
    pub(crate) async fn called(&self, times: usize) {
        let mut calls = self.calls.subscribe();
        calls.wait_for(|calls| *calls >= times).await.unwrap();
    }
}

/// A follower that may fail to append.
pub(crate) struct FaultyLog {
    pub(crate) follower: Arc<Follower>,
    pub(crate) faulty: Faulty,
}

#[async_trait]
impl Announcer for FaultyLog {
    async fn append(&self, entry: NewEntry, deadline: Deadline) -> Result<Appended, LogError> {
        let appended = self.faulty.run(self.follower.append(entry, deadline)).await;
        appended.unwrap_or_else(|| {
            Err(LogError::Unavailable {
                doing: "appending".into(),
                cause: "a test".into(),
            })
        })
    }
}

/// A store of bans, with its outbox, that may fail.
pub(crate) struct FaultyBans {
    store: FileMembershipStore,
    /// What goes wrong with writing.
    pub(crate) writing: Faulty,
    /// What goes wrong with noting that something was announced.
    pub(crate) noting: Faulty,
    /// What goes wrong with reading.
    pub(crate) reading: Faulty,
    _folder: TempDir,
}

impl FaultyBans {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memberships.redb");
        Self {
            store: FileMembershipStore::open(path).await.unwrap(),
            writing: Faulty::default(),
            noting: Faulty::default(),
            reading: Faulty::default(),
            _folder: folder,
        }
    }

    /// All there are, ended or lifted too.
    pub(crate) async fn bans(&self) -> Vec<Ban> {
        let all = BanStore::list(&self.store, true, None, 1000, UNIX_EPOCH, soon());
        all.await.unwrap()
    }

    /// How many announcements are not known to stand in the log.
    pub(crate) async fn pending(&self) -> usize {
        self.store.pending(1000, soon()).await.unwrap().len()
    }
}

fn away() -> BanStoreError {
    BanStoreError::Unavailable {
        doing: "asking the test's store".into(),
        cause: "a test".into(),
    }
}

#[async_trait]
impl BanStore for FaultyBans {
    async fn impose(
        &self,
        ban: &Ban,
        pace: Pace,
        idempotency: &Idempotency,
        deadline: Deadline,
    ) -> Result<BanWritten, BanStoreError> {
        let work = self.store.impose(ban, pace, idempotency, deadline);
        self.writing.run(work).await.unwrap_or_else(|| Err(away()))
    }

    async fn lift(
        &self,
        id: EntryId,
        entry: EntryId,
        lifted: &Lifted,
        idempotency: &Idempotency,
        deadline: Deadline,
    ) -> Result<BanWritten, BanStoreError> {
        let work = self.store.lift(id, entry, lifted, idempotency, deadline);
        self.writing.run(work).await.unwrap_or_else(|| Err(away()))
    }

    async fn in_force(
        &self,
        concerns: &[Concern],
        now: SystemTime,
        deadline: Deadline,
    ) -> Result<Vec<Ban>, BanStoreError> {
        let work = self.store.in_force(concerns, now, deadline);
        self.reading.run(work).await.unwrap_or_else(|| Err(away()))
    }

    async fn list(
        &self,
        all: bool,
        after: Option<EntryId>,
        limit: usize,
        now: SystemTime,
        deadline: Deadline,
    ) -> Result<Vec<Ban>, BanStoreError> {
        let work = BanStore::list(&self.store, all, after, limit, now, deadline);
        self.reading.run(work).await.unwrap_or_else(|| Err(away()))
    }

    async fn purge_bans(&self, before: SystemTime, deadline: Deadline) -> Result<u64, BanStoreError> {
        self.store.purge_bans(before, deadline).await
    }
}

#[async_trait]
impl MembershipStore for FaultyBans {
    async fn apply(
        &self,
        write: &MembershipWrite,
        deadline: Deadline,
    ) -> Result<Written, MembershipStoreError> {
        self.store.apply(write, deadline).await
    }

    async fn of(
        &self,
        principal: &Principal,
        deadline: Deadline,
    ) -> Result<Vec<Membership>, MembershipStoreError> {
        self.store.of(principal, deadline).await
    }

    async fn list(
        &self,
        filter: &MembershipFilter,
        after: Option<&MembershipKey>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<MembershipPage, MembershipStoreError> {
        MembershipStore::list(&self.store, filter, after, limit, deadline).await
    }

    async fn pending(
        &self,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Announcement>, MembershipStoreError> {
        self.store.pending(limit, deadline).await
    }

    async fn done(
        &self,
        announced: &[Announced],
        at: SystemTime,
        deadline: Deadline,
    ) -> Result<(), MembershipStoreError> {
        let noted = self.noting.run(self.store.done(announced, at, deadline)).await;
        noted.unwrap_or_else(|| {
            Err(MembershipStoreError::Unavailable {
                doing: "noting".into(),
                cause: "a test".into(),
            })
        })
    }

    async fn purge(&self, before: SystemTime, deadline: Deadline) -> Result<Purged, MembershipStoreError> {
        self.store.purge(before, deadline).await
    }
}
