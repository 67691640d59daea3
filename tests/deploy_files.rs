//! The files in deploy/ work as they stand: real nats-servers and natsgate itself run with them, unchanged.

#![cfg(feature = "devkit")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests end loudly"
)]

#[path = "deploy_files/config_mode.rs"]
mod config_mode;
#[path = "deploy_files/operator_mode.rs"]
mod operator_mode;
#[path = "deploy_files/site.rs"]
mod site;
