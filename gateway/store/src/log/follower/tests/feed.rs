//! The entries in order, for whoever acts on each, and what he is told when some are missing.

use natsgate_core::{Epoch, LogEntry, Missed, RevocationFeed};

use super::*;

const ALL: usize = usize::MAX;

fn sequences(entries: &[LogEntry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.revision.sequence).collect()
}

#[tokio::test(start_paused = true)]
async fn entries_come_in_order_each_once_and_no_more_than_asked_for() {
    let log = FakeLog::new();
    let follower = caught_up(&log).await;
    let start = confirmed(&follower);
    assert_eq!(follower.after(&start, ALL), Ok(Vec::new()));
    for name in ["alice", "bob", "carol"] {
        log.put(revocation(name));
    }
    let end = Revision::new(start.epoch, 3);
    until(&follower, |position| position.revision() == Some(end)).await;
    let all = follower.after(&start, ALL).unwrap();
    assert_eq!(all, log.state().entries);
    assert_eq!(sequences(&follower.after(&start, 2).unwrap()), [1, 2]);
    assert_eq!(follower.after(&all[1].revision, 2).unwrap(), all[2..]);
    assert_eq!(follower.after(&end, ALL), Ok(Vec::new()));
    let beyond = Revision::new(start.epoch, 9);
    assert_eq!(follower.after(&beyond, ALL), Ok(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn what_a_position_tells_of_is_there_already() {
    let log = FakeLog::new();
    let follower = caught_up(&log).await;
    let mut known = confirmed(&follower);
    let mut positions = RevocationFeed::positions(&*follower);
    positions.mark_unchanged();
    for round in 0..50 {
        log.put(revocation(&format!("user {round}")));
        tokio::time::timeout(SECOND * 60, positions.changed())
            .await
            .expect("an entry was applied and no position told of it")
            .unwrap();
        let told = positions.borrow_and_update().revision().unwrap();
        let read = follower.after(&known, ALL).unwrap();
        assert_eq!(read.last().map(|entry| entry.revision), Some(told));
        known = told;
    }
}

#[tokio::test(start_paused = true)]
async fn before_the_log_was_read_nothing_is_there_and_nothing_is_known_to_be_missing() {
    let log = FakeLog::new();
    log.out_of_reach(true);
    let follower = follow(&log);
    let anywhere = Revision::new(Epoch::from_bytes([1; 16]), 7);
    assert_eq!(follower.after(&anywhere, ALL), Ok(Vec::new()));
    log.out_of_reach(false);
    until(&follower, |position| matches!(position, Position::Confirmed(_))).await;
    assert_eq!(follower.after(&anywhere, ALL), Err(Missed));
}

#[tokio::test(start_paused = true)]
async fn another_epoch_is_told_of_as_a_loss_and_its_entries_come_after_its_beginning() {
    let log = FakeLog::new();
    for name in ["alice", "bob"] {
        log.put(revocation(name));
    }
    let follower = caught_up(&log).await;
    let before = confirmed(&follower);
    let epoch = log.lose(noon(), |entry| entry.revision.sequence == 1);
    until(&follower, |position| {
        position
            .revision()
            .is_some_and(|revision| revision == Revision::new(epoch, 2))
    })
    .await;
    assert_eq!(follower.after(&before, ALL), Err(Missed));
    // What was lost stands there again, and is an entry like any other.
    let again = follower.after(&Revision::new(epoch, 1), ALL).unwrap();
    assert_eq!(sequences(&again), [2]);
    assert_eq!(again[0].revision.epoch, epoch);
}

#[tokio::test(start_paused = true)]
async fn what_was_trimmed_after_it_was_read_is_missing_only_for_who_had_not_come_so_far() {
    let log = FakeLog::new();
    let follower = caught_up(&log).await;
    let at = |sequence| Revision::new(confirmed(&follower).epoch, sequence);
    for name in ["alice", "bob", "carol", "dave"] {
        log.put(revocation(name));
    }
    until(&follower, |position| position.revision() == Some(at(4))).await;
    assert_eq!(sequences(&follower.after(&at(0), ALL).unwrap()), [1, 2, 3, 4]);
    log.trim(3);
    after_a_tick(&follower).await;
    assert_eq!(follower.after(&at(0), ALL), Err(Missed));
    assert_eq!(follower.after(&at(1), ALL), Err(Missed));
    assert_eq!(sequences(&follower.after(&at(2), ALL).unwrap()), [3, 4]);
    log.trim(5);
    after_a_tick(&follower).await;
    assert_eq!(follower.after(&at(3), ALL), Err(Missed));
    assert_eq!(follower.after(&at(4), ALL), Ok(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn what_was_trimmed_before_it_was_read_is_missing() {
    let log = FakeLog::new();
    log.put(revocation("alice"));
    let follower = caught_up(&log).await;
    let before = confirmed(&follower);
    log.out_of_reach(true);
    until(&follower, |position| matches!(position, Position::Degraded(_))).await;
    for name in ["bob", "carol", "dave"] {
        log.put(revocation(name));
    }
    log.trim(4);
    log.out_of_reach(false);
    let end = Revision::new(before.epoch, 4);
    until(&follower, |position| *position == Position::Confirmed(end)).await;
    assert_eq!(follower.after(&before, ALL), Err(Missed));
    let oldest_that_lacks_nothing = Revision::new(before.epoch, 3);
    let there = follower.after(&oldest_that_lacks_nothing, ALL).unwrap();
    assert_eq!(sequences(&there), [4]);
}

#[tokio::test(start_paused = true)]
async fn a_gap_that_is_not_filled_and_everything_before_it_is_missing() {
    let log = FakeLog::new();
    log.put(revocation("alice"));
    let follower = caught_up(&log).await;
    let before = confirmed(&follower);
    {
        let mut state = log.state();
        (state.hide, state.hidden) = (usize::MAX, 2);
    }
    log.put(revocation("bob"));
    log.put(revocation("carol"));
    until(&follower, |position| matches!(position, Position::Degraded(_))).await;
    assert_eq!(follower.after(&before, ALL), Err(Missed));
    log.state().hide = 0;
    let end = Revision::new(before.epoch, 3);
    until(&follower, |position| *position == Position::Confirmed(end)).await;
    assert_eq!(
        follower.after(&before, ALL),
        Err(Missed),
        "the view is another one now, whatever it holds"
    );
    assert_eq!(follower.after(&end, ALL), Ok(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn who_only_reads_appends_nothing_again_and_waits_for_nothing_on_the_way() {
    let log = FakeLog::new();
    for name in ["alice", "bob"] {
        log.put(revocation(name));
    }
    log.state().read_only = true;
    let follower = caught_up(&log).await;
    let epoch = log.lose(noon(), |_entry| false);
    let position = until(
        &follower,
        |position| matches!(position, Position::Confirmed(now) if now.epoch == epoch),
    )
    .await;
    let before = tokio::time::Instant::now();
    for name in ["carol", "dave"] {
        let revision = log.put(revocation(name));
        until(&follower, |position| position.revision() == Some(revision)).await;
    }
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(log.state().appends, 0);
    let read = follower.after(&position.revision().unwrap(), ALL).unwrap();
    assert_eq!(read, log.state().entries);
}
