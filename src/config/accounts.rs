//! `accounts`: who signs account JWTs, where the writer keeps what is wanted of them, and how it is served.

mod serving;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use natsgate_accounts::{OperatorSigner, SignerCommand};
use natsgate_api::CallerSettings;
use natsgate_identity::OidcSettings;
use natsgate_store::FileAccountStore;
use schemars::JsonSchema;
use serde::Deserialize;

use super::callers::ListenTlsConfig;
use super::nats::NatsConfig;
use super::problem::Problem;
use super::value::{OrText, Secret, list};

pub use serving::Site;

/// The account writer. Exactly one of `operator_seed` and `signer_command` is set.
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
    pub file: PathBuf,
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

    /// The file, opened; a relative path starts from `base`.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn store(&self, base: &Path) -> Result<FileAccountStore, Problem> {
        let opened = FileAccountStore::open(base.join(&self.file)).await;
        opened.map_err(|error| Problem::new("accounts.file", error))
    }
}
