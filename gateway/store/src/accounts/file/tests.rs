//! The file: the conformance suite, and what is there after a restart.

use tempfile::TempDir;

use super::*;
use crate::accounts::conformance::{self, ACCOUNT, MINUTE, Store, acquire, read, soon, write};

async fn store(folder: &TempDir) -> FileAccountStore {
    FileAccountStore::open(folder.path().join("accounts.redb"))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_does_what_every_store_does() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::sync::atomic::AtomicUsize::new(0);
    conformance::all(|| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = folder.path().join(format!("{number}.redb"));
        async { Arc::new(FileAccountStore::open(path).await.unwrap()) as Store }
    })
    .await;
}

#[tokio::test]
async fn tokens_and_what_is_wanted_are_there_after_a_restart_and_leases_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let opened: Store = Arc::new(store(&folder).await);
    let old = acquire(&opened, "one", MINUTE).await.unwrap();
    assert_eq!(write(&opened, old, None, "a").await, Ok(1));
    drop(opened);

    let opened: Store = Arc::new(store(&folder).await);
    // Whoever had it open before is gone.
    let new = acquire(&opened, "two", MINUTE).await.unwrap();
    assert!(new > old);
    assert_eq!(
        write(&opened, old, Some(1), "frozen").await,
        Err(AccountStoreError::Fenced {
            fence: old,
            newest: new
        })
    );
    assert_eq!(read(&opened).await, Some((1, "a".to_owned())));
    assert_eq!(write(&opened, new, Some(1), "b").await, Ok(2));
}

#[tokio::test]
async fn a_file_is_one_process_s() {
    let folder = tempfile::tempdir().unwrap();
    let opened = store(&folder).await;
    let second = FileAccountStore::open(folder.path().join("accounts.redb")).await;
    let said = second.err().unwrap().to_string();
    assert!(said.contains("another process has it open"), "{said}");
    let nowhere = FileAccountStore::open(folder.path().join("no/such.redb")).await;
    assert!(nowhere.is_err());
    assert_eq!(opened.read(ACCOUNT, soon()).await, Ok(None));
}
