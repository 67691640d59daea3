//! What every store of account writers must do. One suite, run on each of them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use natsgate_core::{AccountStore, AccountStoreError, Deadline, Fence, Stored};

pub(super) type Store = Arc<dyn AccountStore>;
pub(super) type Result<T> = std::result::Result<T, AccountStoreError>;

pub(super) const ACCOUNT: &str = "APP";
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// Runs the whole suite, each part on an empty store of its own.
pub(super) async fn all<F: Future<Output = Store>>(make: impl Fn() -> F) {
    one_holder_at_a_time_and_every_one_a_higher_token(&make().await).await;
    a_lease_that_ran_out_is_lost_and_anybodys(&make().await).await;
    a_released_lease_is_over_and_only_that_one(&make().await).await;
    a_write_needs_the_newest_token_held_or_not(&make().await).await;
    a_write_needs_the_version_there_is(&make().await).await;
    what_is_refused_changes_nothing(&make().await).await;
    accounts_are_apart(&make().await).await;
    large_bodies_are_kept_to_the_byte(&make().await).await;
    the_longest_times_and_the_highest_numbers_are_no_trouble(&make().await).await;
    after_the_deadline_nothing_is_done(&make().await).await;
    of_many_at_once_one_holds_it(&make().await).await;
    of_many_writes_at_once_from_one_version_one_is_done(&make().await).await;
}

pub(super) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

pub(super) async fn acquire(store: &Store, holder: &str, time: Duration) -> Result<Fence> {
    store.acquire(ACCOUNT, holder, time, soon()).await
}

pub(super) async fn renew(store: &Store, fence: Fence) -> Result<()> {
    store.renew(ACCOUNT, fence, MINUTE, soon()).await
}

pub(super) async fn release(store: &Store, fence: Fence) {
    store.release(ACCOUNT, fence, soon()).await.unwrap();
}

pub(super) async fn write(store: &Store, fence: Fence, expected: Option<u64>, body: &str) -> Result<u64> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    store.write(ACCOUNT, fence, expected, body, soon()).await
}

/// The version and the text.
pub(super) async fn read(store: &Store) -> Option<(u64, String)> {
    let found = store.read(ACCOUNT, soon()).await.unwrap();
    found.map(|Stored { version, body }| (version, String::from_utf8(body.to_vec()).unwrap()))
}

fn lost(fence: Fence) -> Result<()> {
    Err(AccountStoreError::Lost { fence })
}

fn fenced(fence: Fence, newest: Fence) -> Result<u64> {
    Err(AccountStoreError::Fenced { fence, newest })
}

fn conflict(expected: Option<u64>, found: Option<u64>) -> Result<u64> {
    Err(AccountStoreError::Conflict { expected, found })
}

#[track_caller]
fn held_by(holder: &str, answer: &Result<Fence>) -> Duration {
    match answer {
        Err(AccountStoreError::Held {
            holder: found,
            remaining,
        }) if found == holder => *remaining,
        other => panic!("not held by {holder}: {other:?}"),
    }
}

async fn one_holder_at_a_time_and_every_one_a_higher_token(store: &Store) {
    let first = acquire(store, "one", MINUTE).await.unwrap();
    assert_eq!(first, 1);
    let remaining = held_by("one", &acquire(store, "two", MINUTE).await);
    assert!(
        remaining > Duration::from_secs(1) && remaining <= MINUTE,
        "{remaining:?}"
    );
    // The same again under a new token: the first is over.
    let again = acquire(store, "one", MINUTE).await.unwrap();
    assert!(again > first);
    assert_eq!(renew(store, first).await, lost(first));
    assert_eq!(renew(store, again).await, Ok(()));
    // A renewal counts from now, be it for less.
    store
        .renew(ACCOUNT, again, Duration::from_secs(30), soon())
        .await
        .unwrap();
    let remaining = held_by("one", &acquire(store, "two", MINUTE).await);
    assert!(remaining <= Duration::from_secs(30), "{remaining:?}");
}

