//! What the libraries below log holds no values. Alone in this program, since it hears everything.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic; clippy.toml's leave for tests does not reach helpers in tests/"
)]

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use natsgate_core::Deadline;
use natsgate_devkit::PostgresServer;
use natsgate_postgres::{Access, Pool, PostgresSettings, PostgresTlsMode};

static HEARD: Mutex<String> = Mutex::new(String::new());

struct Ear;

impl log::Log for Ear {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}\n", record.target(), record.args());
        HEARD
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_str(&line);
    }

    fn flush(&self) {}
}

#[tokio::test]
async fn no_value_and_no_password_is_logged_at_any_level() {
    let server = PostgresServer::start().await.unwrap();
    server
        .execute(
            "CREATE FUNCTION tell(text) RETURNS text LANGUAGE plpgsql AS
             $$ BEGIN RAISE NOTICE 'notice %', $1; RAISE WARNING 'warning %', $1; RETURN $1; END $$",
        )
        .await
        .unwrap();
    log::set_logger(&Ear).unwrap();
    log::set_max_level(log::LevelFilter::Trace);

    let mut settings = PostgresSettings::new("127.0.0.1", server.database(), server.user());
    settings.port = server.port();
    settings.password = Some(server.password().into());
    settings.tls.mode = Some(PostgresTlsMode::Disable);
    let pool = Pool::new(&settings).unwrap();
    let mut session = pool
        .begin(Access::Read, "asking", Deadline::after(Duration::from_secs(30)))
        .await
        .unwrap();
    let value = "hidden".to_owned();
    let rows = session.query("SELECT tell($1)", &[&value]).await.unwrap();
    assert_eq!(rows[0].get::<_, String>(0), "hidden");
    session
        .query_at_most(1, "SELECT $1::text", &[&value])
        .await
        .unwrap();
    session.execute("SELECT $1::text", &[&value]).await.unwrap();
    session
        .query("SELECT $1::text::uuid", &[&value])
        .await
        .unwrap_err();
    drop(session);

    let heard = HEARD.lock().unwrap().clone();
    assert!(
        heard.contains("SELECT tell($1)"),
        "nothing is heard, so this test proves nothing"
    );
    assert!(
        !heard.contains("hidden") && !heard.contains(server.password()),
        "{heard}"
    );
}
