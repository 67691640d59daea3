//! What every store must do with bans, beside the pushed memberships and in the same outbox.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{
    Announced, Announcement, Ban, BanScope, BanStore, BanStoreError, BanWritten, Change, Concern, Deadline,
    EntryId, Idempotency, Lifted, MembershipStore, Pace, Principal, Selector,
};

use super::{announced, at, put, soon, write};

/// No bans.
const NONE: [u8; 0] = [];

/// A store of both.
pub(in crate::pushed) trait Both: MembershipStore + BanStore {}
impl<T: MembershipStore + BanStore> Both for T {}

pub(in crate::pushed) type Store = Arc<dyn Both>;

/// Runs the whole suite, each part on an empty store of its own.
pub(in crate::pushed) async fn all<F: Future<Output = Store>>(make: impl Fn() -> F) {
    a_ban_is_in_force_on_what_it_is_about_until_it_ends(&make().await).await;
    every_kind_of_ban_comes_back_as_it_was(&make().await).await;
    what_was_imposed_and_lifted_is_announced_until_that_is_done(&make().await).await;
    a_repeated_call_is_done_once_and_told_how_it_stands(&make().await).await;
    a_reused_key_is_refused(&make().await).await;
    a_lifted_ban_stays_as_it_was_lifted_first(&make().await).await;
    lists_follow_the_names(&make().await).await;
    a_purge_takes_what_has_ended_and_nothing_else(&make().await).await;
    a_write_of_memberships_does_not_rest_on_a_ban(&make().await).await;
    one_call_made_many_times_at_once_happens_once(&make().await).await;
    after_the_deadline_nothing_is_done(&make().await).await;
}

fn principal(name: &str) -> Selector {
    Selector::Principal {
        principal: Principal::new("https://idp.example", name),
    }
}

/// A ban on a principal, imposed at second 0, in force until second 1000.
pub(in crate::pushed) fn ban(id: u8, who: &str) -> Ban {
    Ban {
        id: EntryId([id; 16]),
        selector: principal(who),
        scope: BanScope::Everyone { until: at(1000) },
        reason: "left the house".to_owned(),
        actor: "personnel".to_owned(),
        imposed_at: at(0),
        ends_at: at(1000),
        lifted: None,
    }
}

fn on(ban: &Ban) -> Concern {
    ban.selector.ban_concern().unwrap()
}

fn once(key: u8, body: u8) -> Idempotency {
    Idempotency {
        key: [key; 32],
        body: [body; 32],
    }
}

fn lifted(seconds: u64) -> Lifted {
    Lifted {
        at: at(seconds),
        actor: "helpdesk".to_owned(),
        reason: "came back".to_owned(),
    }
}

/// Imposes it under a key of its own.
pub(in crate::pushed) async fn impose(store: &Store, ban: &Ban) -> BanWritten {
    let key = once(ban.id.0[0], 0);
    store.impose(ban, Pace::Immediate, &key, soon()).await.unwrap()
}

/// The names of those in force at this second.
async fn in_force(store: &Store, concerns: &[Concern], seconds: u64) -> Vec<u8> {
    let found = store.in_force(concerns, at(seconds), soon()).await.unwrap();
    let mut names: Vec<u8> = found.iter().map(|ban| ban.id.0[0]).collect();
    names.sort_unstable();
    names
}

async fn list(store: &Store, all: bool, after: Option<u8>, limit: usize, seconds: u64) -> Vec<u8> {
    let after = after.map(|after| EntryId([after; 16]));
    let found = BanStore::list(&**store, all, after, limit, at(seconds), soon())
        .await
        .unwrap();
    found.iter().map(|ban| ban.id.0[0]).collect()
}

async fn pending(store: &Store) -> Vec<Announcement> {
    store.pending(100, soon()).await.unwrap()
}

async fn note(store: &Store, one: &Announcement, sequence: u64) -> Announced {
    let done = announced(one, sequence);
    store
        .done(std::slice::from_ref(&done), at(0), soon())
        .await
        .unwrap();
    done
}

