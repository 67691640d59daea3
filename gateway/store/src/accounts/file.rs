//! What the account writer keeps, in one file of this machine (redb): for a writer that is one process.
//!
//! Fencing tokens and wanted states are on the disk before a call returns. Leases are in memory: the file is locked, so whoever
//! has it open is the only one, and those who had it open before are gone.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use natsgate_core::{AccountStore, AccountStoreError, Deadline, Fence, Stored};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::embedded;

/// The form of the tables below; another form is another number.
const FORMAT: u64 = 1;

const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// The newest fencing token by account.
const FENCES: TableDefinition<'_, &str, u64> = TableDefinition::new("account_fences");
/// Wanted states by account, with their versions.
const WANTED: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("account_wanted");

/// What to do if another process has the file.
const SHARED: &str = "somebody is pushing or draining; wait until that is done, or end it";

/// Why the file could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("opening what is wanted of accounts in {}: {problem}", path.display())]
pub struct OpenAccountStoreError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, and the mend.
    pub problem: String,
}

/// What the account writer keeps, in a file.
pub struct FileAccountStore {
    database: Arc<Database>,
    /// By account. Held while a call is carried out, so that calls are one after the other.
    leases: Arc<Mutex<HashMap<String, Lease>>>,
}

struct Lease {
    holder: String,
    fence: Fence,
    until: Instant,
}

/// Why a call was not carried out, before what was being done is known.
enum Failed {
    Refused(AccountStoreError),
    File(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::File(error.into())
    }
}

impl FileAccountStore {
    /// Opens the file `path`, or makes it, readable by its owner only. Its folder must be there.
    ///
    /// # Errors
    /// [`OpenAccountStoreError`]: another process has it open, it cannot be read or written, it is damaged or of a later release.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, OpenAccountStoreError> {
        let path = path.into();
        let shown = path.clone();
        let failed = |problem: String| OpenAccountStoreError { path: shown, problem };
        // Checking a damaged file may panic in redb: on the blocking thread that is an error.
        let opened = spawn_blocking(move || embedded::open(&path, SHARED, prepare)).await;
        let opened =
            opened.unwrap_or_else(|_| Err("it is damaged: put a copy of it back from a backup".to_owned()));
        Ok(Self {
            database: Arc::new(opened.map_err(failed)?),
            leases: Arc::default(),
        })
    }

    /// Runs `work` on a thread for blocking, alone.
    async fn run<T: Send + 'static>(
        &self,
        doing: &'static str,
        deadline: Deadline,
        work: impl FnOnce(&Database, &mut HashMap<String, Lease>) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, AccountStoreError> {
        let unavailable = |cause: String| AccountStoreError::Unavailable {
            doing: doing.to_owned(),
            cause,
        };
        if deadline.passed() {
            return Err(unavailable("the deadline passed before it began".to_owned()));
        }
        let (database, leases) = (Arc::clone(&self.database), Arc::clone(&self.leases));
        let running = spawn_blocking(move || {
            let mut leases = leases.lock().unwrap_or_else(PoisonError::into_inner);
            work(&database, &mut leases)
        });
        match deadline.bound(running).await {
            Ok(Ok(Ok(done))) => Ok(done),
            Ok(Ok(Err(Failed::Refused(refused)))) => Err(refused),
            Ok(Ok(Err(Failed::File(error)))) => Err(unavailable(error.to_string())),
            Ok(Err(_panicked)) => Err(unavailable(
                "the file cannot be read: put a copy of it back from a backup".to_owned(),
            )),
            Err(passed) => Err(unavailable(format!(
                "{passed} (it may still be done): is the disk slow?"
            ))),
        }
    }
}

fn prepare(database: &Database) -> Result<(), String> {
    let look = || -> Result<u64, redb::Error> {
        let transaction = database.begin_write()?;
        let format = {
            let mut numbers = transaction.open_table(NUMBERS)?;
            let known = numbers.get("account_format")?.map(|known| known.value());
            if known.is_none() {
                numbers.insert("account_format", FORMAT)?;
            }
            known.unwrap_or(FORMAT)
        };
        transaction.open_table(FENCES)?;
        transaction.open_table(WANTED)?;
        transaction.commit()?;
        Ok(format)
    };
    match look() {
        Ok(FORMAT) => Ok(()),
        Ok(other) => Err(format!(
            "it has the format {other}, and this natsgate reads {FORMAT}: use the release that wrote it"
        )),
        Err(error) => Err(error.to_string()),
    }
}