async fn a_lease_that_ran_out_is_lost_and_anybodys(store: &Store) {
    let first = acquire(store, "one", Duration::ZERO).await.unwrap();
    assert_eq!(renew(store, first).await, lost(first));
    let second = acquire(store, "two", Duration::ZERO).await.unwrap();
    assert!(second > first);
    assert_eq!(renew(store, second).await, lost(second));
    // Once lost it does not come back by being asked for.
    assert_eq!(renew(store, first).await, lost(first));
    let third = acquire(store, "three", MINUTE).await.unwrap();
    assert!(third > second);
    held_by("three", &acquire(store, "two", MINUTE).await);
    assert_eq!(renew(store, second).await, lost(second));
}

async fn a_released_lease_is_over_and_only_that_one(store: &Store) {
    let first = acquire(store, "one", MINUTE).await.unwrap();
    let again = acquire(store, "one", MINUTE).await.unwrap();
    // Of an older lease nothing is released.
    release(store, first).await;
    held_by("one", &acquire(store, "two", MINUTE).await);
    release(store, again).await;
    release(store, again).await;
    assert_eq!(renew(store, again).await, lost(again));
    let second = acquire(store, "two", MINUTE).await.unwrap();
    assert!(second > again);
    release(store, again).await;
    assert_eq!(renew(store, second).await, Ok(()));
    // Nor of a token that was not given yet.
    release(store, second + 1).await;
    assert_eq!(renew(store, second).await, Ok(()));
    assert_eq!(renew(store, second + 1).await, lost(second + 1));
}

async fn a_write_needs_the_newest_token_held_or_not(store: &Store) {
    // Where none was given, none is the newest.
    assert_eq!(write(store, 0, None, "a").await, fenced(0, 0));
    assert_eq!(write(store, 1, None, "a").await, fenced(1, 0));
    let first = acquire(store, "one", Duration::ZERO).await.unwrap();
    // It ran out at once, and is still the newest: what it decided holds.
    assert_eq!(write(store, first, None, "a").await, Ok(1));
    let again = acquire(store, "one", MINUTE).await.unwrap();
    assert_eq!(write(store, first, Some(1), "b").await, fenced(first, again));
    assert_eq!(write(store, again, Some(1), "c").await, Ok(2));
    release(store, again).await;
    assert_eq!(write(store, again, Some(2), "d").await, Ok(3));
    let second = acquire(store, "two", MINUTE).await.unwrap();
    assert_eq!(
        write(store, again, Some(3), "frozen").await,
        fenced(again, second)
    );
    let ahead = second + 1;
    assert_eq!(write(store, ahead, Some(3), "ahead").await, fenced(ahead, second));
    assert_eq!(read(store).await, Some((3, "d".to_owned())));
    assert_eq!(write(store, second, Some(3), "e").await, Ok(4));
}

async fn a_write_needs_the_version_there_is(store: &Store) {
    let fence = acquire(store, "one", MINUTE).await.unwrap();
    assert_eq!(read(store).await, None);
    assert_eq!(write(store, fence, Some(1), "a").await, conflict(Some(1), None));
    assert_eq!(write(store, fence, Some(0), "a").await, conflict(Some(0), None));
    assert_eq!(write(store, fence, None, "a").await, Ok(1));
    for expected in [None, Some(0), Some(2), Some(u64::MAX)] {
        assert_eq!(
            write(store, fence, expected, "b").await,
            conflict(expected, Some(1))
        );
    }
    assert_eq!(write(store, fence, Some(1), "").await, Ok(2));
    assert_eq!(read(store).await, Some((2, String::new())));
}

async fn what_is_refused_changes_nothing(store: &Store) {
    let first = acquire(store, "one", MINUTE).await.unwrap();
    write(store, first, None, "a").await.unwrap();
    for _ in 0..3 {
        held_by("one", &acquire(store, "two", MINUTE).await);
        assert!(write(store, first, None, "b").await.is_err());
        assert!(write(store, first + 1, Some(1), "b").await.is_err());
    }
    // No token was used up by it, nor a lease cut short.
    assert_eq!(renew(store, first).await, Ok(()));
    assert_eq!(read(store).await, Some((1, "a".to_owned())));
    assert_eq!(acquire(store, "one", MINUTE).await, Ok(first + 1));
}

