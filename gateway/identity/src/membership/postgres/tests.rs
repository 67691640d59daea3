use natsgate_devkit::{LogCapture, PostgresServer};
use natsgate_postgres::{PostgresSettings, PostgresTlsMode};
use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::testing::{identity, soon};

/// Whatever takes longer than this hangs.
const HANGS: Duration = Duration::from_secs(60);

const TABLE: &str = "
    CREATE TABLE members (who text, project text, role text, tenant int, key uuid DEFAULT gen_random_uuid());
    INSERT INTO members VALUES ('alice', 'b', 'owner', 1), ('alice', 'a', 'member', 2), ('bob', 'hidden', 'member', 1)";

const QUERY: &str = "SELECT project AS id, role FROM members WHERE who = {principal.subject}";

async fn server() -> PostgresServer {
    let server = PostgresServer::start().await.unwrap();
    server.execute(TABLE).await.unwrap();
    server
}

fn settings(server: &PostgresServer, query: &str) -> PostgresMembershipSettings {
    let mut database = PostgresSettings::new("127.0.0.1", server.database(), server.user());
    database.port = server.port();
    database.password = Some(server.password().into());
    database.tls.mode = Some(PostgresTlsMode::Disable);
    let mut settings = PostgresMembershipSettings::new("db", database, query);
    settings.kind = Some("project".to_owned());
    settings
}

async fn ask(
    source: &PostgresMemberships,
    subject: &str,
    deadline: Deadline,
) -> Result<Vec<String>, Failure> {
    let mut identity = identity("https://idp.example", subject);
    identity.claims = json!({"tenant": 1, "text": "x"}).as_object().unwrap().clone();
    let found = timeout(HANGS, source.memberships(&identity, deadline))
        .await
        .expect("it hangs")?;
    Ok(found
        .into_iter()
        .map(|m| format!("{}/{}/{}", m.kind, m.id, m.role))
        .collect())
}

async fn alice(source: &PostgresMemberships) -> Result<Vec<String>, Failure> {
    ask(source, "alice", soon()).await
}

