//! `accounts`: who signs account JWTs, where the writer keeps what is wanted of them, and how it is served.

mod serving;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use natsgate_accounts::writer::WriterSettings;
use natsgate_accounts::{OperatorSigner, SignerCommand};
use natsgate_api::CallerSettings;
use natsgate_core::AccountStore;
use natsgate_identity::OidcSettings;
use natsgate_postgres::{Pool, PostgresSettings};
use natsgate_store::{FileAccountStore, PostgresAccountStore};
use schemars::JsonSchema;
use serde::Deserialize;

use super::callers::ListenTlsConfig;
use super::nats::NatsConfig;
use super::problem::Problem;
use super::store::postgres_from;
use super::value::{OrText, Secret, list};

pub use serving::Site;

/// The shortest lease: longer than a look at the servers takes where one of them is silent.
const SHORTEST_LEASE: Duration = Duration::from_secs(5);

/// The longest lease: for so long nobody writes an account after its writer died.
const LONGEST_LEASE: Duration = Duration::from_secs(10 * 60);

/// The account writer. Exactly one of `operator_seed` and `signer_command` is set, and of `file` and `postgres`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountsConfig {
    /// The seed (`SO…`) of the operator, or of one of its signing keys.
    pub operator_seed: Option<Secret>,
    /// A program that signs, so that the key can stay in a vault or an HSM.
    pub signer_command: Option<SignerCommandConfig>,
    /// A connection into the system account that may push account JWTs, where `shim.system` may only read them.
    pub system: Option<NatsConfig>,
    /// A file in which the writer keeps what is wanted of accounts and what it pushed last; it is made if it is not there. Must not
    /// be lost. One process has it open at a time.
    pub file: Option<PathBuf>,
    /// A database in which it is kept instead, for writers on several machines. Must not be lost, nor restored from a backup.
    pub postgres: Option<Box<AccountsPostgresConfig>>,
    /// How long an account is one writer's unless it renews that, from 5s to 10m; longer than a signer command takes. A writer that dies
    /// or freezes keeps the others waiting for so long.
    #[serde(default = "AccountsConfig::default_lease", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub lease: Duration,
    /// The address that `natsgate accounts` listens on; 127.0.0.1:7223 unless told otherwise. In `natsgate all` the account API is served
    /// beside the others (`decision.listen`), to those of `decision.callers` that have its scopes.
    pub listen: Option<SocketAddr>,
    /// TLS of `natsgate accounts`. Needed to listen on anything but this machine's own addresses.
    pub tls: Option<ListenTlsConfig>,
    /// Who may call `natsgate accounts`, and what: as `decision.callers`. Shims that lend their clusters are among them.
    #[serde(default)]
    pub callers: Vec<CallerSettings>,
    /// The OpenID providers of the access tokens that these callers come with.
    #[serde(default)]
    pub caller_providers: Vec<OidcSettings>,
    /// The clusters that `natsgate accounts` pushes to, by the names their shims have for them (`shim.cluster`). One that no shim lends is
    /// told as missing.
    #[serde(default, deserialize_with = "list")]
    #[schemars(with = "OrText<Vec<String>>")]
    pub clusters: Vec<String>,
    /// The accounts that are written. Those of `shim.accounts` if there are none.
    #[serde(default)]
    pub accounts: Vec<WrittenAccountConfig>,
    /// The operator's public key (`O…`) and those of its signing keys: whose word an account JWT is. Those of
    /// `shim.operator_mode.operators` if there are none.
    #[serde(default, deserialize_with = "list")]
    #[schemars(with = "OrText<Vec<String>>")]
    pub operators: Vec<String>,
}

/// An account that is written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WrittenAccountConfig {
    /// The name that callers have for it.
    pub name: String,
    /// Its public key (`A…`).
    pub account: String,
    /// What the keys of its templates are derived from, the newest first: the same as in `shim.accounts`.
    pub root_secrets: Vec<Secret>,
}

/// A database that account writers share. natsgate makes its tables itself, in a schema of its own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountsPostgresConfig {
    /// Where the database is.
    pub database: PostgresSettings,
    /// The schema.
    #[serde(default = "AccountsPostgresConfig::default_schema")]
    pub schema: String,
}

