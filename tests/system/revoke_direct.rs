//! `natsgate revoke --direct`: with natsgate itself gone, the sessions concerned are closed through the system account, and no
//! others.

use std::process::Output;

use async_nats::Event;
use natsgate_devkit::{ClusterOptions, NatsServer, NatsServerOptions, TokenSpec};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::harness::{Cluster, Folder, Gateway, Keys, Mode, POLICY, SHIM_READY, Session, command, provider};

/// Runs `natsgate revoke --direct` with the `shim` section of `cluster`, and nothing else in the file that could work.
async fn direct(cluster: &Cluster, arguments: &[&str]) -> Output {
    let section = cluster.shim_section().replace("cluster: test", "clutser: 7");
    let folder = Folder::new(&format!(
        "{section}store: what\ndecision: {{ policy_file: '${{file:gone}}' }}\n"
    ));
    let mut command = command(
        folder.path(),
        &[["revoke", "--direct"].as_slice(), arguments].concat(),
    );
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn told(output: &Output) -> Value {
    let code = output.status.code();
    assert_eq!(code, Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn is_closed(session: &Session) {
    session.event(|event| matches!(event, Event::Disconnected)).await;
}

#[tokio::test]
async fn exactly_the_sessions_concerned_close_with_natsgate_gone() {
    for mode in [Mode::Config, Mode::OperatorWithDefaultSentinel] {
        play(mode).await;
    }
}

async fn play(mode: Mode) {
    let cluster = Cluster::start(mode, true).await;
    let (one, other) = (provider().await, provider().await);
    let providers = [("one", one.issuer()), ("other", other.issuer())]
        .map(|(name, issuer)| format!("    - {{ name: {name}, issuer: '{issuer}', audiences: [nats] }}\n"))
        .concat();
    let config = format!(
        "{}decision:\n  policy_file: policy.yaml\n  providers:\n{providers}  memberships:\n    - claim: {{ name: projects, kind: \
         project, role: member }}\n",
        cluster.shim_section()
    );
    let folder = Folder::new(&config);
    folder.write("policy.yaml", POLICY);
    let mut gateway = Gateway::start_in(folder, "all", SHIM_READY).await;
    let token = |subject: &str| TokenSpec::new(subject).claim("projects", json!(["apollo"]));
    let ones = |subject: &str| -> SecretString { one.issue(token(subject)).unwrap() };
    let alice = cluster.connect(&ones("alice")).await.unwrap();
    let alice_again = cluster.connect(&ones("alice")).await.unwrap();
    let bob = cluster.connect(&ones("bob")).await.unwrap();
    let namesake = cluster
        .connect(&other.issue(token("alice")).unwrap())
        .await
        .unwrap();
    let carol = cluster.connect(&ones("carol")).await.unwrap();
    let break_glass = cluster.connect_with(cluster.break_glass_options()).await.unwrap();
    let watcher = cluster.break_glass().await;
    gateway.process.kill().unwrap();

    let whom = ["principal", "--issuer", one.issuer(), "--subject", "alice"];
    let dry = direct(&cluster, &[whom.as_slice(), &["--dry-run", "--json"]].concat()).await;
    let dry = told(&dry);
    assert_eq!(dry["sessions"], 5, "{dry}");
    assert_eq!(dry["concerned"].as_array().unwrap().len(), 2, "{dry}");
    assert_eq!(dry["servers"], json!({ "answered": 1, "there": 1 }));
    assert!(alice.may_publish("projects.apollo.in.x", &watcher).await);

    let output = direct(&cluster, &[whom.as_slice(), &["--json"]].concat()).await;
    let closed = told(&output);
    assert_eq!(closed["closing"], json!({ "closed": 2, "gone": 0, "open": [] }));
    let warned = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(warned.contains("NOBODY IS BANNED"), "{warned}");
    is_closed(&alice).await;
    is_closed(&alice_again).await;
    // Whoever was kicked now could not come back: nobody is there to let them in.
    for session in [&bob, &namesake, &carol] {
        assert!(session.may_publish("projects.apollo.in.x", &watcher).await);
    }

    // One session; and one that natsgate did not let in, which is not its to close.
    for (session, closes) in [(&bob, 1), (&break_glass, 0)] {
        let info = session.client.server_info();
        let client = info.client_id.to_string();
        let whom = [
            "session",
            "--server",
            &info.server_id,
            "--client",
            &client,
            "--json",
        ];
        assert_eq!(told(&direct(&cluster, &whom).await)["closing"]["closed"], closes);
    }
    is_closed(&bob).await;
    for session in [&namesake, &carol, &break_glass] {
        assert!(session.may_publish("projects.apollo.in.x", &watcher).await);
    }

    // All in an account, and then everyone: nobody of natsgate's is left.
    let unknown = direct(&cluster, &["account", "AUTH"]).await;
    assert_eq!(unknown.status.code(), Some(64));
    let output = direct(&cluster, &["account", "APP"]).await;
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("2 sessions that natsgate let in; 2 concerned") && text.contains("closed 2 sessions"),
        "{text}"
    );
    is_closed(&namesake).await;
    is_closed(&carol).await;
    let everyone = told(&direct(&cluster, &["everyone", "--json"]).await);
    assert_eq!(
        (&everyone["sessions"], &everyone["closing"]["closed"]),
        (&json!(0), &json!(0))
    );
    assert!(break_glass.may_publish("projects.apollo.in.x", &watcher).await);
    assert_eq!(
        break_glass
            .client
            .statistics()
            .connects
            .load(std::sync::atomic::Ordering::SeqCst),
        1
    );
}

#[tokio::test]
async fn what_a_name_does_not_tell_is_refused_with_what_to_do_instead() {
    let cluster = Cluster::start(Mode::Config, false).await;
    let output = direct(&cluster, &["resource", "--kind", "project", "--id", "apollo"]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("or everyone"), "{said}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_missed() {
    let mut cluster = Cluster::start_with(Mode::Config, false, |options| NatsServerOptions {
        cluster: Some(ClusterOptions {
            name: "test".into(),
            routes: Vec::new(),
        }),
        ..options
    })
    .await;
    let Keys::Config(keys) = &cluster.keys else {
        panic!("config mode");
    };
    let second = NatsServer::start(NatsServerOptions {
        config: keys.server_config(),
        cluster: Some(ClusterOptions {
            name: "test".into(),
            routes: vec![cluster.nats.cluster_url().unwrap().to_owned()],
        }),
        ..Default::default()
    })
    .await
    .unwrap();
    let dry = ["everyone", "--dry-run", "--json"];
    // Two servers take a moment to know each other.
    let both = json!({ "answered": 2, "there": 2 });
    for tries in 0.. {
        let output = direct(&cluster, &dry).await;
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        if told["servers"] == both {
            break;
        }
        assert!(tries < 5, "{told}");
    }
    second.suspend().unwrap();
    let output = direct(&cluster, &["everyone"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("ONLY 1 OF 2 SERVERS ANSWERED"), "{text}");
    second.resume().unwrap();

    // Nobody there at all.
    cluster.nats.kill().unwrap();
    let output = direct(&cluster, &["everyone"]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("connecting to NATS (direct)"), "{said}");
}
