//! The PostgreSQL store: the conformance suite on a real server, and what happens when the server does not play along.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use natsgate_devkit::PostgresServer;
use natsgate_postgres::{PostgresSettings, PostgresTlsMode};
use tokio::task::JoinHandle;

use super::*;
use crate::accounts::conformance::{
    self, ACCOUNT, MINUTE, Store, acquire, read, release, renew, soon, write,
};

fn pool_of(server: &PostgresServer, user: &str, password: &str) -> Pool {
    let mut settings = PostgresSettings::new("127.0.0.1", server.database(), user);
    settings.port = server.port();
    settings.password = Some(password.to_owned().into());
    settings.tls.mode = Some(PostgresTlsMode::Disable);
    Pool::new(&settings).unwrap()
}

/// A store with connections of its own, as another process would have.
fn store(server: &PostgresServer, schema: &str) -> Store {
    let pool = pool_of(server, server.user(), server.password());
    Arc::new(PostgresAccountStore::new(pool, schema).unwrap())
}

#[track_caller]
fn why<T: std::fmt::Debug>(answer: Result<T>) -> String {
    match answer {
        Err(error @ AccountStoreError::Unavailable { .. }) => error.to_string(),
        other => panic!("not unavailable: {other:?}"),
    }
}

/// Waits until `count` backends are as `condition` says; the process id of one.
async fn waiting(server: &PostgresServer, condition: &str, count: usize) -> String {
    let sql = format!("SELECT pid FROM pg_stat_activity WHERE {condition}");
    let looking = async {
        loop {
            let rows = server.query(&sql).await.unwrap();
            if rows.len() == count {
                return rows[0][0].clone().unwrap();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon().bound(looking).await.expect("nobody waits")
}

async fn terminate(server: &PostgresServer, pid: &str) {
    server
        .execute(&format!("SELECT pg_terminate_backend({pid})"))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_does_what_every_store_does() {
    let server = PostgresServer::start().await.unwrap();
    let count = AtomicUsize::new(0);
    conformance::all(|| {
        let store = store(
            &server,
            &format!("natsgate_{}", count.fetch_add(1, Ordering::Relaxed)),
        );
        async move { store }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_at_once_make_the_tables_once_and_never_hold_one_lease_together() {
    let server = PostgresServer::start().await.unwrap();
    let rounds: usize = 8;
    let tasks: Vec<JoinHandle<Vec<Fence>>> = (0..8)
        .map(|who| {
            let store = store(&server, "natsgate");
            tokio::spawn(async move {
                let mut tokens = Vec::new();
                while tokens.len() < rounds {
                    match acquire(&store, &format!("process {who}"), MINUTE).await {
                        Ok(fence) => {
                            // A counter that would miss a step if two were here at once: there is no version to notice it by.
                            let before = read(&store).await.map_or(0, |(version, _)| version);
                            let expected = (before > 0).then_some(before);
                            let text = format!("{}", before + 1);
                            assert_eq!(write(&store, fence, expected, &text).await, Ok(before + 1));
                            release(&store, fence).await;
                            tokens.push(fence);
                        }
                        Err(AccountStoreError::Held { .. }) => tokio::task::yield_now().await,
                        Err(other) => panic!("{other}"),
                    }
                }
                tokens
            })
        })
        .collect();
    let mut tokens = Vec::new();
    for task in tasks {
        let of_one = task.await.unwrap();
        assert!(of_one.is_sorted_by(|one, next| one < next), "{of_one:?}");
        tokens.extend(of_one);
    }
    let count = 8 * rounds as u64;
    tokens.sort_unstable();
    // All distinct, and none used up by those who were refused.
    assert_eq!(tokens, (1..=count).collect::<Vec<Fence>>());
    assert_eq!(
        read(&store(&server, "natsgate")).await,
        Some((count, count.to_string()))
    );
    let versions = server
        .query("SELECT version FROM natsgate.account_migrations")
        .await
        .unwrap();
    assert_eq!(versions, [[Some("1".to_owned())]]);
}

#[tokio::test]
async fn the_time_is_the_server_s_when_it_has_the_lock() {
    let server = PostgresServer::start().await.unwrap();
    let one = store(&server, "natsgate");
    let first = acquire(&one, "one", MINUTE).await.unwrap();
    // A renewal that waits for a lock until the lease is over comes too late, though nobody has changed the row.
    server
        .execute("UPDATE natsgate.account_leases SET ends_at = clock_timestamp() + interval '2 seconds'")
        .await
        .unwrap();
    let pool = pool_of(&server, server.user(), server.password());
    let mut session = pool.begin(Access::Write, "in the way", soon()).await.unwrap();
    session
        .query("SELECT FROM natsgate.account_leases FOR UPDATE", &[])
        .await
        .unwrap();
    let renewing = tokio::spawn({
        let one = Arc::clone(&one);
        async move { renew(&one, first).await }
    });
    let acquiring = tokio::spawn({
        let two = store(&server, "natsgate");
        async move { acquire(&two, "two", MINUTE).await }
    });
    waiting(&server, "wait_event_type = 'Lock'", 2).await;
    let over = "SELECT pg_sleep(greatest(0, extract(epoch FROM ends_at - clock_timestamp()))::float8 + 0.01)
                FROM natsgate.account_leases";
    session.batch(over).await.unwrap();
    session.rollback().await.unwrap();
    assert_eq!(
        renewing.await.unwrap(),
        Err(AccountStoreError::Lost { fence: first })
    );
    assert_eq!(acquiring.await.unwrap(), Ok(first + 1));
}

#[tokio::test]
async fn a_connection_that_is_ended_before_the_commit_leaves_nothing() {
    let server = PostgresServer::start().await.unwrap();
    let store = store(&server, "natsgate");
    let fence = acquire(&store, "one", MINUTE).await.unwrap();
    write(&store, fence, None, "a").await.unwrap();
    let pool = pool_of(&server, server.user(), server.password());
    let mut session = pool.begin(Access::Write, "in the way", soon()).await.unwrap();
    session
        .query("SELECT FROM natsgate.account_leases FOR UPDATE", &[])
        .await
        .unwrap();
    let half = |what: usize| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            match what {
                0 => write(&store, fence, Some(1), "b").await.map(drop),
                1 => acquire(&store, "one", MINUTE).await.map(drop),
                2 => renew(&store, fence).await,
                _ => store.release(ACCOUNT, fence, soon()).await,
            }
        })
    };
    for what in 0..4 {
        let task = half(what);
        terminate(&server, &waiting(&server, "wait_event_type = 'Lock'", 1).await).await;
        let said = why(task.await.unwrap());
        assert!(said.contains("terminating connection"), "{said}");
    }
    session.rollback().await.unwrap();
    assert_eq!(read(&store).await, Some((1, "a".to_owned())));
    assert_eq!(write(&store, fence, Some(1), "c").await, Ok(2));
    assert_eq!(renew(&store, fence).await, Ok(()));
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_there_and_is_not_done_twice() {
    let server = PostgresServer::start().await.unwrap();
    let store = store(&server, "natsgate");
    let fence = acquire(&store, "one", MINUTE).await.unwrap();
    // Commits wait for a standby that there is not: done on this server, and not answered.
    for waiting in [
        "ALTER SYSTEM SET synchronous_standby_names = 'nobody'",
        "SELECT pg_reload_conf()",
    ] {
        server.execute(waiting).await.unwrap();
    }
    let writing = tokio::spawn({
        let store = Arc::clone(&store);
        async move { write(&store, fence, None, "a").await }
    });
    terminate(&server, &waiting(&server, "wait_event = 'SyncRep'", 1).await).await;
    why(writing.await.unwrap());
    let acquiring = tokio::spawn({
        let store = Arc::clone(&store);
        async move { acquire(&store, "one", MINUTE).await }
    });
    terminate(&server, &waiting(&server, "wait_event = 'SyncRep'", 1).await).await;
    why(acquiring.await.unwrap());
    for again in [
        "ALTER SYSTEM RESET synchronous_standby_names",
        "SELECT pg_reload_conf()",
    ] {
        server.execute(again).await.unwrap();
    }
    assert_eq!(read(&store).await, Some((1, "a".to_owned())));
    // The token whose answer was lost was given: the one before is not the newest.
    assert_eq!(
        write(&store, fence, Some(1), "b").await,
        Err(AccountStoreError::Fenced {
            fence,
            newest: fence + 1
        })
    );
    assert_eq!(
        write(&store, fence + 1, None, "a").await,
        Err(AccountStoreError::Conflict {
            expected: None,
            found: Some(1)
        })
    );
}

#[tokio::test]
async fn a_server_that_is_away_or_frozen_is_unavailable_by_the_deadline() {
    let mut server = PostgresServer::start().await.unwrap();
    let store = store(&server, "natsgate");
    let fence = acquire(&store, "one", MINUTE).await.unwrap();
    write(&store, fence, None, "a").await.unwrap();
    let short = || Deadline::after(Duration::from_millis(300));
    let all = async || {
        [
            why(store.acquire(ACCOUNT, "one", MINUTE, short()).await),
            why(store.renew(ACCOUNT, fence, MINUTE, short()).await),
            why(store.release(ACCOUNT, fence, short()).await),
            why(store.read(ACCOUNT, short()).await),
            why(store
                .write(ACCOUNT, fence, Some(1), Bytes::from_static(b"hidden"), short())
                .await),
        ]
    };
    server.suspend().await.unwrap();
    let before = Instant::now();
    for said in all().await {
        assert!(said.contains("server") && said.contains("overloaded?"), "{said}");
    }
    // Nothing else is bounded by more than seconds.
    assert!(before.elapsed() < Duration::from_secs(10));
    server.resume().unwrap();
    server.stop().await.unwrap();
    let at = format!("127.0.0.1:{}/", server.port());
    for said in all().await {
        assert!(
            said.contains(&at) && said.contains("is it there, and is this its host and port?"),
            "{said}"
        );
        assert!(
            !said.contains("hidden") && !said.contains(server.password()),
            "{said}"
        );
    }
    server.restart().await.unwrap();
    // What was left while it was frozen may have been done since, but a write under a token that is not the newest.
    let found = read(&store).await.unwrap();
    assert!(found.0 == 1 || found == (2, "hidden".to_owned()), "{found:?}");
    let next = acquire(&store, "one", MINUTE).await.unwrap();
    assert!(next > fence);
    assert_eq!(write(&store, next, Some(found.0), "b").await, Ok(found.0 + 1));
}

#[tokio::test]
async fn a_standby_is_not_believed() {
    let mut server = PostgresServer::start().await.unwrap();
    let fence = acquire(&store(&server, "natsgate"), "one", MINUTE).await.unwrap();
    let folder = server.query("SHOW data_directory").await.unwrap();
    let folder = folder[0][0].clone().unwrap();
    server.stop().await.unwrap();
    std::fs::write(format!("{folder}/standby.signal"), "").unwrap();
    server.restart().await.unwrap();
    let store = store(&server, "natsgate");
    let said = why(store.read(ACCOUNT, soon()).await);
    assert!(said.contains("standby") && said.contains("primary"), "{said}");
    why(acquire(&store, "one", MINUTE).await);
    why(write(&store, fence, None, "a").await);
}

#[tokio::test]
async fn commits_are_durable_even_where_the_server_is_set_to_be_fast() {
    let server = PostgresServer::start().await.unwrap();
    for fast in [
        "ALTER SYSTEM SET synchronous_commit = off",
        "ALTER SYSTEM SET default_transaction_isolation = 'serializable'",
        "SELECT pg_reload_conf()",
    ] {
        server.execute(fast).await.unwrap();
    }
    acquire(&store(&server, "natsgate"), "one", MINUTE).await.unwrap();
    // Its own settings show within a call, to a trigger.
    server
        .execute(
            "CREATE TABLE seen (setting text, isolation text);
             CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit'), current_setting('transaction_isolation'));
             RETURN NULL; END $$;
             CREATE TRIGGER look AFTER UPDATE ON natsgate.account_leases EXECUTE FUNCTION look()",
        )
        .await
        .unwrap();
    acquire(&store(&server, "natsgate"), "one", MINUTE).await.unwrap();
    let seen = server.query("SELECT * FROM seen").await.unwrap();
    assert_eq!(seen, [[Some("on".to_owned()), Some("read committed".to_owned())]]);
}

#[tokio::test]
async fn tables_of_a_later_release_are_left_alone_and_pushed_memberships_may_be_beside_them() {
    let server = PostgresServer::start().await.unwrap();
    let pool = pool_of(&server, server.user(), server.password());
    crate::PostgresMembershipStore::new(pool, "natsgate")
        .unwrap()
        .prepare(soon())
        .await
        .unwrap();
    let fence = acquire(&store(&server, "natsgate"), "one", MINUTE).await.unwrap();
    assert_eq!(fence, 1);
    server
        .execute("INSERT INTO natsgate.account_migrations (version) VALUES (99)")
        .await
        .unwrap();
    let said = why(store(&server, "natsgate").read(ACCOUNT, soon()).await);
    assert!(
        said.contains("version 99") && said.contains("use the release"),
        "{said}"
    );
}

#[tokio::test]
async fn a_role_without_the_right_to_make_tables_uses_those_that_are_there() {
    let server = PostgresServer::start().await.unwrap();
    server
        .execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
        .await
        .unwrap();
    let pool = pool_of(&server, "plain", "plain");
    let early: Store = Arc::new(PostgresAccountStore::new(pool, "natsgate").unwrap());
    let said = why(early.read(ACCOUNT, soon()).await);
    assert!(said.contains("permission denied"), "{said}");
    let said = why(
        PostgresAccountStore::new(pool_of(&server, "plain", "wrong"), "natsgate")
            .unwrap()
            .read(ACCOUNT, soon())
            .await,
    );
    assert!(said.contains("check `user` and `password`"), "{said}");

    assert_eq!(read(&store(&server, "natsgate")).await, None);
    server
        .execute(
            "GRANT USAGE ON SCHEMA natsgate TO plain;
             GRANT SELECT ON natsgate.account_migrations TO plain;
             GRANT SELECT, INSERT, UPDATE ON natsgate.account_leases, natsgate.account_wanted TO plain",
        )
        .await
        .unwrap();
    // The same instance goes on, without a restart, and deletes nothing: a lost token would come again.
    let fence = acquire(&early, "one", MINUTE).await.unwrap();
    assert_eq!(write(&early, fence, None, "a").await, Ok(1));
    assert_eq!(write(&early, fence, Some(1), "b").await, Ok(2));
    release(&early, fence).await;
    assert_eq!(acquire(&early, "two", MINUTE).await, Ok(fence + 1));
}

#[tokio::test]
async fn a_name_that_is_no_schema_s_is_refused() {
    let pool = Pool::new(&PostgresSettings::new("db", "app", "natsgate")).unwrap();
    let refused = PostgresAccountStore::new(pool, "x; DROP").err().unwrap();
    assert_eq!(refused.key, "schema");
}
