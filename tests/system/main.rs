//! Whole-system tests: real nats-servers, a real OpenID provider, natsgate's own binary as processes, and ordinary
//! NATS clients.
//!
//! What runs here is what a user runs. Each test starts everything it needs on ports of its own and ends it again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "tests end loudly"
)]

mod account_commands;
mod account_service;
mod account_writing;
mod api_commands;
mod ceilings;
mod command_line;
mod connecting;
mod credentials;
mod forged_requests;
mod grpc;
mod harness;
mod held_back;
mod identities;
mod outages;
mod pushed_memberships;
mod refusing;
mod revoke_command;
mod revoke_direct;
mod security_events;
mod shared_state;
mod two_writers;
mod written_rights;
