//! While the revocation log is out of reach: facts come from their sources only, and nothing is kept.

use natsgate_core::Failure;

use crate::support::rig::{Rig, SECOND, ample, outcome, settle};
use crate::support::source::{denied, number, page};

#[tokio::test(start_paused = true)]
async fn nothing_out_of_a_cache_is_used_and_nothing_is_kept() {
    let rig = Rig::new();
    rig.source.answer_with(|_| Ok(page("kept")));
    rig.text(1).await;
    settle().await;
    rig.freshness.degrade();
    rig.source.answer_with(|_| Ok(page("asked")));
    let gets = rig.shared.gets();
    for asked in 2..5 {
        assert_eq!(rig.text(1).await, "asked");
        assert_eq!(rig.source.asked(), asked);
    }
    settle().await;
    assert_eq!((rig.shared.gets(), rig.shared.puts()), (gets, 1));
    rig.freshness.confirm();
    assert_eq!(rig.text(1).await, "kept");
}

#[tokio::test(start_paused = true)]
async fn a_no_is_not_kept_either() {
    let rig = Rig::new();
    rig.freshness.degrade();
    rig.source.answer_with(|_| Err(denied()));
    assert_eq!(rig.look_up(1).await, Err(denied()));
    rig.freshness.confirm();
    rig.source.answer_with(|_| Ok(page("given")));
    assert_eq!(rig.text(1).await, "given");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_may_be_joined_for_a_second() {
    let mut rig = Rig::new();
    rig.freshness.degrade();
    let first = rig.begin(1, ample()).await;
    let old = rig.calls.next().await;
    rig.pass(SECOND).await;
    let joined = rig.begin(1, ample()).await;
    assert_eq!(rig.source.asked(), 1);
    rig.pass(std::time::Duration::from_millis(1)).await;
    let late = rig.begin(1, ample()).await;
    let new = rig.calls.next().await;
    old.answer(Ok(page("old")));
    assert_eq!(outcome(first).await.unwrap().text, "old");
    assert_eq!(outcome(joined).await.unwrap().text, "old");
    new.answer(Ok(page("new")));
    assert_eq!(outcome(late).await.unwrap().text, "new");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_began_confirmed_is_joined_no_longer_either() {
    let mut rig = Rig::new();
    let _first = rig.begin(1, ample()).await;
    let _old = rig.calls.next().await;
    rig.freshness.degrade();
    rig.pass(SECOND * 2).await;
    let late = rig.begin(1, ample()).await;
    rig.calls.next().await.answer(Ok(page("new")));
    assert_eq!(outcome(late).await.unwrap().text, "new");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_began_degraded_is_not_joined_once_the_log_is_back() {
    let mut rig = Rig::new();
    rig.freshness.degrade();
    let early = rig.begin(1, ample()).await;
    let old = rig.calls.next().await;
    rig.freshness.confirm();
    let late = rig.begin(1, ample()).await;
    let new = rig.calls.next().await;
    new.answer(Ok(page("new")));
    assert_eq!(outcome(late).await.unwrap().text, "new");
    old.answer(Ok(page("old")));
    assert_eq!(outcome(early).await.unwrap().text, "old");
    assert_eq!(rig.text(1).await, "new", "what began degraded is not kept");
}

#[tokio::test(start_paused = true)]
async fn what_is_applied_meanwhile_counts_even_degraded() {
    let mut rig = Rig::new();
    rig.freshness.degrade();
    let early = rig.begin(1, ample()).await;
    let old = rig.calls.next().await;
    rig.freshness.apply(&[number(1)]);
    let late = rig.begin(1, ample()).await;
    let new = rig.calls.next().await;
    old.answer(Ok(page("old")));
    new.answer(Ok(page("new")));
    assert_eq!(outcome(late).await.unwrap().text, "new");
    // The early one asks again.
    settle().await;
    for call in rig.calls.waiting() {
        call.answer(Ok(page("new")));
    }
    assert_eq!(outcome(early).await.unwrap().text, "new");
}

#[tokio::test(start_paused = true)]
async fn what_another_instance_kept_is_not_used_if_the_log_is_lost_while_it_is_read() {
    let rig = Rig::new();
    rig.source.answer_with(|_| Ok(page("kept")));
    rig.text(1).await;
    settle().await;
    rig.source.answer_with(|_| Ok(page("asked")));
    let (neighbour, freshness) = rig.neighbour();
    rig.shared.pause_reading();
    let lookup = neighbour.clone();
    let waiter = tokio::spawn(async move { natsgate_core::Lookup::look_up(&lookup, &1, ample()).await });
    settle().await;
    freshness.degrade();
    rig.shared.go_on_reading();
    assert_eq!(outcome(waiter).await.unwrap().text, "asked");
}

#[tokio::test(start_paused = true)]
async fn what_another_instance_kept_is_not_used_if_the_log_is_lost_before_it_is_served() {
    let rig = Rig::new();
    rig.source.answer_with(|_| Ok(page("kept")));
    rig.text(1).await;
    settle().await;
    rig.source.answer_with(|_| Ok(page("asked")));
    let (neighbour, freshness) = rig.neighbour();
    let mut waiter = Box::pin(natsgate_core::Lookup::look_up(&neighbour, &1, ample()));
    assert!(futures::FutureExt::now_or_never(&mut waiter).is_none());
    // The fetch ends, and the one who waits for it has not looked yet.
    settle().await;
    assert_eq!(neighbour.counts().shared_hits, 1);
    freshness.degrade();
    assert_eq!(waiter.await.unwrap().text, "asked");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_never_caught_up_answers_nothing() {
    let rig = Rig::new();
    rig.source.answer_with(|_| Ok(page("text")));
    rig.text(1).await;
    rig.freshness.forget();
    for number in [1, 2] {
        let outcome = rig.look_up(number).await;
        assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
    }
    assert_eq!(rig.source.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn with_the_log_lost_nothing_kept_counts_and_the_source_still_does() {
    let mut rig = Rig::new();
    rig.source.answer_with(|_| Ok(page("kept")));
    rig.text(1).await;
    rig.freshness.void();
    rig.source.answer_with(|_| Ok(page("asked")));
    assert_eq!(rig.text(1).await, "asked");
    assert_eq!(rig.source.asked(), 2);

    rig.source.hold();
    let first = rig.begin(1, ample()).await;
    let joined = rig.begin(1, ample()).await;
    let call = rig.calls.next().await;
    call.answer(Ok(page("asked again")));
    assert_eq!(outcome(first).await.unwrap().text, "asked again");
    assert_eq!(outcome(joined).await.unwrap().text, "asked again");
    assert_eq!(rig.source.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_a_new_log_is_not_served_and_not_joined() {
    let mut rig = Rig::new();
    rig.freshness.void();
    let early = rig.begin(1, ample()).await;
    let old = rig.calls.next().await;
    rig.freshness.enter_epoch(2, 11);
    let late = rig.begin(1, ample()).await;
    let new = rig.calls.next().await;
    old.answer(Ok(page("old")));
    settle().await;
    new.answer(Ok(page("new")));
    assert_eq!(outcome(late).await.unwrap().text, "new");
    for call in rig.calls.waiting() {
        call.answer(Ok(page("new")));
    }
    assert_eq!(outcome(early).await.unwrap().text, "new");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_loses_all_it_knew_of_the_log_does_not_serve_what_it_was_waiting_for() {
    let mut rig = Rig::new();
    let waiter = rig.begin(1, ample()).await;
    let call = rig.calls.next().await;
    rig.freshness.forget();
    call.answer(Ok(page("text")));
    let outcome = outcome(waiter).await;
    assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
}
