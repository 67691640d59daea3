//! Waits until the shims have carried out a revocation, and tells what each has done.

use std::collections::BTreeMap;
use std::time::Duration;

use natsgate_core::{Acknowledgement, Board, BoardError, Deadline, DeadlinePassed, EntryId};
use natsgate_proto::v1;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// How often it is looked without being told to: what tells may get lost.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the shims have done.
#[derive(Debug, Default)]
pub(super) struct Waited {
    pub(super) clusters: Vec<v1::ClusterResult>,
    /// Whether there was a shim, every one that was has nothing left to do, and no cluster has sessions and no shim.
    pub(super) complete: bool,
}

/// A shim that is waited for, or has acknowledged.
#[derive(Debug)]
struct Shim {
    cluster: String,
    /// Whether it was there while it was waited for.
    present: bool,
    done: Option<Acknowledgement>,
}

impl Shim {
    /// Whether it has nothing left to do.
    fn is_complete(&self) -> bool {
        self.done.as_ref().is_some_and(Acknowledgement::is_complete)
    }

    /// Whether nothing needs to be waited for. One that has answered something and is gone leaves the rest to the others
    /// of its cluster.
    fn is_settled(&self) -> bool {
        self.is_complete() || !self.present
    }
}

/// What the board has said so far.
#[derive(Debug, Default)]
struct Seen {
    /// The shims, by name.
    shims: BTreeMap<String, Shim>,
    /// The clusters that have sessions and no shim: nobody can close them there, nor say so.
    deserted: Vec<String>,
}

/// Waits until every shim that is there at any time before has carried out `entry`, until `until` at most, or `stop`. Whatever
/// goes wrong, it is revoked: then it is only not known what the shims have done.
pub(super) async fn wait(
    board: &dyn Board,
    entry: EntryId,
    until: Deadline,
    stop: &CancellationToken,
) -> Waited {
    let mut bell = board.acknowledged();
    let mut seen = Seen::default();
    let mut told = false;
    loop {
        bell.mark_unchanged();
        match until.bound(look(board, entry, &mut seen, until)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if !told => {
                told = true;
                warn!(%error, "what shims have done for a revocation cannot be read");
            }
            Ok(Err(_)) | Err(DeadlinePassed) => {}
        }
        let clusters = clusters(&seen);
        let complete = !clusters.is_empty() && clusters.iter().all(|cluster| cluster.complete);
        if complete || until.passed() || stop.is_cancelled() {
            return Waited { clusters, complete };
        }
        tokio::select! {
            // Without whoever rings, only looking is left.
            rung = bell.changed() => if rung.is_err() {
                tokio::time::sleep(LOOK_EVERY.min(until.remaining())).await;
            },
            () = tokio::time::sleep(LOOK_EVERY.min(until.remaining())) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Takes in what the board says.
async fn look(
    board: &dyn Board,
    entry: EntryId,
    seen: &mut Seen,
    deadline: Deadline,
) -> Result<(), BoardError> {
    let present = board.shims(deadline).await?;
    let mut deserted = Vec::new();
    for cluster in board.clusters(deadline).await? {
        if present.iter().any(|presence| presence.cluster == cluster) {
            continue;
        }
        let page = board.sessions(&cluster, None, 1, deadline).await?;
        if !page.sessions.is_empty() || page.next.is_some() {
            deserted.push(cluster);
        }
    }
    seen.deserted = deserted;
    for presence in present {
        let shim = seen.shims.entry(presence.shim).or_insert_with(|| Shim {
            cluster: presence.cluster,
            present: true,
            done: None,
        });
        shim.present = true;
    }
    for done in board.acknowledgements(entry, deadline).await? {
        let shim = seen.shims.entry(done.shim.clone()).or_insert_with(|| Shim {
            cluster: done.cluster.clone(),
            present: false,
            done: None,
        });
        shim.done = Some(done);
    }
    Ok(())
}

fn clusters(seen: &Seen) -> Vec<v1::ClusterResult> {
    let mut by_cluster: BTreeMap<&str, Vec<(&String, &Shim)>> = BTreeMap::new();
    for cluster in &seen.deserted {
        by_cluster.entry(cluster).or_default();
    }
    for (name, shim) in &seen.shims {
        by_cluster.entry(&shim.cluster).or_default().push((name, shim));
    }
    let result = |(cluster, shims): (&str, Vec<(&String, &Shim)>)| {
        let done = || shims.iter().filter_map(|(_, shim)| shim.done.as_ref());
        let somebody_is = shims.iter().any(|(_, shim)| shim.is_complete());
        v1::ClusterResult {
            cluster: cluster.to_owned(),
            complete: somebody_is
                && shims.iter().all(|(_, shim)| shim.is_settled())
                && !seen.deserted.iter().any(|one| one == cluster),
            closed: done().map(|done| done.closed).fold(0, u64::saturating_add),
            shims: shims.iter().map(|(name, shim)| shim_result(name, shim)).collect(),
        }
    };
    by_cluster.into_iter().map(result).collect()
}

fn shim_result(name: &str, shim: &Shim) -> v1::ShimResult {
    let shim_name = name.to_owned();
    let Some(done) = &shim.done else {
        return v1::ShimResult {
            shim: shim_name,
            ..Default::default()
        };
    };
    v1::ShimResult {
        shim: shim_name,
        answered: true,
        closed: done.closed,
        gone: done.gone,
        spared: done.spared,
        pending: done.pending,
        took: prost_types::Duration::try_from(done.took).ok(),
        unreachable_servers: done.unreachable.clone(),
    }
}
