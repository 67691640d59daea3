//! Fetches and revocations that overtake one another; many who wait; slow and broken sources.

use std::time::Duration;

use natsgate_core::{Concern, Deadline, Failure, Lookup};
use natsgate_store::{LookupSettings, SourceCacheSettings};
use tokio::time::Instant;

use crate::support::rig::{Rig, SECOND, ample, outcome, settle, soon, times};
use crate::support::source::{Page, down, number, page, room};

#[tokio::test(start_paused = true)]
async fn a_fetch_that_began_before_a_revocation_and_ends_after_it_is_not_served() {
    let mut rig = Rig::new();
    let waiter = rig.begin(1, ample()).await;
    let first = rig.calls.next().await;
    rig.freshness.apply(&[number(1)]);
    first.answer(Ok(page("old")));
    rig.calls.next().await.answer(Ok(page("new")));
    assert_eq!(outcome(waiter).await.unwrap().text, "new");
    assert_eq!(rig.text(1).await, "new");
    assert_eq!(rig.source.asked(), 2);
    assert_eq!(rig.lookup.counts().voided, 1);
    let (_, kept, _) = rig.shared.only();
    assert!(kept.contains("new"), "{kept}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_served_if_what_only_it_names_was_revoked_meanwhile() {
    let mut rig = Rig::new();
    let waiter = rig.begin(1, ample()).await;
    let first = rig.calls.next().await;
    rig.freshness.apply(&[room("blue")]);
    let rooms = vec!["blue".to_owned()];
    first.answer(Ok(Page { rooms, ..page("old") }));
    rig.calls.next().await.answer(Ok(page("new")));
    assert_eq!(outcome(waiter).await.unwrap().text, "new");
}

#[tokio::test(start_paused = true)]
async fn a_denial_that_was_on_its_way_when_access_was_given_is_not_served() {
    let mut rig = Rig::new();
    let waiter = rig.begin(1, ample()).await;
    let first = rig.calls.next().await;
    rig.freshness.apply(&[number(1)]);
    first.answer(Err(crate::support::source::denied()));
    rig.calls.next().await.answer(Ok(page("given")));
    assert_eq!(outcome(waiter).await.unwrap().text, "given");
}

#[tokio::test(start_paused = true)]
async fn a_revocation_of_something_else_disturbs_nobody() {
    let mut rig = Rig::new();
    let waiter = rig.begin(1, ample()).await;
    let first = rig.calls.next().await;
    rig.freshness.apply(&[number(2)]);
    let other = rig.begin(1, ample()).await;
    first.answer(Ok(page("text")));
    assert_eq!(outcome(waiter).await.unwrap().text, "text");
    assert_eq!(outcome(other).await.unwrap().text, "text");
    assert_eq!(rig.text(1).await, "text");
    assert_eq!(rig.source.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_came_after_a_revocation_does_not_join_and_the_old_answer_does_not_overwrite_the_new() {
    let mut rig = Rig::new();
    let early = rig.begin(1, ample()).await;
    let first = rig.calls.next().await;
    rig.freshness.apply(&[number(1)]);
    let late = rig.begin(1, ample()).await;
    assert_eq!(rig.lookup.counts().joins, 0);
    let second = rig.calls.next().await;
    // Whoever comes now joins the newer one.
    let later = rig.begin(1, ample()).await;
    assert_eq!(rig.lookup.counts().joins, 1);
    second.answer(Ok(page("new")));
    assert_eq!(outcome(late).await.unwrap().text, "new");
    assert_eq!(outcome(later).await.unwrap().text, "new");
    first.answer(Ok(page("old")));
    assert_eq!(outcome(early).await.unwrap().text, "new");
    assert_eq!(rig.text(1).await, "new");
    // Out of memory both times.
    assert_eq!((rig.source.asked(), rig.shared.gets()), (2, 2));
    let (_, kept, _) = rig.shared.only();
    assert!(kept.contains("new"), "{kept}");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_old_fetch_does_not_end_the_new_one_for_those_who_come() {
    let mut rig = Rig::new();
    let early = rig.begin(1, ample()).await;
    let first = rig.calls.next().await;
    rig.freshness.apply(&[number(1)]);
    let late = rig.begin(1, ample()).await;
    let second = rig.calls.next().await;
    first.answer(Ok(page("old")));
    settle().await;
    // The early one joins the newer fetch, as does whoever comes now.
    let later = rig.begin(1, ample()).await;
    assert_eq!(rig.source.asked(), 2);
    second.answer(Ok(page("new")));
    for waiter in [early, late, later] {
        assert_eq!(outcome(waiter).await.unwrap().text, "new");
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_concurrent_misses_make_one_fetch() {
    let mut rig = Rig::new();
    let mut waiters = Vec::new();
    for _ in 0..1000 {
        let lookup = rig.lookup.clone();
        waiters.push(tokio::spawn(async move { lookup.look_up(&1, ample()).await }));
    }
    rig.calls.next().await.answer(Ok(page("text")));
    for waiter in waiters {
        assert_eq!(outcome(waiter).await.unwrap().text, "text");
    }
    assert_eq!(rig.source.asked(), 1);
    assert_eq!(rig.shared.gets(), 1);
    assert_eq!(rig.lookup.counts().joins, 999);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_misses_on_several_threads_make_one_fetch() {
    let rig = Rig::new();
    rig.source.answer_with(|_| Ok(page("text")));
    let mut waiters = Vec::new();
    for _ in 0..1000 {
        let lookup = rig.lookup.clone();
        waiters.push(tokio::spawn(async move { lookup.look_up(&1, ample()).await }));
    }
    for waiter in waiters {
        assert_eq!(outcome(waiter).await.unwrap().text, "text");
    }
    assert_eq!(rig.source.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn different_questions_do_not_wait_for_each_other() {
    let mut rig = Rig::new();
    let one = rig.begin(1, ample()).await;
    let two = rig.begin(2, ample()).await;
    let first = rig.calls.next().await;
    let second = rig.calls.next().await;
    assert_eq!((first.number, second.number), (1, 2));
    second.answer(Ok(page("two")));
    assert_eq!(outcome(two).await.unwrap().text, "two");
    first.answer(Ok(page("one")));
    assert_eq!(outcome(one).await.unwrap().text, "one");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_deadline_passes_leaves_the_fetch_going() {
    let mut rig = Rig::new();
    let hurried = rig.begin(1, Deadline::after(SECOND)).await;
    let patient = rig.begin(1, ample()).await;
    let call = rig.calls.next().await;
    let left = outcome(hurried).await;
    assert!(matches!(left, Err(Failure::Unavailable(_))), "{left:?}");
    assert!(!call.is_abandoned());
    call.answer(Ok(page("text")));
    assert_eq!(outcome(patient).await.unwrap().text, "text");

    // Nor does it end when nobody waits any more.
    let hurried = rig.begin(2, Deadline::after(SECOND)).await;
    let call = rig.calls.next().await;
    assert!(outcome(hurried).await.is_err());
    call.answer(Ok(page("two")));
    settle().await;
    assert_eq!(rig.text(2).await, "two");
    assert_eq!(rig.source.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_takes_ten_seconds_never_holds_a_request_past_its_deadline() {
    let mut rig = Rig::new();
    for round in 0..3 {
        let began = Instant::now();
        let outcome = soon(rig.lookup.look_up(&1, Deadline::after(SECOND))).await;
        assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
        assert_eq!(began.elapsed(), SECOND, "round {round}");
    }
    assert_eq!(rig.source.asked(), 1);
    rig.calls
        .next()
        .await
        .answer(Ok(page("late, but for the next one")));
    settle().await;
    assert_eq!(rig.text(1).await, "late, but for the next one");
    assert_eq!(rig.source.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_has_a_bound_of_its_own() {
    let mut rig = Rig::new();
    let began = Instant::now();
    let outcome = rig.look_up(1).await;
    let Err(Failure::Unavailable(error)) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(error.to_string().contains("fetch_timeout"), "{error}");
    assert_eq!(began.elapsed(), times().fetch_timeout);
    let call = rig.calls.next().await;
    assert!(call.is_abandoned());
    assert!(call.time_left <= times().fetch_timeout);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_panics_wakes_those_who_wait() {
    let mut rig = Rig::new();
    let waiters = [rig.begin(1, ample()).await, rig.begin(1, ample()).await];
    rig.calls.next().await.panic();
    for waiter in waiters {
        let outcome = outcome(waiter).await;
        assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
    }
    rig.pass(SECOND).await;
    rig.source.answer_with(|_| Ok(page("text")));
    assert_eq!(rig.text(1).await, "text");
}

#[tokio::test(start_paused = true)]
async fn what_is_revoked_again_and_again_ends_without_an_answer() {
    let rig = Rig::new();
    let freshness = rig.freshness.clone();
    rig.source.answer_with(move |_| {
        freshness.apply(&[number(1)]);
        Ok(page("old by now"))
    });
    let outcome = rig.look_up(1).await;
    assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
    assert_eq!(rig.source.asked(), 4);
    assert_eq!(rig.shared.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_revocation_of_everything_about_one_number_leaves_others_in_memory() {
    let rig = Rig::new();
    rig.source.answer_with(|_| Ok(page("text")));
    rig.text(1).await;
    rig.text(2).await;
    rig.freshness.apply(&[number(1), Concern::CLAIMS]);
    rig.text(2).await;
    assert_eq!(rig.source.asked(), 2);
    rig.text(1).await;
    assert_eq!(rig.source.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_is_not_hammered() {
    let rig = Rig::new();
    rig.source.answer_with(|_| Err(down()));
    for _ in 0..100 {
        let outcome = rig.look_up(1).await;
        assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
    }
    assert_eq!(rig.source.asked(), 1);
    assert_eq!(rig.lookup.counts().backed_off, 99);
    rig.pass(Duration::from_millis(250)).await;
    rig.look_up(1).await.unwrap_err();
    assert_eq!(rig.source.asked(), 2);
    rig.pass(Duration::from_millis(499)).await;
    rig.look_up(1).await.unwrap_err();
    assert_eq!(rig.source.asked(), 2);
    rig.pass(Duration::from_millis(1)).await;
    rig.source.answer_with(|_| Ok(page("back")));
    assert_eq!(rig.text(1).await, "back");
    // Another question was never kept waiting.
    assert_eq!(rig.text(2).await, "back");
    // And the next failure is a first one again.
    rig.freshness.apply(&[number(1)]);
    rig.source.answer_with(|_| Err(down()));
    rig.look_up(1).await.unwrap_err();
    assert_eq!(rig.source.asked(), 5);
    rig.pass(Duration::from_millis(250)).await;
    rig.look_up(1).await.unwrap_err();
    assert_eq!(rig.source.asked(), 6);
}

#[tokio::test(start_paused = true)]
async fn no_more_fetches_run_than_configured() {
    let settings = LookupSettings {
        max_fetches: 2,
        ..LookupSettings::default()
    };
    let mut rig = Rig::with(&settings, &SourceCacheSettings { ..times() }, Duration::ZERO);
    let waiters = [rig.begin(1, ample()).await, rig.begin(2, ample()).await];
    let refused = rig.look_up(3).await;
    assert!(matches!(refused, Err(Failure::Unavailable(_))), "{refused:?}");
    assert_eq!(rig.lookup.counts().refused, 1);
    // One that runs may be joined.
    let joined = rig.begin(1, ample()).await;
    rig.calls.next().await.answer(Ok(page("one")));
    rig.calls.next().await.answer(Ok(page("two")));
    for waiter in waiters {
        outcome(waiter).await.unwrap();
    }
    assert_eq!(outcome(joined).await.unwrap().text, "one");
    rig.source.answer_with(|_| Ok(page("three")));
    assert_eq!(rig.text(3).await, "three");
}
