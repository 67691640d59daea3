//! The revocation log: what every implementation must do, and what real Redis does to it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test"
)]

mod conformance;
mod failover;
mod outages;
mod replicas;
mod support;
mod tampering;
mod watched;
