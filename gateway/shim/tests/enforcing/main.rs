//! Revocations carried out on a real nats-server, with a real log in this process and a decision service that does what a
//! test says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests end loudly"
)]

mod closing;
mod in_flight;
mod leaf_nodes;
mod looking_first;
mod missing_entries;
mod scene;
mod taking_over;
