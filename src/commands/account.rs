//! `natsgate account`: templates and default permissions in an account's JWT.

mod create;
mod drain;
mod push;
mod site;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use natsgate_accounts::plan::{CAP, Circumstances, Sessions};
use natsgate_accounts::{ManagedAccount, Operation, Plan};
use natsgate_core::{Clock, SystemClock};

use super::{note, say};
use crate::cli::ConfigFile;
use crate::config::{Problem, account_changes};
use crate::lifecycle;
use site::{Configured, Site};

/// The exit code for what was done, but not everywhere.
const EXIT_INCOMPLETE: u8 = 3;

/// What to do.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Say what a change would do, before anything is pushed: sizes, templates, and whose sessions reconnect or lose something
    Plan(PlanArguments),
    /// Push a change to every server, read it back, and move at once who loses something by it
    Push(PushArguments),
    /// Move sessions from templates' older generations to the newest, at a pace, and take out the keys that have none left
    Drain(DrainArguments),
    /// Make an account that no server knows, of the public key in shim.accounts
    Create(Which),
    /// Give every template a key of the newest root secret, beside the one it has; then drain
    Rotate(Which),
    /// Emergency: revoke all user JWTs of the account that were issued up to now, break-glass users' too, by one push and without the callout
    Revoke(RevokeArguments),
}

/// Which account.
#[derive(Args)]
struct Which {
    #[command(flatten)]
    file: ConfigFile,
    /// The account, by its name in shim.accounts; needed where there are several
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
}

/// What is to be changed.
#[derive(Args)]
struct Changes {
    /// The change: a YAML file with templates, retire and default_permissions
    #[arg(value_name = "CHANGES")]
    changes: PathBuf,
    /// Let sessions reconnect where a server does not apply default permissions to open connections
    #[arg(long)]
    may_reconnect: bool,
}

#[derive(Args)]
struct PlanArguments {
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    which: Which,
    /// Read the account's JWT from this file instead of asking the servers; sessions and servers are then not known
    #[arg(long, value_name = "FILE")]
    jwt: Option<PathBuf>,
}

#[derive(Args)]
struct PushArguments {
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
struct DrainArguments {
    #[command(flatten)]
    which: Which,
    /// Over which time sessions are moved that lose nothing: 10m
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "10m")]
    over: std::time::Duration,
}

#[derive(Args)]
struct RevokeArguments {
    #[command(flatten)]
    which: Which,
    /// Yes: everybody of the account is disconnected, and whoever has a user JWT from before needs a new one
    #[arg(long, required = true)]
    everyone: bool,
}

/// Runs.
///
/// # Errors
/// A configuration or a file that cannot be used, servers that do not answer, or a change that cannot be: why, and what to do
/// instead.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.what {
        What::Plan(arguments) => plan(arguments).map(|()| ExitCode::SUCCESS),
        What::Push(arguments) => push::run(&arguments.changes, &arguments.which),
        What::Drain(arguments) => drain::run(&arguments.which, arguments.over),
        What::Create(which) => create::run(which),
        What::Rotate(which) => push::push(vec![Operation::Rotate], false, which),
        What::Revoke(arguments) => {
            let up_to = SystemClock.unix_seconds();
            push::push(vec![Operation::RevokeEveryone { up_to }], false, &arguments.which)
        }
    }
}

fn plan(arguments: &PlanArguments) -> anyhow::Result<()> {
    let operations = account_changes::load(&arguments.changes.changes)?;
    let configured = Configured::load(&arguments.which)?;
    let operator = configured.operator()?.to_owned();
    lifecycle::block_on(async {
        let (account, servers, sessions) = match &arguments.jwt {
            Some(path) => {
                note(
                    "servers and sessions are not known: nothing is said of reconnects, and default permissions need \
                     --may-reconnect",
                );
                (from_file(path, &configured)?, Vec::new(), Sessions::default())
            }
            None => {
                let site = Site::reach(configured).await?;
                (site.account().await?, site.servers(), site.sessions().await?)
            }
        };
        let circumstances = Circumstances {
            operator: &operator,
            now: SystemClock.unix_seconds(),
            cap: CAP,
            servers: &servers,
            sessions: &sessions,
            may_reconnect: arguments.changes.may_reconnect,
        };
        say(Plan::make(&account, &operations, &circumstances).context("this change cannot be made")?)
    })
}

fn from_file(path: &std::path::Path, configured: &Configured) -> anyhow::Result<ManagedAccount> {
    let token = std::fs::read_to_string(path)
        .map_err(|error| Problem::new("--jwt", format!("{} cannot be read: {error}", path.display())))?;
    configured.read(token.trim())
}
