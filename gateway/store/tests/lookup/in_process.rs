//! The tier in this process: when it answers, what that costs, how much room it takes.

use std::time::Duration;

use natsgate_store::{LookupSettings, SourceCacheSettings};

use crate::support::rig::{Rig, SECOND, outcome, settle, times};
use crate::support::source::{HandSource, Handle, Page, denied, number, page, room};

#[tokio::test(start_paused = true)]
async fn an_answer_is_used_for_its_time_without_any_call_and_no_longer() {
    let rig = Rig::new();
    rig.source.answer_with(|_| Ok(page("text")));
    rig.text(1).await;
    rig.pass(SECOND * 40 - Duration::from_nanos(1)).await;
    for _ in 0..10 {
        assert_eq!(rig.text(1).await, "text");
    }
    assert_eq!((rig.source.asked(), rig.shared.gets()), (1, 1));
    assert_eq!(rig.lookup.counts().in_process_hits, 10);
    rig.pass(Duration::from_nanos(1)).await;
    rig.source.answer_with(|_| Ok(page("newer")));
    assert_eq!(rig.text(1).await, "newer");
    assert_eq!(rig.source.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_memory_is_given_without_waiting() {
    let rig = Rig::new();
    rig.source.answer_with(|_| Ok(page("text")));
    rig.text(1).await;
    let polled_once = futures::FutureExt::now_or_never(rig.look_up(1));
    assert_eq!(polled_once.unwrap().unwrap().text, "text");
}

#[tokio::test(start_paused = true)]
async fn no_and_nothing_have_their_own_shorter_time() {
    for answer in [Ok(page("")), Err(denied())] {
        let rig = Rig::new();
        let kept = answer.clone();
        rig.source.answer_with(move |_| kept.clone());
        assert_eq!(rig.look_up(1).await, answer);
        rig.pass(SECOND * 5 - Duration::from_nanos(1)).await;
        assert_eq!(rig.look_up(1).await, answer);
        assert_eq!(rig.source.asked(), 1);
        rig.pass(Duration::from_nanos(1)).await;
        rig.source.answer_with(|_| Ok(page("now there is")));
        assert_eq!(rig.text(1).await, "now there is");
    }
}

#[tokio::test(start_paused = true)]
async fn no_and_nothing_end_when_something_is_given() {
    for answer in [Ok(page("")), Err(denied())] {
        let rig = Rig::new();
        let kept = answer.clone();
        rig.source.answer_with(move |_| kept.clone());
        assert_eq!(rig.look_up(1).await, answer);
        rig.source.answer_with(|_| Ok(page("given")));
        rig.freshness.apply(&[number(1)]);
        assert_eq!(rig.text(1).await, "given");
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_ends_an_answer_by_what_was_asked_and_by_what_was_answered() {
    for concern in [number(1), room("blue")] {
        let rig = Rig::new();
        rig.source.answer_with(|_| {
            Ok(Page {
                rooms: vec!["red".to_owned(), "blue".to_owned()],
                ..page("old")
            })
        });
        rig.text(1).await;
        rig.source.answer_with(|_| Ok(page("new")));
        assert_eq!(rig.text(1).await, "old");
        rig.freshness.apply(&[concern]);
        assert_eq!(rig.text(1).await, "new");
        assert_eq!(rig.lookup.counts().voided, 2, "in memory and in the shared cache");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_epoch_ends_everything() {
    let rig = Rig::new();
    rig.source.answer_with(|_| Ok(page("old")));
    rig.text(1).await;
    rig.source.answer_with(|_| Ok(page("new")));
    let applied = rig.freshness.revision().sequence;
    rig.freshness.enter_epoch(2, applied);
    assert_eq!(rig.text(1).await, "new");
    assert_eq!(rig.text(1).await, "new");
    assert_eq!(rig.source.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_epoch_that_changes_during_a_fetch_voids_its_answer() {
    let mut rig = Rig::new();
    let waiter = rig.begin(1, crate::support::rig::ample()).await;
    let call = rig.calls.next().await;
    rig.freshness.enter_epoch(2, 50);
    call.answer(Ok(page("old")));
    rig.calls.next().await.answer(Ok(page("new")));
    assert_eq!(outcome(waiter).await.unwrap().text, "new");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_used_after_its_own_expiry() {
    let rig = Rig::new();
    let expires_at = Some(natsgate_core::Clock::now(&rig.clock) + SECOND * 7);
    rig.source.answer_with(move |_| {
        Ok(Page {
            expires_at,
            ..page("text")
        })
    });
    rig.text(1).await;
    rig.pass(SECOND * 7 - Duration::from_nanos(1)).await;
    rig.text(1).await;
    assert_eq!(rig.source.asked(), 1);
    rig.pass(Duration::from_nanos(1)).await;
    rig.text(1).await;
    assert_eq!(rig.source.asked(), 2);
    // Nor is it kept when it comes expired.
    rig.text(1).await;
    assert_eq!(rig.source.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_ends_what_it_cannot_tell_the_age_of() {
    let rig = Rig::new();
    rig.source.answer_with(|_| Ok(page("text")));
    rig.text(1).await;
    let now = natsgate_core::Clock::now(&rig.clock);
    rig.clock.set(now - SECOND * 60);
    rig.text(1).await;
    assert_eq!(rig.source.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_used_when_its_time_is_nearly_over_is_fetched_again_in_the_background() {
    let ahead = SourceCacheSettings {
        refresh_ahead: true,
        ..times()
    };
    let mut rig = Rig::with(&LookupSettings::default(), &ahead, Duration::ZERO);
    rig.source.answer_with(|_| Ok(page("old")));
    rig.text(1).await;
    rig.source.hold();
    rig.pass(SECOND * 30 - Duration::from_nanos(1)).await;
    rig.text(1).await;
    settle().await;
    assert_eq!(rig.source.asked(), 1);
    rig.pass(Duration::from_nanos(1)).await;
    for _ in 0..10 {
        assert_eq!(rig.text(1).await, "old");
    }
    let call = rig.calls.next().await;
    assert_eq!(rig.source.asked(), 2, "one for all who used it");
    call.answer(Ok(page("new")));
    settle().await;
    assert_eq!(rig.text(1).await, "new");
    rig.pass(SECOND * 29).await;
    assert_eq!(rig.text(1).await, "new");
    assert_eq!(rig.source.asked(), 2);
    assert_eq!(rig.lookup.counts().in_background, 1);
}

#[tokio::test(start_paused = true)]
async fn a_background_fetch_that_fails_takes_nothing_away() {
    let ahead = SourceCacheSettings {
        refresh_ahead: true,
        ..times()
    };
    let rig = Rig::with(&LookupSettings::default(), &ahead, Duration::ZERO);
    rig.source.answer_with(|_| Ok(page("old")));
    rig.text(1).await;
    rig.source.answer_with(|_| Err(crate::support::source::down()));
    rig.pass(SECOND * 35).await;
    for _ in 0..10 {
        assert_eq!(rig.text(1).await, "old");
        settle().await;
    }
    assert_eq!(rig.source.asked(), 2);
    assert_eq!(rig.lookup.counts().stale_served, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_used_and_not_kept() {
    let settings = LookupSettings {
        max_fact_bytes: 1000,
        ..LookupSettings::default()
    };
    let rig = Rig::with(&settings, &times(), Duration::ZERO);
    rig.source.answer_with(|_| Ok(page(&"x".repeat(1000))));
    for asked in 1..3 {
        assert_eq!(rig.text(1).await.len(), 1000);
        assert_eq!(rig.source.asked(), asked);
    }
    settle().await;
    assert_eq!((rig.shared.len(), rig.lookup.counts().too_large), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn all_facts_of_all_sources_together_keep_to_the_bound_in_bytes() {
    let settings = LookupSettings {
        max_bytes: 100_000,
        ..LookupSettings::default()
    };
    let rig = Rig::with(&settings, &times(), Duration::ZERO);
    let (other, _calls) = HandSource::new("other", Duration::ZERO);
    let more = rig.tiers.cached(Handle(other.clone()), &times()).unwrap();
    for source in [&rig.source, &other] {
        source.answer_with(|_| Ok(page(&"x".repeat(1000))));
    }
    for number in 0..200 {
        rig.text(number).await;
        natsgate_core::Lookup::look_up(&more, &number, crate::support::rig::ample())
            .await
            .unwrap();
    }
    let bytes = rig.tiers.bytes_in_memory();
    assert!((50_000..=100_000).contains(&bytes), "{bytes}");
}

#[tokio::test(start_paused = true)]
async fn two_sources_never_answer_for_each_other() {
    let rig = Rig::new();
    let (other, _calls) = HandSource::new("other", Duration::ZERO);
    let more = rig.tiers.cached(Handle(other.clone()), &times()).unwrap();
    rig.source.answer_with(|_| Ok(page("one")));
    other.answer_with(|_| Ok(page("two")));
    rig.text(1).await;
    let found = natsgate_core::Lookup::look_up(&more, &1, crate::support::rig::ample()).await;
    assert_eq!(found.unwrap().text, "two");
    assert_eq!(rig.text(1).await, "one");
    settle().await;
    assert_eq!(rig.shared.len(), 2);
}
