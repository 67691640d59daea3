//! Revocations on the real thing: a cluster of three nats-servers, two shims, two decision services, a Redis, and thousands of
//! live sessions.
//!
//! A target of its own, whose tests run one after the other: each is a crowd.

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
mod crowded;
mod scene;
