//! Tells the board that this shim is there, and which sessions it looks after.
//!
//! Nothing waits for it, and nothing is enforced by it. What could not be told is told anew, all of it, as soon as the
//! board can be reached.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use natsgate_core::{BoardError, Deadline, Position, SessionEvent, SessionKey, ShimPresence};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::enforce::{Counters, Enforcer, write_details};

/// How often the shim says that it is there, and looks who else is. Well below [`natsgate_core::board::PRESENT_FOR`].
const EVERY: Duration = Duration::from_secs(1);

/// How long telling may take.
const WITHIN: Duration = Duration::from_secs(2);

/// How many events are told at once.
const BATCH: usize = 500;

/// How often the board is tidied. Longer than servers' connections go unlisted, so that what is there was seen.
const TIDIED_EVERY: Duration = Duration::from_secs(90);

/// Pause after the board could not be reached.
const PAUSE: Duration = Duration::from_secs(1);

/// Says that this shim is there, looks who else is, and takes over from those that are not; until `stop`, and then says that
/// it is gone.
///
/// Rings `missed` when one of them falls silent: what it did last is to be found in the servers' lists.
pub(crate) async fn be_present(
    enforcer: Arc<Enforcer>,
    started_at: SystemTime,
    missed: Arc<Notify>,
    stop: CancellationToken,
) {
    let board = Arc::clone(&enforcer.board);
    let mut reached = true;
    let mut rounds = tokio::time::interval(EVERY);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = rounds.tick() => {}
            () = stop.cancelled() => break,
        }
        let counters = &enforcer.counters;
        Counters::set(&counters.sessions, enforcer.registry.len());
        Counters::set(&counters.pending, enforcer.kicks.pending());
        Counters::set(&counters.unreachable, enforcer.kicks.unreachable().len());
        let told = board
            .present(&presence(&enforcer, started_at), Deadline::after(WITHIN))
            .await;
        let present = match told {
            Ok(()) => board.shims(Deadline::after(WITHIN)).await,
            Err(error) => Err(error),
        };
        match present {
            Ok(present) => {
                if !std::mem::replace(&mut reached, true) {
                    info!("it can be told again what this shim does");
                }
                Counters::set(&counters.board_away, 0);
                let (cluster, me) = (&enforcer.cluster, enforcer.registry.me());
                if enforcer.peers.has_lost_one(&present, cluster, me) {
                    debug!("another shim of this cluster is silent: the servers' connections are listed");
                    missed.notify_one();
                }
                enforcer.peers.learn(Some(present));
                // Before the log was read there is nothing to hold them against.
                if enforcer.registry.applied().is_some() {
                    enforcer.take_over().await;
                    enforcer.found.cancel();
                }
            }
            Err(error) => {
                if std::mem::replace(&mut reached, false) {
                    warn!(%error, "it cannot be told what this shim does, nor learned what others do; trying again");
                }
                Counters::set(&counters.board_away, 1);
                enforcer.peers.learn(None);
            }
        }
    }
    // A word that does not arrive is no loss: silence says the same after a while.
    let _ = board.leave(enforcer.registry.me(), Deadline::after(WITHIN)).await;
}

fn presence(enforcer: &Enforcer, started_at: SystemTime) -> ShimPresence {
    let position = *enforcer.feed.positions().borrow();
    let count = |sessions: usize| u64::try_from(sessions).unwrap_or(u64::MAX);
    ShimPresence {
        shim: enforcer.registry.me().to_owned(),
        cluster: enforcer.cluster.clone(),
        started_at,
        seen_at: enforcer.clock.now(),
        applied: enforcer.registry.applied(),
        confirmed: matches!(position, Position::Confirmed(_)),
        sessions: count(enforcer.registry.len()),
        pending: count(enforcer.kicks.pending()),
        unreachable: enforcer.kicks.unreachable(),
    }
}

/// Tells of sessions, as `events` come, until `stop`.
pub(crate) async fn tell_sessions(
    enforcer: Arc<Enforcer>,
    mut events: mpsc::Receiver<SessionEvent>,
    stop: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        batch.clear();
        tokio::select! {
            count = events.recv_many(&mut batch, BATCH) => if count == 0 { return },
            () = stop.cancelled() => return,
        }
        if let Some(anew) = enforcer.registry.untold() {
            batch.splice(0..0, anew);
        }
        for chunk in batch.chunks(BATCH) {
            let detailed: Vec<SessionEvent> =
                chunk.iter().map(|event| with_details(&enforcer, event)).collect();
            let told = enforcer
                .board
                .tell(&enforcer.cluster, &detailed, Deadline::after(WITHIN))
                .await;
            if told.is_err() {
                // The loop that says that the shim is there has said so.
                enforcer.registry.tell_anew();
                tokio::time::sleep(PAUSE).await;
                break;
            }
        }
    }
}

/// Every so often takes off the board what is listed there and has not been seen for two rounds: sessions that ended while no
/// shim was there to say so. One shim of the cluster does it. Until `stop`.
pub(crate) async fn tidy(enforcer: Arc<Enforcer>, stop: CancellationToken) {
    let mut suspects = HashSet::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(TIDIED_EVERY) => {}
            () = stop.cancelled() => return,
        }
        let anywhere = SessionKey {
            server_id: String::new(),
            client_id: 0,
        };
        let present = enforcer.peers.present().unwrap_or_default();
        let heir = enforcer.peers.heir(&present, &enforcer.cluster, &anywhere);
        if heir != Some(enforcer.registry.me()) {
            suspects.clear();
            continue;
        }
        match unseen(&enforcer).await {
            Ok(unseen) => {
                let gone: Vec<SessionEvent> = unseen
                    .iter()
                    .filter(|key| suspects.contains(*key))
                    .map(|key| SessionEvent::Disconnected {
                        cluster: enforcer.cluster.clone(),
                        key: key.clone(),
                        reason: String::new(),
                    })
                    .collect();
                for chunk in gone.chunks(BATCH) {
                    let told = enforcer
                        .board
                        .tell(&enforcer.cluster, chunk, Deadline::after(WITHIN))
                        .await;
                    if let Err(error) = told {
                        debug!(%error, "sessions that are gone could not be taken off the board");
                        break;
                    }
                }
                suspects = unseen;
            }
            Err(error) => debug!(%error, "the board could not be tidied"),
        }
    }
}

/// The sessions on the board that this shim does not see.
async fn unseen(enforcer: &Enforcer) -> Result<HashSet<SessionKey>, BoardError> {
    let mut unseen = HashSet::new();
    let mut from: Option<String> = None;
    loop {
        let page = enforcer
            .board
            .sessions(&enforcer.cluster, from.as_deref(), BATCH, Deadline::after(WITHIN))
            .await?;
        let keys = page.sessions.into_iter().map(|record| record.key);
        unseen.extend(keys.filter(|key| enforcer.registry.get(key).is_none()));
        from = page.next;
        if from.is_none() {
            return Ok(unseen);
        }
    }
}

/// The event, with what another shim would have to know to look after the session.
fn with_details(enforcer: &Enforcer, event: &SessionEvent) -> SessionEvent {
    let mut event = event.clone();
    if let SessionEvent::Connected(record) = &mut event
        && let Some(session) = enforcer.registry.get(&record.key)
        && let Some(facts) = &session.facts
    {
        record.details = write_details(facts);
        record.expires_at = natsgate_core::clock::from_unix_seconds(facts.entitlement.expires_at());
    }
    event
}
