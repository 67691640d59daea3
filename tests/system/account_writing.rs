//! `natsgate account push` and `drain`: the whole life of a template under the sessions that rest on it.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Event;
use natsgate_accounts::ManagedAccount;
use natsgate_claims::SigningKey;
use natsgate_core::{AccountServers, Clock, Deadline, SystemClock};
use secrecy::ExposeSecret;

use crate::harness::{
    Cluster, Folder, Gateway, Keys, Mode, PATIENCE, ROOT_SECRET, SHIM_READY, alice, command,
    decision_section, provider,
};
use crate::written_rights::{POLICY, Writer, connect_until};

/// A template that lets members subscribe to `subjects`.
fn member(subjects: &str) -> String {
    format!(
        "version: 1\ntemplates:\n  member:\n    publish: {{ allow: ['projects.{{{{tag(project)}}}}.in.>'] }}\n    \
         subscribe: {{ allow: [{subjects}] }}\n"
    )
}

/// The configuration of the shim and of the writer for `cluster`.
fn config(cluster: &Cluster) -> String {
    let seed = match &cluster.keys {
        Keys::Operator(keys) => keys.operator.seed().unwrap(),
        Keys::Config(_) => unreachable!("operator mode"),
    };
    format!(
        "{}accounts: {{ operator_seed: {}, file: accounts.redb }}\n",
        cluster.shim_section(),
        seed.expose_secret()
    )
}

/// `natsgate all`, whose policy gives members the template.
async fn gateway(config: &str, issuer: &str) -> Gateway {
    let folder = Folder::new(&format!("{config}{}", decision_section(issuer, None)));
    folder.write("policy.yaml", POLICY);
    Gateway::start_in(folder, "all", SHIM_READY).await
}

