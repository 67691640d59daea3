//! nats/config-mode/nats-server.conf with natsgate/all.yaml, its policy and its memberships.

use async_nats::{ConnectErrorKind, ConnectOptions};
use futures::StreamExt;
use natsgate_claims::{KeyPair, Role, XKeyPair};
use natsgate_devkit::{Fault, TokenSpec};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::site::{Gateway, SHIM_READY, Server, Session, Site, Variables, within};

const CONF: &str = "nats/config-mode/nats-server.conf";

/// The break-glass user's password and its bcrypt hash, of the least cost.
const BREAK_GLASS: (&str, &str) = (
    "only for this test",
    "$2a$04$abcdefghijklmnopqrstuulpOvH6lkIyKW8GXf6NEACGAuSyPJteC",
);

/// What README tells an operator to make: the server's environment, and natsgate's.
struct Secrets {
    server: Variables,
    natsgate: Variables,
}

impl Secrets {
    fn generate() -> Self {
        let mut secrets = Self {
            server: Vec::new(),
            natsgate: Vec::new(),
        };
        for (public, seed, role) in [
            ("ISSUER", "ISSUER_SEED", Role::Account),
            ("CALLOUT_NKEY", "CALLOUT_SEED", Role::User),
            ("WATCH_NKEY", "WATCH_SEED", Role::User),
            ("EVICT_NKEY", "EVICT_SEED", Role::User),
        ] {
            let key = KeyPair::generate(role).unwrap();
            secrets.add(
                public,
                key.public_key(),
                seed,
                key.seed().unwrap().expose_secret(),
            );
        }
        let xkey = XKeyPair::generate().unwrap();
        secrets.add(
            "XKEY",
            xkey.public_key(),
            "XKEY_SEED",
            xkey.seed().expose_secret(),
        );
        secrets
            .server
            .push(("NATSGATE_BREAK_GLASS_HASH".to_owned(), BREAK_GLASS.1.to_owned()));
        secrets
    }

    fn add(&mut self, public: &str, public_key: &str, name: &str, seed: &str) {
        self.server
            .push((format!("NATSGATE_{public}"), public_key.to_owned()));
        self.natsgate.push((format!("NATSGATE_{name}"), seed.to_owned()));
    }

    /// Options of the user whose seed natsgate has as `name`.
    fn login(&self, name: &str) -> ConnectOptions {
        let (_, seed) = self
            .natsgate
            .iter()
            .find(|(variable, _)| variable == name)
            .unwrap();
        ConnectOptions::with_nkey(seed.clone())
    }
}

async fn break_glass(server: &Server) -> Session {
    let login = ConnectOptions::with_user_and_password("break-glass".into(), BREAK_GLASS.0.into());
    server.connect(login).await.unwrap()
}

async fn all(site: &Site, server: &Server, secrets: &Secrets) -> Gateway {
    let mut variables = secrets.natsgate.clone();
    variables.extend(server.overrides());
    site.start("all", &variables, SHIM_READY).await
}

#[tokio::test]
async fn the_break_glass_user_gets_in_while_natsgate_is_not_running() {
    let site = Site::new().await;
    let server = Server::start(&site, CONF, &[], &Secrets::generate().server).await;
    let client = break_glass(&server).await.client;
    let mut seen = client.subscribe(">").await.unwrap();
    client.publish("anything", "x".into()).await.unwrap();
    assert_eq!(within(seen.next()).await.unwrap().subject.as_str(), "anything");

    let login = ConnectOptions::with_user_and_password("break-glass".into(), "wrong".into());
    let refused = server.connect(login).await.err();
    assert_eq!(refused, Some(ConnectErrorKind::AuthorizationViolation));
}

