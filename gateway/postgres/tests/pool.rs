//! The pool on a real PostgreSQL.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic; clippy.toml's leave for tests does not reach helpers in tests/"
)]

use std::time::Duration;

use natsgate_core::Deadline;
use natsgate_devkit::{PostgresOptions, PostgresServer};
use natsgate_postgres::{Access, Pool, PostgresError, PostgresSettings, PostgresTlsMode, Rows, SqlState};
use tokio::time::timeout;

/// Whatever takes longer than this hangs.
const HANGS: Duration = Duration::from_secs(60);

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

fn late() -> Deadline {
    Deadline::after(Duration::from_millis(300))
}

fn settings(server: &PostgresServer) -> PostgresSettings {
    let mut settings = PostgresSettings::new("127.0.0.1", server.database(), server.user());
    settings.port = server.port();
    settings.password = Some(server.password().into());
    settings.tls.mode = Some(PostgresTlsMode::Disable);
    settings
}

fn pool(server: &PostgresServer) -> Pool {
    Pool::new(&settings(server)).unwrap()
}

async fn one(pool: &Pool, sql: &str, deadline: Deadline) -> Result<String, PostgresError> {
    let work = async {
        let mut session = pool.begin(Access::Read, "asking", deadline).await?;
        let rows = session.query(sql, &[]).await?;
        session.commit().await?;
        Ok(rows[0].get(0))
    };
    timeout(HANGS, work).await.expect("it hangs")
}

#[tokio::test]
async fn a_pool_starts_without_its_server_and_outlives_it() {
    let mut server = PostgresServer::start().await.unwrap();
    let pool = pool(&server);
    server.stop().await.unwrap();
    let error = pool.check(soon()).await.unwrap_err().to_string();
    assert!(
        error.contains("refused") && error.contains("host and port"),
        "{error}"
    );
    assert!(error.contains(&format!("127.0.0.1:{}", server.port())), "{error}");

    server.restart().await.unwrap();
    // Two connections, both of which the next restart closes.
    let (a, b) = (
        pool.begin(Access::Read, "a", soon()).await.unwrap(),
        pool.begin(Access::Read, "b", soon()).await.unwrap(),
    );
    a.commit().await.unwrap();
    b.commit().await.unwrap();
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(one(&pool, "SELECT 'back'", soon()).await.unwrap(), "back");
}

/// Closed behind our back: this runtime stands still meanwhile, so that nothing here has noticed when it goes on.
#[tokio::test]
async fn a_connection_that_was_closed_unnoticed_is_replaced_not_told() {
    let server = PostgresServer::start().await.unwrap();
    let pool = pool(&server);
    let (a, b) = (
        pool.begin(Access::Read, "a", soon()).await.unwrap(),
        pool.begin(Access::Read, "b", soon()).await.unwrap(),
    );
    a.commit().await.unwrap();
    b.commit().await.unwrap();
    let close =
        "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE application_name = 'natsgate'";
    let closed = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(server.query(close)).unwrap()
        });
        other.join().unwrap()
    });
    assert_eq!(closed, [[Some("t".to_owned())], [Some("t".to_owned())]]);
    assert_eq!(one(&pool, "SELECT 'here'", soon()).await.unwrap(), "here");
}

#[tokio::test]
async fn a_frozen_server_holds_nobody_past_the_deadline() {
    let server = PostgresServer::start().await.unwrap();
    let pool = pool(&server);
    pool.check(soon()).await.unwrap();
    server.suspend().await.unwrap();
    for _ in 0..3 {
        // First on the connection that is there, then on new ones.
        let error = one(&pool, "SELECT 'x'", late()).await.unwrap_err().to_string();
        assert!(error.contains("deadline"), "{error}");
    }
    server.resume().unwrap();
    assert_eq!(one(&pool, "SELECT 'back'", soon()).await.unwrap(), "back");
}

#[tokio::test]
async fn a_slow_query_is_left_here_and_given_up_there() {
    let server = PostgresServer::start().await.unwrap();
    let mut settings = settings(&server);
    settings.max_connections = 1;
    let pool = Pool::new(&settings).unwrap();
    assert!(one(&pool, "SELECT pg_sleep(3600)::text", late()).await.is_err());
    // Nobody waits behind it, though there is but one connection.
    assert_eq!(one(&pool, "SELECT 'next'", soon()).await.unwrap(), "next");
    let gone = async {
        let sleeping =
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'";
        while server.query(sleeping).await.unwrap()[0][0].as_deref() != Some("0") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(HANGS, gone).await.expect("the server still works on it");

    // The same by the setting, with a deadline far away.
    settings.statement_timeout = Duration::from_millis(200);
    let pool = Pool::new(&settings).unwrap();
    let error = one(&pool, "SELECT pg_sleep(3600)::text", soon())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error}");
}

