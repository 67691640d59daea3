//! One look at the servers: who is there, and which JWTs of the account they keep and have in force.

use std::collections::BTreeSet;

use futures::future::join_all;
use natsgate_core::{AccountAtServer, Deadline, ServerIdentity};

use super::Shared;
use super::error::WriterError;
use super::report::Standing;

/// What one look saw.
#[derive(Debug)]
pub(super) struct Look {
    /// When it began, in seconds since the Unix epoch.
    pub(super) at: i64,
    pub(super) servers: Vec<ServerIdentity>,
    /// What the resolvers keep.
    kept: Vec<String>,
    /// What each server has in force, or why it did not say.
    in_force: Vec<Result<AccountAtServer, String>>,
}

impl Look {
    /// Looks.
    ///
    /// # Errors
    /// [`WriterError::Servers`], [`WriterError::NoServers`]. A single server that does not say what it has in
    /// force is no error: it may be going away.
    pub(super) async fn take(shared: &Shared, deadline: Deadline) -> Result<Self, WriterError> {
        let failed = |cause| WriterError::Servers {
            account: shared.account().to_owned(),
            cause,
        };
        let ask = || deadline.or_sooner(shared.settings.ask);
        let at = shared.clock.unix_seconds();
        let servers = shared.servers.roster(ask()).await.map_err(failed)?;
        if servers.is_empty() {
            return Err(WriterError::NoServers {
                account: shared.account().to_owned(),
            });
        }
        let kept = shared.servers.look_up(shared.account(), ask());
        let kept = kept.await.map_err(failed)?;
        let until = ask();
        let asked = servers.iter().map(|server| async move {
            let asked = shared.servers.in_force(&server.id, shared.account(), until);
            asked.await.map_err(|error| error.to_string())
        });
        let in_force = join_all(asked).await;
        Ok(Self {
            at,
            servers,
            kept,
            in_force,
        })
    }

    /// The JWTs that are anywhere, each once.
    pub(super) fn seen(&self) -> BTreeSet<&str> {
        let in_force = self.in_force.iter().filter_map(|found| match found {
            Ok(AccountAtServer::InForce(jwt)) => Some(jwt.as_str()),
            _ => None,
        });
        self.kept.iter().map(String::as_str).chain(in_force).collect()
    }

    /// How each server stands to `jwt`.
    pub(super) fn standings(&self, jwt: &str) -> impl Iterator<Item = (&ServerIdentity, Standing)> {
        let of = move |found: &Result<AccountAtServer, String>| match found {
            Ok(AccountAtServer::InForce(other)) if other != jwt => Standing::Missed,
            Ok(AccountAtServer::InForce(_)) => Standing::InForce,
            Ok(AccountAtServer::NotLoaded) => Standing::NotLoaded,
            Ok(AccountAtServer::NotKept) => Standing::Missed,
            Err(why) => Standing::Silent(why.clone()),
        };
        self.servers.iter().zip(self.in_force.iter().map(of))
    }

    /// Whether the resolvers keep `jwt` and nothing else, and no server has another in force.
    pub(super) fn is_all(&self, jwt: &str) -> bool {
        let lacks = |found: &Result<AccountAtServer, String>| *found == Ok(AccountAtServer::NotKept);
        !self.kept.is_empty()
            && self.seen().into_iter().all(|found| found == jwt)
            && !self.in_force.iter().any(lacks)
    }
}
