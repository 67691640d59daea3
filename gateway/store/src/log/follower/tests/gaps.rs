//! What is missing, or comes late.

use natsgate_core::ClaimsStanding;

use super::*;

#[tokio::test(start_paused = true)]
async fn the_doorbell_is_answered_at_once() {
    let log = FakeLog::new();
    let follower = caught_up(&log).await;
    let before = tokio::time::Instant::now();
    let revision = log.put(revocation("alice"));
    until(&follower, |position| position.revision() == Some(revision)).await;
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_doorbell_did_not_announce_is_found_by_the_next_tick() {
    let log = FakeLog::new();
    let follower = caught_up(&log).await;
    let stamp = confirmed(&follower);
    log.state().rings = false;
    let revision = log.put(revocation("alice"));
    let before = tokio::time::Instant::now();
    until(&follower, |position| *position == Position::Confirmed(revision)).await;
    assert!(before.elapsed() <= FollowerSettings::default().tick);
    assert!(follower.superseded(&stamp, &about("alice")));
}

#[tokio::test(start_paused = true)]
async fn more_than_one_batch_is_read_to_the_end() {
    let log = FakeLog::new();
    for number in 0..2000 {
        log.put(revocation(&format!("user {number}")));
    }
    let follower = caught_up(&log).await;
    assert_eq!(confirmed(&follower).sequence, 2000);
    log.state().rings = false;
    for number in 0..2000 {
        log.put(revocation(&format!("user {number}")));
    }
    until(&follower, |position| {
        position.revision().unwrap().sequence == 4000
    })
    .await;
    after_a_tick(&follower).await;
    let early = Revision::new(confirmed(&follower).epoch, 2000);
    for number in [0, 511, 512, 1999] {
        assert!(follower.superseded(&early, &about(&format!("user {number}"))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_read_again_before_anything_after_it_counts_as_applied() {
    let log = FakeLog::new();
    let follower = caught_up(&log).await;
    let stamp = confirmed(&follower);
    {
        let mut state = log.state();
        (state.rings, state.hide, state.hidden) = (false, 2, 1);
    }
    log.put(revocation("alice"));
    let end = log.put(revocation("bob"));
    until(&follower, |position| position.revision() == Some(end)).await;
    assert_eq!(log.state().hide, 0);
    assert!(follower.superseded(&stamp, &about("alice")) && follower.superseded(&stamp, &about("bob")));
    assert!(
        !follower.superseded(&stamp, &about("carol")),
        "the gap was filled: the rest still counts"
    );
    assert!(matches!(follower.position(), Position::Confirmed(_)));
}

#[tokio::test(start_paused = true)]
async fn after_a_gap_that_is_not_filled_nothing_from_before_counts() {
    let log = FakeLog::new();
    log.put(revocation("alice"));
    let follower = caught_up(&log).await;
    let stamp = confirmed(&follower);
    {
        let mut state = log.state();
        (state.hide, state.hidden) = (usize::MAX, 2);
    }
    log.put(revocation("bob"));
    log.put(revocation("carol"));
    until(&follower, |position| matches!(position, Position::Degraded(_))).await;
    assert!(follower.superseded(&stamp, &about("dave")));
    assert_eq!(follower.stamp(Duration::ZERO), None);
    assert_eq!(
        follower.claims(Some(noon() + HOUR), &about("dave")),
        ClaimsStanding::Unknown
    );
    log.state().hide = 0;
    until(&follower, |position| matches!(position, Position::Confirmed(_))).await;
    assert!(
        follower.superseded(&stamp, &about("dave")),
        "stamped before the gap"
    );
    let stamp = confirmed(&follower);
    assert_eq!(stamp.sequence, 3);
    assert!(!follower.superseded(&stamp, &about("bob")));
}

#[tokio::test(start_paused = true)]
async fn what_was_trimmed_while_the_log_was_out_of_reach_leaves_nothing_from_before_to_count() {
    let log = FakeLog::new();
    log.put(revocation("alice"));
    let follower = caught_up(&log).await;
    let stamp = confirmed(&follower);
    log.out_of_reach(true);
    until(&follower, |position| matches!(position, Position::Degraded(_))).await;
    for name in ["bob", "carol", "dave"] {
        log.put(revocation(name));
    }
    log.trim(4);
    log.out_of_reach(false);
    let end = Revision::new(stamp.epoch, 4);
    until(&follower, |position| *position == Position::Confirmed(end)).await;
    assert!(follower.superseded(&stamp, &about("eve")));
    assert_eq!(
        follower.claims(Some(noon()), &about("eve")),
        ClaimsStanding::Unknown
    );
    assert_eq!(
        follower.claims(Some(noon() + HOUR), &about("eve")),
        ClaimsStanding::Current
    );
    assert!(!follower.superseded(&end, &about("eve")));

    // And all of it.
    log.out_of_reach(true);
    until(&follower, |position| matches!(position, Position::Degraded(_))).await;
    log.put(revocation("frank"));
    log.trim(6);
    log.out_of_reach(false);
    until(&follower, |position| {
        *position == Position::Confirmed(Revision::new(end.epoch, 5))
    })
    .await;
    assert!(follower.superseded(&end, &about("eve")));
}
