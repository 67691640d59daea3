//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::commands;
use crate::lifecycle::EXIT_USAGE;

/// An authorization gateway for NATS.
#[derive(Parser)]
#[command(version, about, long_about = None)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer a NATS cluster's auth callout, asking decision services over gRPC
    Shim(ConfigFile),
    /// Decide: the gRPC decision service
    Decision(ConfigFile),
    /// Write accounts: the gRPC account writer, which reaches its clusters through their shims
    Accounts(ConfigFile),
    /// Shim, decision service and account writer in one process
    All(ConfigFile),
    /// Check a configuration without starting anything
    CheckConfig(commands::check_config::Arguments),
    /// Revoke, and close the sessions that rest on it: over the gRPC API, or --direct
    Revoke(Box<commands::revoke::Arguments>),
    /// List who is connected, over the gRPC API
    Sessions(Box<commands::sessions::Arguments>),
    /// Templates and default permissions in an account's JWT: what a change would do
    Account(commands::account::Arguments),
    /// Say which way changed permissions should reach live sessions, in numbers
    Advise(commands::advise::Arguments),
    /// Play the main job on a real nats-server and tell what happens
    #[cfg(feature = "devkit")]
    Demo,
    /// Run the demo's set-up and keep it running, or use it by hand
    #[cfg(feature = "devkit")]
    Dev(commands::dev::Arguments),
}

/// Where the configuration is.
#[derive(Args)]
pub struct ConfigFile {
    /// The configuration file
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "natsgate.yaml",
        env = "NATSGATE_CONFIG"
    )]
    pub config: PathBuf,
}

impl Cli {
    /// Reads the command line; what is wrong with it is said here, and is the exit code.
    ///
    /// # Errors
    /// The exit code: that of a usage error, or success where help was asked for.
    pub fn read() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            // Where nobody reads it, the exit code says enough.
            let _ = error.print();
            if error.use_stderr() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::SUCCESS
            }
        })
    }

    /// Runs the command; what it returns is the process's exit code.
    ///
    /// # Errors
    /// Whatever ended it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Shim(file) => commands::shim::run(&file),
            Command::Decision(file) => commands::decision::run(&file),
            Command::Accounts(file) => commands::accounts::run(&file),
            Command::All(file) => commands::all::run(&file),
            Command::CheckConfig(arguments) => commands::check_config::run(&arguments),
            Command::Revoke(arguments) => return commands::revoke::run(&arguments),
            Command::Sessions(arguments) => return commands::sessions::run(&arguments),
            Command::Account(arguments) => return commands::account::run(&arguments),
            Command::Advise(arguments) => commands::advise::run(&arguments),
            #[cfg(feature = "devkit")]
            Command::Demo => commands::demo::run(),
            #[cfg(feature = "devkit")]
            Command::Dev(arguments) => commands::dev::run(arguments),
        }
        .map(|()| ExitCode::SUCCESS)
    }
}
