//! What every store of pushed memberships must do. One suite, run on each of them.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use natsgate_core::{
    Announced, Announcement, Change, Conflict, Deadline, Epoch, Idempotency, ItemOutcome, Membership,
    MembershipFilter, MembershipKey, MembershipStore, MembershipStoreError, MembershipWrite, Principal,
    Reach, Revision, WriteAct, WriteItem, Written,
};

pub(super) mod bans;
mod lists;

pub(super) type Store = Arc<dyn MembershipStore>;

/// Runs the whole suite, each part on an empty store of its own.
pub(super) async fn all<F: Future<Output = Store>>(make: impl Fn() -> F) {
    what_is_put_is_there_and_what_is_deleted_is_not(&make().await).await;
    versions_grow_over_the_whole_store(&make().await).await;
    a_batch_is_written_as_a_whole_or_not_at_all(&make().await).await;
    a_repeated_write_is_done_once_and_answered_the_same(&make().await).await;
    a_reused_key_is_refused_and_a_conflict_is_not_remembered(&make().await).await;
    every_changed_principal_is_announced_until_that_is_done(&make().await).await;
    what_changes_nothing_rests_on_what_was_announced(&make().await).await;
    lists::pages_follow_the_keys_and_lose_nothing(&make().await).await;
    lists::a_list_keeps_to_the_filter_and_the_reach(&make().await).await;
    lists::texts_are_kept_to_the_letter(&make().await).await;
    lists::neighbours_are_told_apart(&make().await).await;
    a_purge_takes_what_is_old_and_nothing_else(&make().await).await;
    writers_at_once_lose_no_update(&make().await).await;
    one_write_asked_for_twice_at_once_happens_once(&make().await).await;
    after_the_deadline_nothing_is_done(&make().await).await;
}

pub(super) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

pub(super) fn item(act: WriteAct, subject: &str, id: &str) -> WriteItem {
    WriteItem {
        key: MembershipKey {
            principal: Principal::new("https://idp.example", subject),
            membership: Membership {
                kind: "project".into(),
                id: id.into(),
                role: "member".into(),
            },
        },
        act,
        expected_version: None,
    }
}

pub(super) fn put(subject: &str, id: &str) -> WriteItem {
    item(WriteAct::Put, subject, id)
}

fn delete(subject: &str, id: &str) -> WriteItem {
    item(WriteAct::Delete, subject, id)
}

fn expecting(version: u64, mut item: WriteItem) -> WriteItem {
    item.expected_version = Some(version);
    item
}

fn write_as(key: u64, body: u8, seconds: u64, items: Vec<WriteItem>) -> MembershipWrite {
    let mut name = [0; 32];
    name[..8].copy_from_slice(&key.to_be_bytes());
    let idempotency = Idempotency {
        key: name,
        body: [body; 32],
    };
    MembershipWrite::new(items, "crm", "a test", at(seconds), idempotency).unwrap()
}

/// A write with an idempotency key of its own.
pub(super) fn write(items: Vec<WriteItem>) -> MembershipWrite {
    write_as(rand::random::<u64>() | 1 << 63, 0, 0, items)
}

pub(super) async fn apply(store: &Store, items: Vec<WriteItem>) -> Written {
    store.apply(&write(items), soon()).await.unwrap()
}

pub(super) async fn ids(store: &Store, subject: &str) -> Vec<String> {
    let principal = Principal::new("https://idp.example", subject);
    let found = store.of(&principal, soon()).await.unwrap();
    found.into_iter().map(|membership| membership.id).collect()
}

fn versions(written: &Written) -> Vec<u64> {
    written.outcomes.iter().map(|one| one.record.version).collect()
}

fn everything() -> MembershipFilter {
    MembershipFilter {
        deleted: true,
        ..MembershipFilter::within(Reach::everything())
    }
}

async fn keys(store: &Store, filter: &MembershipFilter) -> Vec<(String, String)> {
    let page = store.list(filter, None, 1000, soon()).await.unwrap();
    assert_eq!(page.next, None);
    let name = |key: MembershipKey| (key.principal.subject, key.membership.id);
    page.records.into_iter().map(|record| name(record.key)).collect()
}

fn announced(announcement: &Announcement, sequence: u64) -> Announced {
    Announced {
        id: announcement.id,
        revision: Revision::new(Epoch::from_bytes([7; 16]), sequence),
        confirmed: sequence.is_multiple_of(2),
    }
}

