//! What account writers keep: leases with their fencing tokens, and what is wanted of accounts.
//!
//! Two stores behind [`natsgate_core::AccountStore`]: [`FileAccountStore`], for one process at a time, and [`PostgresAccountStore`] for
//! writers anywhere. Not here: what is in a wanted state, and how a writer goes about its work (`natsgate-accounts`).

mod file;
mod postgres;

pub use file::{FileAccountStore, OpenAccountStoreError};
pub use postgres::PostgresAccountStore;

#[cfg(test)]
mod conformance;
