//! The cache that instances share: one round trip, believed no more than memory is, and never needed.

use std::time::Duration;

use natsgate_core::{Epoch, Lookup, Revision};
use natsgate_devkit::MockClock;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::cache::Mode;
use crate::support::rig::{Rig, SECOND, ample, settle, soon};
use crate::support::source::{Page, denied, number, page, room};

fn unix_ms(clock: &MockClock) -> u64 {
    let since = natsgate_core::Clock::now(clock).duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_millis()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn another_instances_answer_costs_one_round_trip_and_no_call_of_the_source() {
    let rig = Rig::new();
    rig.source.answer_with(|_| Ok(page("text")));
    rig.text(1).await;
    settle().await;
    assert_eq!((rig.shared.gets(), rig.shared.puts()), (1, 1));
    let (neighbour, _) = rig.neighbour();
    for _ in 0..10 {
        assert_eq!(neighbour.look_up(&1, ample()).await.unwrap().text, "text");
    }
    settle().await;
    assert_eq!((rig.shared.gets(), rig.shared.puts()), (2, 1));
    assert_eq!(rig.source.asked(), 1);
    let counts = neighbour.counts();
    assert_eq!(
        (counts.shared_hits, counts.in_process_hits, counts.asked),
        (1, 9, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn another_instances_answer_keeps_its_age_and_its_stamp() {
    let rig = Rig::new();
    rig.source.answer_with(|_| Ok(page("old")));
    rig.text(1).await;
    rig.text(2).await;
    rig.source.answer_with(|_| Ok(page("new")));
    rig.pass(SECOND * 30).await;
    let (neighbour, freshness) = rig.neighbour();
    assert_eq!(neighbour.look_up(&1, ample()).await.unwrap().text, "old");
    assert_eq!(neighbour.look_up(&2, ample()).await.unwrap().text, "old");
    rig.pass(SECOND * 10 - Duration::from_millis(1)).await;
    assert_eq!(neighbour.look_up(&1, ample()).await.unwrap().text, "old");
    freshness.apply(&[number(2)]);
    assert_eq!(neighbour.look_up(&2, ample()).await.unwrap().text, "new");
    rig.pass(Duration::from_millis(1)).await;
    assert_eq!(neighbour.look_up(&1, ample()).await.unwrap().text, "new");
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_a_revocation_is_not_taken_from_the_shared_cache() {
    for concern in [number(1), room("blue")] {
        let rig = Rig::new();
        rig.source.answer_with(|_| {
            Ok(Page {
                rooms: vec!["blue".to_owned()],
                ..page("old")
            })
        });
        rig.text(1).await;
        settle().await;
        rig.source.answer_with(|_| Ok(page("new")));
        let (neighbour, freshness) = rig.neighbour();
        freshness.apply(&[concern]);
        assert_eq!(neighbour.look_up(&1, ample()).await.unwrap().text, "new");
        assert_eq!(neighbour.counts().voided, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_behind_does_not_take_what_is_ahead_of_it() {
    let rig = Rig::new();
    rig.freshness.apply(&[number(9)]);
    rig.source.answer_with(|_| Ok(page("text")));
    rig.text(1).await;
    let (neighbour, _) = rig.neighbour();
    assert_eq!(neighbour.look_up(&1, ample()).await.unwrap().text, "text");
    assert_eq!(rig.source.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_no_is_shared_and_ends_when_something_is_given() {
    let rig = Rig::new();
    rig.source.answer_with(|_| Err(denied()));
    assert_eq!(rig.look_up(1).await, Err(denied()));
    settle().await;
    assert_eq!(rig.shared.only().2, SECOND * 5);
    rig.source.answer_with(|_| Ok(page("given")));
    let (neighbour, freshness) = rig.neighbour();
    assert_eq!(neighbour.look_up(&1, ample()).await, Err(denied()));
    freshness.apply(&[number(1)]);
    assert_eq!(neighbour.look_up(&1, ample()).await.unwrap().text, "given");
}

#[tokio::test(start_paused = true)]
async fn an_entry_lives_as_long_as_it_can_be_of_use() {
    let rig = Rig::new();
    rig.source.answer_with(|_| Ok(page("text")));
    rig.text(1).await;
    settle().await;
    assert_eq!(rig.shared.only().2, SECOND * 100);
    rig.shared.empty();
    let expires_at = Some(natsgate_core::Clock::now(&rig.clock) + SECOND * 7);
    rig.source.answer_with(move |_| {
        Ok(Page {
            expires_at,
            ..page("text")
        })
    });
    rig.text(2).await;
    settle().await;
    assert_eq!(rig.shared.only().2, SECOND * 7);
}

#[tokio::test(start_paused = true)]
async fn what_is_forged_or_foreign_in_the_shared_cache_is_not_believed() {
    let rig = Rig::new();
    rig.source.answer_with(|_| Ok(page("true")));
    rig.text(1).await;
    settle().await;
    let revision = rig.freshness.revision();
    let now = unix_ms(&rig.clock);
    let forged = json!({ "text": "forged", "rooms": [], "expires_at": null });
    let entry = |stamp: String, fetched_at: u64, said: Value| json!({ "stamp": stamp, "fetched_at": fetched_at, "said": said });
    let good = entry(revision.to_string(), now, json!({ "fact": forged }));
    let other_epoch = Revision::new(Epoch::from_bytes([9; 16]), revision.sequence);
    let beyond = Revision::new(revision.epoch, revision.sequence + 1);
    let mut more = good.clone();
    more["more"] = json!(1);
    let mut other_fact = good.clone();
    other_fact["said"]["fact"]["more"] = json!(1);
    let bad = [
        json!("nonsense").to_string(),
        String::new(),
        "{".to_owned(),
        more.to_string(),
        other_fact.to_string(),
        entry(String::new(), now, json!({ "fact": forged })).to_string(),
        entry(other_epoch.to_string(), now, json!({ "fact": forged })).to_string(),
        entry(beyond.to_string(), now, json!({ "fact": forged })).to_string(),
        entry(revision.to_string(), now + 2001, json!({ "fact": forged })).to_string(),
        entry(revision.to_string(), now - 100_000, json!({ "fact": forged })).to_string(),
        entry(revision.to_string(), u64::MAX, json!({ "fact": forged })).to_string(),
        entry(revision.to_string(), now, json!({ "granted": forged })).to_string(),
        entry(
            revision.to_string(),
            now,
            json!({ "denied": { "reason": "because", "detail": "" } }),
        )
        .to_string(),
    ];
    for bad in bad {
        let (neighbour, _) = rig.neighbour();
        rig.shared.forge(bad.clone());
        let found = soon(neighbour.look_up(&1, ample())).await;
        assert_eq!(found.unwrap().text, "true", "{bad}");
    }
    let (neighbour, _) = rig.neighbour();
    rig.shared.forge(vec![0xff; 100]);
    assert_eq!(neighbour.look_up(&1, ample()).await.unwrap().text, "true");
    assert_eq!(neighbour.counts().unreadable, 1);

    // That all of these were refused for what is wrong with them.
    let (neighbour, _) = rig.neighbour();
    rig.shared.forge(good.to_string());
    assert_eq!(neighbour.look_up(&1, ample()).await.unwrap().text, "forged");
}

#[tokio::test(start_paused = true)]
async fn a_shared_cache_that_fails_hangs_or_panics_means_asking_the_source() {
    for mode in [Mode::Fails, Mode::Hangs, Mode::Panics] {
        let rig = Rig::new();
        rig.shared.reading(mode);
        rig.shared.writing(mode);
        rig.source.answer_with(|_| Ok(page("text")));
        let began = Instant::now();
        assert_eq!(rig.text(1).await, "text", "{mode:?}");
        let longest = if mode == Mode::Hangs { 100 } else { 0 };
        assert_eq!(began.elapsed(), Duration::from_millis(longest), "{mode:?}");
        assert_eq!(rig.text(1).await, "text");
        assert_eq!(rig.source.asked(), 1);
        rig.pass(SECOND).await;
        assert_eq!(
            rig.lookup.counts().shared_errors,
            if mode == Mode::Panics { 1 } else { 2 }
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_the_shared_cache_to_be_written() {
    let rig = Rig::new();
    rig.shared.writing(Mode::Hangs);
    rig.source.answer_with(|_| Ok(page("text")));
    let began = Instant::now();
    assert_eq!(rig.text(1).await, "text");
    assert_eq!(began.elapsed(), Duration::ZERO);
    settle().await;
    assert_eq!(rig.shared.puts(), 1);
}

#[tokio::test(start_paused = true)]
async fn keys_tell_nothing_of_what_was_asked() {
    let rig = Rig::new();
    rig.source.answer_with(|_| Ok(page("text")));
    rig.text(0x6162_6364).await;
    settle().await;
    let (key, _, _) = rig.shared.only();
    let digest = key.strip_prefix("page.1:").unwrap();
    assert_eq!(digest.len(), 64);
    assert!(!digest.contains("61626364") && !key.contains("pages"), "{key}");
}