async fn a_ban_is_in_force_on_what_it_is_about_until_it_ends(store: &Store) {
    let (alice, again, bob) = (ban(1, "alice"), ban(2, "alice"), ban(3, "bob"));
    assert_eq!(in_force(store, &[on(&alice)], 1).await, NONE);
    for one in [&alice, &again, &bob] {
        let written = impose(store, one).await;
        assert_eq!((&written.ban, written.repeated), (one, false));
    }
    assert_eq!(in_force(store, &[on(&alice)], 1).await, [1, 2]);
    let everywhere = [on(&bob), Concern::ban_on(&Concern::account("APP")), on(&alice)];
    assert_eq!(in_force(store, &everywhere, 999).await, [1, 2, 3]);
    assert_eq!(in_force(store, &everywhere, 1000).await, NONE);
    assert_eq!(in_force(store, &[], 1).await, NONE);
    // Sooner than a microsecond after the end, too.
    let exactly = at(1000) - Duration::from_nanos(1);
    let found = store.in_force(&[on(&bob)], exactly, soon()).await.unwrap();
    assert_eq!(found, [bob]);
}

async fn every_kind_of_ban_comes_back_as_it_was(store: &Store) {
    let issuer = || "https://idp.example".to_owned();
    let selectors = [
        principal("ünïcode \u{0}"),
        Selector::Account {
            name: "APP".to_owned(),
        },
        Selector::Provider { issuer: issuer() },
        Selector::SigningKey {
            issuer: issuer(),
            key_id: "k1".to_owned(),
        },
        Selector::Token {
            issuer: issuer(),
            token_id: "t1".to_owned(),
        },
        Selector::ProviderSession {
            issuer: issuer(),
            session_id: "s1".to_owned(),
        },
    ];
    for (id, selector) in (1..).zip(selectors) {
        let one = Ban {
            selector,
            scope: BanScope::IssuedUntil(at(30)),
            ..ban(id, "")
        };
        impose(store, &one).await;
        let found = store.in_force(&[on(&one)], at(1), soon()).await.unwrap();
        assert_eq!(found, [one]);
    }
    let cannot = Ban {
        selector: Selector::Rule {
            name: "staff".to_owned(),
        },
        ..ban(9, "")
    };
    let refused = store.impose(&cannot, Pace::Immediate, &once(9, 0), soon()).await;
    assert!(matches!(refused, Err(BanStoreError::Damaged(_))), "{refused:?}");
    assert_eq!(pending(store).await.len(), 6);
}

async fn what_was_imposed_and_lifted_is_announced_until_that_is_done(store: &Store) {
    let alice = ban(1, "alice");
    let pace = Pace::Spread {
        over: Duration::from_secs(60),
    };
    let written = store.impose(&alice, pace, &once(1, 1), soon()).await.unwrap();
    let first = Announcement {
        id: alice.id,
        at: at(0),
        change: Change::Revoked {
            selector: alice.selector.clone(),
            reason: alice.reason.clone(),
            actor: alice.actor.clone(),
            pace,
            ban: Some(alice.scope),
        },
    };
    assert_eq!((written.pending, written.announced), (Some(first.clone()), None));
    assert_eq!(pending(store).await, std::slice::from_ref(&first));
    let (entry, how) = (EntryId([77; 16]), lifted(9));
    let written = store
        .lift(alice.id, entry, &how, &once(2, 2), soon())
        .await
        .unwrap();
    assert_eq!(written.ban.lifted, Some(how));
    let second = Announcement {
        id: entry,
        at: at(9),
        change: Change::BanLifted {
            ban: alice.id,
            selector: alice.selector.clone(),
            reason: "came back".to_owned(),
            actor: "helpdesk".to_owned(),
        },
    };
    assert_eq!((written.pending, written.announced), (Some(second.clone()), None));
    // Beside what memberships call for, in the order it was done.
    store
        .apply(&write(vec![put("alice", "a")]), soon())
        .await
        .unwrap();
    let all = pending(store).await;
    assert_eq!(all[..2], [first.clone(), second]);
    assert_eq!(all.len(), 3);
    note(store, &first, 4).await;
    assert_eq!(pending(store).await, all[1..]);
}

