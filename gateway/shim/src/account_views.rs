//! What each nats-server has in force of the accounts whose JWTs say what sessions may do.
//!
//! A template's newest generation may be in force at one server and on its way to another, and a server refuses a user JWT that is
//! signed by a key it does not know. So each server is asked for itself. Its answer is remembered for a moment, and forgotten when
//! an account JWT is seen being pushed.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use futures::StreamExt;
use moka::future::Cache;
use natsgate_accounts::{AccountError, ManagedAccount, ScopedKeys};
use natsgate_core::{AccountAtServer, AccountServers, Clock, Deadline};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// How long a server's answer counts though no push was seen: how long a push may stay unheard of.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(5);

/// More answers at once than any cluster gives.
const MOST_REMEMBERED: u64 = 10_000;

/// JWTs that are kept as they were read.
const MOST_READ: u64 = 32;

/// After a push was heard, what servers have is asked again once more this long after: they may have answered just before.
const TAKEN_IN_WITHIN: Duration = Duration::from_secs(1);

/// Where account JWTs are pushed (nats-server's `accountPackReqSubj` and its kin).
const PUSHES: [&str; 2] = ["$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE"];

/// Why it is not known what a server has in force of an account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// The servers could not be asked, or know nothing of it.
    #[error("{0}")]
    Unavailable(String),
    /// What they have cannot be read, or is nobody's whose word counts.
    #[error("the account JWT that the server has: {0}")]
    Unreadable(AccountError),
}

/// What a server has in force.
pub struct AccountViews {
    servers: Arc<dyn AccountServers>,
    operators: Vec<String>,
    clock: Arc<dyn Clock>,
    /// By server and account.
    remembered: Cache<(String, String), Arc<ManagedAccount>>,
    /// JWTs that were read lately, by SHA-256: most servers have the same.
    read: Cache<[u8; 32], Arc<ManagedAccount>>,
}

impl AccountViews {
    /// What `servers` have in force and one of `operators` (public keys) signed.
    pub fn new(servers: Arc<dyn AccountServers>, operators: Vec<String>, clock: Arc<dyn Clock>) -> Self {
        Self {
            servers,
            operators,
            clock,
            remembered: Cache::builder()
                .max_capacity(MOST_REMEMBERED)
                .time_to_live(REMEMBERED_FOR)
                .build(),
            read: Cache::builder().max_capacity(MOST_READ).build(),
        }
    }

    /// What `server` has in force of the account of `keys`; if it has not loaded the account, what it will load.
    ///
    /// # Errors
    /// [`ViewError`].
    pub async fn at(
        &self,
        server: &str,
        keys: &Arc<ScopedKeys>,
        deadline: Deadline,
    ) -> Result<Arc<ManagedAccount>, ViewError> {
        let place = (server.to_owned(), keys.account().to_owned());
        let asked = self.ask(server, keys, deadline);
        // Many that come at once ask once.
        let view = self.remembered.try_get_with(place, asked).await;
        view.map_err(Arc::unwrap_or_clone)
    }

    /// Forgets what servers answered whenever an account JWT is pushed, until `stop`.
    pub async fn follow(self: Arc<Self>, system: Client, stop: CancellationToken) {
        let mut pushes = Vec::new();
        for subject in PUSHES {
            match system.subscribe(subject).await {
                Ok(subscription) => pushes.push(subscription),
                Err(error) => {
                    warn!(subject, %error, "pushes of account JWTs cannot be followed; they are heard of later")
                }
            }
        }
        let mut pushes = futures::stream::select_all(pushes);
        let mut again: Option<tokio::time::Instant> = None;
        loop {
            let later = async {
                match again {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = later => {
                    self.remembered.invalidate_all();
                    again = None;
                }
                pushed = pushes.next() => match pushed {
                    Some(_) => {
                        debug!("an account JWT is being pushed: what servers have is asked again");
                        self.remembered.invalidate_all();
                        again = tokio::time::Instant::now().checked_add(TAKEN_IN_WITHIN);
                    }
                    None => return,
                },
            }
        }
    }

    async fn ask(
        &self,
        server: &str,
        keys: &Arc<ScopedKeys>,
        deadline: Deadline,
    ) -> Result<Arc<ManagedAccount>, ViewError> {
        let account = keys.account();
        let unavailable =
            |error: natsgate_core::AccountServersError| ViewError::Unavailable(error.to_string());
        let in_force = self.servers.in_force(server, account, deadline).await;
        match in_force.map_err(unavailable)? {
            AccountAtServer::InForce(jwt) => self.read(jwt, keys).await,
            AccountAtServer::NotLoaded | AccountAtServer::NotKept => {
                let mut kept = self
                    .servers
                    .look_up(account, deadline)
                    .await
                    .map_err(unavailable)?
                    .into_iter();
                match (kept.next(), kept.next()) {
                    (Some(jwt), None) => self.read(jwt, keys).await,
                    (None, _) => Err(ViewError::Unavailable(format!(
                        "no nats-server knows the account {account}: push its JWT"
                    ))),
                    // Which of them this server will load is not known, and one may give more than the other.
                    (Some(_), Some(_)) => Err(ViewError::Unavailable(format!(
                        "the nats-servers keep different JWTs of the account {account}, and this one has not loaded it: push the \
                         account again"
                    ))),
                }
            }
        }
    }

    /// Reads `jwt`, on a thread for that: a large one takes a while.
    async fn read(&self, jwt: String, keys: &Arc<ScopedKeys>) -> Result<Arc<ManagedAccount>, ViewError> {
        let now = self.clock.unix_seconds();
        let digest: [u8; 32] = Sha256::digest(&jwt).into();
        let (keys, operators) = (Arc::clone(keys), self.operators.clone());
        let reading = async move {
            let read = move || ManagedAccount::read(&jwt, keys, &operators, now);
            match tokio::task::spawn_blocking(read).await {
                Ok(read) => read.map(Arc::new).map_err(ViewError::Unreadable),
                Err(error) => Err(ViewError::Unavailable(format!(
                    "reading the account JWT: {error}"
                ))),
            }
        };
        let read = self.read.try_get_with(digest, reading).await;
        let account = read.map_err(Arc::unwrap_or_clone)?;
        match account.claims().expires_at {
            Some(expiry) if expiry <= now => Err(ViewError::Unavailable(
                "the account JWT that the server has has expired: push another".to_owned(),
            )),
            _ => Ok(account),
        }
    }
}

#[cfg(test)]
mod tests;
