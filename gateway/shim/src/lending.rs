//! Lends the connection into the system account to whoever writes accounts: in this process, or over the link ([`crate::link`]).
//!
//! What is lent is small: it answers about the accounts of this shim's own configuration and no others, pushes only what an operator signed
//! whose word counts here, and closes sessions of those accounts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_trait::async_trait;
use natsgate_claims::{AccountBody, decode};
use natsgate_core::{
    AccountAtServer, AccountServers, AccountServersError, AccountSessions, Clock, CloseUntil, ClosedSessions,
    Deadline, PushAnswer, ServerIdentity, SessionCounts,
};
use tokio::sync::watch;

use crate::account_servers::SystemAccountServers;
use crate::draining::{Drained, close, drain};
use crate::evict::Evictor;
use crate::nats::NatsSettings;

/// To whom it is lent.
pub struct Lending {
    /// Has it while the shim runs.
    pub to: watch::Sender<Option<Arc<Lent>>>,
    /// A connection into the system account that may push, where the shim's own only watches.
    pub system: Option<NatsSettings>,
}

/// What is lent.
pub struct Lent {
    /// The shim's name, new at every start.
    pub shim: String,
    /// Its cluster.
    pub cluster: String,
    /// Its accounts at the cluster's servers.
    pub accounts: SystemAccounts,
}

/// The accounts of a shim at its cluster's servers.
pub struct SystemAccounts {
    system: Client,
    servers: SystemAccountServers,
    evictor: Evictor,
    accounts: BTreeSet<String>,
    operators: Vec<String>,
    clock: Arc<dyn Clock>,
}

impl SystemAccounts {
    /// `accounts` (public keys), whose JWTs are those that `operators` signed, through `system`; sessions are closed by `evictor`.
    pub fn new(
        system: Client,
        evictor: Evictor,
        accounts: BTreeSet<String>,
        operators: Vec<String>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            servers: SystemAccountServers::new(system.clone()),
            system,
            evictor,
            accounts,
            operators,
            clock,
        }
    }

    fn own(&self, doing: &str, account: &str) -> Result<(), AccountServersError> {
        if self.accounts.contains(account) {
            return Ok(());
        }
        Err(failed(
            doing,
            format!("the account {account} is none of this shim's (shim.accounts)"),
        ))
    }

    /// An error unless `jwt` is one of the shim's accounts', by an operator whose word counts.
    fn may_push(&self, jwt: &str) -> Result<(), AccountServersError> {
        let doing = "pushing an account to the servers";
        let claims = decode::<AccountBody>(jwt, self.clock.unix_seconds())
            .map_err(|error| failed(doing, error.to_string()))?;
        self.own(doing, &claims.subject)?;
        if self.operators.contains(&claims.issuer) {
            return Ok(());
        }
        Err(failed(
            doing,
            format!(
                "it is signed by {}, which is none of shim.operator_mode.operators",
                claims.issuer
            ),
        ))
    }
}

fn failed(doing: &str, cause: String) -> AccountServersError {
    AccountServersError {
        doing: doing.to_owned(),
        cause,
    }
}

#[async_trait]
impl AccountServers for SystemAccounts {
    async fn roster(&self, deadline: Deadline) -> Result<Vec<ServerIdentity>, AccountServersError> {
        self.servers.roster(deadline).await
    }

    async fn look_up(&self, account: &str, deadline: Deadline) -> Result<Vec<String>, AccountServersError> {
        self.own("looking an account up in the servers' resolvers", account)?;
        self.servers.look_up(account, deadline).await
    }

    async fn in_force(
        &self,
        server: &str,
        account: &str,
        deadline: Deadline,
    ) -> Result<AccountAtServer, AccountServersError> {
        self.own("asking a server what it has in force of an account", account)?;
        self.servers.in_force(server, account, deadline).await
    }

