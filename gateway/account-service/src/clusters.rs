//! Several clusters as one: the account writer's port to servers, over all of them.
//!
//! Only clusters that said who is there are asked anything else until they are asked that again. One that did and then does not say what
//! it keeps makes the whole question fail, so that what it has is never taken for what others have.

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
    /// The cluster of every server there ever was.
    homes: BTreeMap<String, String>,
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

    /// The cluster of this server, if it ever said so.
    pub fn home_of(&self, server: &str) -> Option<String> {
        self.known().homes.get(server).cloned()
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
        let mut all = Vec::new();
        let mut known = self.known();
        known.reached.clear();
        known.problems.clear();
        for (name, roster) in rosters {
            match roster {
                Ok(servers) if !servers.is_empty() => {
                    for server in &servers {
                        known.homes.insert(server.id.clone(), name.clone());
                    }
                    let reached = Reached {
                        servers: servers.len(),
                        keeps: false,
                    };
                    known.reached.insert(name, reached);
                    all.extend(servers);
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
        for (name, kept) in answers {
            let kept = kept.map_err(|error| of(&name, error))?;
            if let Some(reached) = known.reached.get_mut(&name) {
                reached.keeps = !kept.is_empty();
            }
            all.extend(kept);
        }
        Ok(all.into_iter().collect())
    }

    async fn in_force(
        &self,
        server: &str,
        account: &str,
        deadline: Deadline,
    ) -> Result<AccountAtServer, AccountServersError> {
        let home = self.home_of(server);
        let cluster = self
            .clusters
            .iter()
            .find(|cluster| home.as_ref() == Some(&cluster.name));
        let cluster = cluster.ok_or_else(|| AccountServersError {
            doing: "asking a server what it has in force of an account".to_owned(),
            cause: format!("the server {server} is of no cluster that is known"),
        })?;
        let found = cluster.servers.in_force(server, account, deadline).await;
        let found = found.map_err(|error| of(&cluster.name, error))?;
        let known = self.known();
        let keeps = known
            .reached
            .get(&cluster.name)
            .is_some_and(|reached| reached.keeps);
        Ok(match found {
            AccountAtServer::NotLoaded if !keeps => AccountAtServer::NotKept,
            found => found,
        })
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
