//! Writes one account, on all clusters: counts its sessions, has it written, closes the sessions that lose something, and tells how every
//! cluster stands.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use natsgate_accounts::plan::{DefaultsEffect, Sessions};
use natsgate_accounts::writer::{Report, Request, ServerReport, View};
use natsgate_accounts::{ManagedAccount, Operation, Plan, ServerVersion, Writer, WriterError};
use natsgate_core::{AccountServersError, CloseUntil, ClosedSessions, Deadline};

use crate::clusters::{Cluster, Clusters};

/// How long counting sessions may take.
const COUNT_TIME: Duration = Duration::from_secs(10);

/// How long closing sessions may take.
const CLOSE_TIME: Duration = Duration::from_secs(25);

/// Pause before it is tried again whether another writer is done.
const HELD_PAUSE: Duration = Duration::from_millis(250);

/// Writes one account.
pub struct Keeper {
    name: String,
    writer: Writer,
    clusters: Arc<Clusters>,
}

/// What came of a change.
#[derive(Debug)]
pub struct Outcome {
    /// What the writer did.
    pub report: Report,
    /// How the clusters stand, all of them.
    pub clusters: Vec<ClusterOutcome>,
}

/// How a cluster stands.
#[derive(Debug, Default)]
pub struct ClusterOutcome {
    /// Its name.
    pub name: String,
    /// Why none of its servers was reached.
    pub problem: Option<String>,
    /// Its servers.
    pub servers: Vec<ServerReport>,
    /// Sessions that lose something and were closed.
    pub closed: u64,
    /// Why sessions that lose something were not closed, or not all.
    pub sessions_problem: Option<String>,
}

impl Outcome {
    /// Whether every server of every cluster has what is wanted, and nobody has what he lost.
    pub fn is_complete(&self) -> bool {
        let good = |cluster: &ClusterOutcome| cluster.problem.is_none() && cluster.sessions_problem.is_none();
        self.report.is_complete() && self.report.account.is_some() && self.clusters.iter().all(good)
    }
}

impl Keeper {
    /// The keeper of the account `name`, which `writer` writes on `clusters`.
    pub fn new(name: String, writer: Writer, clusters: Arc<Clusters>) -> Self {
        Self {
            name,
            writer,
            clusters,
        }
    }

    /// The account's configured name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its public key.
    pub fn account(&self) -> &str {
        self.writer.account()
    }

    /// Does `request`, for which sessions are counted here. Waits for another writer until `deadline`.
    ///
    /// # Errors
    /// [`WriterError`]. That some server or cluster missed it is none.
    pub async fn push(&self, request: Request, deadline: Deadline) -> Result<Outcome, WriterError> {
        let (request, _) = self.with_sessions(request, deadline).await;
        self.write(request, deadline).await
    }

    async fn write(&self, request: Request, deadline: Deadline) -> Result<Outcome, WriterError> {
        let pushed = self
            .alone(deadline, || self.writer.push(&request, deadline))
            .await?;
        let mut clusters = self.clusters_of(&pushed.servers);
        if let Some(account) = &pushed.account {
            let defaults = defaults(&request, &pushed);
            warn_of_defaults(account, defaults, &pushed, &mut clusters);
            self.close_losing(account, &pushed, defaults, &mut clusters, deadline)
                .await;
        }
        Ok(Outcome {
            report: pushed,
            clusters,
        })
    }

    /// Sees to it that what is wanted holds everywhere; `None` if nothing was ever wanted.
    ///
    /// # Errors
    /// [`WriterError`].
    pub async fn tend(&self, deadline: Deadline) -> Result<Option<Outcome>, WriterError> {
        if !self.writer.is_written(deadline).await? {
            return Ok(None);
        }
        // Nothing is planned, so nobody is counted.
        self.write(Request::default(), deadline).await.map(Some)
    }

