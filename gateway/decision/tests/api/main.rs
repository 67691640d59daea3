//! The gRPC API on a loopback port: who may call it, and what pushes, revocations and questions about sessions do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are not tests to the lint"
)]

mod callers;
mod desk;
mod faults;
mod lifting;
mod listing;
mod log;
mod rechecking;
mod relaying;
mod revoking;
mod service;
mod sessions;
mod waiting;
mod watching;
mod writing;
