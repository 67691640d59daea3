//! What shims tell of themselves: what every board must do, and what can be done to the one in Redis.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod conformance;
mod in_redis;
mod support;