#[tokio::test]
async fn tokens_get_in_with_what_the_policy_says() {
    let site = Site::new().await;
    let secrets = Secrets::generate();
    let server = Server::start(&site, CONF, &[], &secrets.server).await;
    let mut gateway = all(&site, &server, &secrets).await;
    let issue = |spec| site.provider.issue(spec).unwrap();

    // By the token's claim a member.
    let bob = TokenSpec::new("bob").claim("projects", json!(["apollo"]));
    let mut bob = server.connect_as("bob", &issue(bob)).await.unwrap();
    assert!(bob.may_publish("projects.apollo.in.a").await);
    assert!(bob.may_subscribe("projects.apollo.>", None).await);
    assert!(bob.may_subscribe("_INBOX.bob.>", None).await);
    assert!(!bob.may_publish("projects.apollo.admin.a").await);
    assert!(!bob.may_publish("projects.gemini.in.a").await);
    assert!(!bob.may_subscribe("projects.gemini.>", None).await);
    assert!(!bob.may_subscribe("projects.apollo.audit.a", None).await);
    assert!(!bob.may_subscribe("_INBOX.alice.>", None).await);

    // By the file an owner; her requests are answered to her own inbox.
    let mut alice = server
        .connect_as("alice", &issue(TokenSpec::new("alice")))
        .await
        .unwrap();
    assert!(alice.may_publish("projects.apollo.admin.a").await);
    let glass = break_glass(&server).await.client;
    let mut asked = glass.subscribe("projects.apollo.in.question").await.unwrap();
    // One connection's lines are taken in order: after this round trip the server has the subscription.
    glass.request("$SYS.REQ.USER.INFO", "".into()).await.unwrap();
    let answering = async {
        let question = within(asked.next()).await.unwrap();
        assert!(question.reply.as_ref().unwrap().starts_with("_INBOX.alice."));
        glass
            .publish(question.reply.unwrap(), "answer".into())
            .await
            .unwrap();
    };
    let asking = alice.client.request("projects.apollo.in.question", "".into());
    let (answer, ()) = tokio::join!(within(asking), answering);
    assert_eq!(answer.unwrap().payload, "answer");

    // A worker, in its queue group only; it may answer.
    let mut worker = server
        .connect_as("apollo-worker", &issue(TokenSpec::new("apollo-worker")))
        .await
        .unwrap();
    assert!(!worker.may_subscribe("jobs.apollo.clean", None).await);
    assert!(!worker.may_subscribe("jobs.apollo.clean", Some("others")).await);
    let mut jobs = worker
        .client
        .queue_subscribe("jobs.apollo.*", "workers".into())
        .await
        .unwrap();
    assert!(!worker.may_publish("anywhere").await);
    let (done, ()) = tokio::join!(within(glass.request("jobs.apollo.clean", "".into())), async {
        let job = within(jobs.next()).await.unwrap();
        worker
            .client
            .publish(job.reply.unwrap(), "done".into())
            .await
            .unwrap();
    });
    assert_eq!(done.unwrap().payload, "done");

    // A device and its technician, who needs to be on duty.
    let mut pump = server
        .connect_as("pump-7", &issue(TokenSpec::new("pump-7")))
        .await
        .unwrap();
    assert!(pump.may_publish("devices.pump-7.telemetry.pressure").await);
    assert!(!pump.may_publish("devices.pump-8.telemetry.pressure").await);
    let mut idle = server
        .connect_as("carol", &issue(TokenSpec::new("carol")))
        .await
        .unwrap();
    assert!(!idle.may_publish("devices.pump-7.commands.stop").await);
    let on_duty = TokenSpec::new("carol").claim("on_duty", true);
    let mut carol = server.connect_as("carol", &issue(on_duty)).await.unwrap();
    assert!(carol.may_publish("devices.pump-7.commands.stop").await);

    // A good token of somebody who belongs to nothing.
    let stranger = server
        .connect_as("mallory", &issue(TokenSpec::new("mallory")))
        .await
        .err();
    assert_eq!(stranger, Some(ConnectErrorKind::AuthorizationViolation));
    // A token that is larger than what a CONNECT line may be by default.
    let large = TokenSpec::new("bob")
        .claim("projects", json!(["apollo"]))
        .claim("more", "x".repeat(8000));
    assert!(server.connect_as("bob", &issue(large)).await.is_ok());

    gateway.0.stop().await.unwrap();
}

#[tokio::test]
async fn least_permissions_are_enough_to_answer_to_look_up_and_to_kick() {
    let site = Site::new().await;
    let secrets = Secrets::generate();
    let server = Server::start(&site, CONF, &[], &secrets.server).await;
    let mut gateway = all(&site, &server, &secrets).await;
    let token = site
        .provider
        .issue(TokenSpec::new("bob").claim("projects", json!(["apollo"])))
        .unwrap();

    // The provider cannot be asked for its keys, so nothing can be decided.
    site.provider.set_fault(Fault::Status(503));
    let kicked = server
        .connect_as("bob", &token)
        .await
        .err()
        .expect("nobody can have let it in");
    assert_ne!(kicked, ConnectErrorKind::AuthorizationViolation);
    gateway.wait_for("its connection was kicked").await;
    site.provider.set_fault(Fault::None);
    // Whether the keys are asked for again at once is the provider's cool-down; a new natsgate knows of none.
    gateway.0.stop().await.unwrap();
    let mut next = all(&site, &server, &secrets).await;
    let bob = server.connect_as("bob", &token).await.unwrap();
    // For the bad day too: who is there, and how many servers.
    let mut variables = secrets.natsgate.clone();
    variables.extend(server.overrides());
    let everyone = [
        "revoke",
        "--direct",
        "everyone",
        "--dry-run",
        "--json",
        "--config",
        "all.yaml",
    ];
    let mut direct = site.natsgate(&everyone, &variables);
    let told = tokio::task::spawn_blocking(move || direct.output().unwrap());
    let told = told.await.unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap_or_else(|_| panic!("{told:?}"));
    assert_eq!(told["servers"], json!({ "answered": 1, "there": 1 }), "{told}");
    assert_eq!(told["sessions"], 1, "{told}");
    drop(bob);
    next.0.stop().await.unwrap();

    // Stopped, both have had everything they sent taken by the server.
    assert_eq!(server.violations(), Vec::<String>::new());
    let log = next.0.logs();
    for complaint in [
        "iolation",
        "could not be learned",
        "looked up one by one",
        "no shim.system",
        "\"ERROR\"",
    ] {
        assert!(!log.contains(complaint), "{complaint}: {log}");
    }
}

