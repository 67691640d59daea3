//! What counts and what does not, once the log is applied.

use natsgate_core::{ClaimsStanding, Epoch, PolicyGeneration};

use super::*;

#[tokio::test(start_paused = true)]
async fn before_it_has_caught_up_nothing_counts() {
    let log = FakeLog::new();
    let revision = log.put(revocation("alice"));
    log.out_of_reach(true);
    let follower = follow(&log);
    tokio::time::sleep(SECOND * 3).await;
    assert_eq!(follower.position(), Position::Unknown);
    assert_eq!(follower.stamp(Duration::ZERO), None);
    assert!(follower.superseded(&revision, &about("bob")));
    assert_eq!(
        follower.claims(Some(noon() + HOUR), &about("bob")),
        ClaimsStanding::Unknown
    );
    log.out_of_reach(false);
    let position = until(&follower, |position| *position != Position::Unknown).await;
    assert_eq!(position, Position::Confirmed(revision));
}

#[tokio::test(start_paused = true)]
async fn a_fact_counts_until_an_entry_after_its_stamp_concerns_it() {
    let log = FakeLog::new();
    log.put(revocation("alice"));
    let follower = caught_up(&log).await;
    let stamp = follower.stamp(Duration::ZERO).unwrap();
    assert!(!follower.superseded(&stamp, &about("alice")));
    let revision = log.put(revocation("alice"));
    follower.catch_up(revision, deadline()).await.unwrap();
    assert!(follower.superseded(&stamp, &about("alice")));
    assert!(follower.superseded(&stamp, &[about("bob"), about("alice")].concat()));
    assert!(!follower.superseded(&stamp, &about("bob")));
    let newer = follower.stamp(Duration::ZERO).unwrap();
    assert!(!follower.superseded(&newer, &about("alice")));
}

#[tokio::test(start_paused = true)]
async fn stamps_of_another_epoch_and_from_beyond_the_end_do_not_count() {
    let log = FakeLog::new();
    log.put(revocation("alice"));
    let follower = caught_up(&log).await;
    let stamp = confirmed(&follower);
    assert!(!follower.superseded(&stamp, &[]));
    let beyond = Revision::new(stamp.epoch, stamp.sequence + 1);
    assert!(follower.superseded(&beyond, &[]));
    let foreign = Revision::new(Epoch::from_bytes([9; 16]), stamp.sequence);
    assert!(follower.superseded(&foreign, &[]));
}