    /// What `request` would do ([`WriterError::Plan`] if it would be refused), and the clusters that do not count in it.
    pub async fn plan(
        &self,
        request: Request,
        deadline: Deadline,
    ) -> (Result<Plan, WriterError>, Vec<ClusterOutcome>) {
        let (request, uncounted) = self.with_sessions(request, deadline).await;
        let planned = self
            .alone(deadline, || self.writer.plan(&request, deadline))
            .await;
        let missing = self.clusters.all().iter().filter_map(|cluster| {
            let uncounted = uncounted.get(&cluster.name).map(ToString::to_string);
            let problem = self.clusters.problem(&cluster.name).or(uncounted)?;
            Some(ClusterOutcome {
                name: cluster.name.clone(),
                problem: Some(problem),
                ..ClusterOutcome::default()
            })
        });
        (planned, missing.collect())
    }

    /// What is wanted of it, and how the clusters stand.
    ///
    /// # Errors
    /// [`WriterError`].
    pub async fn view(&self, deadline: Deadline) -> Result<(View, Vec<ClusterOutcome>), WriterError> {
        let view = self.writer.view(deadline).await?;
        let clusters = self.clusters_of(&view.servers);
        Ok((view, clusters))
    }

    /// What `act` comes to, once no other writer has the lease.
    async fn alone<T, F: Future<Output = Result<T, WriterError>>>(
        &self,
        deadline: Deadline,
        act: impl Fn() -> F,
    ) -> Result<T, WriterError> {
        loop {
            match act().await {
                Err(WriterError::Held { remaining, .. })
                    if deadline.remaining() > HELD_PAUSE.saturating_mul(2) =>
                {
                    tokio::time::sleep(remaining.min(HELD_PAUSE)).await;
                }
                done => return done,
            }
        }
    }

    async fn with_sessions(
        &self,
        request: Request,
        deadline: Deadline,
    ) -> (Request, BTreeMap<String, AccountServersError>) {
        let counting = self
            .clusters
            .count(self.account(), deadline.or_sooner(COUNT_TIME));
        let (counts, uncounted) = counting.await;
        let request = Request {
            sessions: Sessions {
                by_issuer: counts.by_issuer,
                on_defaults: None,
            },
            max_payload: counts.max_payload,
            ..request
        };
        (request, uncounted)
    }

    /// `servers` by cluster; a cluster without any says why.
    fn clusters_of(&self, servers: &[ServerReport]) -> Vec<ClusterOutcome> {
        let of = |cluster: &Cluster| {
            let home = |server: &&ServerReport| self.clusters.has(&cluster.name, &server.server.id);
            let servers: Vec<ServerReport> = servers.iter().filter(home).cloned().collect();
            let problem = servers.is_empty().then(|| {
                let said = self.clusters.problem(&cluster.name);
                said.unwrap_or_else(|| "none of its servers was reached: call again".to_owned())
            });
            ClusterOutcome {
                name: cluster.name.clone(),
                problem,
                servers,
                ..ClusterOutcome::default()
            }
        };
        self.clusters.all().iter().map(of).collect()
    }

    /// Closes who has what `account` does not give any more.
    async fn close_losing(
        &self,
        account: &ManagedAccount,
        report: &Report,
        defaults: Defaults,
        outcomes: &mut [ClusterOutcome],
        deadline: Deadline,
    ) {
        let losing = account.older_keys().losing;
        // Where it was pushed just now, keys may have become old ones just now.
        let narrowed = report.pushes > 0;
        if losing.is_empty() && defaults != Defaults::Close {
            return;
        }
        let deadline = deadline.or_sooner(CLOSE_TIME);
        let closings = self
            .clusters
            .all()
            .iter()
            .zip(outcomes)
            .filter(|(_, outcome)| outcome.problem.is_none())
            .map(|(cluster, outcome)| {
                let losing = &losing;
                let not_live = defaults == Defaults::Close && has_old_servers(outcome);
                async move {
                    let closed = close(cluster, account, losing, narrowed, not_live, deadline).await;
                    match closed {
                        Ok(ClosedSessions { closed, left }) => {
                            outcome.closed = closed;
                            if left > 0 {
                                let problem = format!(
                                    "{left} sessions that lose something are still there: call again"
                                );
                                outcome.sessions_problem = Some(problem);
                            }
                        }
                        Err(error) => outcome.sessions_problem = Some(error.to_string()),
                    }
                }
            });
        join_all(closings).await;
    }
}