impl Lease {
    fn holds(&self, fence: Fence) -> bool {
        self.fence == fence && Instant::now() < self.until
    }
}

fn end(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration).unwrap_or(now)
}

#[async_trait]
impl AccountStore for FileAccountStore {
    async fn acquire(
        &self,
        account: &str,
        holder: &str,
        duration: Duration,
        deadline: Deadline,
    ) -> Result<Fence, AccountStoreError> {
        let (account, holder) = (account.to_owned(), holder.to_owned());
        self.run(
            "acquiring an account's lease",
            deadline,
            move |database, leases| {
                let now = Instant::now();
                if let Some(other) = leases
                    .get(&account)
                    .filter(|lease| lease.holder != holder && now < lease.until)
                {
                    return Err(Failed::Refused(AccountStoreError::Held {
                        holder: other.holder.clone(),
                        remaining: other.until.saturating_duration_since(now),
                    }));
                }
                let transaction = database.begin_write()?;
                let fence = {
                    let mut fences = transaction.open_table(FENCES)?;
                    let newest = fences.get(account.as_str())?.map_or(0, |newest| newest.value());
                    let fence = newest.saturating_add(1);
                    fences.insert(account.as_str(), fence)?;
                    fence
                };
                transaction.commit()?;
                let until = end(duration);
                leases.insert(account, Lease { holder, fence, until });
                Ok(fence)
            },
        )
        .await
    }

    async fn renew(
        &self,
        account: &str,
        fence: Fence,
        duration: Duration,
        deadline: Deadline,
    ) -> Result<(), AccountStoreError> {
        let account = account.to_owned();
        self.run(
            "renewing an account's lease",
            deadline,
            move |_, leases| match leases.get_mut(&account).filter(|lease| lease.holds(fence)) {
                Some(lease) => {
                    lease.until = end(duration);
                    Ok(())
                }
                None => Err(Failed::Refused(AccountStoreError::Lost { fence })),
            },
        )
        .await
    }

    async fn release(
        &self,
        account: &str,
        fence: Fence,
        deadline: Deadline,
    ) -> Result<(), AccountStoreError> {
        let account = account.to_owned();
        self.run("releasing an account's lease", deadline, move |_, leases| {
            if leases.get(&account).is_some_and(|lease| lease.fence == fence) {
                leases.remove(&account);
            }
            Ok(())
        })
        .await
    }

    async fn read(&self, account: &str, deadline: Deadline) -> Result<Option<Stored>, AccountStoreError> {
        let account = account.to_owned();
        self.run(
            "reading what is wanted of an account",
            deadline,
            move |database, _| {
                let wanted = database.begin_read()?.open_table(WANTED)?;
                let found = wanted.get(account.as_str())?;
                Ok(found.map(|found| {
                    let (version, body) = found.value();
                    Stored {
                        version,
                        body: Bytes::copy_from_slice(body),
                    }
                }))
            },
        )
        .await
    }

    async fn write(
        &self,
        account: &str,
        fence: Fence,
        expected: Option<u64>,
        body: Bytes,
        deadline: Deadline,
    ) -> Result<u64, AccountStoreError> {
        let account = account.to_owned();
        self.run(
            "writing what is wanted of an account",
            deadline,
            move |database, _| {
                let transaction = database.begin_write()?;
                let version = {
                    let fences = transaction.open_table(FENCES)?;
                    let newest = fences.get(account.as_str())?.map_or(0, |newest| newest.value());
                    // 0 was never given.
                    if newest != fence || fence == 0 {
                        return Err(Failed::Refused(AccountStoreError::Fenced { fence, newest }));
                    }
                    let mut wanted = transaction.open_table(WANTED)?;
                    let found = wanted.get(account.as_str())?.map(|found| found.value().0);
                    if found != expected {
                        return Err(Failed::Refused(AccountStoreError::Conflict { expected, found }));
                    }
                    let version = found.unwrap_or(0).saturating_add(1);
                    wanted.insert(account.as_str(), (version, body.as_ref()))?;
                    version
                };
                transaction.commit()?;
                Ok(version)
            },
        )
        .await
    }
}

#[cfg(test)]
mod tests;
