//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands;

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
    /// Shim and decision service in one process
    All(ConfigFile),
    /// Check a configuration without starting anything
    CheckConfig(commands::check_config::Arguments),
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
    /// Runs the command.
    ///
    /// # Errors
    /// Whatever ended it.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Shim(file) => commands::shim::run(&file),
            Command::Decision(file) => commands::decision::run(&file),
            Command::All(file) => commands::all::run(&file),
            Command::CheckConfig(arguments) => commands::check_config::run(&arguments),
            #[cfg(feature = "devkit")]
            Command::Demo => commands::demo::run(),
            #[cfg(feature = "devkit")]
            Command::Dev(arguments) => commands::dev::run(arguments),
        }
    }
}
