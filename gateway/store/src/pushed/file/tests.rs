//! The file store: the conformance suite, and what is a file's own.

use std::sync::Mutex;

use super::*;
use crate::pushed::conformance::{self, Store, apply, ids, put, soon, write};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

async fn open(folder: &tempfile::TempDir) -> Store {
    Arc::new(
        FileMembershipStore::open(folder.path().join("memberships.redb"))
            .await
            .unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_does_what_every_store_does() {
    let folders = Mutex::new(Vec::new());
    conformance::all(|| {
        let folder = folder();
        let path = folder.path().join("memberships.redb");
        folders.lock().unwrap().push(folder);
        async move { Arc::new(FileMembershipStore::open(path).await.unwrap()) as Store }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_does_with_bans_what_every_store_does() {
    let folders = Mutex::new(Vec::new());
    conformance::bans::all(|| {
        let folder = folder();
        let path = folder.path().join("memberships.redb");
        folders.lock().unwrap().push(folder);
        async move { Arc::new(FileMembershipStore::open(path).await.unwrap()) as conformance::bans::Store }
    })
    .await;
}

#[tokio::test]
async fn a_file_from_before_there_were_bans_holds_them_from_now_on() {
    let folder = folder();
    let path = folder.path().join("memberships.redb");
    let store = open(&folder).await;
    let one = write(vec![put("alice", "a")]);
    store.apply(&one, soon()).await.unwrap();
    drop(store);
    {
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let names: Vec<_> = transaction.list_tables().unwrap().collect();
        let mut bans = 0;
        for table in names {
            if redb::TableHandle::name(&table).contains("ban") {
                assert!(transaction.delete_table(table).unwrap());
                bans += 1;
            }
        }
        assert_eq!(bans, 3);
        transaction.commit().unwrap();
    }
    let both: conformance::bans::Store = Arc::new(FileMembershipStore::open(&path).await.unwrap());
    let banned = conformance::bans::ban(1, "alice");
    let concern = banned.selector.ban_concern().unwrap();
    // Asked before anything is written: decisions do, from the start.
    let found = both.in_force(&[concern], banned.imposed_at, soon()).await;
    assert_eq!(found, Ok(Vec::new()));
    conformance::bans::impose(&both, &banned).await;
    drop(both);
    let store = FileMembershipStore::open(&path).await.unwrap();
    let found = natsgate_core::BanStore::in_force(&store, &[concern], banned.imposed_at, soon()).await;
    assert_eq!(found, Ok(vec![banned]));
    assert!(
        MembershipStore::apply(&store, &one, soon())
            .await
            .unwrap()
            .repeated
    );
    assert_eq!(
        MembershipStore::pending(&store, 10, soon()).await.unwrap().len(),
        2
    );
}

#[tokio::test]
async fn everything_is_there_when_it_is_opened_again() {
    let folder = folder();
    let store = open(&folder).await;
    let one = write(vec![put("alice", "a"), put("bob", "b")]);
    let written = store.apply(&one, soon()).await.unwrap();
    drop(store);

    let store = open(&folder).await;
    assert_eq!(ids(&store, "alice").await, ["a"]);
    assert_eq!(store.pending(10, soon()).await.unwrap(), written.pending);
    let again = store.apply(&one, soon()).await.unwrap();
    assert_eq!((again.repeated, again.outcomes), (true, written.outcomes));
    let next = apply(&store, vec![put("alice", "c")]).await;
    assert_eq!(next.outcomes[0].record.version, 2);
}

#[tokio::test]
async fn a_file_that_is_open_is_not_opened_again() {
    let folder = folder();
    let _store = open(&folder).await;
    let error = FileMembershipStore::open(folder.path().join("memberships.redb"))
        .await
        .err()
        .expect("refused")
        .to_string();
    assert!(
        error.contains("another process has it open") && error.contains("PostgreSQL"),
        "{error}"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_reads_the_file() {
    use std::os::unix::fs::PermissionsExt;

    let folder = folder();
    let _store = open(&folder).await;
    let about = std::fs::metadata(folder.path().join("memberships.redb")).unwrap();
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn what_is_no_store_is_refused_and_left_alone() {
    let folder = folder();
    let path = folder.path().join("memberships.redb");
    let refused = async || {
        FileMembershipStore::open(&path)
            .await
            .err()
            .expect("refused")
            .to_string()
    };
    std::fs::write(&path, "not a store".repeat(1000)).unwrap();
    let error = refused().await;
    assert!(error.contains("memberships.redb"), "{error}");
    assert_eq!(
        std::fs::read(&path).unwrap(),
        "not a store".repeat(1000).into_bytes()
    );
    std::fs::remove_file(&path).unwrap();

    // Another release's.
    {
        let database = Database::create(&path).unwrap();
        let table = redb::TableDefinition::<&str, u64>::new("numbers");
        let transaction = database.begin_write().unwrap();
        transaction
            .open_table(table)
            .unwrap()
            .insert("format", 2)
            .unwrap();
        transaction.commit().unwrap();
    }
    assert!(refused().await.contains("format 2"), "{}", refused().await);

    let nowhere = folder.path().join("no such folder/memberships.redb");
    let error = FileMembershipStore::open(nowhere)
        .await
        .err()
        .expect("refused")
        .to_string();
    assert!(error.contains("its folder must exist"), "{error}");
}

#[tokio::test]
async fn a_torn_file_never_gives_a_part_of_the_truth() {
    let folder = folder();
    let path = folder.path().join("memberships.redb");
    let store = open(&folder).await;
    let names: Vec<String> = (0..200).map(|n| format!("{n:03}")).collect();
    apply(&store, names.iter().map(|id| put("alice", id)).collect()).await;
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    // Pages of it are overwritten, one place after the other: either it is noticed, or nothing is missing.
    let mut noticed = 0;
    for place in (4096..whole.len()).step_by(whole.len() / 24) {
        let mut torn = whole.clone();
        let end = (place + 512).min(torn.len());
        torn[place..end].fill(0xA5);
        std::fs::write(&path, &torn).unwrap();
        match FileMembershipStore::open(&path).await {
            Err(_) => noticed += 1,
            Ok(store) => {
                let store: Store = Arc::new(store);
                match store
                    .of(&Principal::new("https://idp.example", "alice"), soon())
                    .await
                {
                    Err(_) => noticed += 1,
                    Ok(found) => assert_eq!(found.len(), 200, "at {place}"),
                }
            }
        }
    }
    assert!(noticed > 0);
}
