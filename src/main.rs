//! natsgate: an authorization gateway for NATS.
//!
//! This is the composition root: the command line ([`cli`]), one file a command ([`commands`]), the configuration
//! ([`config`]) and the process's life ([`lifecycle`], [`telemetry`]). What natsgate does is in the crates under
//! `gateway/`.

#![allow(unreachable_pub, reason = "a binary's modules have no outside")]

mod cli;
mod commands;
mod config;
mod lifecycle;
mod monitor;
#[cfg(feature = "devkit")]
mod stage;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    lifecycle::exit_code(cli::Cli::parse().run())
}