async fn what_is_put_is_there_and_what_is_deleted_is_not(store: &Store) {
    assert_eq!(ids(store, "alice").await, Vec::<String>::new());
    let written = apply(store, vec![put("alice", "b"), put("alice", "a"), put("bob", "c")]).await;
    assert!(!written.repeated);
    assert!(
        written
            .outcomes
            .iter()
            .all(|one| one.changed && !one.record.deleted)
    );
    assert_eq!(ids(store, "alice").await, ["a", "b"]);
    assert_eq!(ids(store, "bob").await, ["c"]);

    let taken = apply(store, vec![delete("alice", "a"), delete("alice", "never")]).await;
    assert_eq!(ids(store, "alice").await, ["b"]);
    let [gone, never] = &taken.outcomes[..] else {
        panic!("two items, {} outcomes", taken.outcomes.len());
    };
    assert!(gone.changed && gone.record.deleted);
    assert_eq!(
        (never.changed, never.record.version, never.record.deleted),
        (false, 0, true)
    );
    let page = store.list(&everything(), None, 10, soon()).await.unwrap();
    assert_eq!(page.records.len(), 3, "the one that never was is not kept");
    let tombstone = &page.records[0];
    assert_eq!(tombstone, &gone.record);
    assert_eq!(
        (tombstone.changed_at, tombstone.changed_by.as_str()),
        (at(0), "crm")
    );
}

async fn versions_grow_over_the_whole_store(store: &Store) {
    let first = versions(&apply(store, vec![put("alice", "a"), put("bob", "a")]).await);
    let same = versions(&apply(store, vec![put("alice", "a")]).await);
    assert_eq!(same, first[..1], "what changes nothing keeps its version");
    let second = versions(&apply(store, vec![put("carol", "z")]).await);
    let gone = versions(&apply(store, vec![delete("alice", "a")]).await);
    let back = versions(&apply(store, vec![put("alice", "a")]).await);
    let grown = [first[0], second[0], gone[0], back[0]];
    assert!(first[0] > 0 && grown.is_sorted_by(|a, b| a < b), "{grown:?}");
    let page = store.list(&everything(), None, 1, soon()).await.unwrap();
    assert_eq!(page.records[0].version, back[0]);
}

async fn a_batch_is_written_as_a_whole_or_not_at_all(store: &Store) {
    let version = versions(&apply(store, vec![put("alice", "a")]).await)[0];
    let pending = store.pending(10, soon()).await.unwrap();
    let batch = vec![
        put("bob", "new"),
        expecting(0, put("alice", "a")),
        delete("alice", "other"),
        expecting(9, put("carol", "none")),
    ];
    let refused = store.apply(&write(batch), soon()).await;
    let conflict = |item: usize, current_version: u64| Conflict {
        item,
        current_version,
        deleted: false,
    };
    assert_eq!(
        refused,
        Err(MembershipStoreError::Conflict(vec![
            conflict(1, version),
            conflict(3, 0)
        ]))
    );
    assert_eq!(keys(store, &everything()).await, [("alice".into(), "a".into())]);
    assert_eq!(store.pending(10, soon()).await.unwrap(), pending);

    apply(
        store,
        vec![
            expecting(version, delete("alice", "a")),
            expecting(0, put("bob", "new")),
        ],
    )
    .await;
    assert_eq!(
        (ids(store, "alice").await.len(), ids(store, "bob").await.len()),
        (0, 1)
    );
}

async fn a_repeated_write_is_done_once_and_answered_the_same(store: &Store) {
    let first = store
        .apply(&write_as(1, 1, 0, vec![put("alice", "a")]), soon())
        .await
        .unwrap();
    store
        .done(&[announced(&first.pending[0], 4)], at(0), soon())
        .await
        .unwrap();
    let between = apply(store, vec![delete("alice", "a")]).await;
    let again = store
        .apply(&write_as(1, 1, 50, vec![put("alice", "a")]), soon())
        .await
        .unwrap();
    assert!(again.repeated);
    assert_eq!(again.outcomes, first.outcomes, "the answer of then");
    assert_eq!(again.announced, [announced(&first.pending[0], 4)]);
    assert_eq!(again.pending, [], "what came between is not its business");
    assert_eq!(
        ids(store, "alice").await,
        Vec::<String>::new(),
        "it is not done again"
    );

    // Not announced yet: the one who asks again has it to announce.
    let other = write_as(2, 1, 0, vec![put("bob", "b")]);
    let first = store.apply(&other, soon()).await.unwrap();
    let again = store.apply(&other, soon()).await.unwrap();
    assert_eq!((again.repeated, &again.pending), (true, &first.pending));
    assert_eq!(
        store.pending(10, soon()).await.unwrap().len(),
        between.pending.len() + 1
    );
}

