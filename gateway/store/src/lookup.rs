//! The caches in front of every lookup of facts, whatever the facts are.
//!
//! ```text
//! look_up ─▶ in process (memory) ─▶ coalesced (flights) ─▶ shared between instances (shared) ─▶ source
//! ```
//!
//! [`LookupTiers`] is what all lookups of a process share; [`LookupTiers::cached`] puts it in front of one
//! [`Source`](natsgate_core::Source). Nothing is ever deleted because it was revoked: every entry carries the revision that
//! was applied before it was fetched, and each use asks [`Freshness`](natsgate_core::Freshness) whether it still counts. So
//! the caches may lose, repeat or delay whatever they like, and cost speed only.
//!
//! What does not live here: who reads the revocation log (`log`), how a shared cache is reached and sealed (`redis`,
//! `seal`), and what the facts are (`memberships`, and the identity crate).

mod back_off;
mod cached;
mod counters;
mod entry;
mod envelope;
mod flights;
mod flying;
mod key;
mod memory;
mod settings;
mod shared;
mod standing;
mod tiers;
mod trouble;

pub use cached::Cached;
pub use counters::LookupCounts;
pub use settings::{LookupSettings, SourceCacheSettings};
pub use tiers::LookupTiers;