async fn accounts_are_apart(store: &Store) {
    let of_app = acquire(store, "one", MINUTE).await.unwrap();
    for _ in 0..2 {
        store.acquire("OTHER", "two", MINUTE, soon()).await.unwrap();
    }
    assert_eq!(
        store
            .write("OTHER", 2, None, Bytes::from_static(b"other"), soon())
            .await,
        Ok(1)
    );
    assert_eq!(read(store).await, None);
    store.release("OTHER", 2, soon()).await.unwrap();
    assert_eq!(renew(store, of_app).await, Ok(()));
    assert_eq!(store.renew("OTHER", of_app, MINUTE, soon()).await, lost(of_app));
    // Names are told apart to the letter.
    assert_eq!(store.acquire("app", "two", MINUTE, soon()).await, Ok(1));
}

async fn large_bodies_are_kept_to_the_byte(store: &Store) {
    let fence = acquire(store, "one", MINUTE).await.unwrap();
    let mut expected = None;
    for size in [0_usize, 1, 8 * 1024 * 1024, 3] {
        let body: Bytes = (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let written = store.write(ACCOUNT, fence, expected, body.clone(), soon()).await;
        expected = Some(written.unwrap());
        let found = store.read(ACCOUNT, soon()).await.unwrap().unwrap();
        assert_eq!(Some(found.version), expected);
        assert!(found.body == body, "{size} bytes");
    }
}

async fn the_longest_times_and_the_highest_numbers_are_no_trouble(store: &Store) {
    let fence = acquire(store, "one", Duration::from_secs(90 * 365 * 24 * 60 * 60))
        .await
        .unwrap();
    let remaining = held_by("one", &acquire(store, "two", MINUTE).await);
    assert!(
        remaining > Duration::from_secs(89 * 365 * 24 * 60 * 60),
        "{remaining:?}"
    );
    assert_eq!(renew(store, u64::MAX).await, lost(u64::MAX));
    release(store, u64::MAX).await;
    assert_eq!(write(store, u64::MAX, None, "a").await, fenced(u64::MAX, fence));
    assert_eq!(renew(store, fence).await, Ok(()));
}

async fn after_the_deadline_nothing_is_done(store: &Store) {
    let past = || Deadline::after(Duration::ZERO);
    assert!(matches!(
        store.acquire(ACCOUNT, "one", MINUTE, past()).await,
        Err(AccountStoreError::Unavailable { .. })
    ));
    let fence = acquire(store, "two", MINUTE).await.unwrap();
    assert!(matches!(
        store.read(ACCOUNT, past()).await,
        Err(AccountStoreError::Unavailable { .. })
    ));
    let late = store.write(ACCOUNT, fence, None, Bytes::from_static(b"late"), past());
    assert!(matches!(late.await, Err(AccountStoreError::Unavailable { .. })));
    assert_eq!(read(store).await, None);
}

async fn of_many_at_once_one_holds_it(store: &Store) {
    let mut newest = 0;
    for round in 0..10 {
        let tasks: Vec<_> = (0..12)
            .map(|who| {
                let store = Arc::clone(store);
                tokio::spawn(async move { acquire(&store, &format!("{round}-{who}"), MINUTE).await })
            })
            .collect();
        let mut tokens = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                Ok(fence) => tokens.push(fence),
                Err(AccountStoreError::Held { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(tokens.len(), 1, "{tokens:?}");
        assert!(tokens[0] > newest);
        newest = tokens[0];
        release(store, newest).await;
    }
}

async fn of_many_writes_at_once_from_one_version_one_is_done(store: &Store) {
    let fence = acquire(store, "one", MINUTE).await.unwrap();
    for version in 0..10_u64 {
        let expected = (version > 0).then_some(version);
        let tasks: Vec<_> = (0..8)
            .map(|who| {
                let store = Arc::clone(store);
                tokio::spawn(async move {
                    let body = format!("{version}-{who}");
                    write(&store, fence, expected, &body)
                        .await
                        .map(|written| (written, body))
                })
            })
            .collect();
        let mut done = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                Ok(written) => done.push(written),
                Err(AccountStoreError::Conflict { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(done.len(), 1, "{done:?}");
        assert_eq!(done[0].0, version + 1);
        assert_eq!(read(store).await.as_ref(), done.first());
    }
}
