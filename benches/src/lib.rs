//! What the benches measure with: keys, an authorization request, a policy and its facts.
//!
//! The benches themselves are `hot_path` (criterion: what natsgate does for one connection, step by step) and `connects`
//! (connections per second through a real nats-server, natsgate beside a responder that decides nothing). `make bench`
//! runs both. They print; nothing timed is asserted anywhere.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a fixture that cannot be made ends the bench"
)]

pub mod authorization;
pub mod bare;
pub mod rules;