/// Why there is no answer.
fn unanswered(outcome: Result<Vec<String>, Failure>) -> String {
    match outcome {
        Err(Failure::Unavailable(why)) => {
            assert!(why.0.contains("`postgres db`"), "{why}");
            assert!(!why.0.contains("alice") && !why.0.contains("hidden"), "{why}");
            why.0
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn rows_become_memberships() {
    let server = server().await;
    let source = PostgresMemberships::new(&settings(&server, QUERY)).unwrap();
    assert_eq!(
        alice(&source).await.unwrap(),
        ["project/a/member", "project/b/owner"]
    );
    assert_eq!(ask(&source, "nobody", soon()).await.unwrap(), [""; 0]);

    let everything =
        "SELECT {principal.issuer} AS kind, {principal.digest} AS id, {claims.text}::varchar AS role,
        '{{}}' AS more FROM members WHERE who = {principal.subject} AND tenant::text = {claims.tenant}";
    let mut all = settings(&server, everything);
    all.kind = None;
    let digest = identity("https://idp.example", "alice").principal.digest();
    let found = alice(&PostgresMemberships::new(&all).unwrap()).await.unwrap();
    assert_eq!(found, [format!("https://idp.example/{digest}/x")]);

    // Types that are text by another name.
    server.execute("CREATE DOMAIN name_of AS varchar(20); CREATE TABLE d (who name_of, p bpchar(3)); INSERT INTO d VALUES ('alice', 'abc')").await.unwrap();
    let mut domain = settings(&server, "SELECT p AS id FROM d WHERE who = {principal.subject}");
    domain.role = Some("member".to_owned());
    assert_eq!(
        alice(&PostgresMemberships::new(&domain).unwrap()).await.unwrap(),
        ["project/abc/member"]
    );
}

#[tokio::test]
async fn no_value_becomes_part_of_the_query() {
    let server = server().await;
    let source = PostgresMemberships::new(&settings(&server, QUERY)).unwrap();
    for subject in [
        "alice' OR '1'='1",
        "' OR 1=1 --",
        "'; DROP TABLE members; --",
        "alice\\' OR 1=1 --",
        "$1",
        "{principal.issuer}",
        "%",
        "alice/*",
        "bob\u{2019} OR 1=1",
        "$$ || (SELECT 1) || $$",
    ] {
        assert_eq!(ask(&source, subject, soon()).await.unwrap(), [""; 0], "{subject}");
        // The same text as a value is found.
        let quoted = subject.replace('\'', "''");
        server
            .execute(&format!(
                "SET standard_conforming_strings = on; INSERT INTO members VALUES ('{quoted}', 'x', 'y')"
            ))
            .await
            .unwrap();
        assert_eq!(
            ask(&source, subject, soon()).await.unwrap(),
            ["project/x/y"],
            "{subject}"
        );
    }
    match ask(&source, "alice\0", soon()).await {
        Err(Failure::Denied(denial)) => assert_eq!(denial.reason, DenialReason::UnsafeValue),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_query_that_cannot_work_says_why_and_how_to_mend_it() {
    let server = server().await;
    for (query, words) in [
        (
            "SELECT project AS id, role FROM memberz WHERE who = {principal.subject}",
            "\"memberz\" does not exist",
        ),
        ("SELEKT {principal.subject}", "syntax error"),
        (
            "SELECT project AS id FROM members WHERE who = {principal.subject}",
            "set `role`",
        ),
        (
            "SELECT role FROM members WHERE who = {principal.subject}",
            "`… AS id`",
        ),
        (
            "SELECT project AS id, role, 'x' AS kind FROM members WHERE who = {principal.subject}",
            "`kind` is set too",
        ),
        (
            "SELECT project AS id, who AS id, role FROM members WHERE who = {principal.subject}",
            "two columns `id`",
        ),
        (
            "SELECT key AS id, role FROM members WHERE who = {principal.subject}",
            "uuid in `id`",
        ),
        (
            "SELECT tenant AS id, role FROM members WHERE who = {principal.subject}",
            "int4 in `id`",
        ),
        (
            "SELECT project AS id, role FROM members WHERE key = {principal.subject}",
            "uuid: cast",
        ),
        (
            "SELECT project AS id, role FROM members WHERE who = '%{principal.subject}%'",
            "quotes",
        ),
        (
            "SELECT project AS id, role FROM members WHERE who = {principal.subject} -- {principal.issuer}",
            "comments",
        ),
        (
            "INSERT INTO members VALUES ({principal.subject}, 'x', 'y') RETURNING project AS id, role",
            "read-only",
        ),
        (
            "DELETE FROM members WHERE who = {principal.subject} RETURNING project AS id, role",
            "read-only",
        ),
        (
            "SELECT project AS id, role FROM members WHERE who = {principal.subject}; DROP TABLE members",
            "multiple commands",
        ),
        (
            "SELECT key::text AS id, role FROM members WHERE key = {principal.subject}::text::uuid",
            "22P02",
        ),
    ] {
        let source = PostgresMemberships::new(&settings(&server, query)).unwrap();
        let why = unanswered(alice(&source).await);
        assert!(why.contains(words), "{query}: {why}");
    }
    assert_eq!(
        server.query("SELECT count(*) FROM members").await.unwrap()[0][0].as_deref(),
        Some("3")
    );
}

#[tokio::test]
async fn rows_that_are_no_memberships_are_a_failure_not_passed_over() {
    let server = server().await;
    for (values, words) in [
        ("(NULL, 'x')", "NULL for `id`"),
        ("('', 'x')", "empty `id`"),
        ("('hidden', NULL)", "NULL for `role`"),
        ("('hidden', '')", "empty `role`"),
    ] {
        let query = format!(
            "SELECT id, role FROM (VALUES ('a', 'member'), {values}) AS v (id, role) WHERE {{principal.subject}}::text <> ''"
        );
        let source = PostgresMemberships::new(&settings(&server, &query)).unwrap();
        let why = unanswered(alice(&source).await);
        assert!(why.contains(words), "{why}");
    }
}

#[tokio::test]
async fn rows_beyond_the_bound_are_told_not_cut() {
    let server = server().await;
    let query = "SELECT n::text AS id, 'member' AS role FROM generate_series(1, 100) AS n
        WHERE n <= length({principal.subject}::text)";
    let mut settings = settings(&server, query);
    settings.max_rows = 5;
    let source = PostgresMemberships::new(&settings).unwrap();
    assert_eq!(alice(&source).await.unwrap().len(), 5);
    let why = unanswered(ask(&source, "abcdef", soon()).await);
    assert!(why.contains("max_rows"), "{why}");
    assert_eq!(alice(&source).await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_slow_query_ends_at_the_deadline() {
    let server = server().await;
    let query = format!("{QUERY} AND pg_sleep(3600)::text = ''");
    let source = PostgresMemberships::new(&settings(&server, &query)).unwrap();
    let late = Deadline::after(Duration::from_millis(300));
    let why = unanswered(ask(&source, "alice", late).await);
    // Whichever of the two comes first: here, or at the server.
    assert!(why.contains("deadline") || why.contains("57014"), "{why}");
}

#[tokio::test]
async fn a_database_that_is_frozen_killed_and_back_is_no_answer_and_then_one() {
    let mut server = server().await;
    let source = PostgresMemberships::new(&settings(&server, QUERY)).unwrap();
    assert_eq!(alice(&source).await.unwrap().len(), 2);
    server.suspend().await.unwrap();
    let late = Deadline::after(Duration::from_millis(300));
    assert!(unanswered(ask(&source, "alice", late).await).contains("deadline"));
    server.resume().unwrap();
    assert_eq!(alice(&source).await.unwrap().len(), 2);
    server.kill().await.unwrap();
    unanswered(alice(&source).await);
    server.restart().await.unwrap();
    assert_eq!(alice(&source).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_wrong_password_and_an_exhausted_pool_are_our_outage() {
    let server = server().await;
    let mut wrong = settings(&server, QUERY);
    wrong.database.password = Some("guessed".into());
    let why = unanswered(alice(&PostgresMemberships::new(&wrong).unwrap()).await);
    assert!(
        why.contains("check `user` and `password`") && !why.contains("guessed"),
        "{why}"
    );

    let mut few = settings(&server, &format!("{QUERY} AND pg_sleep(3600)::text = ''"));
    few.database.max_connections = 1;
    let source = PostgresMemberships::new(&few).unwrap();
    let late = Deadline::after(Duration::from_millis(500));
    let asked = [
        ask(&source, "alice", late),
        ask(&source, "alice", late),
        ask(&source, "alice", late),
    ];
    for outcome in futures::future::join_all(asked).await {
        unanswered(outcome);
    }
}

#[tokio::test]
async fn a_wrong_query_is_in_the_log_before_anybody_asks() {
    let server = server().await;
    let log = LogCapture::new();
    let _listening = log.listen();
    let _source =
        PostgresMemberships::open(&settings(&server, &QUERY.replace("members", "memberz"))).unwrap();
    let told = async {
        while !log.text().contains("memberz") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(HANGS, told).await.expect("nothing in the log");
}

#[tokio::test]
async fn claims_that_are_missing_deny_and_other_providers_people_have_nothing() {
    let mut database = PostgresSettings::new("127.0.0.1", "x", "y");
    database.tls.mode = Some(PostgresTlsMode::Disable);
    let mut settings = PostgresMembershipSettings::new(
        "db",
        database,
        "SELECT {claims.missing} AS id, {claims.tenant} AS kind",
    );
    settings.role = Some("member".to_owned());
    settings.lag = Duration::from_secs(2);
    let source = PostgresMemberships::new(&settings).unwrap();
    match alice(&source).await {
        Err(Failure::Denied(denial)) => assert_eq!(denial.reason, DenialReason::MissingClaim),
        other => panic!("{other:?}"),
    }
    let identity = identity("https://idp.example", "alice");
    assert!(source.cache_key(&identity).is_some());
    assert_eq!(
        (source.lag(), source.reads_claims()),
        (Duration::from_secs(2), false)
    );

    settings.providers = vec!["elsewhere".to_owned()];
    let source = PostgresMemberships::new(&settings).unwrap();
    assert_eq!(alice(&source).await.unwrap(), [""; 0]);
    assert!(source.cache_key(&identity).is_none());
}

#[test]
fn settings_that_cannot_work_are_refused() {
    type Change = fn(&mut PostgresMembershipSettings);
    let cases: [(&str, Change); 14] = [
        ("name", |s| s.name = String::new()),
        ("query", |s| s.query = " ".to_owned()),
        ("query", |s| s.query = "SELECT 1".to_owned()),
        ("query", |s| s.query = "SELECT {subject}".to_owned()),
        ("query", |s| s.query = "SELECT '{principal.subject}'".to_owned()),
        ("query", |s| s.query = "SELECT $1, {principal.subject}".to_owned()),
        ("query", |s| {
            s.query = "SELECT '{}', {principal.subject}".to_owned()
        }),
        ("kind", |s| s.kind = Some(String::new())),
        ("role", |s| s.role = Some(" ".to_owned())),
        ("max_rows", |s| s.max_rows = 0),
        ("lag", |s| s.lag = Duration::from_secs(3601)),
        ("cache.fresh", |s| {
            s.cache.fresh = Some(Duration::from_secs(86_401))
        }),
        ("database.host", |s| s.database.host = String::new()),
        ("database.tls.ca_file", |s| {
            s.database.tls.ca_file = Some("/nowhere/ca.pem".into())
        }),
    ];
    for (field, change) in cases {
        let mut settings = PostgresMembershipSettings::new("db", PostgresSettings::new("h", "d", "u"), QUERY);
        settings.kind = Some("project".to_owned());
        change(&mut settings);
        let error = PostgresMemberships::new(&settings).unwrap_err();
        assert_eq!(
            error.key,
            format!("memberships.postgres[{}].{field}", settings.name)
        );
    }
    assert_eq!(
        numbered("SELECT $tag$x$tag$, {principal.subject}, {principal.subject}")
            .unwrap()
            .0,
        "SELECT $tag$x$tag$, $1, $2"
    );
}