#[tokio::test]
async fn locks_of_somebody_who_went_silent_are_given_up() {
    let server = PostgresServer::start().await.unwrap();
    server
        .execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    let pool = pool(&server);
    let short = Deadline::after(Duration::from_secs(3));
    let mut silent = pool.begin(Access::Write, "locking", short).await.unwrap();
    silent.execute("UPDATE t SET n = 2", &[]).await.unwrap();
    let mut other = pool.begin(Access::Write, "waiting", soon()).await.unwrap();
    other.execute("UPDATE t SET n = n + 10", &[]).await.unwrap();
    other.commit().await.unwrap();
    assert!(silent.commit().await.is_err());
    assert_eq!(
        server.query("SELECT n FROM t").await.unwrap()[0][0].as_deref(),
        Some("11")
    );
}

#[tokio::test]
async fn an_exhausted_pool_says_so_at_the_deadline() {
    let server = PostgresServer::start().await.unwrap();
    let mut settings = settings(&server);
    settings.max_connections = 1;
    let pool = Pool::new(&settings).unwrap();
    let held = pool.begin(Access::Read, "holding", soon()).await.unwrap();
    let error = one(&pool, "SELECT 'x'", late()).await.unwrap_err().to_string();
    assert!(error.contains("max_connections"), "{error}");
    held.rollback().await.unwrap();
    assert_eq!(one(&pool, "SELECT 'x'", soon()).await.unwrap(), "x");

    // The server's own bound, whose superuser reserve is three of them.
    let options = PostgresOptions {
        settings: [("max_connections", "4"), ("max_wal_senders", "0")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        tls: None,
    };
    let server = PostgresServer::start_with(options).await.unwrap();
    server
        .execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
        .await
        .unwrap();
    let mut settings = self::settings(&server);
    settings.user = "plain".to_owned();
    settings.password = Some("plain".into());
    let pool = Pool::new(&settings).unwrap();
    let _held = pool.begin(Access::Read, "holding", soon()).await.unwrap();
    let error = pool.begin(Access::Read, "asking", soon()).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::TOO_MANY_CONNECTIONS), "{error}");
}

#[tokio::test]
async fn errors_tell_what_is_wrong_and_no_value() {
    let server = PostgresServer::start().await.unwrap();
    server
        .execute(
            "CREATE TABLE t (name text PRIMARY KEY); INSERT INTO t VALUES ('hidden');
             CREATE FUNCTION shout(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '%', $1; END $$",
        )
        .await
        .unwrap();
    let pool = pool(&server);
    let value = "hidden".to_owned();
    for (sql, code, words) in [
        (
            "SELECT ($1::text)::uuid::text",
            SqlState::INVALID_TEXT_REPRESENTATION,
            "22P02",
        ),
        (
            "INSERT INTO t VALUES ($1) RETURNING name",
            SqlState::UNIQUE_VIOLATION,
            "23505",
        ),
        ("SELECT shout($1)", SqlState::RAISE_EXCEPTION, "P0001"),
        (
            "SELECT id FROM nowhere WHERE x = $1",
            SqlState::UNDEFINED_TABLE,
            "\"nowhere\" does not exist",
        ),
        ("SELEKT $1", SqlState::SYNTAX_ERROR, "SELEKT"),
    ] {
        let mut session = pool.begin(Access::Write, "asking", soon()).await.unwrap();
        let error = session.query(sql, &[&value]).await.unwrap_err();
        assert_eq!(error.code(), Some(&code), "{sql}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!format!("{error} {error:?}").contains("hidden"), "{error}");
    }
    // As many parameters as the query has, of its types.
    let mut session = pool.begin(Access::Read, "asking", soon()).await.unwrap();
    let error = session
        .query("SELECT $1::int", &[&value])
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("int4") && !error.contains("hidden"), "{error}");
    let mut session = pool.begin(Access::Read, "asking", soon()).await.unwrap();
    assert!(session.query("SELECT $1::text", &[]).await.is_err());

    let mut wrong = settings(&server);
    wrong.password = Some("guessed".into());
    let error = Pool::new(&wrong).unwrap().check(soon()).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INVALID_PASSWORD));
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("check `user` and `password`"), "{shown}");
    assert!(
        !shown.contains("guessed") && !shown.contains(server.password()),
        "{shown}"
    );
}

