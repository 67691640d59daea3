//! Redis, on real servers: every way of connecting, every way of failing, and what lies in it afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic; clippy.toml's leave for tests does not reach helpers in tests/"
)]

mod access;
mod cluster;
mod doorbell;
mod outages;
mod scripts;
mod secrecy;
mod sentinel;
mod support;
mod trips;
