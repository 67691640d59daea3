//! The PostgreSQL store: the conformance suite on a real server, and what happens when the server does not play along.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use natsgate_devkit::PostgresServer;
use natsgate_postgres::{PostgresSettings, PostgresTlsMode};

use super::*;
use crate::pushed::conformance::{self, Store, apply, ids, put, soon, write};

fn pool(server: &PostgresServer) -> Pool {
    let mut settings = PostgresSettings::new("127.0.0.1", server.database(), server.user());
    settings.port = server.port();
    settings.password = Some(server.password().to_owned().into());
    settings.tls.mode = Some(PostgresTlsMode::Disable);
    Pool::new(&settings).unwrap()
}

fn store(server: &PostgresServer, schema: &str) -> Store {
    Arc::new(PostgresMembershipStore::new(pool(server), schema).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_does_what_every_store_does() {
    let server = PostgresServer::start().await.unwrap();
    let count = AtomicUsize::new(0);
    conformance::all(|| {
        let schema = format!("natsgate_{}", count.fetch_add(1, Ordering::Relaxed));
        let store = store(&server, &schema);
        async move { store }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_does_with_bans_what_every_store_does() {
    let server = PostgresServer::start().await.unwrap();
    let count = AtomicUsize::new(0);
    conformance::bans::all(|| {
        let schema = format!("natsgate_{}", count.fetch_add(1, Ordering::Relaxed));
        let store = PostgresMembershipStore::new(pool(&server), &schema).unwrap();
        async move { Arc::new(store) as conformance::bans::Store }
    })
    .await;
}

#[tokio::test]
async fn tables_from_before_there_were_bans_are_kept_and_added_to() {
    let server = PostgresServer::start().await.unwrap();
    server
        .execute(
            "CREATE SCHEMA natsgate;
             CREATE TABLE natsgate.migrations (
                 version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now()
             );
             INSERT INTO natsgate.migrations (version) VALUES (1)",
        )
        .await
        .unwrap();
    let before = include_str!("schema.sql").replace("{schema}", "natsgate");
    server.execute(&before).await.unwrap();
    server
        .execute(
            "INSERT INTO natsgate.pushed_memberships VALUES
             ('https://idp.example', 'alice', 'project', 'a', 'member', 1, false, 0, 'crm');
             UPDATE natsgate.pushed_head SET version = 1",
        )
        .await
        .unwrap();
    let both: conformance::bans::Store =
        Arc::new(PostgresMembershipStore::new(pool(&server), "natsgate").unwrap());
    let banned = conformance::bans::ban(1, "alice");
    conformance::bans::impose(&both, &banned).await;
    let store = store(&server, "natsgate");
    assert_eq!(ids(&store, "alice").await, ["a"]);
    let written = apply(&store, vec![put("alice", "b")]).await;
    assert_eq!(written.outcomes[0].record.version, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_start_at_once_make_the_tables_once_and_lose_no_update() {
    let server = PostgresServer::start().await.unwrap();
    let starting: Vec<_> = (0..6)
        .map(|instance| {
            // A pool each: as many processes would have.
            let store = store(&server, "natsgate");
            tokio::spawn(async move {
                for round in 0..10 {
                    apply(&store, vec![put("alice", &format!("{instance}-{round}"))]).await;
                }
            })
        })
        .collect();
    for task in starting {
        task.await.unwrap();
    }
    let store = store(&server, "natsgate");
    assert_eq!(ids(&store, "alice").await.len(), 60);
    let versions = server
        .query("SELECT version, (SELECT count(*) FROM natsgate.migrations) FROM natsgate.pushed_head")
        .await
        .unwrap();
    assert_eq!(versions, [[Some("60".to_owned()), Some("2".to_owned())]]);
}

#[tokio::test]
async fn a_server_that_is_killed_loses_nothing_that_was_answered() {
    let mut server = PostgresServer::start().await.unwrap();
    let store = store(&server, "natsgate");
    let one = write(vec![put("alice", "a")]);
    let written = store.apply(&one, soon()).await.unwrap();

    // In the middle of a write: the head is locked, so it waits there; then the server is gone.
    let holder = pool(&server);
    let mut session = holder
        .begin(Access::Write, "holding the lock", soon())
        .await
        .unwrap();
    session
        .query("SELECT version FROM natsgate.pushed_head FOR UPDATE", &[])
        .await
        .unwrap();
    let half = write(vec![put("alice", "b"), put("bob", "c")]);
    let waiting = tokio::spawn({
        let (store, half) = (Arc::clone(&store), half.clone());
        async move { store.apply(&half, soon()).await }
    });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    while server.query(waits).await.unwrap() != [[Some("1".to_owned())]] {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill().await.unwrap();
    let lost = waiting.await.unwrap();
    assert!(
        matches!(lost, Err(MembershipStoreError::Unavailable { .. })),
        "{lost:?}"
    );
    let away = store
        .of(&Principal::new("https://idp.example", "alice"), soon())
        .await;
    assert!(
        matches!(away, Err(MembershipStoreError::Unavailable { .. })),
        "{away:?}"
    );

    server.restart().await.unwrap();
    assert_eq!(ids(&store, "alice").await, ["a"]);
    let again = store.apply(&one, soon()).await.unwrap();
    assert_eq!((again.repeated, again.outcomes), (true, written.outcomes));
    let done = store.apply(&half, soon()).await.unwrap();
    assert!(!done.repeated);
    assert_eq!(store.pending(10, soon()).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_server_that_does_not_answer_holds_nobody_past_the_deadline() {
    let server = PostgresServer::start().await.unwrap();
    let store = store(&server, "natsgate");
    apply(&store, vec![put("alice", "a")]).await;
    server.suspend().await.unwrap();
    let short = Deadline::after(Duration::from_millis(200));
    let frozen = store
        .of(&Principal::new("https://idp.example", "alice"), short)
        .await;
    assert!(
        matches!(frozen, Err(MembershipStoreError::Unavailable { .. })),
        "{frozen:?}"
    );
    let short = Deadline::after(Duration::from_millis(200));
    let frozen = store.apply(&write(vec![put("alice", "b")]), short).await;
    assert!(
        matches!(frozen, Err(MembershipStoreError::Unavailable { .. })),
        "{frozen:?}"
    );
    server.resume().unwrap();
    apply(&store, vec![put("alice", "c")]).await;
    assert!(ids(&store, "alice").await.contains(&"c".to_owned()));
}

#[tokio::test]
async fn a_standby_is_not_believed() {
    let mut server = PostgresServer::start().await.unwrap();
    apply(&store(&server, "natsgate"), vec![put("alice", "a")]).await;
    let folder = server.query("SHOW data_directory").await.unwrap();
    let folder = folder[0][0].clone().unwrap();
    server.stop().await.unwrap();
    std::fs::write(format!("{folder}/standby.signal"), "").unwrap();
    server.restart().await.unwrap();
    let bans = PostgresMembershipStore::new(pool(&server), "natsgate").unwrap();
    let concern = conformance::bans::ban(1, "alice").selector.ban_concern().unwrap();
    let told = natsgate_core::BanStore::in_force(&bans, &[concern], SystemTime::UNIX_EPOCH, soon()).await;
    let told = told.expect_err("a standby").to_string();
    assert!(told.contains("standby") && told.contains("primary"), "{told}");
    let store = store(&server, "natsgate");
    for subject in ["alice", "nobody"] {
        let told = store
            .of(&Principal::new("https://idp.example", subject), soon())
            .await;
        let told = told.expect_err("a standby").to_string();
        assert!(told.contains("standby") && told.contains("primary"), "{told}");
    }
    assert!(
        store
            .apply(&write(vec![put("alice", "b")]), soon())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn commits_are_durable_even_where_the_server_is_set_to_be_fast() {
    let server = PostgresServer::start().await.unwrap();
    for fast in [
        "ALTER SYSTEM SET synchronous_commit = off",
        "SELECT pg_reload_conf()",
    ] {
        server.execute(fast).await.unwrap();
    }
    // Its own setting shows within a write, to a trigger.
    let store = store(&server, "natsgate");
    apply(&store, vec![put("alice", "a")]).await;
    server
        .execute(
            "CREATE TABLE seen (setting text, isolation text);
             CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit'), current_setting('transaction_isolation'));
             RETURN NULL; END $$;
             CREATE TRIGGER look AFTER INSERT ON natsgate.pushed_answers EXECUTE FUNCTION look();
             ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'",
        )
        .await
        .unwrap();
    let fresh = self::store(&server, "natsgate");
    apply(&fresh, vec![put("alice", "b")]).await;
    let seen = server.query("SELECT * FROM seen").await.unwrap();
    assert_eq!(seen, [[Some("on".to_owned()), Some("read committed".to_owned())]]);
}

#[tokio::test]
async fn tables_of_a_later_release_are_left_alone() {
    let server = PostgresServer::start().await.unwrap();
    apply(&store(&server, "natsgate"), vec![put("alice", "a")]).await;
    server
        .execute("INSERT INTO natsgate.migrations (version) VALUES (99)")
        .await
        .unwrap();
    let told = store(&server, "natsgate").pending(1, soon()).await;
    let told = told.expect_err("a later release").to_string();
    assert!(told.contains("version 99"), "{told}");
}

#[tokio::test]
async fn a_role_without_the_right_to_make_tables_uses_those_that_are_there() {
    let server = PostgresServer::start().await.unwrap();
    server
        .execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
        .await
        .unwrap();
    let plain = || {
        let mut settings = PostgresSettings::new("127.0.0.1", server.database(), "plain");
        settings.port = server.port();
        settings.password = Some("plain".to_owned().into());
        settings.tls.mode = Some(PostgresTlsMode::Disable);
        let pool = Pool::new(&settings).unwrap();
        Arc::new(PostgresMembershipStore::new(pool, "natsgate").unwrap()) as Store
    };
    let early = plain();
    let told = early.pending(1, soon()).await.expect_err("no right").to_string();
    assert!(told.contains("permission denied"), "{told}");

    store(&server, "natsgate").pending(1, soon()).await.unwrap();
    server
        .execute(
            "GRANT USAGE ON SCHEMA natsgate TO plain;
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA natsgate TO plain",
        )
        .await
        .unwrap();
    // The same instance goes on, without a restart.
    apply(&early, vec![put("alice", "a")]).await;
    assert_eq!(ids(&early, "alice").await, ["a"]);
}

#[tokio::test]
async fn errors_hold_no_value() {
    let server = PostgresServer::start().await.unwrap();
    let store = store(&server, "natsgate");
    apply(&store, vec![put("alice", "a")]).await;
    server
        .execute("ALTER TABLE natsgate.pushed_memberships ADD CHECK (id <> 'hidden-id')")
        .await
        .unwrap();
    let told = store
        .apply(&write(vec![put("hidden-person", "hidden-id")]), soon())
        .await
        .expect_err("the check")
        .to_string();
    assert!(!told.contains("hidden"), "{told}");
    apply(&store, vec![put("alice", "b")]).await;
}