#[tokio::test]
async fn a_session_is_all_or_nothing() {
    let server = PostgresServer::start().await.unwrap();
    server
        .execute("CREATE TABLE t (n int PRIMARY KEY)")
        .await
        .unwrap();
    let pool = pool(&server);
    let count = async || {
        server.query("SELECT count(*) FROM t").await.unwrap()[0][0]
            .clone()
            .unwrap()
    };

    let mut reader = pool.begin(Access::Read, "writing", soon()).await.unwrap();
    let error = reader.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::READ_ONLY_SQL_TRANSACTION));
    reader.rollback().await.unwrap();

    let mut dropped = pool.begin(Access::Write, "writing", soon()).await.unwrap();
    dropped.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
    drop(dropped);

    let mut failed = pool.begin(Access::Write, "writing", soon()).await.unwrap();
    failed.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
    failed.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap_err();
    assert!(
        failed.commit().await.is_err(),
        "the server would undo it without a word"
    );

    let mut left = pool.begin(Access::Write, "writing", soon()).await.unwrap();
    left.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
    let abandoned = timeout(
        Duration::from_millis(100),
        left.execute("SELECT pg_sleep(3600)", &[]),
    )
    .await;
    assert!(abandoned.is_err());
    assert!(
        left.commit().await.is_err(),
        "what became of the last step is not known"
    );
    assert_eq!(count().await, "0");

    let mut done = pool.begin(Access::Write, "writing", soon()).await.unwrap();
    assert_eq!(
        done.execute("INSERT INTO t VALUES ($1)", &[&1_i32])
            .await
            .unwrap(),
        1
    );
    done.commit().await.unwrap();
    assert_eq!(count().await, "1");
}

#[tokio::test]
async fn rows_beyond_the_bound_are_told_not_cut() {
    let server = PostgresServer::start().await.unwrap();
    let pool = pool(&server);
    let sql = "SELECT n FROM generate_series(1, $1::int) AS n";
    for (rows, fit) in [(0, true), (9, true), (10, true), (11, false), (1_000_000, false)] {
        let mut session = pool.begin(Access::Read, "asking", soon()).await.unwrap();
        match session.query_at_most(10, sql, &[&rows]).await.unwrap() {
            Rows::All(found) => {
                assert!(fit && found.len() == usize::try_from(rows).unwrap(), "{rows}");
                session.commit().await.unwrap();
            }
            Rows::TooMany => assert!(!fit, "{rows}"),
        }
    }
}

#[tokio::test]
async fn a_changed_table_is_read_anew_after_one_failure_a_connection() {
    let server = PostgresServer::start().await.unwrap();
    server
        .execute("CREATE TABLE t (n text); INSERT INTO t VALUES ('1')")
        .await
        .unwrap();
    let mut settings = settings(&server);
    settings.max_connections = 1;
    let pool = Pool::new(&settings).unwrap();
    assert_eq!(one(&pool, "SELECT * FROM t", soon()).await.unwrap(), "1");
    server.execute("ALTER TABLE t ADD m int").await.unwrap();
    assert!(one(&pool, "SELECT * FROM t", soon()).await.is_err());
    assert_eq!(one(&pool, "SELECT * FROM t", soon()).await.unwrap(), "1");
}

#[tokio::test]
async fn the_unix_socket_needs_no_tls() {
    let server = PostgresServer::start().await.unwrap();
    let mut settings = PostgresSettings::new(
        server.socket_folder().display().to_string(),
        server.database(),
        server.user(),
    );
    settings.port = server.port();
    let pool = Pool::new(&settings).unwrap();
    assert_eq!(one(&pool, "SELECT 'here'", soon()).await.unwrap(), "here");
}

/// What needs to move between threads does.
#[tokio::test]
async fn sessions_work_in_tasks_of_their_own() {
    let server = PostgresServer::start().await.unwrap();
    let pool = pool(&server);
    let task = tokio::spawn(async move {
        let mut session = pool.begin(Access::Write, "asking", soon()).await?;
        session.batch("CREATE TABLE t (n int)").await?;
        let statement = session.prepare("SELECT n AS number FROM t WHERE n = $1").await?;
        let rows = session.query_at_most(1, "SELECT n FROM t", &[]).await?;
        assert!(matches!(rows, Rows::All(rows) if rows.is_empty()));
        session.query("SELECT 1", &[]).await?;
        session.commit().await?;
        Ok::<_, PostgresError>((
            statement.params().to_vec(),
            statement.columns()[0].name().to_owned(),
        ))
    });
    let (types, column) = task.await.unwrap().unwrap();
    assert_eq!(types, [natsgate_postgres::types::Type::INT4]);
    assert_eq!(column, "number");
}
