//! A log and a store of bans that fail, or hang, where a test wants them to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use async_trait::async_trait;
use natsgate_core::{
    Announced, Announcement, Announcer, Appended, Ban, BanStore, BanStoreError, BanWritten, Change, Concern,
    Deadline, EntryId, Idempotency, Lifted, LogError, Membership, MembershipFilter, MembershipKey,
    MembershipPage, MembershipStore, MembershipStoreError, MembershipWrite, NewEntry, Pace, Principal,
    Purged, Written,
};
use natsgate_store::Follower;
use tokio::sync::watch;

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

/// Bans in memory, with their outbox.
#[derive(Default)]
pub(crate) struct TestBans {
    held: Mutex<Held>,
    /// What goes wrong with writing.
    pub(crate) writing: Faulty,
    /// What goes wrong with noting that something was announced.
    pub(crate) noting: Faulty,
    /// What goes wrong with reading.
    pub(crate) reading: Faulty,
}

#[derive(Default)]
struct Held {
    bans: Vec<Ban>,
    done: HashMap<[u8; 32], ([u8; 32], EntryId, EntryId)>,
    outbox: Vec<(Announcement, Option<Announced>)>,
}

impl TestBans {
    pub(crate) fn bans(&self) -> Vec<Ban> {
        self.held.lock().unwrap().bans.clone()
    }

    pub(crate) fn pending(&self) -> usize {
        let held = self.held.lock().unwrap();
        held.outbox.iter().filter(|(_, done)| done.is_none()).count()
    }
}

fn away() -> BanStoreError {
    BanStoreError::Unavailable {
        doing: "asking the test's store".into(),
        cause: "a test".into(),
    }
}

impl Held {
    fn written(&self, ban: EntryId, entry: EntryId, repeated: bool) -> BanWritten {
        let ban = self.bans.iter().find(|one| one.id == ban).unwrap().clone();
        let told = self.outbox.iter().find(|(one, _)| one.id == entry);
        let (pending, announced) = match told {
            None => (None, None),
            Some((_, Some(announced))) => (None, Some(announced.clone())),
            Some((pending, None)) => (Some(pending.clone()), None),
        };
        BanWritten {
            ban,
            pending,
            announced,
            repeated,
        }
    }

    fn repeated(&self, idempotency: &Idempotency) -> Option<Result<BanWritten, BanStoreError>> {
        let (body, ban, entry) = self.done.get(&idempotency.key)?;
        Some(if *body == idempotency.body {
            Ok(self.written(*ban, *entry, true))
        } else {
            Err(BanStoreError::KeyReused)
        })
    }

    fn announce(&mut self, id: EntryId, at: SystemTime, change: Change) {
        self.outbox.push((Announcement { id, at, change }, None));
    }

    fn impose(
        &mut self,
        ban: &Ban,
        pace: Pace,
        idempotency: &Idempotency,
    ) -> Result<BanWritten, BanStoreError> {
        if let Some(before) = self.repeated(idempotency) {
            return before;
        }
        self.bans.push(ban.clone());
        let change = Change::Revoked {
            selector: ban.selector.clone(),
            reason: ban.reason.clone(),
            actor: ban.actor.clone(),
            pace,
            ban: Some(ban.scope),
        };
        self.announce(ban.id, ban.imposed_at, change);
        self.done
            .insert(idempotency.key, (idempotency.body, ban.id, ban.id));
        Ok(self.written(ban.id, ban.id, false))
    }

    fn lift(
        &mut self,
        id: EntryId,
        entry: EntryId,
        lifted: &Lifted,
        idempotency: &Idempotency,
    ) -> Result<BanWritten, BanStoreError> {
        if let Some(before) = self.repeated(idempotency) {
            return before;
        }
        let ban = self.bans.iter_mut().find(|one| one.id == id);
        let ban = ban.ok_or(BanStoreError::NotFound)?;
        if ban.lifted.is_none() {
            ban.lifted = Some(lifted.clone());
            let change = Change::BanLifted {
                ban: id,
                selector: ban.selector.clone(),
                reason: lifted.reason.clone(),
                actor: lifted.actor.clone(),
            };
            self.announce(entry, lifted.at, change);
        }
        self.done.insert(idempotency.key, (idempotency.body, id, entry));
        Ok(self.written(id, entry, false))
    }
}