    async fn push(
        &self,
        jwt: &str,
        expected: usize,
        deadline: Deadline,
    ) -> Result<Vec<PushAnswer>, AccountServersError> {
        self.may_push(jwt)?;
        self.servers.push(jwt, expected, deadline).await
    }
}

#[async_trait]
impl AccountSessions for SystemAccounts {
    async fn count(&self, account: &str, deadline: Deadline) -> Result<SessionCounts, AccountServersError> {
        let doing = "counting an account's sessions";
        self.own(doing, account)?;
        let counting = async {
            let roster = self.servers.all_servers(deadline).await?;
            self.servers.connections(&roster, account).await
        };
        let counted = deadline.bound(counting).await;
        let by_issuer = counted.map_err(|passed| failed(doing, passed.to_string()))??;
        Ok(SessionCounts {
            by_issuer,
            max_payload: u64::try_from(self.system.server_info().max_payload).ok(),
        })
    }

    async fn close(
        &self,
        account: &str,
        issuers: &BTreeSet<String>,
        until: CloseUntil,
        deadline: Deadline,
    ) -> Result<ClosedSessions, AccountServersError> {
        let doing = "closing sessions that lose something";
        self.own(doing, account)?;
        let closing = async {
            match until {
                CloseUntil::Gone => {
                    drain(&self.servers, &self.evictor, account, issuers, Duration::ZERO).await
                }
                CloseUntil::Once => close(&self.servers, &self.evictor, account, issuers).await,
            }
        };
        let closed = deadline.bound(closing).await;
        let late = |_| failed(doing, "it was not finished in time: call again".to_owned());
        let Drained { closed, left } = closed.map_err(late)??;
        Ok(ClosedSessions { closed, left })
    }
}

/// What a shim of this process lends, as the port to its cluster.
pub struct LentCluster(watch::Receiver<Option<Arc<Lent>>>);

impl LentCluster {
    /// What `lent` has while the shim runs.
    pub fn new(lent: watch::Receiver<Option<Arc<Lent>>>) -> Self {
        Self(lent)
    }

    fn lent(&self, doing: &str) -> Result<Arc<Lent>, AccountServersError> {
        let lent = self.0.borrow().clone();
        lent.ok_or_else(|| failed(doing, "the shim is not connected to its cluster".to_owned()))
    }
}

#[async_trait]
impl AccountServers for LentCluster {
    async fn roster(&self, deadline: Deadline) -> Result<Vec<ServerIdentity>, AccountServersError> {
        let lent = self.lent("asking which servers there are")?;
        lent.accounts.roster(deadline).await
    }

    async fn look_up(&self, account: &str, deadline: Deadline) -> Result<Vec<String>, AccountServersError> {
        let lent = self.lent("looking an account up in the servers' resolvers")?;
        lent.accounts.look_up(account, deadline).await
    }

    async fn in_force(
        &self,
        server: &str,
        account: &str,
        deadline: Deadline,
    ) -> Result<AccountAtServer, AccountServersError> {
        let lent = self.lent("asking a server what it has in force of an account")?;
        lent.accounts.in_force(server, account, deadline).await
    }

    async fn push(
        &self,
        jwt: &str,
        expected: usize,
        deadline: Deadline,
    ) -> Result<Vec<PushAnswer>, AccountServersError> {
        let lent = self.lent("pushing an account to the servers")?;
        lent.accounts.push(jwt, expected, deadline).await
    }
}

#[async_trait]
impl AccountSessions for LentCluster {
    async fn count(&self, account: &str, deadline: Deadline) -> Result<SessionCounts, AccountServersError> {
        let lent = self.lent("counting an account's sessions")?;
        lent.accounts.count(account, deadline).await
    }

    async fn close(
        &self,
        account: &str,
        issuers: &BTreeSet<String>,
        until: CloseUntil,
        deadline: Deadline,
    ) -> Result<ClosedSessions, AccountServersError> {
        let lent = self.lent("closing sessions that lose something")?;
        lent.accounts.close(account, issuers, until, deadline).await
    }
}
