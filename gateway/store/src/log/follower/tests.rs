//! The follower against a log that does what a test tells it to. Time stands still unless everybody waits.

mod epochs;
mod fake;
mod feed;
mod gaps;
mod judging;
mod waiting;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use natsgate_core::{
    Change, Concern, Deadline, EntryId, Freshness, NewEntry, Position, Principal, Revision, Selector,
};
use natsgate_devkit::MockClock;

use self::fake::FakeLog;
use super::Follower;
use crate::log::FollowerSettings;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A time for everything that was "made" in a test.
fn noon() -> SystemTime {
    UNIX_EPOCH + HOUR * 24 * 365 * 56 + HOUR * 12
}

fn principal(name: &str) -> Principal {
    Principal::new("https://login.example.com", name)
}

/// The concerns of a fact about one principal.
fn about(name: &str) -> Vec<Concern> {
    vec![Concern::principal(&principal(name))]
}

/// The revocation of one principal, made at noon.
fn revocation(name: &str) -> NewEntry {
    NewEntry {
        id: EntryId(rand::random()),
        at: noon(),
        change: Change::revoked(
            Selector::Principal {
                principal: principal(name),
            },
            "left",
            "backend",
        ),
        idempotency: None,
    }
}

fn follow(log: &Arc<FakeLog>) -> Arc<Follower> {
    Follower::start(
        log.clone(),
        FollowerSettings::default(),
        Arc::new(MockClock::at(noon())),
    )
}

/// A follower that has caught up with `log`.
async fn caught_up(log: &Arc<FakeLog>) -> Arc<Follower> {
    let follower = follow(log);
    until(&follower, |position| matches!(position, Position::Confirmed(_))).await;
    follower
}

/// Waits for a position; a minute at most, which passes at once when nothing else happens.
async fn until(follower: &Follower, wanted: impl FnMut(&Position) -> bool) -> Position {
    let mut positions = follower.positions();
    let position = tokio::time::timeout(SECOND * 60, positions.wait_for(wanted)).await;
    *position.expect("the position was not reached").unwrap()
}

/// Waits until a tick that began after now was followed to the log's end.
async fn after_a_tick(follower: &Follower) {
    let mut progress = follower.shared.progress.subscribe();
    let begun = follower
        .shared
        .ticks_begun
        .load(std::sync::atomic::Ordering::SeqCst);
    let next = progress.wait_for(|progress| progress.confirmed_tick > begun);
    let _progress = tokio::time::timeout(SECOND * 60, next)
        .await
        .expect("no tick got through")
        .unwrap();
}

fn deadline() -> Deadline {
    Deadline::after(SECOND * 5)
}

fn confirmed(follower: &Follower) -> Revision {
    match follower.position() {
        Position::Confirmed(revision) => revision,
        other => panic!("not confirmed: {other:?}"),
    }
}
