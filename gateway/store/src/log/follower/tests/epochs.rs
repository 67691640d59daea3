//! A log that lost something, or is another one now.

use natsgate_core::{ClaimsStanding, PolicyGeneration};

use super::*;

#[tokio::test(start_paused = true)]
async fn in_a_new_epoch_no_stamp_of_before_counts() {
    let log = FakeLog::new();
    log.put(revocation("alice"));
    let follower = caught_up(&log).await;
    let stamp = confirmed(&follower);
    let epoch = log.lose(noon() + HOUR, |_entry| true);
    until(&follower, |position| {
        *position == Position::Confirmed(Revision::new(epoch, 1))
    })
    .await;
    assert!(follower.superseded(&stamp, &about("bob")));
    let stamp = confirmed(&follower);
    assert!(!follower.superseded(&stamp, &about("bob")));
}

#[tokio::test(start_paused = true)]
async fn survivors_append_again_what_was_lost_and_each_only_once() {
    let log = FakeLog::new();
    let (alice, bob, carol) = (revocation("alice"), revocation("bob"), revocation("carol"));
    for entry in [&alice, &bob, &carol] {
        log.put(entry.clone());
    }
    let survivors = [caught_up(&log).await, caught_up(&log).await];
    let epoch = log.lose(noon() + HOUR, |entry| entry.id == alice.id);
    for survivor in &survivors {
        let all = Revision::new(epoch, 3);
        until(survivor, |position| *position == Position::Confirmed(all)).await;
        after_a_tick(survivor).await;
    }
    assert_eq!(log.names(), [alice.id, bob.id, carol.id]);
    assert_eq!(
        log.state().entries[1].at,
        bob.at,
        "its time is that of the revocation"
    );
    for survivor in survivors {
        assert_eq!(survivor.shared.read().as_ref().unwrap().sizes().2, 0);
        let early = Revision::new(epoch, 1);
        assert!(survivor.superseded(&early, &about("carol")));
    }
}

