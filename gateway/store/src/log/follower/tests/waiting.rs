//! Those who wait for the log, and those who append to it.

use natsgate_core::{Epoch, LogError};

use super::*;

#[tokio::test(start_paused = true)]
async fn catching_up_asks_the_log_at_once() {
    let log = FakeLog::new();
    let follower = caught_up(&log).await;
    log.state().rings = false;
    let revision = log.put(revocation("alice"));
    let before = tokio::time::Instant::now();
    follower.catch_up(revision, deadline()).await.unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(follower.position(), Position::Confirmed(revision));
}

#[tokio::test(start_paused = true)]
async fn catching_up_ends_with_the_deadline() {
    let log = FakeLog::new();
    let follower = caught_up(&log).await;
    let beyond = Revision::new(confirmed(&follower).epoch, 99);
    let before = tokio::time::Instant::now();
    follower
        .catch_up(beyond, Deadline::after(SECOND))
        .await
        .unwrap_err();
    assert_eq!(before.elapsed(), SECOND);
    let ticks = log.state().ticks;
    assert!(
        ticks < 10,
        "a revision that does not exist must not make the log be asked all the time: {ticks}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_revision_of_another_epoch_waits_for_a_tick_that_began_after_the_call() {
    let log = FakeLog::new();
    let follower = caught_up(&log).await;
    let foreign = Revision::new(Epoch::from_bytes([9; 16]), 5);
    // A tick is on its way already when the call is made.
    log.state().answer_takes = Duration::from_millis(400);
    let ticks = log.state().ticks;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(log.state().ticks, ticks + 1);
    let before = tokio::time::Instant::now();
    follower.catch_up(foreign, deadline()).await.unwrap();
    // 300 ms until that one was answered, and 400 for the next.
    assert_eq!(before.elapsed().as_millis(), 700);

    log.out_of_reach(true);
    follower
        .catch_up(foreign, Deadline::after(SECOND))
        .await
        .unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn what_this_instance_appends_it_has_applied_without_any_doorbell() {
    let log = FakeLog::new();
    let follower = caught_up(&log).await;
    let stamp = confirmed(&follower);
    log.state().rings = false;
    let appended = follower.append(revocation("alice"), deadline()).await.unwrap();
    assert!(!appended.repeated && appended.confirmed);
    assert!(follower.superseded(&stamp, &about("alice")));
    assert_eq!(follower.position(), Position::Confirmed(appended.revision));
}

#[tokio::test(start_paused = true)]
async fn an_append_that_meets_the_end_of_an_epoch_is_tried_again_after_the_next_tick() {
    let log = FakeLog::new();
    let follower = caught_up(&log).await;
    log.lose(noon(), |_entry| true);
    log.state().wants_a_tick = true;
    let entry = revocation("alice");
    let appended = follower.append(entry.clone(), deadline()).await.unwrap();
    assert_eq!(log.names(), [entry.id]);
    assert_eq!(confirmed(&follower), appended.revision);
}

#[tokio::test(start_paused = true)]
async fn an_append_out_of_reach_fails_at_its_deadline_and_happens_once_when_asked_again() {
    let log = FakeLog::new();
    let follower = caught_up(&log).await;
    log.out_of_reach(true);
    let entry = revocation("alice");
    let before = tokio::time::Instant::now();
    let error = follower
        .append(entry.clone(), Deadline::after(SECOND * 3))
        .await
        .unwrap_err();
    assert!(matches!(error, LogError::Unavailable { .. }), "{error}");
    assert_eq!(before.elapsed(), SECOND * 3);
    log.out_of_reach(false);
    let first = follower.append(entry.clone(), deadline()).await.unwrap();
    let second = follower.append(entry.clone(), deadline()).await.unwrap();
    assert_eq!((first.repeated, second.repeated), (false, true));
    assert_eq!(first.revision, second.revision);
    assert_eq!(log.names(), [entry.id]);
}

#[tokio::test(start_paused = true)]
async fn what_was_appended_and_cannot_be_read_back_degrades_the_instance() {
    let log = FakeLog::new();
    let follower = caught_up(&log).await;
    log.state().gate = true;
    let appended = follower.append(revocation("alice"), Deadline::after(Duration::from_millis(100)));
    let appended = appended.await.unwrap();
    assert!(matches!(follower.position(), Position::Degraded(_)));
    assert_eq!(follower.stamp(Duration::ZERO), None);
    log.state().gate = false;
    log.open_gate.notify_one();
    until(&follower, |position| {
        *position == Position::Confirmed(appended.revision)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_tick_answered_before_an_append_confirms_nothing_after_it() {
    let log = FakeLog::new();
    let follower = caught_up(&log).await;
    // The next tick is answered at once, and the answer is on its way while something is appended.
    log.state().answer_takes = Duration::from_millis(900);
    log.state().rings = false;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let appended = follower.append(revocation("alice"), Deadline::after(Duration::from_millis(100)));
    let appended = appended.await.unwrap();
    log.state().gate = true;
    log.at_the_gate.notified().await;
    assert!(
        matches!(follower.position(), Position::Degraded(_)),
        "the tick was answered before the append"
    );
    log.state().gate = false;
    log.open_gate.notify_one();
    until(&follower, |position| {
        *position == Position::Confirmed(appended.revision)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_follower_asks_nothing_more() {
    let log = FakeLog::new();
    let follower = caught_up(&log).await;
    drop(follower);
    tokio::task::yield_now().await;
    let ticks = log.state().ticks;
    tokio::time::sleep(SECOND * 10).await;
    assert_eq!(log.state().ticks, ticks);
}
