//! The port to a cluster's nats-servers as the place where account JWTs are kept.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use crate::deadline::Deadline;

/// A server of a cluster, as it tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerIdentity {
    /// Its id, new at every start.
    pub id: String,
    /// Its configured name.
    pub name: String,
    /// Its version: `2.14.6`.
    pub version: String,
}

/// What one server says of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountAtServer {
    /// It has this JWT in force.
    InForce(String),
    /// It has not loaded the account: nobody of it is, or was, connected there. It will when somebody is, from its resolver.
    NotLoaded,
    /// It has not loaded the account, and no resolver of its cluster keeps anything of it. Told where there are several clusters.
    NotKept,
}

/// What one server says of a JWT that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushAnswer {
    /// The server's id.
    pub server_id: String,
    /// Whether it took the JWT; if not, why, in its words.
    pub taken: Result<(), String>,
}

/// The servers could not be asked, or did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{doing}: {cause}")]
pub struct AccountServersError {
    /// What was being done.
    pub doing: String,
    /// What went wrong, and what to look at.
    pub cause: String,
}

/// The sessions of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// How many there are of each key that signed them, by public key; empty where none did.
    pub by_issuer: BTreeMap<String, u64>,
    /// The largest message that the servers take, in bytes, as far as that is known.
    pub max_payload: Option<u64>,
}

/// What became of sessions that were to be closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClosedSessions {
    /// How many were closed.
    pub closed: u64,
    /// How many are still there: they could not be closed, or came back with the same key.
    pub left: u64,
}

/// How long sessions are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseUntil {
    /// Once, whatever they come back with.
    Once,
    /// Until nobody comes back with the same key.
    Gone,
}

/// The sessions of accounts at the nats-servers of one cluster.
#[async_trait]
pub trait AccountSessions: Send + Sync {
    /// How many sessions `account`, a public key, has.
    ///
    /// # Errors
    /// [`AccountServersError`], also if one of the servers does not tell.
    async fn count(&self, account: &str, deadline: Deadline) -> Result<SessionCounts, AccountServersError>;

    /// Closes the sessions of `account` that one of `issuers` (public keys) signed.
    ///
    /// # Errors
    /// [`AccountServersError`], also if it is not done by `deadline`.
    async fn close(
        &self,
        account: &str,
        issuers: &BTreeSet<String>,
        until: CloseUntil,
        deadline: Deadline,
    ) -> Result<ClosedSessions, AccountServersError>;
}

/// The nats-servers of one cluster.
#[async_trait]
pub trait AccountServers: Send + Sync {
    /// The servers that are there.
    ///
    /// # Errors
    /// [`AccountServersError`].
    async fn roster(&self, deadline: Deadline) -> Result<Vec<ServerIdentity>, AccountServersError>;

    /// What the servers' resolvers keep of `account`, a public key: the distinct JWTs, each once, and empty if none of them knows the account.
    ///
    /// # Errors
    /// [`AccountServersError`]; also if no server keeps account JWTs at all.
    async fn look_up(&self, account: &str, deadline: Deadline) -> Result<Vec<String>, AccountServersError>;

    /// What `server` has in force of `account`.
    ///
    /// # Errors
    /// [`AccountServersError`].
    async fn in_force(
        &self,
        server: &str,
        account: &str,
        deadline: Deadline,
    ) -> Result<AccountAtServer, AccountServersError>;

    /// Gives `jwt` to all servers. Returns what those say that answer before `deadline`, or as soon as `expected` have.
    ///
    /// # Errors
    /// [`AccountServersError`] if it could not be sent.
    async fn push(
        &self,
        jwt: &str,
        expected: usize,
        deadline: Deadline,
    ) -> Result<Vec<PushAnswer>, AccountServersError>;
}