async fn a_repeated_call_is_done_once_and_told_how_it_stands(store: &Store) {
    let alice = ban(1, "alice");
    let first = impose(store, &alice).await;
    let again = impose(store, &alice).await;
    assert!(again.repeated);
    assert_eq!((again.ban, again.pending), (alice.clone(), first.pending.clone()));
    let appended = note(store, &first.pending.unwrap(), 4).await;
    let again = impose(store, &alice).await;
    assert_eq!((again.pending, again.announced), (None, Some(appended)));

    let entry = EntryId([77; 16]);
    let lift = async || {
        store
            .lift(alice.id, entry, &lifted(9), &once(2, 2), soon())
            .await
            .unwrap()
    };
    let first = lift().await;
    let again = lift().await;
    assert!(!first.repeated && again.repeated);
    assert_eq!((again.ban, again.pending), (first.ban, first.pending.clone()));
    let appended = note(store, &first.pending.unwrap(), 5).await;
    assert_eq!(lift().await.announced, Some(appended));
    // The one who imposed it hears that it was lifted since.
    assert_eq!(impose(store, &alice).await.ban.lifted, Some(lifted(9)));
    assert_eq!(pending(store).await, []);
}

async fn a_reused_key_is_refused(store: &Store) {
    let alice = ban(1, "alice");
    impose(store, &alice).await;
    for reused in [
        store
            .impose(&ban(1, "bob"), Pace::Immediate, &once(1, 9), soon())
            .await,
        // The same name under another key, which is no mere repetition.
        store
            .impose(&ban(1, "bob"), Pace::Immediate, &once(8, 0), soon())
            .await,
        store
            .lift(alice.id, EntryId([77; 16]), &lifted(9), &once(1, 9), soon())
            .await,
    ] {
        assert_eq!(reused, Err(BanStoreError::KeyReused));
    }
    assert_eq!(in_force(store, &[on(&alice)], 1).await, [1]);
    assert_eq!(in_force(store, &[on(&ban(1, "bob"))], 1).await, NONE);
    assert_eq!(pending(store).await.len(), 1);
}

async fn a_lifted_ban_stays_as_it_was_lifted_first(store: &Store) {
    let alice = ban(1, "alice");
    let entry = |id: u8| EntryId([id; 16]);
    let unknown = store
        .lift(alice.id, entry(77), &lifted(9), &once(2, 2), soon())
        .await;
    assert_eq!(unknown, Err(BanStoreError::NotFound));
    impose(store, &alice).await;
    // That there was none is not remembered.
    store
        .lift(alice.id, entry(77), &lifted(9), &once(2, 2), soon())
        .await
        .unwrap();
    assert_eq!(in_force(store, &[on(&alice)], 10).await, NONE);
    let again = store
        .lift(alice.id, entry(78), &lifted(20), &once(3, 3), soon())
        .await
        .unwrap();
    assert_eq!((again.ban.lifted, again.repeated), (Some(lifted(9)), false));
    assert_eq!(
        again.pending.map(|one| one.id),
        Some(entry(77)),
        "it rests on that"
    );
    assert_eq!(pending(store).await.len(), 2);
    assert_eq!(in_force(store, &[on(&alice)], 30).await, NONE);
}

