//! The commands, one file each.

pub mod account;
pub mod accounts;
pub mod advise;
pub mod all;
pub mod check_config;
pub mod decision;
#[cfg(feature = "devkit")]
pub mod demo;
#[cfg(feature = "devkit")]
pub mod dev;
pub mod revoke;
pub mod sessions;
pub mod shim;

use std::fmt::Display;
use std::io::Write;

use anyhow::Context;

/// Answers on standard output, with a line.
///
/// # Errors
/// Nobody takes the answer.
fn say(line: impl Display) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("writing the answer")
}

/// Says on standard error what is not the answer itself.
fn note(line: &str) {
    // Where nobody reads it, the answer and the exit code say enough.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Logs what somebody who relies on the configuration should know.
fn tell(notes: &[String]) {
    for note in notes {
        tracing::warn!("{note}");
    }
}