impl AccountsPostgresConfig {
    fn default_schema() -> String {
        "natsgate_accounts".to_owned()
    }
}

/// Where it is kept, checked.
enum Keeping<'a> {
    File(&'a Path),
    Postgres(Box<PostgresAccountStore>),
}

/// A program that signs. It gets one line on its standard input, the bytes to sign in base64, and answers with one line, the
/// Ed25519 signature of those bytes in base64.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignerCommandConfig {
    /// The program.
    pub program: String,
    /// Its arguments.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// The public key (`O…`) that it signs with.
    pub public_key: String,
    /// How long it may take.
    #[serde(default = "SignerCommandConfig::default_timeout", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
}

impl SignerCommandConfig {
    fn default_timeout() -> Duration {
        Duration::from_secs(10)
    }
}

impl AccountsConfig {
    /// Who signs.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn signer(&self) -> Result<OperatorSigner, Problem> {
        match (&self.operator_seed, &self.signer_command) {
            (Some(Secret(seed)), None) => {
                OperatorSigner::from_seed(seed).map_err(|error| Problem::new("accounts.operator_seed", error))
            }
            (None, Some(command)) => {
                if command.timeout.is_zero() {
                    return Err(Problem::new(
                        "accounts.signer_command.timeout",
                        "is 0; no program could answer in time",
                    ));
                }
                let arguments = command.arguments.clone();
                SignerCommand::new(&command.program, arguments, &command.public_key, command.timeout)
                    .map(OperatorSigner::Command)
                    .map_err(|error| Problem::new("accounts.signer_command", error))
            }
            (None, None) => Err(Problem::new(
                "accounts",
                "has neither operator_seed nor signer_command; set the one that signs account JWTs",
            )),
            (Some(_), Some(_)) => Err(Problem::new(
                "accounts",
                "has both operator_seed and signer_command; keep one",
            )),
        }
    }

    fn default_lease() -> Duration {
        Duration::from_secs(30)
    }

    /// Checks where it is kept, and for how long an account is one writer's, without opening or connecting to anything. Paths start from
    /// `base`.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn check_store(&self, base: &Path) -> Result<(), Problem> {
        self.keeping(base)?;
        self.writer_settings(String::new()).map(drop)
    }

    /// What the writer keeps, opened; a relative path starts from `base`. PostgreSQL need not be there.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn store(&self, base: &Path) -> Result<Arc<dyn AccountStore>, Problem> {
        match self.keeping(base)? {
            Keeping::File(file) => {
                let opened = FileAccountStore::open(base.join(file)).await;
                let store = opened.map_err(|error| Problem::new("accounts.file", error))?;
                Ok(Arc::new(store))
            }
            Keeping::Postgres(store) => Ok(Arc::new(*store)),
        }
    }

    /// How the writer works that holds leases as `holder`. A lease's margin is a sixth of it, 5 s at most.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn writer_settings(&self, holder: String) -> Result<WriterSettings, Problem> {
        if !(SHORTEST_LEASE..=LONGEST_LEASE).contains(&self.lease) {
            return Err(Problem::new("accounts.lease", "must be between 5s and 10m"));
        }
        let mut settings = WriterSettings::new(holder);
        settings.lease = self.lease;
        settings.margin = settings.margin.min(self.lease / 6);
        Ok(settings)
    }

    fn keeping(&self, base: &Path) -> Result<Keeping<'_>, Problem> {
        match (&self.file, &self.postgres) {
            (Some(file), None) => Ok(Keeping::File(file)),
            (None, Some(config)) => {
                let pool = Pool::new(&postgres_from(&config.database, base)).map_err(|error| {
                    Problem::new(
                        format!("accounts.postgres.database.{}", error.field),
                        error.problem,
                    )
                })?;
                let store = PostgresAccountStore::new(pool, &config.schema).map_err(|error| {
                    Problem::new(format!("accounts.postgres.{}", error.key), error.problem)
                })?;
                Ok(Keeping::Postgres(Box::new(store)))
            }
            (None, None) => Err(Problem::new(
                "accounts",
                "has neither file nor postgres; set the one where the writer keeps what is wanted of accounts",
            )),
            (Some(_), Some(_)) => Err(Problem::new(
                "accounts",
                "has both file and postgres; keep the one that has been written to, since what it holds must not be lost",
            )),
        }
    }
}