async fn lists_follow_the_names(store: &Store) {
    for id in [3, 1, 250, 4, 2] {
        let one = Ban {
            ends_at: at(if id == 4 { 10 } else { 1000 }),
            ..ban(id, "alice")
        };
        impose(store, &one).await;
    }
    let entry = EntryId([77; 16]);
    store
        .lift(EntryId([2; 16]), entry, &lifted(9), &once(100, 0), soon())
        .await
        .unwrap();
    assert_eq!(list(store, false, None, 10, 20).await, [1, 3, 250]);
    assert_eq!(list(store, true, None, 10, 20).await, [1, 2, 3, 4, 250]);
    assert_eq!(list(store, true, None, 2, 20).await, [1, 2]);
    assert_eq!(list(store, true, Some(2), 2, 20).await, [3, 4]);
    assert_eq!(list(store, false, Some(1), 1, 20).await, [3]);
    assert_eq!(list(store, true, Some(250), 2, 20).await, NONE);
    assert_eq!(list(store, true, None, 0, 20).await, NONE);
}

async fn a_purge_takes_what_has_ended_and_nothing_else(store: &Store) {
    let short = Ban {
        ends_at: at(100),
        ..ban(1, "alice")
    };
    let long = ban(2, "alice");
    for one in [&short, &long] {
        impose(store, one).await;
    }
    assert_eq!(store.purge_bans(at(100), soon()).await.unwrap(), 0);
    assert_eq!(store.purge_bans(at(101), soon()).await.unwrap(), 1);
    assert_eq!(list(store, true, None, 10, 1).await, [2]);
    assert_eq!(in_force(store, &[on(&long)], 1).await, [2]);
    assert_eq!(pending(store).await.len(), 2, "never before it is appended");
    // The call is forgotten, and the ban is not: it is still the same one.
    let again = impose(store, &long).await;
    assert!(again.repeated && again.pending.is_some());
    assert_eq!(pending(store).await.len(), 2);
    let gone = store
        .lift(short.id, EntryId([77; 16]), &lifted(9), &once(3, 3), soon())
        .await;
    assert_eq!(gone, Err(BanStoreError::NotFound));
}

async fn a_write_of_memberships_does_not_rest_on_a_ban(store: &Store) {
    let first = store
        .apply(&write(vec![put("alice", "a")]), soon())
        .await
        .unwrap();
    let done = note(store, &first.pending[0], 1).await;
    let banned = impose(store, &ban(1, "alice")).await;
    let same = store
        .apply(&write(vec![put("alice", "a")]), soon())
        .await
        .unwrap();
    assert_eq!((same.pending.len(), &same.announced), (0, &vec![done.clone()]));
    note(store, &banned.pending.unwrap(), 2).await;
    let same = store
        .apply(&write(vec![put("alice", "a")]), soon())
        .await
        .unwrap();
    assert_eq!(same.announced, [done]);
    // And a purge of the outbox takes the ban's announcement, and leaves the ban.
    let purged = store.purge(at(1), soon()).await.unwrap();
    assert_eq!(purged.announcements, 2);
    assert_eq!(in_force(store, &[on(&ban(1, "alice"))], 2).await, [1]);
    let again = impose(store, &ban(1, "alice")).await;
    assert_eq!(
        (again.repeated, again.pending, again.announced),
        (true, None, None)
    );
}

async fn one_call_made_many_times_at_once_happens_once(store: &Store) {
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move { impose(&store, &ban(1, "alice")).await })
        })
        .collect();
    let mut first = 0;
    for call in calls {
        first += usize::from(!call.await.unwrap().repeated);
    }
    assert_eq!(first, 1);
    assert_eq!(pending(store).await.len(), 1);
}

async fn after_the_deadline_nothing_is_done(store: &Store) {
    let passed = Deadline::after(Duration::ZERO);
    let alice = ban(1, "alice");
    let late = store.impose(&alice, Pace::Immediate, &once(1, 0), passed).await;
    assert!(
        matches!(&late, Err(BanStoreError::Unavailable { doing, .. }) if doing == "imposing a ban"),
        "{late:?}"
    );
    let late = store.in_force(&[on(&alice)], at(1), passed).await;
    assert!(matches!(late, Err(BanStoreError::Unavailable { .. })), "{late:?}");
    assert_eq!(list(store, true, None, 10, 1).await, NONE);
    assert_eq!(pending(store).await, []);
}
