//! Several clusters as one: the account writer's port to servers, over all of them.
//!
//! Only clusters that said who is there, and what they keep, are asked anything else until they are asked that again. What one has is never
//! taken for what others have. A server that several name has to be the same to all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::future::join_all;
use natsgate_core::{
    AccountAtServer, AccountServers, AccountServersError, AccountSessions, Deadline, PushAnswer,
    ServerIdentity, SessionCounts,
};

/// A cluster.
#[derive(Clone)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its servers.
    pub servers: Arc<dyn AccountServers>,
    /// The sessions on them.
    pub sessions: Arc<dyn AccountSessions>,
}

/// All clusters, for one account. One question at a time is to be asked.
pub struct Clusters {
    clusters: Arc<[Cluster]>,
    known: Mutex<Known>,
}

/// What the clusters said.
#[derive(Default)]
struct Known {
    /// The clusters that said who is there when asked last.
    reached: BTreeMap<String, Reached>,
    /// Why the others did not.
    problems: BTreeMap<String, String>,
    /// The clusters that named each server then: where they are joined by gateways, all of them name all.
    homes: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Default)]
struct Reached {
    servers: usize,
    /// Whether its resolvers keep anything of the account.
    keeps: bool,
}

impl Clusters {
    /// These clusters.
    pub fn new(clusters: Arc<[Cluster]>) -> Self {
        Self {
            clusters,
            known: Mutex::default(),
        }
    }

    /// They.
    pub fn all(&self) -> &[Cluster] {
        &self.clusters
    }

    /// Whether the cluster `name` named this server when it was asked last.
    pub fn has(&self, name: &str, server: &str) -> bool {
        let known = self.known();
        known.homes.get(server).is_some_and(|homes| homes.contains(name))
    }

    /// Why the cluster `name` did not say who is there when it was asked last.
    pub fn problem(&self, name: &str) -> Option<String> {
        self.known().problems.get(name).cloned()
    }

    /// How many sessions `account` has in all clusters that tell, and of the others why they do not.
    pub async fn count(
        &self,
        account: &str,
        deadline: Deadline,
    ) -> (SessionCounts, BTreeMap<String, AccountServersError>) {
        let asked = self.clusters.iter().map(|cluster| async move {
            let counted = cluster.sessions.count(account, deadline).await;
            (cluster.name.clone(), counted)
        });
        let (mut counts, mut missing) = (SessionCounts::default(), BTreeMap::new());
        for (name, counted) in join_all(asked).await {
            match counted {
                Err(error) => {
                    missing.insert(name, error);
                }
                Ok(found) => {
                    for (issuer, number) in found.by_issuer {
                        let sum: &mut u64 = counts.by_issuer.entry(issuer).or_default();
                        *sum = sum.saturating_add(number);
                    }
                    // All have to take it.
                    let both = counts.max_payload.into_iter().chain(found.max_payload);
                    counts.max_payload = both.min();
                }
            }
        }
        (counts, missing)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that said who is there, with how many that were.
    fn reached(&self) -> Vec<(&Cluster, usize)> {
        let known = self.known();
        let reached = self.clusters.iter().filter_map(|cluster| {
            let reached = known.reached.get(&cluster.name)?;
            Some((cluster, reached.servers))
        });
        reached.collect()
    }
}

/// `error`, with the cluster that it is of.
fn of(cluster: &str, error: AccountServersError) -> AccountServersError {
    AccountServersError {
        doing: format!("cluster {cluster}: {}", error.doing),
        cause: error.cause,
    }
}

#[async_trait]
impl AccountServers for Clusters {
    async fn roster(&self, deadline: Deadline) -> Result<Vec<ServerIdentity>, AccountServersError> {
        let asked = self.clusters.iter().map(|cluster| async move {
            let roster = cluster.servers.roster(deadline).await;
            (cluster.name.clone(), roster)
        });
        let rosters = join_all(asked).await;
        let mut all: Vec<ServerIdentity> = Vec::new();
        let mut known = self.known();
        known.reached.clear();
        known.problems.clear();
        known.homes.clear();
        for (name, roster) in rosters {
            match roster {
                Ok(servers) if !servers.is_empty() => {
                    for server in &servers {
                        let homes = known.homes.entry(server.id.clone()).or_default();
                        homes.insert(name.clone());
                    }
                    let reached = Reached {
                        servers: servers.len(),
                        keeps: false,
                    };
                    known.reached.insert(name, reached);
                    for server in servers {
                        if !all.iter().any(|one| one.id == server.id) {
                            all.push(server);
                        }
                    }
                }
                Ok(_) => {
                    known.problems.insert(name, "no server answered".to_owned());
                }
                Err(error) => {
                    known.problems.insert(name, error.to_string());
                }
            }
        }
        if all.is_empty() {
            let problems = known.problems.iter();
            let problems: Vec<String> = problems.map(|(name, why)| format!("{name}: {why}")).collect();
            return Err(AccountServersError {
                doing: "asking all clusters which servers there are".to_owned(),
                cause: problems.join("; "),
            });
        }
        Ok(all)
    }