async fn a_reused_key_is_refused_and_a_conflict_is_not_remembered(store: &Store) {
    store
        .apply(&write_as(1, 1, 0, vec![put("alice", "a")]), soon())
        .await
        .unwrap();
    let reused = store
        .apply(&write_as(1, 2, 0, vec![put("alice", "b")]), soon())
        .await;
    assert_eq!(reused, Err(MembershipStoreError::KeyReused));
    assert_eq!(ids(store, "alice").await, ["a"]);

    let careful = write_as(2, 1, 0, vec![expecting(0, put("alice", "a"))]);
    assert!(matches!(
        store.apply(&careful, soon()).await,
        Err(MembershipStoreError::Conflict(_))
    ));
    apply(store, vec![delete("alice", "a")]).await;
    let written = store.apply(&careful, soon()).await.unwrap();
    assert!(written.outcomes[0].changed && !written.repeated);
}

async fn every_changed_principal_is_announced_until_that_is_done(store: &Store) {
    apply(store, vec![put("bob", "old")]).await;
    let before = store.pending(10, soon()).await.unwrap();
    store
        .done(&[announced(&before[0], 1)], at(0), soon())
        .await
        .unwrap();

    let written = apply(
        store,
        vec![put("alice", "a"), delete("bob", "old"), put("bob", "new")],
    )
    .await;
    let pending = store.pending(10, soon()).await.unwrap();
    assert_eq!(written.pending, pending);
    assert_eq!(written.announced, []);
    let changes: Vec<(String, Vec<String>, Vec<String>, String)> = pending
        .iter()
        .map(|one| match &one.change {
            Change::MembershipsChanged {
                principal,
                given,
                taken,
                actor,
            } => {
                let ids = |list: &[Membership]| list.iter().map(|one| one.id.clone()).collect();
                (principal.subject.clone(), ids(given), ids(taken), actor.clone())
            }
            other => panic!("another change: {other:?}"),
        })
        .collect();
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        changes,
        [
            ("alice".into(), texts(&["a"]), texts(&[]), "crm".into()),
            ("bob".into(), texts(&["new"]), texts(&["old"]), "crm".into()),
        ]
    );
    assert!(pending.iter().all(|one| one.at == at(0)));
    assert_ne!(pending[0].id, pending[1].id);

    assert_eq!(
        store.pending(1, soon()).await.unwrap(),
        pending[..1],
        "the oldest first"
    );
    let unknown = Announced {
        id: natsgate_core::EntryId([9; 16]),
        ..announced(&pending[0], 3)
    };
    store
        .done(&[unknown, announced(&pending[0], 2)], at(0), soon())
        .await
        .unwrap();
    assert_eq!(store.pending(10, soon()).await.unwrap(), pending[1..]);
    // Somebody else has appended it too, and notes it later: what is known stays.
    store
        .done(
            &[announced(&pending[0], 2), announced(&pending[1], 5)],
            at(1),
            soon(),
        )
        .await
        .unwrap();
    assert_eq!(store.pending(10, soon()).await.unwrap(), []);
}

async fn what_changes_nothing_rests_on_what_was_announced(store: &Store) {
    let first = apply(store, vec![put("alice", "a")]).await;
    let second = apply(store, vec![put("alice", "b")]).await;
    apply(store, vec![put("bob", "a")]).await;
    // Both are still to be announced.
    let ids_of = |list: &[Announcement]| list.iter().map(|one| one.id.0).collect::<BTreeSet<_>>();
    let same = apply(store, vec![put("alice", "a")]).await;
    let both: Vec<Announcement> = [&first.pending[..], &second.pending[..]].concat();
    assert_eq!(ids_of(&same.pending), ids_of(&both));
    // The second is announced before the first.
    store
        .done(&[announced(&both[1], 6)], at(0), soon())
        .await
        .unwrap();
    let same = apply(store, vec![put("alice", "a"), put("carol", "c")]).await;
    assert_eq!(same.announced, [announced(&both[1], 6)]);
    assert!(ids_of(&same.pending).contains(&both[0].id.0) && same.pending.len() == 2);
    store
        .done(&[announced(&both[0], 7)], at(0), soon())
        .await
        .unwrap();
    let same = apply(store, vec![delete("alice", "never")]).await;
    assert_eq!((same.pending.len(), same.announced.len()), (0, 1));
    // Never heard of: there is nothing to rest on.
    let nothing = apply(store, vec![delete("nobody", "a")]).await;
    assert_eq!((nothing.pending.len(), nothing.announced.len()), (0, 0));
}

