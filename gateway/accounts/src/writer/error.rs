//! Why an account was not written.

use std::time::Duration;

use natsgate_core::{AccountServersError, AccountStoreError, Fence};

use super::record::RecordError;
use crate::account::AccountError;
use crate::naming::ScopeRole;
use crate::plan::PlanError;
use crate::signer::SignerError;

/// Why an account was not written. Where it does not say otherwise, asking again is safe: a request that was
/// half done is gone on with.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// Another writer has the lease.
    #[error(
        "account {account}: {holder} is its writer for another {} ms: wait, or send the request there",
        .remaining.as_millis()
    )]
    Held {
        /// The account.
        account: String,
        /// Who.
        holder: String,
        /// For how long, unless it is renewed.
        remaining: Duration,
    },
    /// The store failed, or refused a write because another writer has taken over.
    #[error("account {account}: {doing}: {cause}")]
    Store {
        /// The account.
        account: String,
        /// What was being done.
        doing: &'static str,
        /// What failed.
        cause: AccountStoreError,
    },
    /// What the writers keep of it cannot be read.
    #[error("account {account}: reading what the writers keep of it: {cause}")]
    Record {
        /// The account.
        account: String,
        /// Why not.
        cause: RecordError,
    },
    /// The servers could not be asked, or did not answer.
    #[error("account {account}: {cause}")]
    Servers {
        /// The account.
        account: String,
        /// What failed.
        cause: AccountServersError,
    },
    /// No server is there.
    #[error("account {account}: no server answered: check the system account's connection")]
    NoServers {
        /// The account.
        account: String,
    },
    /// No server knows it.
    #[error(
        "account {account}: no server knows it: make it (natsgate account create), push its JWT (nsc push), or \
         check its public key"
    )]
    UnknownAccount {
        /// The account.
        account: String,
    },
    /// A JWT that a server has cannot be read, or changed.
    #[error("account {account}, as servers have it: {cause}")]
    Unreadable {
        /// The account.
        account: String,
        /// Why not.
        cause: AccountError,
    },
    /// A server has a JWT by a writer of which the store knows nothing.
    #[error(
        "account {account}: a server has a JWT by a writer with the fencing token {found}, and the store \
         gave out {fence} at most: the store was lost or restored, or writers with another store are \
         running; stop those; if what the servers have is right, take the tag natsgate-fence:{found} out \
         (nsc edit account --rm-tag) and push it"
    )]
    StoreBehind {
        /// The account.
        account: String,
        /// The token in the JWT.
        found: Fence,
        /// The newest that the store gave out.
        fence: Fence,
    },
    /// A server has a generation that was never pushed, as far as the store knows.
    #[error(
        "account {account}: a server has the signing key {role}, which is newer than any the store knows \
         of: the store was restored, or writers with another store are running; stop those, and restore \
         the store's newest state"
    )]
    GenerationAhead {
        /// The account.
        account: String,
        /// The key's role.
        role: ScopeRole,
    },
    /// It would have to be issued too far ahead.
    #[error(
        "account {account}: to be newer than what servers have, its JWT would have to be issued {} s \
         ahead of this clock, and {} s are allowed: compare the clocks of whoever pushes, or wait",
        .issued_at.saturating_sub(*.now), .bound.as_secs()
    )]
    IssuedAhead {
        /// The account.
        account: String,
        /// The `iat` it would have.
        issued_at: i64,
        /// The time now.
        now: i64,
        /// How far ahead it may be.
        bound: Duration,
    },
    /// The plan refuses. Nothing was changed, and what was wanted before is.
    #[error("account {account}: {cause}")]
    Plan {
        /// The account.
        account: String,
        /// Why.
        cause: PlanError,
    },
    /// It was not signed.
    #[error("account {account}: signing it: {cause}")]
    Signer {
        /// The account.
        account: String,
        /// Why not.
        cause: SignerError,
    },
    /// What makes a request be done once was used for another one.
    #[error("account {account}: the idempotency key was used for another request: choose another key")]
    KeyReused {
        /// The account.
        account: String,
    },
    /// It changed again and again while it was being written.
    #[error(
        "account {account}: it was not settled after {rounds} rounds: somebody else keeps pushing it; \
         find out who"
    )]
    Unsettled {
        /// The account.
        account: String,
        /// How many there were.
        rounds: u32,
    },
}
