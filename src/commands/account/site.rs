//! The account and the servers that the commands are about.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use natsgate_accounts::plan::{Server, Sessions};
use natsgate_accounts::writer::{Writer, WriterParts};
use natsgate_accounts::{ManagedAccount, OperatorSigner, ScopedKeys};
use natsgate_core::{AccountServers, Clock, Deadline, ServerIdentity, SystemClock};
use natsgate_shim::evict::Evictor;
use natsgate_shim::nats::connect_now;
use natsgate_shim::{ShimSettings, SystemAccountServers};

use super::Which;
use crate::commands::note;
use crate::config::accounts::AccountsConfig;
use crate::config::{self, Problem};
use crate::lifecycle;

/// How long the servers may take to tell what is needed of them.
const SERVERS_TIME: Duration = Duration::from_secs(10);

/// What the configuration says.
pub struct Configured {
    settings: ShimSettings,
    name: String,
    keys: Arc<ScopedKeys>,
    accounts: Option<AccountsConfig>,
    base: PathBuf,
}

impl Configured {
    /// Reads it.
    ///
    /// # Errors
    /// All that is wrong with what is needed.
    pub(super) fn load(which: &Which) -> anyhow::Result<Self> {
        let loaded = config::load(&which.file.config, &lifecycle::variables()?)?;
        let shim = loaded.config.shim.as_ref().ok_or_else(|| {
            Problem::new(
                "shim",
                "is missing; its system, operator_mode and accounts are needed",
            )
        })?;
        let settings = shim.settings(&loaded.base)?;
        let (name, keys) = keys(&settings, which.account.as_deref())?;
        Ok(Self {
            settings,
            name,
            keys,
            accounts: loaded.config.accounts,
            base: loaded.base,
        })
    }

    /// The clusters that the account is written for, as far as the configuration names them.
    pub fn clusters(&self) -> &[String] {
        self.accounts.as_ref().map_or(&[], |accounts| &accounts.clusters)
    }

    /// One of the operator's public keys.
    ///
    /// # Errors
    /// There is none.
    pub fn operator(&self) -> Result<&str, Problem> {
        let first = self.settings.operators.first();
        first.map(String::as_str).ok_or_else(|| {
            Problem::new(
                "shim.operator_mode.operators",
                "is empty; name the operator's public key and its signing keys, whose word account JWTs are",
            )
        })
    }

    /// The account as `token` has it.
    ///
    /// # Errors
    /// It cannot be read, or is not of this account or operator.
    pub fn read(&self, token: &str) -> anyhow::Result<ManagedAccount> {
        let now = SystemClock.unix_seconds();
        ManagedAccount::read(token, Arc::clone(&self.keys), &self.settings.operators, now)
            .context("reading the account's JWT")
    }
}

