//! What is over its time, while the source cannot be asked.

use std::time::Duration;

use natsgate_core::{Failure, Lookup};
use natsgate_store::{LookupSettings, SourceCacheSettings};
use tokio::time::Instant;

use crate::support::rig::{Rig, SECOND, ample, outcome, settle, times};
use crate::support::source::{Page, denied, down, number, page};

async fn rig() -> Rig {
    let rig = Rig::new();
    rig.source.answer_with(|_| Ok(page("old")));
    assert_eq!(rig.text(1).await, "old");
    settle().await;
    rig.source.answer_with(|_| Err(down()));
    rig
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_is_served_for_its_time_and_no_longer() {
    let rig = rig().await;
    rig.pass(SECOND * 40).await;
    assert_eq!(rig.text(1).await, "old");
    assert_eq!(rig.source.asked(), 2, "the source was asked first");
    rig.pass(SECOND * 60 - Duration::from_nanos(1)).await;
    assert_eq!(rig.text(1).await, "old");
    assert_eq!(rig.lookup.counts().stale_served, 2);
    rig.pass(Duration::from_nanos(1)).await;
    let outcome = rig.look_up(1).await;
    assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_of_the_shared_cache_will_do_too() {
    let rig = rig().await;
    rig.pass(SECOND * 50).await;
    let (neighbour, _) = rig.neighbour();
    assert_eq!(neighbour.look_up(&1, ample()).await.unwrap().text, "old");
    // Held from then on: the pause after the failure needs no call of anybody.
    let gets = rig.shared.gets();
    assert_eq!(neighbour.look_up(&1, ample()).await.unwrap().text, "old");
    assert_eq!((rig.shared.gets(), neighbour.counts().stale_served), (gets, 2));
    rig.pass(SECOND * 50).await;
    neighbour.look_up(&1, ample()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_does_not_outlive_a_revocation() {
    let rig = rig().await;
    rig.pass(SECOND * 50).await;
    assert_eq!(rig.text(1).await, "old");
    rig.freshness.apply(&[number(1)]);
    let outcome = rig.look_up(1).await;
    assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
    // Nor does another instance's.
    let (neighbour, freshness) = rig.neighbour();
    freshness.apply(&[number(1)]);
    neighbour.look_up(&1, ample()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_is_not_served_while_its_standing_cannot_be_told() {
    let rig = rig().await;
    rig.pass(SECOND * 50).await;
    rig.freshness.degrade();
    let outcome = rig.look_up(1).await;
    assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
    rig.freshness.confirm();
    assert_eq!(rig.text(1).await, "old");
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_does_not_outlive_its_own_expiry() {
    let rig = Rig::new();
    let expires_at = Some(natsgate_core::Clock::now(&rig.clock) + SECOND * 45);
    rig.source.answer_with(move |_| {
        Ok(Page {
            expires_at,
            ..page("old")
        })
    });
    rig.text(1).await;
    rig.source.answer_with(|_| Err(down()));
    rig.pass(SECOND * 44).await;
    rig.text(1).await;
    rig.pass(SECOND).await;
    rig.look_up(1).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_no_is_never_overridden_by_an_old_yes() {
    let rig = rig().await;
    rig.pass(SECOND * 50).await;
    rig.source.answer_with(|_| Err(denied()));
    assert_eq!(rig.look_up(1).await, Err(denied()));
    rig.source.answer_with(|_| Err(down()));
    assert_eq!(rig.look_up(1).await, Err(denied()));
    rig.pass(SECOND * 5).await;
    let outcome = rig.look_up(1).await;
    assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn an_old_no_is_not_served() {
    let rig = Rig::new();
    rig.source.answer_with(|_| Err(denied()));
    assert_eq!(rig.look_up(1).await, Err(denied()));
    rig.source.answer_with(|_| Err(down()));
    rig.pass(SECOND * 5).await;
    let outcome = rig.look_up(1).await;
    assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn while_the_source_hangs_only_the_first_have_to_wait_to_learn_it() {
    let mut rig = rig().await;
    rig.source.hold();
    rig.pass(SECOND * 40).await;
    let first = rig.begin(1, ample()).await;
    rig.pass(times().fetch_timeout).await;
    assert_eq!(outcome(first).await.unwrap().text, "old");
    for _ in 0..5 {
        rig.pass(Duration::from_millis(300)).await;
        let began = Instant::now();
        assert_eq!(rig.text(1).await, "old");
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
    // One fetch at a time finds out whether it is back, and then it is used.
    assert_eq!(rig.source.asked(), 3);
    let call = rig.calls.waiting().pop().unwrap();
    call.answer(Ok(page("back")));
    settle().await;
    assert_eq!(rig.text(1).await, "back");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_source_is_an_outage_of_it() {
    let mut rig = rig().await;
    rig.source.hold();
    rig.pass(SECOND * 40).await;
    let waiter = rig.begin(1, ample()).await;
    rig.calls.next().await.panic();
    assert_eq!(outcome(waiter).await.unwrap().text, "old");
}

#[tokio::test(start_paused = true)]
async fn without_a_time_for_it_nothing_old_is_served() {
    let never = SourceCacheSettings {
        stale_if_error: Duration::ZERO,
        ..times()
    };
    let rig = Rig::with(&LookupSettings::default(), &never, Duration::ZERO);
    rig.source.answer_with(|_| Ok(page("old")));
    rig.text(1).await;
    settle().await;
    assert_eq!(rig.shared.only().2, SECOND * 40);
    rig.source.answer_with(|_| Err(down()));
    rig.pass(SECOND * 40).await;
    rig.look_up(1).await.unwrap_err();
}
