//! The gRPC API on a loopback port: who may call it, and what a push does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are not tests to the lint"
)]

mod callers;
mod listing;
mod log;
mod relaying;
mod service;
mod writing;