/// What is to be done for default permissions that servers do not apply to open connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defaults {
    /// Nothing: they did not change, or nobody has less by it.
    Nothing,
    /// Whether anybody has less by it is not known, nor whether anybody may be made to reconnect.
    Warn,
    /// Who may have them is closed, where servers are too old.
    Close,
}

/// What is to be done after `request` for default permissions that are not applied live.
fn defaults(request: &Request, report: &Report) -> Defaults {
    let planned = report.plan.as_ref().map(|plan| plan.defaults.as_ref());
    match planned {
        Some(None) => Defaults::Nothing,
        Some(Some(change)) => {
            let reconnect = matches!(change.effect, DefaultsEffect::Reconnect { .. });
            match change.difference.narrows() {
                true if reconnect || request.may_reconnect => Defaults::Close,
                _ => Defaults::Nothing,
            }
        }
        // Stored before, perhaps by a call that ended half-way: it is done once more rather than not at all.
        None => {
            let asked = request
                .operations
                .iter()
                .any(|operation| matches!(operation, Operation::SetDefaults(_) | Operation::ClearDefaults));
            match asked {
                true if request.may_reconnect => Defaults::Close,
                _ if report.pushes > 0 => Defaults::Warn,
                _ => Defaults::Nothing,
            }
        }
    }
}

/// Says of clusters that were given the account later that open connections may have default permissions of before.
fn warn_of_defaults(
    account: &ManagedAccount,
    defaults: Defaults,
    report: &Report,
    outcomes: &mut [ClusterOutcome],
) {
    if defaults != Defaults::Warn || matches!(account.defaults(), Ok(None)) {
        return;
    }
    for outcome in outcomes.iter_mut().filter(|outcome| has_old_servers(outcome)) {
        let pushed = outcome.servers.iter().any(|server| server.answer.is_some());
        if pushed && report.pushes > 0 {
            outcome.sessions_problem = Some(
                "the account was given to servers that do not apply default permissions to open connections: if those were narrowed \
                 meanwhile, push them again with may_reconnect"
                    .to_owned(),
            );
        }
    }
}

/// Whether a server of the cluster does not apply default permissions to open connections.
fn has_old_servers(outcome: &ClusterOutcome) -> bool {
    outcome.servers.iter().any(|server| {
        !ServerVersion::parse(&server.server.version).is_some_and(ServerVersion::applies_defaults_live)
    })
}

/// Closes who loses something in `cluster`: those on the keys `losing` for good, and, where default permissions do `not_live` reach open
/// connections, those that may have them, once.
async fn close(
    cluster: &Cluster,
    account: &ManagedAccount,
    losing: &BTreeSet<String>,
    narrowed: bool,
    not_live: bool,
    deadline: Deadline,
) -> Result<ClosedSessions, AccountServersError> {
    let there = cluster.sessions.count(account.account(), deadline).await?;
    let mut sum = ClosedSessions::default();
    let mut add = |more: ClosedSessions| {
        sum.closed = sum.closed.saturating_add(more.closed);
        sum.left = sum.left.saturating_add(more.left);
    };
    let sessions = &cluster.sessions;
    // Where the keys just became old ones, a shim may mint by them for a moment still.
    if narrowed || losing.iter().any(|key| there.by_issuer.contains_key(key)) {
        let closed = sessions.close(account.account(), losing, CloseUntil::Gone, deadline);
        add(closed.await?);
    }
    if not_live {
        let plain: BTreeSet<String> = there
            .by_issuer
            .into_keys()
            .filter(|key| account.is_plain_key(key))
            .collect();
        if !plain.is_empty() {
            let closed = sessions.close(account.account(), &plain, CloseUntil::Once, deadline);
            add(closed.await?);
        }
    }
    Ok(sum)
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("name", &self.name)
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}
