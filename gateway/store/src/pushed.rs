//! Memberships that natsgate itself holds, because somebody pushed them.
//!
//! Two stores behind [`natsgate_core::MembershipStore`]: [`FileMembershipStore`], an embedded one for a single process,
//! and [`PostgresMembershipStore`] for any number of them. What a write does to the records is decided in `plan`, once
//! for both. [`PushedMemberships`] makes a store a source of memberships. Both hold bans too ([`natsgate_core::BanStore`]), so that
//! one outbox tells of both. Not here: who may write, and how a write
//! becomes known to everybody (the decision service does both).

mod answer;
mod bans;
mod file;
mod plan;
mod postgres;
mod source;

pub use file::{FileMembershipStore, OpenError};
pub use postgres::PostgresMembershipStore;
pub use source::PushedMemberships;

/// The most memberships of one principal that are read; more is an error, never a part of them.
const MAX_PER_PRINCIPAL: usize = 10_000;

#[cfg(test)]
mod conformance;
