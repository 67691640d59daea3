//! Account JWTs at the cluster's servers, through the system account: who is there, what they keep and have in force, and new ones
//! pushed to them.
//!
//! All servers answer every question but one about a single server. That answers come from all of them shows only by their number, so
//! whoever has to know asks each (`in_force`): it tells what is applied, not merely what is kept.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use async_trait::async_trait;
use futures::StreamExt;
use natsgate_core::{
    AccountAtServer, AccountServers, AccountServersError, Deadline, PushAnswer, ServerIdentity, SessionKey,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::watching::list;

/// How long after the last answer of a question to all another one may come.
const QUIET: Duration = Duration::from_millis(300);

/// The servers that a connection into the system account reaches.
pub struct SystemAccountServers {
    system: Client,
    /// How many said that they are there when that was asked last; 0 before.
    there: AtomicUsize,
}

#[derive(Deserialize)]
struct About {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    ver: String,
}

#[derive(Deserialize)]
struct Answer<T> {
    server: About,
    data: Option<T>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Stats {
    statsz: Known,
}

#[derive(Deserialize)]
struct Known {
    active_servers: usize,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct Accountz {
    account_detail: Option<AccountDetail>,
}

#[derive(Deserialize)]
struct AccountDetail {
    #[serde(default)]
    jwt: String,
}

impl SystemAccountServers {
    /// The servers that `system`, a connection into the system account, reaches.
    pub fn new(system: Client) -> Self {
        Self {
            system,
            there: AtomicUsize::new(0),
        }
    }

    /// The servers that are there, asked for twice: one that answers late the first time does so the second.
    ///
    /// # Errors
    /// [`AccountServersError`].
    pub async fn all_servers(&self, deadline: Deadline) -> Result<Vec<ServerIdentity>, AccountServersError> {
        let mut all = self.roster(deadline).await?;
        for server in self.roster(deadline).await? {
            if !all.iter().any(|known| known.id == server.id) {
                all.push(server);
            }
        }
        Ok(all)
    }

    /// The connections of `account`, a public key, on all of `servers`: how many of each key that signed their user JWTs.
    ///
    /// # Errors
    /// [`AccountServersError`] if one of the servers does not tell.
    pub async fn connections(
        &self,
        servers: &[ServerIdentity],
        account: &str,
    ) -> Result<BTreeMap<String, u64>, AccountServersError> {
        let mut by_issuer = BTreeMap::new();
        for (_, issuer) in self.signed_connections(servers, account).await? {
            let count: &mut u64 = by_issuer.entry(issuer).or_default();
            *count = count.saturating_add(1);
        }
        Ok(by_issuer)
    }

    /// The connections of `account`, a public key, on all of `servers`, each with the key that signed its user JWT; empty if none did.
    ///
    /// # Errors
    /// [`AccountServersError`] if one of the servers does not tell.
    pub async fn signed_connections(
        &self,
        servers: &[ServerIdentity],
        account: &str,
    ) -> Result<Vec<(SessionKey, String)>, AccountServersError> {
        let mut found = Vec::new();
        for server in servers {
            let listed = list(&self.system, &server.id, account).await;
            let doing = format!("listing the account's connections on {}", server.name);
            for connection in listed.map_err(|cause| failed(&doing, cause))?.connections {
                let key = SessionKey {
                    server_id: server.id.clone(),
                    client_id: connection.client_id(),
                };
                found.push((key, connection.issuer_key().to_owned()));
            }
        }
        Ok(found)
    }

    /// Asks all servers; returns their answers until they are `enough`, `deadline`, or, if it is not `patient`, none has come for a moment.
    async fn ask_all(
        &self,
        doing: &str,
        subject: String,
        body: bytes::Bytes,
        patient: bool,
        enough: impl Fn(&[Message]) -> bool + Send,
        deadline: Deadline,
    ) -> Result<Vec<Message>, AccountServersError> {
        let failed = |cause: String| failed(doing, cause);
        let inbox = self.system.new_inbox();
        let mut answers: Subscriber = self
            .system
            .subscribe(inbox.clone())
            .await
            .map_err(|error| failed(error.to_string()))?;
        self.system
            .publish_with_reply(subject, inbox, body)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let mut heard = Vec::new();
        while !enough(&heard) {
            let until = if heard.is_empty() || patient {
                deadline
            } else {
                deadline.or_sooner(QUIET)
            };
            match until.bound(answers.next()).await {
                Ok(Some(message)) if message.status == Some(async_nats::StatusCode::NO_RESPONDERS) => {
                    return Err(failed(
                        "nobody answers there: is the user one of the system account?".to_owned(),
                    ));
                }
                Ok(Some(message)) => heard.push(message),
                Ok(None) => return Err(failed("the connection was closed".to_owned())),
                Err(_) => break,
            }
        }
        Ok(heard)
    }
}

/// How many servers the one that gave this answer knows of, itself included; as good as endless if it does not say.
fn servers_known_to(answer: &Message) -> usize {
    let stats: Option<Stats> = serde_json::from_slice(&answer.payload).ok();
    stats.map_or(usize::MAX, |stats| stats.statsz.active_servers)
}

fn failed(doing: &str, cause: String) -> AccountServersError {
    AccountServersError {
        doing: doing.to_owned(),
        cause,
    }
}

fn read<T: DeserializeOwned>(doing: &str, message: &Message) -> Result<T, AccountServersError> {
    serde_json::from_slice(&message.payload)
        .map_err(|error| failed(doing, format!("a server's answer cannot be read: {error}")))
}

#[async_trait]
impl AccountServers for SystemAccountServers {
    async fn roster(&self, deadline: Deadline) -> Result<Vec<ServerIdentity>, AccountServersError> {
        let doing = "asking which servers there are";
        let subject = "$SYS.REQ.SERVER.PING.STATSZ".to_owned();
        let all = |heard: &[Message]| heard.iter().any(|answer| heard.len() >= servers_known_to(answer));
        let answers = self
            .ask_all(doing, subject, "".into(), false, all, deadline)
            .await?;
        let mut servers = Vec::with_capacity(answers.len());
        for answer in &answers {
            let answer: Answer<serde::de::IgnoredAny> = read(doing, answer)?;
            servers.push(ServerIdentity {
                id: answer.server.id,
                name: answer.server.name,
                version: answer.server.ver,
            });
        }
        if servers.is_empty() {
            let cause = "no server answered: may the system user publish on $SYS.REQ.SERVER.PING.STATSZ?";
            return Err(failed(doing, cause.to_owned()));
        }
        servers.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
        self.there.store(servers.len(), Ordering::Relaxed);
        Ok(servers)
    }

    async fn look_up(&self, account: &str, deadline: Deadline) -> Result<Vec<String>, AccountServersError> {
        let doing = "looking an account up in the servers' resolvers";
        let subject = format!("$SYS.REQ.ACCOUNT.{account}.CLAIMS.LOOKUP");
        // Not all of them keep account JWTs.
        let there = self.there.load(Ordering::Relaxed);
        let all = |heard: &[Message]| there > 0 && heard.len() >= there;
        let answers = self
            .ask_all(doing, subject, "".into(), false, all, deadline)
            .await?;
        if answers.is_empty() {
            let cause = "no server answered: only a resolver of the type `full` does";
            return Err(failed(doing, cause.to_owned()));
        }
        let mut found = Vec::new();
        for answer in answers.iter().filter(|answer| !answer.payload.is_empty()) {
            let jwt = std::str::from_utf8(&answer.payload)
                .map_err(|_| failed(doing, "a server's answer is not text".to_owned()))?;
            if !found.iter().any(|one| one == jwt) {
                found.push(jwt.to_owned());
            }
        }
        Ok(found)
    }

    async fn in_force(
        &self,
        server: &str,
        account: &str,
        deadline: Deadline,
    ) -> Result<AccountAtServer, AccountServersError> {
        let doing = "asking a server what it has in force of an account";
        let body = serde_json::json!({ "account": account }).to_string();
        let asked = self
            .system
            .request(format!("$SYS.REQ.SERVER.{server}.ACCOUNTZ"), body.into());
        let answer = deadline
            .bound(asked)
            .await
            .map_err(|_| failed(doing, format!("the server {server} did not answer in time")))?
            .map_err(|error| failed(doing, format!("the server {server}: {error}")))?;
        let answer: Answer<Accountz> = read(doing, &answer)?;
        if answer.server.id != server {
            return Err(failed(doing, "another server answered".to_owned()));
        }
        match answer.data.and_then(|data| data.account_detail) {
            Some(detail) if !detail.jwt.is_empty() => Ok(AccountAtServer::InForce(detail.jwt)),
            // It says "does not exist" of an account that it has not loaded.
            _ => Ok(AccountAtServer::NotLoaded),
        }
    }

    async fn push(
        &self,
        jwt: &str,
        expected: usize,
        deadline: Deadline,
    ) -> Result<Vec<PushAnswer>, AccountServersError> {
        let doing = "pushing an account to the servers";
        let subject = "$SYS.REQ.CLAIMS.UPDATE".to_owned();
        let body = jwt.to_owned().into();
        let all = |heard: &[Message]| heard.len() >= expected;
        let answers = self.ask_all(doing, subject, body, true, all, deadline).await?;
        if answers.is_empty() {
            let cause = "no server answered: may the system user publish on $SYS.REQ.CLAIMS.UPDATE, and is the resolver one that \
                         takes pushes (`full` or `cache`)?";
            return Err(failed(doing, cause.to_owned()));
        }
        let mut said = Vec::with_capacity(answers.len());
        for answer in &answers {
            let answer: Answer<serde::de::IgnoredAny> = read(doing, answer)?;
            let taken = match answer.error {
                None => Ok(()),
                Some(refusal) => Err(refusal.description),
            };
            said.push(PushAnswer {
                server_id: answer.server.id,
                taken,
            });
        }
        Ok(said)
    }
}