async fn account(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = command(folder, &[&["account"], arguments].concat());
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// What it says when `changes` are pushed.
async fn push(folder: &Folder, changes: &str) -> String {
    let path = folder.write("changes.yaml", changes);
    done(account(folder.path(), &["push", path.to_str().unwrap()]).await)
}

fn done(output: Output) -> String {
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test]
async fn a_template_is_pushed_widened_drained_narrowed_and_retired() {
    let provider = provider().await;
    let cluster = Cluster::start(Mode::OperatorWithPushes, false).await;
    let folder = Folder::new(&config(&cluster));
    let _gateway = gateway(&config(&cluster), provider.issuer()).await;
    let watcher = &cluster.break_glass().await;
    let token = provider.issue(alice()).unwrap();

    let own = "'projects.{{tag(project)}}.>'";
    let said = push(&folder, &member(own)).await;
    says(&said, &["template member: new, generation 1", "in force"]);
    let session = connect_until(&cluster, &token, async |_| true).await;
    assert!(!session.may_subscribe("news.a", watcher).await);

    // Wider: nobody is disturbed, until somebody asks for it.
    let wide = member(&format!("{own}, 'news.>'"));
    let said = push(&folder, &wide).await;
    says(
        &said,
        &[
            "widened, generation 2 beside 1",
            "1 sessions of older generations lose nothing and stay",
        ],
    );
    let drain = async || done(account(folder.path(), &["drain", "--over=1s"]).await);
    let (said, _) = tokio::join!(
        drain(),
        session.event(|event| matches!(event, Event::Disconnected))
    );
    says(
        &said,
        &[
            "1 sessions that lose nothing were closed",
            "removed: the key natsgate.member.1",
        ],
    );
    session.event(|event| matches!(event, Event::Connected)).await;
    assert!(session.may_subscribe("news.b", watcher).await);
    says(&drain().await, &["nothing to drain"]);
    says(&push(&folder, &wide).await, &["nothing changes"]);

    // Narrower: whoever has more than that is moved by the push itself.
    let narrow = member(own);
    let (said, _) = tokio::join!(
        push(&folder, &narrow),
        session.event(|event| matches!(event, Event::Disconnected))
    );
    says(
        &said,
        &[
            "narrowed, generation 3 beside 2",
            "1 sessions that lose something were closed",
        ],
    );
    session.event(|event| matches!(event, Event::Connected)).await;
    assert!(!session.may_subscribe("news.c", watcher).await);
    assert!(session.may_publish("projects.apollo.in.a", watcher).await);

    // Retired: nobody is left, and nothing of it either.
    let (said, _) = tokio::join!(
        push(&folder, "version: 1\nretire: [member]"),
        session.event(|event| matches!(event, Event::Disconnected))
    );
    says(
        &said,
        &[
            "template member: retired",
            "1 sessions that lose something were closed",
        ],
    );
    says(&drain().await, &["template member: gone"]);
    assert!(cluster.connect(&token).await.is_err());
}

#[tokio::test]
async fn somebody_elses_push_is_noticed_and_kept_and_what_it_dropped_comes_back() {
    let cluster = Cluster::start(Mode::OperatorWithPushes, false).await;
    let folder = Folder::new(&config(&cluster));
    let changes = member("'projects.{{tag(project)}}.>'");
    push(&folder, &changes).await;

    // From a copy that knows nothing of the template, as `nsc push` would.
    let writer = Writer::of(&cluster).await;
    let deadline = Deadline::after(PATIENCE);
    let read = async || {
        let kept = writer
            .servers
            .look_up(writer.keys.account(), deadline)
            .await
            .unwrap();
        let now = SystemClock.unix_seconds();
        ManagedAccount::read(&kept[0], Arc::clone(&writer.keys), &writer.operators, now).unwrap()
    };
    let before = read().await;
    let key = before
        .template(&"member".parse().unwrap())
        .unwrap()
        .newest()
        .public_key()
        .to_owned();
    let mut foreign = before.claims().clone();
    foreign
        .body
        .signing_keys
        .retain(|key| !matches!(key, SigningKey::Scoped(_)));
    foreign.body.tags.push("region:eu".to_owned());
    let at = before.issued_at().unwrap() + 1;
    let jwt = writer.signer.sign(&foreign, at).await.unwrap();
    writer.servers.push(&jwt, 1, deadline).await.unwrap();
    assert_eq!(read().await.templates().count(), 0);

    let said = push(&folder, &changes).await;
    says(
        &said,
        &[
            "somebody else pushed this account",
            "the key natsgate.member.1 was missing",
        ],
    );
    let after = read().await;
    assert!(after.facts().tags.contains(&"region:eu".to_owned()));
    let state = after.template(&"member".parse().unwrap()).unwrap();
    assert_eq!(
        (state.newest().public_key(), state.older().count()),
        (key.as_str(), 0)
    );
}

#[tokio::test]
async fn what_cannot_be_pushed_is_refused_with_the_mend() {
    let cluster = Cluster::start(Mode::OperatorWithPushes, false).await;
    let whole = config(&cluster);
    let changes = member("'projects.{{tag(project)}}.>'");
    let refused = async |config: &str| {
        let folder = Folder::new(config);
        let path = folder.write("changes.yaml", &changes);
        let output = account(folder.path(), &["push", path.to_str().unwrap()]).await;
        (output.status.code(), text(&output.stderr))
    };
    for (config, code, part) in [
        (cluster.shim_section(), 64, "accounts: is missing"),
        (
            whole.replace("operator_seed:", "operator_sed:"),
            64,
            "operator_sed",
        ),
        (
            whole.replace("accounts.redb", "no/such/folder.redb"),
            64,
            "accounts.file: opening",
        ),
        (
            whole.replace(
                "file: accounts.redb",
                "postgres: { database: { host: 127.0.0.1, port: 1, database: app, user: natsgate, tls: { mode: disable } } }",
            ),
            1,
            "PostgreSQL at 127.0.0.1:1/app: error connecting to server",
        ),
        (
            format!("{}accounts: {{ file: accounts.redb }}\n", cluster.shim_section()),
            64,
            "neither operator_seed nor signer_command",
        ),
        (
            format!(
                "{}accounts: {{ file: a.redb, signer_command: {{ program: /bin/false, public_key: {} }} }}\n",
                cluster.shim_section(),
                natsgate_claims::KeyPair::generate(natsgate_claims::Role::Operator)
                    .unwrap()
                    .public_key()
            ),
            1,
            "the signer command /bin/false failed",
        ),
    ] {
        let (found, said) = refused(&config).await;
        assert_eq!(found, Some(code), "{said}");
        assert!(said.contains(part), "{part}: {said}");
    }
    let folder = Folder::new(&whole);
    let _open = natsgate_store::FileAccountStore::open(folder.path().join("accounts.redb"))
        .await
        .unwrap();
    let path = folder.write("changes.yaml", &changes);
    let output = account(folder.path(), &["push", path.to_str().unwrap()]).await;
    says(&text(&output.stderr), &["another process has it open"]);
}

#[tokio::test]
async fn a_root_secret_is_exchanged_under_a_session() {
    let provider = provider().await;
    let cluster = Cluster::start(Mode::OperatorWithPushes, false).await;
    let before = Folder::new(&config(&cluster));
    let changes = member("'projects.{{tag(project)}}.>'");
    push(&before, &changes).await;

    // Every shim first, then the writer.
    let both = config(&cluster).replace(
        &format!("['{ROOT_SECRET}']"),
        &format!("['another secret for this test, 32 bytes', '{ROOT_SECRET}']"),
    );
    assert_ne!(both, config(&cluster));
    let _gateway = gateway(&both, provider.issuer()).await;
    let watcher = &cluster.break_glass().await;
    let token = provider.issue(alice()).unwrap();
    let session = connect_until(&cluster, &token, async |_| true).await;

    let folder = Folder::new(&both);
    // What is wanted is known to the writer that there was.
    let kept = std::fs::copy(
        before.path().join("accounts.redb"),
        folder.path().join("accounts.redb"),
    );
    kept.unwrap();
    let said = done(account(folder.path(), &["rotate"]).await);
    says(
        &said,
        &["generation 2 beside 1", "1 sessions of older generations"],
    );
    let (said, _) = tokio::join!(
        async { done(account(folder.path(), &["drain", "--over=0s"]).await) },
        session.event(|event| matches!(event, Event::Disconnected))
    );
    says(&said, &["removed: the key natsgate.member.1"]);
    session.event(|event| matches!(event, Event::Connected)).await;
    assert!(session.may_publish("projects.apollo.in.a", watcher).await);
    says(
        &done(account(folder.path(), &["rotate"]).await),
        &["nothing changes"],
    );
}

#[tokio::test]
async fn everybody_of_an_account_is_revoked_by_one_push() {
    let provider = provider().await;
    let cluster = Cluster::start(Mode::OperatorWithPushes, false).await;
    let folder = Folder::new(&config(&cluster));
    let _gateway = gateway(&config(&cluster), provider.issuer()).await;
    push(&folder, &member("'projects.{{tag(project)}}.>'")).await;
    let token = provider.issue(alice()).unwrap();
    let session = connect_until(&cluster, &token, async |_| true).await;
    cluster.break_glass().await;

    let output = account(folder.path(), &["revoke"]).await;
    assert_eq!(output.status.code(), Some(64), "it asks whether that is meant");
    let (said, ()) = tokio::join!(
        async { done(account(folder.path(), &["revoke", "--everyone"]).await) },
        async {
            let revoked = |event: &Event| {
                matches!(event, Event::ServerError(error)
                    if error.to_string().to_lowercase().contains("authentication revoked"))
            };
            session.event(revoked).await;
            session.event(|event| matches!(event, Event::Disconnected)).await;
        }
    );
    says(&said, &["in force"]);
    // Whoever asks the callout gets a JWT of now, this client by itself; whoever has one of before is out for good.
    session.event(|event| matches!(event, Event::Connected)).await;
    let options = cluster.break_glass_options();
    assert!(options.connect(cluster.nats.client_url()).await.is_err());
}

#[tokio::test]
async fn an_account_that_nobody_knows_is_made_once() {
    let cluster = Cluster::start(Mode::OperatorWithPushes, false).await;
    let Keys::Operator(mode) = &cluster.keys else {
        unreachable!("operator mode")
    };
    let key = natsgate_claims::KeyPair::generate(natsgate_claims::Role::Account).unwrap();
    let own = mode.account("APP").unwrap().key.public_key();
    let folder = Folder::new(&config(&cluster).replace(own, key.public_key()));
    let changes = folder.write("changes.yaml", &member("'news.>'"));
    let changes = changes.to_str().unwrap();
    let output = account(folder.path(), &["push", changes]).await;
    assert!(!output.status.success());
    says(&text(&output.stderr), &["natsgate account create"]);

    let said = done(account(folder.path(), &["create"]).await);
    says(&said, &[key.public_key(), "on 1 of 1 servers"]);
    let output = account(folder.path(), &["create"]).await;
    assert_eq!(output.status.code(), Some(1));
    says(&text(&output.stderr), &["is there already"]);
    says(
        &done(account(folder.path(), &["push", changes]).await),
        &["template member: new, generation 1"],
    );
}

#[tokio::test]
async fn sessions_that_lose_nothing_are_moved_at_the_pace_asked_and_all_of_them() {
    let provider = provider().await;
    let cluster = Cluster::start(Mode::OperatorWithPushes, false).await;
    let folder = Folder::new(&config(&cluster));
    let _gateway = gateway(&config(&cluster), provider.issuer()).await;
    push(&folder, &member("'projects.{{tag(project)}}.>'")).await;
    let token = provider.issue(alice()).unwrap();
    let mut sessions = Vec::new();
    for _ in 0..5 {
        sessions.push(connect_until(&cluster, &token, async |_| true).await);
    }
    push(&folder, &member("'projects.{{tag(project)}}.>', 'news.>'")).await;
    let closed = sessions.iter().map(async |session| {
        session.event(|event| matches!(event, Event::Disconnected)).await;
        Instant::now()
    });
    let (said, closed) = tokio::join!(
        async { done(account(folder.path(), &["drain", "--over=2s"]).await) },
        futures::future::join_all(closed)
    );
    says(
        &said,
        &["5 sessions that lose nothing were closed", "removed: the key"],
    );
    // One every 400 ms; they never come closer together than they are sent, but for a scheduler's whim.
    let (first, last) = (closed.iter().min().unwrap(), closed.iter().max().unwrap());
    let took = last.duration_since(*first);
    assert!(took > Duration::from_secs(1), "{took:?}");
    for session in &sessions {
        session.event(|event| matches!(event, Event::Connected)).await;
    }
}
