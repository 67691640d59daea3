//! A shim that could not read the log for a while, and then finds that some of it is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use natsgate_core::{Held, LogEntry, Missed, Position, Revision, RevocationFeed};
use natsgate_store::Follower;
use tokio::sync::watch;

use crate::scene::{Scene, person, project, sums};

/// A log as somebody reads it who is cut off from it now and then, and whose entries up to some sequence are gone when he is back.
struct CutOff {
    log: Arc<Follower>,
    position: watch::Sender<Position>,
    gone: AtomicU64,
}

impl CutOff {
    fn new(log: &Arc<Follower>) -> Arc<Self> {
        let now = *log.positions().borrow();
        Arc::new(Self {
            log: Arc::clone(log),
            position: watch::Sender::new(now),
            gone: AtomicU64::new(0),
        })
    }

    /// Reads again. The oldest `gone` entries are not there any more.
    fn is_back(&self, gone: u64) {
        self.gone.store(gone, Ordering::SeqCst);
        self.position.send_replace(*self.log.positions().borrow());
    }
}

impl RevocationFeed for CutOff {
    fn positions(&self) -> watch::Receiver<Position> {
        self.position.subscribe()
    }

    fn after(&self, after: &Revision, limit: usize) -> Result<Vec<LogEntry>, Missed> {
        if after.sequence < self.gone.load(Ordering::SeqCst) {
            return Err(Missed);
        }
        self.log.after(after, limit)
    }

    fn held(&self) -> Option<Held> {
        let gone = self.gone.load(Ordering::SeqCst);
        let mut held = self.log.held()?;
        held.before = held.before.max(gone);
        held.entries.retain(|entry| entry.revision.sequence > gone);
        Some(held)
    }
}

#[tokio::test]
async fn what_is_left_of_the_log_is_carried_out_and_the_rest_made_up_for() {
    let mut scene = Scene::new().await;
    for name in ["alice", "bob", "carol"] {
        scene.decisions.set(name, &["apollo"]);
    }
    // The log was read to its end before anybody is cut off from it.
    scene.revoke(person("nobody")).await;
    let feed = CutOff::new(&scene.log);
    scene.feed = feed.clone();
    let shim = scene.shim().await;
    let (alice, bob, carol) = (
        scene.connect("alice").await,
        scene.connect("bob").await,
        scene.connect("carol").await,
    );
    scene.decisions.set("bob", &[]);
    let lost = scene.revoke(project("gemini")).await;
    // She would get the same again, so no look would close her.
    let left = scene.revoke(person("alice")).await;
    for session in [&alice, &bob, &carol] {
        assert!(session.is_open().await);
    }
    feed.is_back(2);
    alice.closed().await;
    bob.closed().await;
    assert_eq!(sums(&scene.done(left, 1).await), (1, 0));
    assert!(carol.is_open().await);
    assert_eq!(shim.counters.gaps.load(Ordering::SeqCst), 1);
    // What nobody could read nobody says that he has carried out.
    assert!(scene.acknowledged(lost).await.is_empty());
    shim.stop().await;
}