#[tokio::test(start_paused = true)]
async fn a_confirmed_position_lasts_from_the_beginning_of_its_tick_however_late_the_answer_was() {
    let log = FakeLog::new();
    log.state().answer_takes = Duration::from_millis(900);
    let began = tokio::time::Instant::now();
    let follower = follow(&log);
    tokio::time::sleep(Duration::from_millis(100)).await;
    log.out_of_reach(true);
    until(&follower, |position| matches!(position, Position::Confirmed(_))).await;
    assert_eq!(began.elapsed().as_millis(), 900);
    let max_lag = FollowerSettings::default().max_lag;
    tokio::time::sleep_until(began + max_lag).await;
    assert!(matches!(follower.position(), Position::Confirmed(_)));
    assert!(follower.stamp(Duration::ZERO).is_some());
    let mut positions = follower.positions();
    positions.mark_unchanged();
    tokio::time::sleep_until(began + max_lag + Duration::from_millis(1)).await;
    assert!(matches!(follower.position(), Position::Degraded(_)));
    assert_eq!(follower.stamp(Duration::ZERO), None);
    // Whoever watches is told, though nothing came from the log.
    tokio::time::timeout(
        SECOND,
        positions.wait_for(|position| matches!(position, Position::Degraded(_))),
    )
    .await
    .unwrap()
    .unwrap();
    log.out_of_reach(false);
    until(&follower, |position| matches!(position, Position::Confirmed(_))).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_read_but_does_not_tick_confirms_nothing() {
    let log = FakeLog::new();
    let follower = caught_up(&log).await;
    // Ticks are on their way for longer than they may; reading goes on.
    log.state().answer_takes = SECOND * 100;
    let revision = log.put(revocation("alice"));
    follower.catch_up(revision, deadline()).await.unwrap();
    tokio::time::sleep(SECOND * 3).await;
    assert_eq!(follower.position(), Position::Degraded(revision));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_lags_gets_the_stamp_of_then() {
    let log = FakeLog::new();
    let first = log.put(revocation("alice"));
    let follower = caught_up(&log).await;
    // What was in the log before this instance began may be missing at a source that lags.
    assert_eq!(follower.stamp(SECOND * 10), None);
    tokio::time::sleep(SECOND * 10).await;
    assert_eq!(follower.stamp(SECOND * 10), Some(first));
    let second = log.put(revocation("bob"));
    follower.catch_up(second, deadline()).await.unwrap();
    assert_eq!(follower.stamp(Duration::ZERO), Some(second));
    assert_eq!(follower.stamp(SECOND), Some(first));
    tokio::time::sleep(SECOND).await;
    assert_eq!(follower.stamp(SECOND), Some(second));
    assert!(follower.superseded(&follower.stamp(SECOND * 5).unwrap(), &about("bob")));
}

#[tokio::test(start_paused = true)]
async fn claims_are_superseded_by_what_was_revoked_after_they_were_issued_less_skew() {
    let log = FakeLog::new();
    log.put(revocation("alice"));
    let follower = caught_up(&log).await;
    let skew = FollowerSettings::default().clock_skew;
    let standing = |issued_at, who| follower.claims(issued_at, &about(who));
    assert_eq!(standing(Some(noon() - HOUR), "alice"), ClaimsStanding::Superseded);
    assert_eq!(standing(Some(noon() + skew), "alice"), ClaimsStanding::Superseded);
    assert_eq!(
        standing(Some(noon() + skew + Duration::from_nanos(1)), "alice"),
        ClaimsStanding::Current
    );
    assert_eq!(standing(Some(noon() - HOUR), "bob"), ClaimsStanding::Current);
    assert_eq!(standing(None, "alice"), ClaimsStanding::Superseded);
    assert_eq!(standing(None, "bob"), ClaimsStanding::Current);
}

#[tokio::test(start_paused = true)]
async fn claims_from_before_the_log_is_complete_are_unknown_unless_superseded() {
    let log = FakeLog::new();
    log.put(revocation("alice"));
    log.state().complete_since = Some(noon() - HOUR);
    let follower = caught_up(&log).await;
    let skew = FollowerSettings::default().clock_skew;
    let standing = |issued_at, who| follower.claims(issued_at, &about(who));
    assert_eq!(
        standing(Some(noon() - HOUR * 2), "alice"),
        ClaimsStanding::Superseded
    );
    assert_eq!(standing(Some(noon() - HOUR * 2), "bob"), ClaimsStanding::Unknown);
    assert_eq!(standing(Some(noon() - HOUR), "bob"), ClaimsStanding::Unknown);
    assert_eq!(
        standing(Some(noon() - HOUR + skew), "bob"),
        ClaimsStanding::Current
    );
    assert_eq!(standing(None, "bob"), ClaimsStanding::Unknown);
    log.out_of_reach(true);
    tokio::time::sleep(SECOND * 3).await;
    assert_eq!(standing(Some(noon()), "bob"), ClaimsStanding::Unknown);
    assert_eq!(standing(Some(noon()), "alice"), ClaimsStanding::Superseded);
}

#[tokio::test(start_paused = true)]
async fn what_the_log_trims_is_forgotten_and_what_it_told_of_cannot_be_judged() {
    let log = FakeLog::new();
    for name in ["alice", "bob", "carol"] {
        log.put(revocation(name));
    }
    let follower = caught_up(&log).await;
    let end = confirmed(&follower);
    let at = |sequence| Revision::new(end.epoch, sequence);
    assert!(!follower.superseded(&at(1), &about("alice")));
    assert_eq!(follower.shared.read().as_ref().unwrap().sizes(), (3, 3, 0));
    log.trim(3);
    // Even if the log does not say so.
    log.state().complete_since = None;
    after_a_tick(&follower).await;
    assert_eq!(follower.shared.read().as_ref().unwrap().sizes(), (1, 1, 0));
    assert!(follower.superseded(&at(1), &about("dave")));
    assert!(!follower.superseded(&at(2), &about("dave")));
    assert!(follower.superseded(&at(2), &about("carol")));
    assert_eq!(
        follower.claims(Some(noon()), &about("alice")),
        ClaimsStanding::Unknown
    );
    assert_eq!(
        follower.claims(Some(noon() + HOUR), &about("alice")),
        ClaimsStanding::Current
    );
}

#[tokio::test(start_paused = true)]
async fn of_two_policies_the_newer_is_in_force() {
    let log = FakeLog::new();
    let policy = |generation| PolicyGeneration {
        generation,
        digest: format!("digest {generation}"),
    };
    log.state().policy = Some(policy(7));
    let follower = caught_up(&log).await;
    assert_eq!(follower.policy(), Some(policy(7)));
    for generation in [9, 8] {
        let revision = log.put(NewEntry {
            change: Change::PolicyChanged {
                policy: policy(generation),
            },
            ..revocation("nobody")
        });
        follower.catch_up(revision, deadline()).await.unwrap();
        assert_eq!(follower.policy(), Some(policy(9)));
    }
}
