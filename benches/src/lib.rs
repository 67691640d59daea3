//! What the benches measure with: keys, an authorization request, a policy and its facts.
//!
//! The benches themselves are `hot_path` (criterion: what natsgate does for one connection, step by step), `connects`
//! (connections per second through a real nats-server, natsgate beside a responder that decides nothing) and `revoke` (from a
//! revocation to closed sockets, natsgate beside the least that could do it). `make bench` runs the former two,
//! `make bench-revoke` the last. They print; nothing timed is asserted anywhere.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a fixture that cannot be made ends the bench"
)]

pub mod authorization;
pub mod bare;
pub mod bare_revoker;
pub mod rules;
