//! `natsgate account`: templates and default permissions in an account's JWT.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use natsgate_accounts::plan::{CAP, Circumstances, Server, Sessions};
use natsgate_accounts::{ManagedAccount, Operation, Plan, ScopedKeys};
use natsgate_core::{AccountServers, Clock, Deadline, SystemClock};
use natsgate_shim::nats::connect_now;
use natsgate_shim::{ShimSettings, SystemAccountServers};

use super::{note, say};
use crate::cli::ConfigFile;
use crate::config::{self, Problem, account_changes};
use crate::lifecycle;

/// How long the servers may take to tell what a plan needs.
const SERVERS_TIME: Duration = Duration::from_secs(10);

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
}

/// What is to be planned.
#[derive(Args)]
struct PlanArguments {
    /// The change: a YAML file with templates, retire and default_permissions
    #[arg(value_name = "CHANGES")]
    changes: PathBuf,
    #[command(flatten)]
    file: ConfigFile,
    /// The account, by its name in shim.accounts; needed where there are several
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Read the account's JWT from this file instead of asking the servers; sessions and servers are then not known
    #[arg(long, value_name = "FILE")]
    jwt: Option<PathBuf>,
    /// Let sessions reconnect where a server does not apply default permissions to open connections
    #[arg(long)]
    may_reconnect: bool,
}

/// Plans, and says so.
///
/// # Errors
/// A configuration or a file that cannot be used, servers that do not answer, or a change that cannot be: why, and what to do
/// instead.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let What::Plan(arguments) = &arguments.what;
    let operations = account_changes::load(&arguments.changes)?;
    let loaded = config::load(&arguments.file.config, &lifecycle::variables()?)?;
    let shim = loaded.config.shim.as_ref();
    let shim = shim.ok_or_else(|| {
        Problem::new(
            "shim",
            "is missing; a plan needs its system, operator_mode and accounts",
        )
    })?;
    let settings = shim.settings(&loaded.base)?;
    let keys = keys(&settings, arguments.account.as_deref())?;
    let operator = settings.operators.first().ok_or_else(|| {
        Problem::new(
            "shim.operator_mode.operators",
            "is empty; name the operator's public key and its signing keys, whose word account JWTs are",
        )
    })?;
    lifecycle::block_on(async {
        let known = match &arguments.jwt {
            Some(path) => Known::from_file(path, &keys, &settings)?,
            None => Known::from_servers(&keys, &settings).await?,
        };
        let plan = known.plan(&operations, operator, arguments.may_reconnect)?;
        say(plan)
    })
}

/// The keys of the account `named`, or of the only one there is.
fn keys(settings: &ShimSettings, named: Option<&str>) -> Result<Arc<ScopedKeys>, Problem> {
    let names = || {
        let names: Vec<&str> = settings
            .accounts
            .iter()
            .map(|account| account.name.as_str())
            .collect();
        names.join(", ")
    };
    let account = match (named, settings.accounts.as_slice()) {
        (None, [only]) => only,
        (None, _) => {
            return Err(Problem::new(
                "--account",
                format!("is missing; name one of {}", names()),
            ));
        }
        (Some(name), accounts) => accounts
            .iter()
            .find(|account| account.name == name)
            .ok_or_else(|| Problem::new("--account", format!("is none of shim.accounts: {}", names())))?,
    };
    let signer = account.signer.as_ref().ok_or_else(|| {
        Problem::new(
            "shim.config_mode",
            "servers without an operator have no account JWTs; templates take operator_mode",
        )
    })?;
    Ok(Arc::clone(&signer.scoped))
}

/// What a plan is made from.
struct Known {
    account: ManagedAccount,
    servers: Vec<Server>,
    sessions: Sessions,
}

impl Known {
    fn from_file(
        path: &std::path::Path,
        keys: &Arc<ScopedKeys>,
        settings: &ShimSettings,
    ) -> anyhow::Result<Self> {
        let token = std::fs::read_to_string(path)
            .map_err(|error| Problem::new("--jwt", format!("{} cannot be read: {error}", path.display())))?;
        note(
            "servers and sessions are not known: nothing is said of reconnects, and default permissions need --may-reconnect",
        );
        Ok(Self {
            account: read(token.trim(), keys, settings)?,
            servers: Vec::new(),
            sessions: Sessions::default(),
        })
    }

    async fn from_servers(keys: &Arc<ScopedKeys>, settings: &ShimSettings) -> anyhow::Result<Self> {
        let system = settings.system.as_ref().ok_or_else(|| {
            Problem::new(
                "shim.system",
                "is missing; without it the servers cannot be asked (or give --jwt)",
            )
        })?;
        let client = connect_now(system, "account").await?;
        let connected = client.server_info();
        let at_servers = SystemAccountServers::new(client);
        let deadline = Deadline::after(SERVERS_TIME);
        let roster = at_servers.roster(deadline).await?;
        let kept = at_servers.look_up(keys.account(), deadline).await?;
        let mut accounts = Vec::new();
        for jwt in &kept {
            accounts.push(read(jwt, keys, settings)?);
        }
        if accounts.len() > 1 {
            note(&format!(
                "the servers keep {} different JWTs of the account; the plan is made from the newest",
                accounts.len()
            ));
        }
        let Some(account) = accounts.into_iter().max_by_key(ManagedAccount::issued_at) else {
            bail!(
                "no nats-server knows the account {}; push its JWT first",
                keys.account()
            );
        };
        let by_issuer = at_servers.connections(&roster, keys.account()).await?;
        let server = |one: natsgate_core::ServerIdentity| Server {
            max_payload: (one.id == connected.server_id)
                .then(|| u64::try_from(connected.max_payload).ok())
                .flatten(),
            name: one.name,
            version: one.version,
        };
        Ok(Self {
            account,
            servers: roster.into_iter().map(server).collect(),
            sessions: Sessions {
                by_issuer,
                on_defaults: None,
            },
        })
    }

    fn plan(&self, operations: &[Operation], operator: &str, may_reconnect: bool) -> anyhow::Result<Plan> {
        let circumstances = Circumstances {
            operator,
            now: SystemClock.unix_seconds(),
            cap: CAP,
            servers: &self.servers,
            sessions: &self.sessions,
            may_reconnect,
        };
        Plan::make(&self.account, operations, &circumstances).context("this change cannot be made")
    }
}

fn read(token: &str, keys: &Arc<ScopedKeys>, settings: &ShimSettings) -> anyhow::Result<ManagedAccount> {
    let now = SystemClock.unix_seconds();
    ManagedAccount::read(token, Arc::clone(keys), &settings.operators, now)
        .context("reading the account's JWT")
}
