//! Back-channel logout and webhooks on a loopback port: whom they believe, and what an event does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are not tests to the lint"
)]

mod http;
mod log;
mod logout;
mod scene;
mod webhook;
