//! What `accounts` makes to be served.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use natsgate_account_service::{Accounts, AccountsLimits, AccountsParts, Cluster, Clusters, Keeper};
use natsgate_accounts::writer::{WriterParts, WriterSettings};
use natsgate_accounts::{OperatorSigner, ScopedKeys, Writer};
use natsgate_api::CallerAuthenticator;
use natsgate_claims::{Role, check_public_key};
use natsgate_core::Clock;

use super::AccountsConfig;
use crate::config::callers::ApiAccess;
use crate::config::problem::{Problem, Problems};
use crate::config::shim::{ShimConfig, scoped_keys};

/// How long giving a lease back may take.
const GIVE_BACK_TIME: Duration = Duration::from_secs(2);

/// What is written, where the servers are reached otherwise.
pub struct Site<'a> {
    /// Where paths start from.
    pub base: &'a Path,
    /// The clusters.
    pub clusters: Arc<[Cluster]>,
    /// Who calls.
    pub callers: Arc<CallerAuthenticator>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
}

/// The accounts that are written, and whose word their JWTs are.
pub struct Served {
    /// Name and keys.
    accounts: Vec<(String, Arc<ScopedKeys>)>,
    operators: Vec<String>,
    signer: OperatorSigner,
}

impl AccountsConfig {
    /// Who may call.
    pub fn access(&self) -> ApiAccess<'_> {
        ApiAccess {
            section: "accounts",
            callers: &self.callers,
            providers: &self.caller_providers,
            tls: self.tls.as_ref(),
        }
    }

    /// What is served; `shim` says what this section does not.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn served(&self, shim: Option<&ShimConfig>, base: &Path) -> Result<Served, Problems> {
        let mut problems = Problems::default();
        let signer = problems.take(self.signer());
        let accounts = if self.accounts.is_empty() {
            match shim.map(|shim| shim.settings(base)).transpose() {
                Ok(settings) => {
                    let accounts = settings.into_iter().flat_map(|settings| settings.accounts);
                    let named = accounts.filter_map(|account| Some((account.name, account.signer?.scoped)));
                    named.collect()
                }
                Err(more) => {
                    problems.extend(more);
                    return problems.or(None);
                }
            }
        } else {
            self.own_accounts(&mut problems)
        };
        if accounts.is_empty() {
            problems.push(Problem::new(
                "accounts.accounts",
                "is empty, and no shim.accounts has a public key; name the accounts that are written",
            ));
        }
        let of_shim = || shim.and_then(|shim| shim.operator_mode.as_ref());
        let operators = match self.operators.as_slice() {
            [] => of_shim().map(|mode| mode.operators.clone()).unwrap_or_default(),
            own => own.to_vec(),
        };
        for (index, operator) in self.operators.iter().enumerate() {
            let checked = check_public_key(operator, Role::Operator);
            problems
                .take(checked.map_err(|error| Problem::new(format!("accounts.operators[{index}]"), error)));
        }
        for (index, name) in self.clusters.iter().enumerate() {
            let before = self.clusters.iter().take(index).any(|other| other == name);
            if name.is_empty() || before {
                let key = format!("accounts.clusters[{index}]");
                problems.push(Problem::new(key, "is empty, or there twice; remove it"));
            }
        }
        if operators.is_empty() {
            problems.push(Problem::new(
                "accounts.operators",
                "is empty; name the operator's public key and its signing keys, whose word account JWTs are",
            ));
        }
        problems.or(signer.map(|signer| Served {
            accounts,
            operators,
            signer,
        }))
    }

    fn own_accounts(&self, problems: &mut Problems) -> Vec<(String, Arc<ScopedKeys>)> {
        let mut accounts: Vec<(String, Arc<ScopedKeys>)> = Vec::new();
        for (index, config) in self.accounts.iter().enumerate() {
            let key = format!("accounts.accounts[{index}]");
            let same = |(name, keys): &(String, Arc<ScopedKeys>)| {
                *name == config.name || keys.account() == config.account
            };
            if config.name.is_empty() || config.name.contains(char::is_whitespace) {
                problems.push(Problem::new(
                    format!("{key}.name"),
                    "is empty or has white space in it",
                ));
            } else if accounts.iter().any(same) {
                problems.push(Problem::new(key, "is there twice, by name or key; remove one"));
            } else if let Err(error) = check_public_key(&config.account, Role::Account) {
                problems.push(Problem::new(format!("{key}.account"), error));
            } else if config.root_secrets.is_empty() {
                problems.push(Problem::new(
                    format!("{key}.root_secrets"),
                    "is empty; name at least one, from which the keys of its templates are derived",
                ));
            } else {
                let keys = scoped_keys(&config.account, &config.root_secrets, &key);
                accounts.extend(
                    problems
                        .take(keys)
                        .map(|keys| (config.name.clone(), Arc::new(keys))),
                );
            }
        }
        accounts
    }

    /// The service for what is `served`, at `site`. Opens the store.
    ///
    /// # Errors
    /// A [`Problem`] if the store cannot be opened.
    pub async fn service(&self, served: Served, site: &Site<'_>) -> Result<Accounts, Problem> {
        let store = self.store(site.base).await?;
        let mut keepers = Vec::with_capacity(served.accounts.len());
        for (name, keys) in served.accounts {
            // Each remembers what the clusters said about its own account.
            let clusters = Arc::new(Clusters::new(Arc::clone(&site.clusters)));
            let holder = format!(
                "natsgate accounts, process {} ({:016x})",
                std::process::id(),
                rand::random::<u64>()
            );
            let parts = WriterParts {
                servers: Arc::clone(&clusters) as _,
                store: Arc::clone(&store),
                clock: Arc::clone(&site.clock),
                keys,
                signer: served.signer.clone(),
                operators: served.operators.clone(),
            };
            let settings = WriterSettings {
                give_back: Some(GIVE_BACK_TIME),
                ..self.writer_settings(holder)?
            };
            keepers.push(Arc::new(Keeper::new(
                name,
                Writer::new(parts, settings),
                clusters,
            )));
        }
        Ok(Accounts::new(AccountsParts {
            keepers,
            callers: Arc::clone(&site.callers),
            clock: Arc::clone(&site.clock),
            limits: AccountsLimits::default(),
        }))
    }
}
