//! Pushed memberships in one file of this machine (redb): for a natsgate that is one process.
//!
//! A commit has returned only when it is on the disk. The file is locked: a second process is refused. redb blocks, so
//! everything runs on threads for that, and no more of it at once than [`READS_AT_ONCE`] and one write.

mod bans;
mod tables;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use natsgate_core::{
    Announced, Announcement, Deadline, Membership, MembershipFilter, MembershipKey, MembershipPage,
    MembershipStore, MembershipStoreError, MembershipWrite, Principal, Purged, Written,
};
use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::embedded;

/// The most reads at once; others wait for their turn.
const READS_AT_ONCE: usize = 8;

/// What to do if another process has the file.
const SHARED: &str = "one natsgate a file; several share PostgreSQL";

/// Why the file could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("opening the pushed memberships in {}: {problem}", path.display())]
pub struct OpenError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, and the mend.
    pub problem: String,
}

/// Pushed memberships in a file. The file is free again when this is dropped and what it was doing is done.
pub struct FileMembershipStore {
    database: Arc<Database>,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

impl FileMembershipStore {
    /// Opens the file `path`, or makes it, readable by its owner only. Its folder must be there.
    ///
    /// # Errors
    /// [`OpenError`]: another process has it open, it cannot be read or written, it is damaged or of a later release.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let path = path.into();
        let shown = path.clone();
        let failed = |problem: String| OpenError {
            path: shown.clone(),
            problem,
        };
        // Checking a damaged file may panic in redb: on the blocking thread that is an error.
        let database = spawn_blocking(move || embedded::open(&path, SHARED, tables::prepare))
            .await
            .map_err(|_| failed("it is damaged: put a copy of it back from a backup".to_owned()))?
            .map_err(failed)?;
        Ok(Self {
            database: Arc::new(database),
            reads: Arc::new(Semaphore::new(READS_AT_ONCE)),
            writes: Arc::new(Semaphore::new(1)),
        })
    }

    /// Runs `work` in a write transaction, which is committed if it succeeds in time.
    async fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        deadline: Deadline,
        work: impl FnOnce(&WriteTransaction) -> Result<T, MembershipStoreError> + Send + 'static,
    ) -> Result<T, MembershipStoreError> {
        let database = Arc::clone(&self.database);
        bounded(doing, &self.writes, deadline, move || {
            let transaction = database
                .begin_write()
                .map_err(|error| tables::failed(error.into()))?;
            let done = work(&transaction)?;
            if deadline.passed() {
                return Err(late(doing, "it was not written"));
            }
            transaction
                .commit()
                .map_err(|error| tables::failed(error.into()))?;
            Ok(done)
        })
        .await
    }

    async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        deadline: Deadline,
        work: impl FnOnce(&ReadTransaction) -> Result<T, MembershipStoreError> + Send + 'static,
    ) -> Result<T, MembershipStoreError> {
        let database = Arc::clone(&self.database);
        bounded(doing, &self.reads, deadline, move || {
            let transaction = database
                .begin_read()
                .map_err(|error| tables::failed(error.into()))?;
            work(&transaction)
        })
        .await
    }
}

fn late(doing: &str, so: &str) -> MembershipStoreError {
    MembershipStoreError::Unavailable {
        doing: doing.to_owned(),
        cause: format!("the deadline passed ({so}): is the disk slow, or are there many writes at once?"),
    }
}

/// Runs `work` on a thread for blocking, when `places` has one free.
async fn bounded<T: Send + 'static>(
    doing: &'static str,
    places: &Arc<Semaphore>,
    deadline: Deadline,
    work: impl FnOnce() -> Result<T, MembershipStoreError> + Send + 'static,
) -> Result<T, MembershipStoreError> {
    let place = deadline.bound(Arc::clone(places).acquire_owned()).await;
    let place = match place {
        Ok(Ok(place)) if !deadline.passed() => place,
        _ => return Err(late(doing, "nothing was done")),
    };
    let running = spawn_blocking(move || {
        // The place is taken until the work is over, whether somebody still waits for it or not.
        let _place = place;
        work()
    });
    match deadline.bound(running).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panicked)) => Err(MembershipStoreError::Damaged(format!(
            "{doing}: the file cannot be read"
        ))),
        Err(_passed) => Err(late(doing, "it may still be done")),
    }
}

#[async_trait]
impl MembershipStore for FileMembershipStore {
    async fn apply(
        &self,
        write: &MembershipWrite,
        deadline: Deadline,
    ) -> Result<Written, MembershipStoreError> {
        let write = write.clone();
        let doing = "writing pushed memberships";
        self.write(doing, deadline, move |transaction| {
            tables::apply(transaction, &write)
        })
        .await
    }

    async fn of(
        &self,
        principal: &Principal,
        deadline: Deadline,
    ) -> Result<Vec<Membership>, MembershipStoreError> {
        let principal = principal.clone();
        let doing = "reading a principal's pushed memberships";
        self.read(doing, deadline, move |transaction| {
            tables::of(transaction, &principal)
        })
        .await
    }

    async fn list(
        &self,
        filter: &MembershipFilter,
        after: Option<&MembershipKey>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<MembershipPage, MembershipStoreError> {
        let (filter, after) = (filter.clone(), after.cloned());
        let doing = "listing pushed memberships";
        self.read(doing, deadline, move |transaction| {
            tables::list(transaction, &filter, after.as_ref(), limit, deadline)
        })
        .await
    }

    async fn pending(
        &self,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Announcement>, MembershipStoreError> {
        let doing = "reading what is to be announced";
        self.read(doing, deadline, move |transaction| {
            tables::pending(transaction, limit)
        })
        .await
    }

    async fn done(
        &self,
        announced: &[Announced],
        at: SystemTime,
        deadline: Deadline,
    ) -> Result<(), MembershipStoreError> {
        let announced = announced.to_vec();
        let doing = "noting what was announced";
        self.write(doing, deadline, move |transaction| {
            tables::done(transaction, &announced, at)
        })
        .await
    }

    async fn purge(&self, before: SystemTime, deadline: Deadline) -> Result<Purged, MembershipStoreError> {
        let doing = "purging pushed memberships";
        self.write(doing, deadline, move |transaction| {
            tables::purge(transaction, before)
        })
        .await
    }
}

#[cfg(test)]
mod tests;