#[tokio::test]
async fn natsgate_s_users_may_do_nothing_else() {
    let site = Site::new().await;
    let secrets = Secrets::generate();
    let server = Server::start(&site, CONF, &[], &secrets.server).await;
    for (name, publish, subscribe) in [
        (
            "NATSGATE_CALLOUT_SEED",
            ["$SYS.REQ.USER.AUTH", "$SYS._INBOX.a.b"],
            ["$SYS.REQ.USER.*", ">"],
        ),
        (
            "NATSGATE_WATCH_SEED",
            ["$SYS.REQ.SERVER.x.KICK", "$SYS.REQ.CLAIMS.UPDATE"],
            ["$SYS.SERVER.*.CLIENT.AUTH.ERR", "_INBOX.>"],
        ),
        (
            "NATSGATE_EVICT_SEED",
            ["$SYS.REQ.SERVER.x.CONNZ", "$SYS.REQ.SERVER.PING"],
            ["$SYS.SERVER.*.STATSZ", "$SYS.>"],
        ),
    ] {
        let mut session = server.connect(secrets.login(name)).await.unwrap();
        for subject in publish {
            assert!(!session.may_publish(subject).await, "{name} publish {subject}");
        }
        for subject in subscribe {
            assert!(
                !session.may_subscribe(subject, None).await,
                "{name} subscribe {subject}"
            );
        }
    }
}

/// The request of a client of JetStream's API.
async fn jetstream(session: &Session, subject: &str, body: serde_json::Value) -> async_nats::Message {
    let asking = session
        .client
        .request(subject.to_owned(), body.to_string().into());
    let answer = within(asking)
        .await
        .unwrap_or_else(|error| panic!("{subject}: {error}"));
    assert!(
        !String::from_utf8_lossy(&answer.payload).contains("\"error\""),
        "{subject}: {answer:?}"
    );
    answer
}

#[tokio::test]
async fn members_read_their_project_s_stream() {
    let site = Site::new().await;
    let secrets = Secrets::generate();
    let conf = std::fs::read_to_string(site.file(CONF)).unwrap();
    let enabled = conf.replace("# jetstream: enabled", "jetstream: enabled");
    assert_ne!(conf, enabled);
    site.write(CONF, &enabled);
    let store = site.file("jetstream").display().to_string();
    let server = Server::start(
        &site,
        CONF,
        &["--jetstream", "--store_dir", &store],
        &secrets.server,
    )
    .await;
    let mut gateway = all(&site, &server, &secrets).await;

    let glass = break_glass(&server).await;
    let stream =
        json!({ "name": "PROJECT_apollo", "subjects": ["projects.apollo.in.>"], "storage": "memory" });
    jetstream(&glass, "$JS.API.STREAM.CREATE.PROJECT_apollo", stream).await;
    let config = json!({ "durable_name": "members", "ack_policy": "explicit" });
    let consumer = json!({ "stream_name": "PROJECT_apollo", "config": config });
    jetstream(&glass, "$JS.API.CONSUMER.CREATE.PROJECT_apollo.members", consumer).await;

    let token = site
        .provider
        .issue(TokenSpec::new("bob").claim("projects", json!(["apollo"])))
        .unwrap();
    let mut bob = server.connect_as("bob", &token).await.unwrap();
    jetstream(&bob, "projects.apollo.in.a", json!("a message")).await;
    // A message keeps its subject on its way to the inbox, so a plain request would not know it for the answer.
    let inbox = bob.client.new_inbox();
    let mut fetched = bob.client.subscribe(inbox.clone()).await.unwrap();
    let next = "$JS.API.CONSUMER.MSG.NEXT.PROJECT_apollo.members";
    bob.client
        .publish_with_reply(next, inbox, "1".into())
        .await
        .unwrap();
    let message = within(fetched.next()).await.unwrap();
    assert_eq!(message.payload, "\"a message\"");
    within(bob.client.request(message.reply.unwrap(), "+ACK".into()))
        .await
        .unwrap();
    let info = jetstream(&bob, "$JS.API.CONSUMER.INFO.PROJECT_apollo.members", json!({})).await;
    let info: serde_json::Value = serde_json::from_slice(&info.payload).unwrap();
    assert_eq!(info["num_ack_pending"], 0, "{info}");
    assert!(
        !bob.may_publish("$JS.API.CONSUMER.MSG.NEXT.PROJECT_gemini.members")
            .await
    );
    assert!(
        !bob.may_publish("$JS.API.CONSUMER.CREATE.PROJECT_apollo.mine")
            .await
    );
    gateway.0.stop().await.unwrap();
}

#[tokio::test]
async fn check_config_accepts_all_yaml() {
    let site = Site::new().await;
    let output = site
        .natsgate(
            &["check-config", "--config", "all.yaml"],
            &Secrets::generate().natsgate,
        )
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("natsgate all"), "{told}");
}
