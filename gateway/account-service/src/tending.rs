//! Gives servers and clusters that were away what they missed: from time to time, and when a shim attaches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use natsgate_accounts::WriterError;
use natsgate_core::Deadline;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::keeper::{Keeper, Outcome};

/// How often all accounts are looked at.
const EVERY: Duration = Duration::from_secs(60);

/// How soon again while something is not complete.
const AGAIN: Duration = Duration::from_secs(10);

/// How long one account may take.
const TEND_TIME: Duration = Duration::from_secs(60);

/// Looks after accounts.
pub struct Tending {
    keepers: Vec<Arc<Keeper>>,
    /// Told when a shim attaches.
    attached: Arc<Notify>,
}

impl Tending {
    /// Looks after the accounts of `keepers`, at once whenever `attached` is told.
    pub fn new(keepers: Vec<Arc<Keeper>>, attached: Arc<Notify>) -> Self {
        Self { keepers, attached }
    }

    /// Does so until `stop`. An account that is being looked at then is finished with.
    pub async fn run(self, stop: CancellationToken) {
        let mut said = BTreeMap::new();
        // Shims attach first.
        let mut pause = AGAIN;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.attached.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            pause = EVERY;
            for keeper in &self.keepers {
                if stop.is_cancelled() {
                    return;
                }
                let state = state(keeper.tend(Deadline::after(TEND_TIME)).await);
                if state.is_some() {
                    pause = AGAIN;
                }
                tell(
                    keeper,
                    said.insert(keeper.name().to_owned(), state.clone()),
                    state,
                );
            }
        }
    }
}

/// What is not as it should be.
fn state(tended: Result<Option<Outcome>, WriterError>) -> Option<String> {
    match tended {
        Ok(Some(outcome)) if !outcome.is_complete() => Some(lacking(&outcome)),
        // Another instance looks after it.
        Ok(_) | Err(WriterError::Held { .. }) => None,
        Err(error) => Some(error.to_string()),
    }
}

/// Says what changed since `before`.
fn tell(keeper: &Keeper, before: Option<Option<String>>, now: Option<String>) {
    let account = keeper.name();
    match (before.flatten(), now) {
        (None, None) => {}
        (Some(_), None) => info!(account, "every server has the account again"),
        (before, Some(why)) if before.as_ref() != Some(&why) => {
            warn!(
                account,
                why, "not every server has the account; it is pushed again"
            );
        }
        (Some(_), Some(_)) | (None, Some(_)) => {}
    }
}

/// Who lacks something, in words.
fn lacking(outcome: &Outcome) -> String {
    let each = outcome.clusters.iter().filter_map(|cluster| {
        let problem = cluster.problem.as_ref().or(cluster.sessions_problem.as_ref());
        let servers = cluster.servers.iter().filter(|server| !server.is_good());
        let servers: Vec<&str> = servers.map(|server| server.server.name.as_str()).collect();
        match problem {
            Some(problem) => Some(format!("cluster {}: {problem}", cluster.name)),
            None if servers.is_empty() => None,
            None => Some(format!(
                "cluster {}: servers {}",
                cluster.name,
                servers.join(", ")
            )),
        }
    });
    let each: Vec<String> = each.collect();
    if each.is_empty() {
        return "a resolver keeps another JWT".to_owned();
    }
    each.join("; ")
}
