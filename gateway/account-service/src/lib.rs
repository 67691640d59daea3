//! The account writer as a service.
//!
//! [`Accounts`] is its gRPC face; a [`Keeper`] writes one account on all clusters and closes the sessions that lose something by it;
//! [`Tending`] gives servers and clusters that were away what they missed. [`Clusters`] makes one port of several clusters; [`link`] takes
//! the shims that lend the connections into them. Not here: what an account JWT is, and how one is written (`natsgate-accounts`); how
//! servers are spoken to (the shim).

mod clusters;
mod keeper;
pub mod link;
mod service;
mod tending;

pub use clusters::{Cluster, Clusters};
pub use keeper::{ClusterOutcome, Keeper, Outcome};
pub use service::{Accounts, AccountsLimits, AccountsParts};
pub use tending::Tending;
