//! What is wanted of an account and how the servers stand, without changing anything.

use std::sync::Arc;

use natsgate_core::Deadline;

use super::error::WriterError;
use super::look::Look;
use super::report::ServerReport;
use super::sorted::unreadable;
use super::wanted::Wanted;
use super::{Shared, Version};
use crate::account::ManagedAccount;

/// An account, as it is.
#[derive(Debug, Clone)]
pub struct View {
    /// The version of what is stored of it; 0 if no writer ever wrote it.
    pub revision: u64,
    /// What is wanted of it.
    pub wanted: Wanted,
    /// What was pushed last; where no writer ever wrote it, the newest that a server has.
    pub account: ManagedAccount,
    /// How the servers stand to that; empty if none could be asked.
    pub servers: Vec<ServerReport>,
    /// Whether the resolvers that answered keep that and nothing else, and no server has another in force.
    pub settled: bool,
}

impl View {
    pub(super) async fn take(shared: &Shared, deadline: Deadline) -> Result<Self, WriterError> {
        let Version { number, record } = shared.stored(deadline).await?;
        let at = shared.clock.unix_seconds();
        let read = |jwt: &str| ManagedAccount::read(jwt, Arc::clone(&shared.keys), &shared.operators, at);
        let looked = Look::take(shared, deadline).await;
        let (jwt, look) = match (record.last, looked) {
            (Some(last), looked) => (last.jwt, looked.ok()),
            (None, Err(error)) => return Err(error),
            (None, Ok(look)) => {
                let newest = look.seen().into_iter().max_by_key(|jwt| {
                    let issued = read(jwt).ok().and_then(|account| account.issued_at());
                    (issued, *jwt)
                });
                let unknown = || WriterError::UnknownAccount {
                    account: shared.account().to_owned(),
                };
                (newest.ok_or_else(unknown)?.to_owned(), Some(look))
            }
        };
        let servers = look.iter().flat_map(|look| {
            look.standings(&jwt).map(|(server, standing)| ServerReport {
                server: server.clone(),
                answer: None,
                standing,
            })
        });
        Ok(Self {
            revision: number.unwrap_or_default(),
            wanted: record.wanted,
            account: read(&jwt).map_err(|cause| unreadable(shared, cause))?,
            servers: servers.collect(),
            settled: look.as_ref().is_some_and(|look| look.is_all(&jwt)),
        })
    }

    /// Whether every server that was there is known to have it, or to load it when the account is needed.
    pub fn is_complete(&self) -> bool {
        self.settled && self.servers.iter().all(ServerReport::is_good)
    }
}
