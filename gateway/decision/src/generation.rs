//! Keeps the generation of this instance's policy in the revocation log, so that no instance with an older one decides.

use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{
    Announcer, Change, Clock, Deadline, EntryId, Epoch, Freshness, Idempotency, NewEntry, PolicyGeneration,
    Position,
};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long appending may take.
const WITHIN: Duration = Duration::from_secs(2);

/// The pause after appending failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Appends `policy` to the log whenever the log is within reach and has an older one, or has had none for as long as
/// `settle`: at the start, and after the log lost it. A log that was emptied hears within that time from the instances that
/// knew of a newer one. Until `stop`.
pub async fn keep_announced(
    policy: PolicyGeneration,
    settle: Duration,
    freshness: Arc<dyn Freshness>,
    log: Arc<dyn Announcer>,
    mut positions: watch::Receiver<Position>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let keeping = async {
        let mut told_of = None;
        loop {
            let position = *positions.borrow_and_update();
            if matches!(position, Position::Confirmed(_)) && freshness.policy().is_none() {
                tokio::time::sleep(settle).await;
            }
            if let Some(newer) = freshness.policy().map(|policy| policy.generation)
                && newer > policy.generation
                && told_of != Some(newer)
            {
                told_of = Some(newer);
                tracing::warn!(
                    own = policy.generation,
                    in_force = newer,
                    "a newer policy is in force: this instance decides nothing until it has it too"
                );
            }
            let missing = freshness
                .policy()
                .is_none_or(|in_force| in_force.generation < policy.generation);
            if let Position::Confirmed(revision) = position
                && missing
            {
                match log
                    .append(entry(&policy, revision.epoch, &*clock), Deadline::after(WITHIN))
                    .await
                {
                    Ok(appended) => {
                        tracing::info!(generation = policy.generation, revision = %appended.revision, "this policy is in force");
                    }
                    Err(error) => {
                        tracing::warn!(%error, "that this policy is in force could not be written into the revocation log");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                }
            }
            if positions.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = keeping => {}
        () = stop.cancelled() => {}
    }
}

/// The entry: one in an epoch, however many instances append it at once.
fn entry(policy: &PolicyGeneration, epoch: Epoch, clock: &dyn Clock) -> NewEntry {
    let key: [u8; 32] = Sha256::new()
        .chain_update(b"natsgate policy generation\0")
        .chain_update(epoch.as_bytes())
        .chain_update(policy.generation.to_be_bytes())
        .chain_update(policy.digest.as_bytes())
        .finalize()
        .into();
    NewEntry {
        id: EntryId(rand::random()),
        at: clock.now(),
        change: Change::PolicyChanged {
            policy: policy.clone(),
        },
        idempotency: Some(Idempotency { key, body: key }),
    }
}
