//! The port to what the account writers of a site have in common: who of them may write an account, and what
//! is wanted of it.
//!
//! Two things, per account. The *lease* says which writer may write, for a time; every holder gets a fencing
//! token, higher than any before it. The *wanted state* is bytes that only the writers read, with a version.
//! A write carries the token and the version it was made from, so that a writer that was frozen, and is no
//! longer the one, changes nothing here.
//!
//! Every call is atomic. Time is the store's: whoever holds a lease counts it from before it asked.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::deadline::Deadline;

/// A fencing token: 1 for an account's first holder, and higher for every new one.
pub type Fence = u64;

/// An account's wanted state, as it was written last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The number of the write, counted from 1.
    pub version: u64,
    /// What was written. A few megabytes at most.
    pub body: Bytes,
}

/// The store could not do what was asked, or refused to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountStoreError {
    /// Another holder has the lease.
    #[error(
        "the lease is held by {holder} for another {} ms: wait, or send the request to that writer",
        .remaining.as_millis()
    )]
    Held {
        /// Who.
        holder: String,
        /// For how long, unless it is renewed.
        remaining: Duration,
    },
    /// The lease ran out, was released, or went to another holder.
    #[error(
        "the lease with the fencing token {fence} is no longer held: acquire it anew, and read everything \
         again"
    )]
    Lost {
        /// The token of the lease that was.
        fence: Fence,
    },
    /// There is a newer fencing token. Nothing was written.
    #[error(
        "the fencing token {fence} is not the newest, which is {newest}: another writer has \
         taken over; nothing was written"
    )]
    Fenced {
        /// The token that was given.
        fence: Fence,
        /// The newest.
        newest: Fence,
    },
    /// The wanted state has another version. Nothing was written.
    #[error(
        "the wanted state has the version {} where {} was expected; nothing was written: read it \
         again and decide anew",
        version(.found),
        version(.expected)
    )]
    Conflict {
        /// The version that was expected; `None`: that there is none.
        expected: Option<u64>,
        /// The version there is.
        found: Option<u64>,
    },
    /// It could not be reached, or not in time. Whether something was written is then not known: read it
    /// again.
    #[error("{doing}: {cause}")]
    Unavailable {
        /// What was being done.
        doing: String,
        /// What went wrong, and what to look at. Holds nothing of a wanted state.
        cause: String,
    },
}

fn version(version: &Option<u64>) -> String {
    version.map_or_else(|| "(none)".to_owned(), |version| version.to_string())
}

/// Holds leases and wanted states. Accounts are named by their public keys.
#[async_trait]
pub trait AccountStore: Send + Sync {
    /// Gives the lease of `account` to `holder` for `duration`, if nobody else has it. A holder that has it
    /// gets it again under a new token: it may not have heard the first answer. So no two processes may have
    /// one name, nor may one that is started anew have the name it had.
    ///
    /// # Errors
    /// [`AccountStoreError::Held`]; [`AccountStoreError::Unavailable`], after which the lease may be held.
    async fn acquire(
        &self,
        account: &str,
        holder: &str,
        duration: Duration,
        deadline: Deadline,
    ) -> Result<Fence, AccountStoreError>;

    /// Makes the lease with the token `fence` last for `duration` from now, if it has not run out.
    ///
    /// # Errors
    /// [`AccountStoreError::Lost`]; [`AccountStoreError::Unavailable`].
    async fn renew(
        &self,
        account: &str,
        fence: Fence,
        duration: Duration,
        deadline: Deadline,
    ) -> Result<(), AccountStoreError>;

    /// Ends the lease with the token `fence`. Nothing happens if it has ended.
    ///
    /// # Errors
    /// [`AccountStoreError::Unavailable`].
    async fn release(&self, account: &str, fence: Fence, deadline: Deadline)
    -> Result<(), AccountStoreError>;

    /// The wanted state of `account`; `None` if nothing was ever written. Never older than a write that was
    /// answered.
    ///
    /// # Errors
    /// [`AccountStoreError::Unavailable`].
    async fn read(&self, account: &str, deadline: Deadline) -> Result<Option<Stored>, AccountStoreError>;

    /// Writes `body`, and returns its version. `fence` must be the newest token given, be its lease still
    /// held or not; `expected` the version there is, `None` if there is none.
    ///
    /// # Errors
    /// [`AccountStoreError::Fenced`] and [`AccountStoreError::Conflict`], where nothing was written;
    /// [`AccountStoreError::Unavailable`].
    async fn write(
        &self,
        account: &str,
        fence: Fence,
        expected: Option<u64>,
        body: Bytes,
        deadline: Deadline,
    ) -> Result<u64, AccountStoreError>;
}
