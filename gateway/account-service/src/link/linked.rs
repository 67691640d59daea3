//! The port to a cluster through the shims that lend it.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use natsgate_core::{
    AccountAtServer, AccountServers, AccountServersError, AccountSessions, CloseUntil, ClosedSessions,
    Deadline, PushAnswer, ServerIdentity, SessionCounts,
};
use natsgate_proto::v1;
use natsgate_proto::v1::link_answer::Result as Answer;
use natsgate_proto::v1::link_question::Ask;

use super::{Links, message};
use crate::clusters::Cluster;

/// A cluster, as far as shims lend it.
pub struct LinkedCluster {
    links: Arc<Links>,
    cluster: String,
}

impl LinkedCluster {
    /// The cluster of this name, among `links`.
    pub fn cluster(links: &Arc<Links>, name: &str) -> Cluster {
        let linked = Arc::new(Self {
            links: Arc::clone(links),
            cluster: name.to_owned(),
        });
        Cluster {
            name: name.to_owned(),
            servers: Arc::clone(&linked) as Arc<dyn AccountServers>,
            sessions: linked,
        }
    }

    /// What a shim answers to `ask`, as `read` reads it: the first that does. All questions may be asked twice.
    async fn ask<T>(
        &self,
        doing: &'static str,
        ask: Ask,
        read: impl Fn(Answer) -> Option<T>,
        deadline: Deadline,
    ) -> Result<T, AccountServersError> {
        let failed = |cause: String| AccountServersError {
            doing: doing.to_owned(),
            cause,
        };
        let shims = self.links.of(&self.cluster);
        let mut last = failed(format!(
            "no shim of the cluster {} is attached: is it running, with shim.accounts_service set?",
            self.cluster
        ));
        let mut left = u32::try_from(shims.len()).unwrap_or(u32::MAX);
        for shim in shims {
            // Closing sessions takes its time; yet something is left for another shim.
            left = left.saturating_sub(1);
            let share = match left {
                0 => deadline.remaining(),
                _ => deadline.remaining().mul_f64(0.75),
            };
            last = match shim.ask(ask.clone(), deadline.or_sooner(share)).await {
                Ok(Answer::Failure(failure)) => message::failure(failure),
                Ok(answer) => match read(answer) {
                    Some(read) => return Ok(read),
                    None => failed(format!("the shim {} answered something else", shim.name())),
                },
                Err(cause) => failed(cause),
            };
            self.links.failed(&self.cluster, &shim);
        }
        Err(last)
    }
}

#[async_trait]
impl AccountServers for LinkedCluster {
    async fn roster(&self, deadline: Deadline) -> Result<Vec<ServerIdentity>, AccountServersError> {
        let read = |answer| match answer {
            Answer::Roster(roster) => Some(message::roster(roster)),
            _ => None,
        };
        let doing = "asking which servers there are";
        self.ask(doing, Ask::Roster(v1::AskRoster {}), read, deadline)
            .await
    }

    async fn look_up(&self, account: &str, deadline: Deadline) -> Result<Vec<String>, AccountServersError> {
        let ask = v1::AskKept {
            account: account.to_owned(),
        };
        let read = |answer| match answer {
            Answer::Kept(kept) => Some(kept.jwts),
            _ => None,
        };
        let doing = "looking an account up in the servers' resolvers";
        self.ask(doing, Ask::Kept(ask), read, deadline).await
    }

    async fn in_force(
        &self,
        server: &str,
        account: &str,
        deadline: Deadline,
    ) -> Result<AccountAtServer, AccountServersError> {
        let ask = v1::AskInForce {
            account: account.to_owned(),
            server_id: server.to_owned(),
        };
        let read = |answer| match answer {
            Answer::InForce(found) => Some(message::in_force(found)),
            _ => None,
        };
        let doing = "asking a server what it has in force of an account";
        self.ask(doing, Ask::InForce(ask), read, deadline).await
    }

    async fn push(
        &self,
        jwt: &str,
        expected: usize,
        deadline: Deadline,
    ) -> Result<Vec<PushAnswer>, AccountServersError> {
        let ask = v1::AskPush {
            jwt: jwt.to_owned(),
            expected: u32::try_from(expected).unwrap_or(u32::MAX),
        };
        let read = |answer| match answer {
            Answer::Push(answers) => Some(message::push(answers)),
            _ => None,
        };
        let doing = "pushing an account to the servers";
        self.ask(doing, Ask::Push(ask), read, deadline).await
    }
}

#[async_trait]
impl AccountSessions for LinkedCluster {
    async fn count(&self, account: &str, deadline: Deadline) -> Result<SessionCounts, AccountServersError> {
        let ask = v1::AskSessions {
            account: account.to_owned(),
        };
        let read = |answer| match answer {
            Answer::Sessions(sessions) => Some(message::sessions(sessions)),
            _ => None,
        };
        let doing = "counting an account's sessions";
        self.ask(doing, Ask::Sessions(ask), read, deadline).await
    }

    async fn close(
        &self,
        account: &str,
        issuers: &BTreeSet<String>,
        until: CloseUntil,
        deadline: Deadline,
    ) -> Result<ClosedSessions, AccountServersError> {
        let ask = v1::AskClose {
            account: account.to_owned(),
            issuer_keys: issuers.iter().cloned().collect(),
            until_gone: until == CloseUntil::Gone,
        };
        let read = |answer| match answer {
            Answer::Closed(closed) => Some(message::closed(closed)),
            _ => None,
        };
        let doing = "closing sessions that lose something";
        self.ask(doing, Ask::Close(ask), read, deadline).await
    }
}