    async fn look_up(&self, account: &str, deadline: Deadline) -> Result<Vec<String>, AccountServersError> {
        let asked = self.reached().into_iter().map(|(cluster, _)| async move {
            let kept = cluster.servers.look_up(account, deadline).await;
            (cluster.name.clone(), kept)
        });
        let mut all = BTreeSet::new();
        let answers = join_all(asked).await;
        let mut known = self.known();
        let mut failed = None;
        for (name, kept) in answers {
            let kept = match kept {
                Ok(kept) => kept,
                // What it has is not known, so nothing is pushed over it; the others need not wait for that.
                Err(error) => {
                    known.reached.remove(&name);
                    known.problems.insert(name.clone(), error.to_string());
                    failed = Some(of(&name, error));
                    continue;
                }
            };
            if let Some(reached) = known.reached.get_mut(&name) {
                reached.keeps = !kept.is_empty();
            }
            all.extend(kept);
        }
        match failed {
            Some(error) if known.reached.is_empty() => Err(error),
            _ => Ok(all.into_iter().collect()),
        }
    }

    async fn in_force(
        &self,
        server: &str,
        account: &str,
        deadline: Deadline,
    ) -> Result<AccountAtServer, AccountServersError> {
        let doing = "asking a server what it has in force of an account";
        let failed = |cause: String| AccountServersError {
            doing: doing.to_owned(),
            cause,
        };
        let homes = self.known().homes.get(server).cloned().unwrap_or_default();
        let mut said: Option<AccountAtServer> = None;
        for cluster in self
            .clusters
            .iter()
            .filter(|cluster| homes.contains(&cluster.name))
        {
            let reached = self
                .known()
                .reached
                .get(&cluster.name)
                .map(|reached| reached.keeps);
            let Some(keeps) = reached else {
                let why = self.problem(&cluster.name).unwrap_or_default();
                return Err(failed(format!("cluster {}: {why}", cluster.name)));
            };
            let found = cluster.servers.in_force(server, account, deadline).await;
            let found = match found.map_err(|error| of(&cluster.name, error))? {
                AccountAtServer::NotLoaded if !keeps => AccountAtServer::NotKept,
                found => found,
            };
            // Nobody speaks for a server of another cluster.
            if said.as_ref().is_some_and(|before| *before != found) {
                return Err(failed(format!(
                    "the clusters {} each say something else of the server {server}",
                    homes.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
                )));
            }
            said = Some(found);
        }
        said.ok_or_else(|| failed(format!("the server {server} is of no cluster that is known")))
    }

    async fn push(
        &self,
        jwt: &str,
        _expected: usize,
        deadline: Deadline,
    ) -> Result<Vec<PushAnswer>, AccountServersError> {
        let pushed = self.reached().into_iter().map(|(cluster, servers)| async move {
            let pushed = cluster.servers.push(jwt, servers, deadline).await;
            pushed.map_err(|error| of(&cluster.name, error))
        });
        let mut answers = Vec::new();
        let mut failed = None;
        for pushed in join_all(pushed).await {
            match pushed {
                Ok(more) => answers.extend(more),
                Err(error) => failed = Some(error),
            }
        }
        // Of a cluster that failed alone, the servers are found to lack it when it is read back.
        match failed {
            Some(error) if answers.is_empty() => Err(error),
            _ => Ok(answers),
        }
    }
}