async fn a_purge_takes_what_is_old_and_nothing_else(store: &Store) {
    let old = write_as(1, 1, 0, vec![put("alice", "a"), put("alice", "b")]);
    store.apply(&old, soon()).await.unwrap();
    store
        .apply(&write_as(2, 1, 10, vec![delete("alice", "a")]), soon())
        .await
        .unwrap();
    let new = write_as(3, 1, 20, vec![delete("alice", "b"), put("bob", "c")]);
    store.apply(&new, soon()).await.unwrap();
    let pending = store.pending(10, soon()).await.unwrap();
    let (early, late) = (announced(&pending[0], 1), announced(&pending[1], 2));
    store.done(&[early], at(5), soon()).await.unwrap();
    // Made long ago, but known to be appended only now.
    store.done(&[late], at(30), soon()).await.unwrap();

    let purged = store.purge(at(20), soon()).await.unwrap();
    assert_eq!(
        (purged.tombstones, purged.answers, purged.announcements),
        (1, 2, 1)
    );
    assert_eq!(
        keys(store, &everything()).await,
        [("alice".into(), "b".into()), ("bob".into(), "c".into())]
    );
    assert_eq!(
        store.pending(10, soon()).await.unwrap(),
        pending[2..],
        "never before it is appended"
    );
    assert!(store.apply(&new, soon()).await.unwrap().repeated);
    // Its key is free again, and versions go on: nobody who remembers an old one is deceived.
    let again = store.apply(&old, soon()).await.unwrap();
    assert!(!again.repeated && versions(&again) == [4, 4], "{again:?}");
    assert_eq!(store.purge(at(20), soon()).await.unwrap().tombstones, 0);
}

async fn writers_at_once_lose_no_update(store: &Store) {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 5;
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let mut won = Vec::new();
                let mut seen = 0;
                while won.len() < ROUNDS {
                    // All of them turn one record back and forth, each from the version it saw.
                    let act = |deleted: bool| if deleted { WriteAct::Put } else { WriteAct::Delete };
                    let page = store.list(&everything(), None, 1, soon()).await.unwrap();
                    let now = page
                        .records
                        .first()
                        .map_or((0, true), |one| (one.version, one.deleted));
                    let careful = expecting(now.0, item(act(now.1), "alice", "a"));
                    let own = put("alice-too", &format!("w{writer}-{}", won.len()));
                    match store.apply(&write(vec![careful, own]), soon()).await {
                        Ok(written) => {
                            assert!(written.outcomes.iter().all(|one: &ItemOutcome| one.changed));
                            won.push(written.outcomes[0].record.version);
                        }
                        Err(MembershipStoreError::Conflict(conflicts)) => {
                            assert_eq!(conflicts[0].item, 0);
                            assert!(conflicts[0].current_version > seen);
                            seen = now.0;
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
                won
            })
        })
        .collect();
    let mut versions = Vec::new();
    for task in tasks {
        versions.extend(task.await.unwrap());
    }
    versions.sort_unstable();
    let expected: Vec<u64> = (1..=(WRITERS * ROUNDS) as u64).collect();
    assert_eq!(
        versions, expected,
        "every write has a number of its own, without a gap"
    );
    assert_eq!(ids(store, "alice-too").await.len(), WRITERS * ROUNDS);
}

async fn one_write_asked_for_twice_at_once_happens_once(store: &Store) {
    let one = write(vec![put("alice", "a")]);
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let (store, one) = (Arc::clone(store), one.clone());
            tokio::spawn(async move { store.apply(&one, soon()).await.unwrap() })
        })
        .collect();
    let mut first = 0;
    for task in asking {
        let written = task.await.unwrap();
        first += usize::from(!written.repeated);
        assert_eq!(versions(&written), [1]);
    }
    assert_eq!(first, 1);
    assert_eq!(store.pending(10, soon()).await.unwrap().len(), 1);
}

async fn after_the_deadline_nothing_is_done(store: &Store) {
    let passed = Deadline::after(Duration::ZERO);
    let result = store.apply(&write(vec![put("alice", "a")]), passed).await;
    assert!(
        matches!(result, Err(MembershipStoreError::Unavailable { .. })),
        "{result:?}"
    );
    let result = store.of(&Principal::new("i", "alice"), passed).await;
    assert!(
        matches!(result, Err(MembershipStoreError::Unavailable { .. })),
        "{result:?}"
    );
    assert_eq!(ids(store, "alice").await, Vec::<String>::new());
}