#[async_trait]
impl BanStore for TestBans {
    async fn impose(
        &self,
        ban: &Ban,
        pace: Pace,
        idempotency: &Idempotency,
        _: Deadline,
    ) -> Result<BanWritten, BanStoreError> {
        let work = async { self.held.lock().unwrap().impose(ban, pace, idempotency) };
        self.writing.run(work).await.unwrap_or_else(|| Err(away()))
    }

    async fn lift(
        &self,
        id: EntryId,
        entry: EntryId,
        lifted: &Lifted,
        idempotency: &Idempotency,
        _: Deadline,
    ) -> Result<BanWritten, BanStoreError> {
        let work = async { self.held.lock().unwrap().lift(id, entry, lifted, idempotency) };
        self.writing.run(work).await.unwrap_or_else(|| Err(away()))
    }

    async fn in_force(
        &self,
        concerns: &[Concern],
        now: SystemTime,
        _: Deadline,
    ) -> Result<Vec<Ban>, BanStoreError> {
        let wanted = |ban: &Ban| {
            ban.is_in_force(now)
                && ban
                    .selector
                    .ban_concern()
                    .is_some_and(|one| concerns.contains(&one))
        };
        let work = async { self.bans().into_iter().filter(wanted).collect() };
        self.reading.run(work).await.ok_or_else(away)
    }

    async fn list(
        &self,
        all: bool,
        after: Option<EntryId>,
        limit: usize,
        now: SystemTime,
        _: Deadline,
    ) -> Result<Vec<Ban>, BanStoreError> {
        let mut bans = self.bans();
        bans.sort_by_key(|ban| ban.id.0);
        bans.retain(|ban| (all || ban.is_in_force(now)) && after.is_none_or(|after| ban.id.0 > after.0));
        bans.truncate(limit);
        let work = async { bans };
        self.reading.run(work).await.ok_or_else(away)
    }

    async fn purge_bans(&self, before: SystemTime, _: Deadline) -> Result<u64, BanStoreError> {
        let mut held = self.held.lock().unwrap();
        let all = held.bans.len();
        held.bans.retain(|ban| ban.ends_at >= before);
        Ok((all - held.bans.len()) as u64)
    }
}

/// The outbox alone.
#[async_trait]
impl MembershipStore for TestBans {
    async fn apply(&self, _: &MembershipWrite, _: Deadline) -> Result<Written, MembershipStoreError> {
        unreachable!()
    }

    async fn of(&self, _: &Principal, _: Deadline) -> Result<Vec<Membership>, MembershipStoreError> {
        Ok(Vec::new())
    }

    async fn list(
        &self,
        _: &MembershipFilter,
        _: Option<&MembershipKey>,
        _: usize,
        _: Deadline,
    ) -> Result<MembershipPage, MembershipStoreError> {
        unreachable!()
    }

    async fn pending(&self, limit: usize, _: Deadline) -> Result<Vec<Announcement>, MembershipStoreError> {
        let held = self.held.lock().unwrap();
        let pending = held.outbox.iter().filter(|(_, done)| done.is_none());
        Ok(pending.map(|(one, _)| one.clone()).take(limit).collect())
    }

    async fn done(
        &self,
        announced: &[Announced],
        _: SystemTime,
        _: Deadline,
    ) -> Result<(), MembershipStoreError> {
        let work = async {
            let mut held = self.held.lock().unwrap();
            for (one, done) in &mut held.outbox {
                if let Some(told) = announced.iter().find(|told| told.id == one.id) {
                    *done = Some(told.clone());
                }
            }
        };
        self.noting
            .run(work)
            .await
            .ok_or(MembershipStoreError::Unavailable {
                doing: "noting".into(),
                cause: "a test".into(),
            })
    }

    async fn purge(&self, _: SystemTime, _: Deadline) -> Result<Purged, MembershipStoreError> {
        Ok(Purged::default())
    }
}
