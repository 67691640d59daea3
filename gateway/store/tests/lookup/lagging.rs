//! A source that may be behind the truth, such as a read replica.

use std::time::Duration;

use natsgate_core::{Deadline, Failure, Lookup};
use natsgate_store::LookupSettings;
use tokio::time::Instant;

use crate::support::rig::{Rig, SECOND, ample, outcome, soon, times};
use crate::support::source::{Page, number, page, room};

fn rig() -> Rig {
    Rig::with(&LookupSettings::default(), &times(), SECOND)
}

#[tokio::test(start_paused = true)]
async fn it_is_asked_only_when_it_can_know_of_the_latest_revocation() {
    let rig = rig();
    rig.source.answer_with(|_| Ok(page("old")));
    rig.pass(SECOND * 5).await;
    rig.text(1).await;
    rig.freshness.apply(&[number(1)]);
    rig.source.answer_with(|_| Ok(page("new")));
    let began = Instant::now();
    assert_eq!(rig.text(1).await, "new");
    let waited = began.elapsed();
    assert!((SECOND..SECOND * 2).contains(&waited), "{waited:?}");
    assert_eq!(rig.source.asked(), 2);
    assert_eq!(rig.lookup.counts().waited_for_lag, 1);
    // That answer counts, and is kept.
    assert_eq!(rig.text(1).await, "new");
    assert_eq!(rig.source.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_before_it_can_know_ends_without_an_answer() {
    let rig = rig();
    rig.source.answer_with(|_| Ok(page("old")));
    rig.pass(SECOND * 5).await;
    rig.freshness.apply(&[number(1)]);
    let deadline = Deadline::after(Duration::from_millis(300));
    let found = soon(rig.lookup.look_up(&1, deadline)).await;
    assert!(matches!(found, Err(Failure::Unavailable(_))), "{found:?}");
    assert_eq!(rig.source.asked(), 0);
    // What is not concerned is not held up.
    rig.text(2).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_voided_by_a_revocation_it_could_not_know_of() {
    let rig = rig();
    rig.source.answer_with(|_| Ok(page("old")));
    rig.pass(SECOND * 5).await;
    rig.freshness.apply(&[room("blue")]);
    rig.pass(SECOND / 2).await;
    // Asked half a second after the revocation: it may not know of it, and what it says shows only then to be concerned.
    rig.source.answer_with(|_| {
        Ok(Page {
            rooms: vec!["blue".to_owned()],
            ..page("blue")
        })
    });
    let began = Instant::now();
    assert_eq!(rig.text(1).await, "blue");
    assert!(began.elapsed() >= SECOND / 2, "{:?}", began.elapsed());
    assert_eq!(rig.source.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_entry_applied_just_before_the_fetch_voids_its_answer() {
    let mut rig = rig();
    rig.pass(SECOND * 5).await;
    let waiter = rig.begin(1, ample()).await;
    let call = rig.calls.next().await;
    rig.freshness.apply(&[number(1)]);
    call.answer(Ok(page("old")));
    rig.calls.next().await.answer(Ok(page("new")));
    assert_eq!(outcome(waiter).await.unwrap().text, "new");
}

#[tokio::test(start_paused = true)]
async fn while_the_log_is_out_of_reach_its_whole_lag_is_waited_for_each_time() {
    let rig = rig();
    rig.source.answer_with(|_| Ok(page("text")));
    rig.pass(SECOND * 5).await;
    rig.freshness.apply(&[number(1)]);
    rig.freshness.degrade();
    for asked in 1..3 {
        let began = Instant::now();
        assert_eq!(rig.text(1).await, "text");
        assert_eq!((began.elapsed(), rig.source.asked()), (SECOND, asked));
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_log_is_out_of_reach_no_fetch_of_others_is_joined() {
    let mut rig = rig();
    rig.pass(SECOND * 5).await;
    rig.freshness.degrade();
    let early = rig.begin(1, ample()).await;
    rig.pass(SECOND / 2).await;
    rig.freshness.apply(&[number(2)]);
    let late = rig.begin(1, ample()).await;
    rig.pass(SECOND / 2).await;
    let old = rig.calls.next().await;
    rig.pass(SECOND / 2).await;
    // The first one was asked half a second after the late one came: it may be older.
    let new = rig.calls.next().await;
    old.answer(Ok(page("old")));
    assert_eq!(outcome(early).await.unwrap().text, "old");
    new.answer(Ok(page("new")));
    assert_eq!(outcome(late).await.unwrap().text, "new");
}

#[tokio::test(start_paused = true)]
async fn what_others_fetched_while_it_was_waited_for_is_used() {
    let rig = rig();
    rig.source.answer_with(|_| Ok(page("text")));
    rig.pass(SECOND * 5).await;
    rig.freshness.apply(&[number(1)]);
    let early = rig.begin(1, ample()).await;
    rig.pass(Duration::from_millis(60)).await;
    let late = rig.begin(1, ample()).await;
    assert_eq!(outcome(early).await.unwrap().text, "text");
    assert_eq!(outcome(late).await.unwrap().text, "text");
    assert_eq!((rig.source.asked(), rig.shared.gets()), (1, 1));
    assert_eq!(rig.lookup.counts().waited_for_lag, 2);
}