#[tokio::test(start_paused = true)]
async fn claims_that_a_lost_entry_revoked_stay_revoked_while_the_log_lacks_it() {
    let log = FakeLog::new();
    log.put(revocation("alice"));
    let follower = caught_up(&log).await;
    log.state().refuses = true;
    let epoch = log.lose(noon() + HOUR, |_entry| false);
    let standing = |who| follower.claims(Some(noon() - HOUR), &about(who));
    for _tick in 0..3 {
        after_a_tick(&follower).await;
        assert_eq!(confirmed(&follower), Revision::new(epoch, 0));
        assert_eq!(standing("alice"), ClaimsStanding::Superseded);
        assert_eq!(standing("bob"), ClaimsStanding::Unknown);
    }
    // Nor does the log hear from somebody who knows of something it lacks that it lacks nothing.
    let last = log.state().witnesses.last().cloned().flatten().unwrap();
    assert_eq!(last.applied.epoch, epoch);
    log.state().refuses = false;
    until(&follower, |position| {
        position.revision() == Some(Revision::new(epoch, 1))
    })
    .await;
    after_a_tick(&follower).await;
    assert_eq!(standing("alice"), ClaimsStanding::Superseded);
    assert_eq!(log.names().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_log_hears_of_the_epoch_before_only_when_it_has_all_of_it_again() {
    let log = FakeLog::new();
    log.put(revocation("alice"));
    let follower = caught_up(&log).await;
    let old = confirmed(&follower);
    log.state().witnesses.clear();
    let epoch = log.lose(noon() + HOUR, |_entry| false);
    until(&follower, |position| {
        *position == Position::Confirmed(Revision::new(epoch, 1))
    })
    .await;
    for _tick in 0..3 {
        after_a_tick(&follower).await;
    }
    let heard: Vec<Revision> = log
        .state()
        .witnesses
        .iter()
        .map(|witness| witness.as_ref().unwrap().applied)
        .collect();
    // First as somebody who knows nothing of the new epoch; then, once, as one who has appended again what was lost.
    let about_the_old: Vec<usize> = (0..heard.len()).filter(|&place| heard[place] == old).collect();
    assert_eq!(about_the_old.len(), 2, "{heard:?}");
    assert!(heard.last().unwrap().epoch == epoch);
}

#[tokio::test(start_paused = true)]
async fn an_entry_of_our_own_that_was_lost_before_we_read_it_is_appended_again() {
    let log = FakeLog::new();
    let follower = caught_up(&log).await;
    log.state().gate = true;
    log.state().rings = false;
    let entry = revocation("alice");
    let appending = follower.append(entry.clone(), deadline());
    let losing = async {
        log.at_the_gate.notified().await;
        assert_eq!(log.names(), [entry.id]);
        log.lose(noon() + HOUR, |_entry| false);
        log.state().gate = false;
        log.open_gate.notify_one();
    };
    let (appended, ()) = tokio::join!(appending, losing);
    appended.unwrap();
    for _tick in 0..3 {
        after_a_tick(&follower).await;
    }
    assert_eq!(log.names(), [entry.id]);
    assert_eq!(confirmed(&follower).sequence, 1);
}

#[tokio::test(start_paused = true)]
async fn an_epoch_that_changes_while_its_entries_are_read_is_not_mixed_with_the_next() {
    let log = FakeLog::new();
    for name in ["alice", "bob"] {
        log.put(revocation(name));
    }
    log.state().gate = true;
    let follower = follow(&log);
    log.at_the_gate.notified().await;
    // The tick said that the log ends at 2; by the time it is read it is another one, which has lost bob's.
    let epoch = log.lose(noon(), |entry| entry.revision.sequence == 1);
    log.state().gate = false;
    log.open_gate.notify_one();
    until(&follower, |position| {
        *position == Position::Confirmed(Revision::new(epoch, 1))
    })
    .await;

    // The same, and the new epoch has gone on beyond the old one's end: its entries would fit.
    let stamp = confirmed(&follower);
    {
        let mut state = log.state();
        (state.gate, state.rings) = (true, false);
    }
    log.put(revocation("carol"));
    log.at_the_gate.notified().await;
    let epoch = log.lose(noon(), |entry| entry.revision.sequence == 1);
    for name in ["dave", "eve"] {
        log.put(revocation(name));
    }
    log.state().gate = false;
    log.open_gate.notify_one();
    let before = tokio::time::Instant::now();
    until(
        &follower,
        |position| matches!(position, Position::Confirmed(at) if at.epoch == epoch),
    )
    .await;
    assert_eq!(
        before.elapsed(),
        Duration::ZERO,
        "noticed by the look that met it, not by the next"
    );
    assert!(follower.superseded(&stamp, &about("frank")));
    after_a_tick(&follower).await;
    assert_eq!(
        log.names().len(),
        3,
        "alice's, dave's, eve's; what was lost unread nobody knows of"
    );
}

#[tokio::test(start_paused = true)]
async fn a_log_that_ends_before_what_was_applied_is_another_one() {
    let log = FakeLog::new();
    let alice = revocation("alice");
    log.put(alice.clone());
    log.put(revocation("bob"));
    let follower = caught_up(&log).await;
    let stamp = Revision::new(confirmed(&follower).epoch, 1);
    // Set back, in the same epoch.
    {
        let mut state = log.state();
        state.entries.truncate(1);
        state.end = 1;
    }
    after_a_tick(&follower).await;
    assert!(follower.superseded(&stamp, &about("carol")));
    // What was lost is appended again here too, and other entries may stand where old stamps point.
    after_a_tick(&follower).await;
    assert_eq!(log.names().len(), 2);
    assert_eq!(confirmed(&follower).sequence, 2);
    for sequence in 0..=2 {
        assert!(follower.superseded(&Revision::new(stamp.epoch, sequence), &about("carol")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_the_log_lost_is_told_again() {
    let log = FakeLog::new();
    let policy = PolicyGeneration {
        generation: 3,
        digest: "d".to_owned(),
    };
    log.state().policy = Some(policy.clone());
    let followers = [caught_up(&log).await, caught_up(&log).await];
    log.lose(noon() + HOUR, |_entry| false);
    log.state().policy = None;
    for follower in &followers {
        after_a_tick(follower).await;
        after_a_tick(follower).await;
        assert_eq!(follower.policy(), Some(policy.clone()));
    }
    assert_eq!(log.state().policy, Some(policy));
    assert_eq!(log.names().len(), 1, "said once");
}

#[tokio::test(start_paused = true)]
async fn what_a_cut_off_primary_still_answers_is_not_taken_for_the_new_ones() {
    let log = FakeLog::new();
    log.put(revocation("alice"));
    let follower = caught_up(&log).await;
    // Ticks are answered by the new primary, whose log has another entry at the same place; reads still by the old one.
    let old = {
        let mut state = log.state();
        let old = (state.epoch, state.entries.clone());
        state.entries.clear();
        state.cut_off = Some(old.clone());
        old
    };
    let epoch = log.lose(noon() + HOUR, |_entry| true);
    let bob = log.put(revocation("bob"));
    assert_eq!((bob.epoch, bob.sequence), (epoch, old.1[0].revision.sequence));
    until(&follower, |position| matches!(position, Position::Degraded(_))).await;
    log.state().cut_off = None;
    until(
        &follower,
        |position| matches!(position, Position::Confirmed(at) if at.includes(&bob)),
    )
    .await;
    let before = Revision::new(epoch, 0);
    assert!(follower.superseded(&before, &about("bob")));
}