/// Name and keys of the account `named`, or of the only one there is.
fn keys(settings: &ShimSettings, named: Option<&str>) -> Result<(String, Arc<ScopedKeys>), Problem> {
    let names = || {
        let names = settings.accounts.iter().map(|account| account.name.as_str());
        names.collect::<Vec<&str>>().join(", ")
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
    Ok((account.name.clone(), Arc::clone(&signer.scoped)))
}

/// The servers, reached.
pub struct Site {
    configured: Configured,
    client: async_nats::Client,
    at_servers: Arc<SystemAccountServers>,
    roster: Vec<ServerIdentity>,
}

impl Site {
    /// Connects, and asks who is there.
    ///
    /// # Errors
    /// No server is reached, or none tells.
    pub async fn reach(configured: Configured) -> anyhow::Result<Self> {
        let own = configured.accounts.as_ref();
        let own = match own.and_then(|accounts| accounts.system.as_ref()) {
            Some(system) => Some(system.settings("accounts.system", &configured.base)?),
            None => None,
        };
        let system = own
            .as_ref()
            .or(configured.settings.system.as_ref())
            .ok_or_else(|| {
                Problem::new(
                    "shim.system",
                    "is missing; by it the servers are asked, and account JWTs pushed",
                )
            })?;
        let client = connect_now(system, "account").await?;
        let at_servers = Arc::new(SystemAccountServers::new(client.clone()));
        let roster = at_servers.roster(Deadline::after(SERVERS_TIME)).await?;
        Ok(Self {
            configured,
            client,
            at_servers,
            roster,
        })
    }

    /// The account's public key.
    pub fn key(&self) -> &str {
        self.configured.keys.account()
    }

    /// What is asked about accounts.
    pub fn at_servers(&self) -> &SystemAccountServers {
        &self.at_servers
    }

    /// The account as the servers keep it.
    ///
    /// # Errors
    /// They do not tell, or know nothing of it, or have something that cannot be read.
    pub async fn account(&self) -> anyhow::Result<ManagedAccount> {
        let kept = self
            .at_servers
            .look_up(self.key(), Deadline::after(SERVERS_TIME))
            .await?;
        let mut accounts = Vec::new();
        for jwt in &kept {
            accounts.push(self.configured.read(jwt)?);
        }
        if accounts.len() > 1 {
            note(&format!(
                "the servers keep {} different JWTs of the account; the newest counts here",
                accounts.len()
            ));
        }
        match accounts.into_iter().max_by_key(ManagedAccount::issued_at) {
            Some(account) => Ok(account),
            None => bail!(
                "no nats-server knows the account {}; make it with natsgate account create, or push its JWT",
                self.key()
            ),
        }
    }

    /// The servers, for a plan.
    pub fn servers(&self) -> Vec<Server> {
        let connected = self.client.server_info();
        let server = |one: &ServerIdentity| Server {
            max_payload: (one.id == connected.server_id)
                .then(|| u64::try_from(connected.max_payload).ok())
                .flatten(),
            name: one.name.clone(),
            version: one.version.clone(),
        };
        self.roster.iter().map(server).collect()
    }

    /// The largest message that the server takes that is connected to.
    pub fn max_payload(&self) -> Option<u64> {
        u64::try_from(self.client.server_info().max_payload).ok()
    }

    /// The account's sessions, by the key that signed them.
    ///
    /// # Errors
    /// Not all servers tell.
    pub async fn sessions(&self) -> anyhow::Result<Sessions> {
        let deadline = Deadline::after(SERVERS_TIME);
        let roster = self.at_servers.all_servers(deadline).await?;
        let by_issuer = self.at_servers.connections(&roster, self.key()).await?;
        Ok(Sessions {
            by_issuer,
            on_defaults: None,
        })
    }

    /// What closes sessions.
    ///
    /// # Errors
    /// The connection for that cannot be made.
    pub async fn evictor(&self) -> anyhow::Result<Evictor> {
        Ok(match &self.configured.settings.eviction {
            Some(eviction) => Evictor::new(connect_now(eviction, "account, eviction").await?),
            None => Evictor::new(self.client.clone()),
        })
    }

    /// The clusters that the account is written for, but for the one that is reached.
    pub fn others(&self) -> Vec<&str> {
        let all = self.configured.clusters().iter().map(String::as_str);
        all.filter(|cluster| *cluster != self.configured.settings.cluster)
            .collect()
    }

    /// The account's configured name.
    pub fn name(&self) -> &str {
        &self.configured.name
    }

    /// The account's keys.
    pub fn keys(&self) -> Arc<ScopedKeys> {
        Arc::clone(&self.configured.keys)
    }

    /// Who signs.
    ///
    /// # Errors
    /// The configuration says nothing of that.
    pub fn signer(&self) -> Result<OperatorSigner, Problem> {
        self.accounts()?.signer()
    }

    fn accounts(&self) -> Result<&AccountsConfig, Problem> {
        self.configured.accounts.as_ref().ok_or_else(|| {
            Problem::new(
                "accounts",
                "is missing; it says who signs account JWTs (operator_seed or signer_command), and where the writer keeps what is \
                 wanted of them (file or postgres)",
            )
        })
    }

    /// The account's writer.
    ///
    /// # Errors
    /// The configuration says nothing of who signs or where it is kept, or the file cannot be opened.
    pub async fn writer(&self) -> anyhow::Result<Writer> {
        let configured = &self.configured;
        let accounts = self.accounts()?;
        let signer = accounts.signer()?;
        configured.operator()?;
        let holder = format!(
            "natsgate account, process {} ({:016x})",
            std::process::id(),
            rand::random::<u64>()
        );
        let settings = accounts.writer_settings(holder)?;
        let parts = WriterParts {
            servers: Arc::clone(&self.at_servers) as Arc<dyn AccountServers>,
            store: accounts.store(&configured.base).await?,
            clock: Arc::new(SystemClock),
            keys: Arc::clone(&configured.keys),
            signer,
            operators: configured.settings.operators.clone(),
        };
        Ok(Writer::new(parts, settings))
    }
}
