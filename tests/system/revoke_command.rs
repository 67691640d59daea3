//! `natsgate revoke` and `natsgate sessions` against a running `natsgate all`: somebody is listed, revoked and banned, closed,
//! refused, and let in again.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use async_nats::Event;
use natsgate_devkit::{DevProvider, TokenSpec};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::harness::{Cluster, Folder, Gateway, Mode, PATIENCE, POLICY, SHIM_READY, free_port, provider};

/// How often something is tried that takes a second at most: a token of the second in which something was revoked may be
/// older than that.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(100);

struct Scene {
    cluster: Cluster,
    provider: DevProvider,
    port: u16,
    _gateway: Gateway,
}

impl Scene {
    async fn start() -> Self {
        let cluster = Cluster::start(Mode::Config, true).await;
        let (provider, port) = (provider().await, free_port());
        let issuer = provider.issuer();
        let config = format!(
            "{}store:\n  follow: {{ clock_skew: 0s }}\n  pushed: {{ file: {{ path: pushed.redb }} }}\ndecision:\n  listen: \
             127.0.0.1:{port}\n  policy_file: policy.yaml\n  providers:\n    - {{ name: test, issuer: '{issuer}', audiences: \
             [nats], leeway: 0s }}\n  memberships:\n    - claim: {{ name: projects, kind: project, role: member }}\n  callers:\n    - \
             name: admin\n      token: {{ subject: admin }}\n      scopes: [natsgate.revoke, natsgate.sessions.read]\n      issuers: \
             ['*']\n      kinds: ['*']\n      id_prefixes: ['*']\n      roles: ['*']\n  caller_providers:\n    - {{ name: api, issuer: \
             '{issuer}', audiences: [natsgate-api], leeway: 0s }}\n",
            cluster.shim_section()
        );
        let folder = Folder::new(&config);
        folder.write("policy.yaml", POLICY);
        let mut gateway = Gateway::start_in(folder, "all", SHIM_READY).await;
        gateway.wait_for("the decision service listens").await;
        Self {
            cluster,
            provider,
            port,
            _gateway: gateway,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let token = TokenSpec::new("admin")
            .audience("natsgate-api")
            .claim("scope", "natsgate.revoke natsgate.sessions.read");
        let token = self.provider.issue(token).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_natsgate"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("NATSGATE") {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .env("NATSGATE_ENDPOINT", format!("http://127.0.0.1:{}", self.port))
            .env("NATSGATE_TOKEN", token.expose_secret());
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }

    /// What a command that succeeds answers.
    async fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat()).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn alice(&self) -> TokenSpec {
        TokenSpec::new("alice").claim("projects", json!(["apollo"]))
    }
}

#[tokio::test]
async fn somebody_is_listed_revoked_banned_and_let_in_again() {
    let scene = Scene::start().await;
    let alice = scene
        .cluster
        .connect(&scene.provider.issue(scene.alice()).unwrap())
        .await
        .unwrap();
    let bob = TokenSpec::new("bob").claim("projects", json!(["apollo"]));
    let bob = scene
        .cluster
        .connect(&scene.provider.issue(bob).unwrap())
        .await
        .unwrap();

    // Of a caller's token as old as the log nobody knows whether it was revoked before.
    for tries in 0.. {
        let output = scene.run(&["sessions"]).await;
        if output.status.success() {
            break;
        }
        assert!(tries < TRIES, "{}", String::from_utf8_lossy(&output.stderr));
        tokio::time::sleep(PAUSE).await;
    }
    let issuer = scene.provider.issuer();
    let whom = ["--issuer", issuer, "--subject", "alice"];
    let listed = loop {
        // A shim tells of its sessions a moment after it has them, and every second of itself.
        let listed = scene.json(&[["sessions"].as_slice(), &whom].concat()).await;
        let there = listed["sessions"][0]["client_id"] == alice.client.server_info().client_id;
        if there && listed["shims"][0]["applied"].is_string() {
            break listed;
        }
    };
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 1, "{listed}");
    let before = listed["shims"][0]["applied"].as_str().unwrap().to_owned();

    let revoke = [
        ["revoke", "principal", "--ban-until", "1h", "--reason", "left"].as_slice(),
        &whom,
    ]
    .concat();
    let revoked = scene.json(&revoke).await;
    assert_eq!(revoked["complete"], true, "{revoked}");
    assert_eq!(revoked["clusters"][0]["closed"], 1, "{revoked}");
    alice.event(|event| matches!(event, Event::Disconnected)).await;
    let watcher = scene.cluster.break_glass().await;
    assert!(bob.may_publish("projects.apollo.in.x", &watcher).await);

    // Even a token of a later second does not let her in: she is banned, not only superseded.
    let bans = scene.json(&["revoke", "bans"]).await;
    let id = revoked["id"].as_str().unwrap();
    assert_eq!(
        (&bans[0]["id"], &bans[0]["reason"]),
        (&json!(id), &json!("left")),
        "{bans}"
    );
    let later = scene.provider.issue(scene.alice()).unwrap();
    assert!(scene.cluster.connect(&later).await.is_err());
    let lifted = scene.json(&["revoke", "lift", id, "--reason", "was right"]).await;
    assert_eq!(lifted["ban"]["lifted_for"], "was right", "{lifted}");
    for tries in 0.. {
        let token = scene.provider.issue(scene.alice()).unwrap();
        if scene.cluster.connect(&token).await.is_ok() {
            break;
        }
        assert!(tries < TRIES, "she is not let in again");
        tokio::time::sleep(PAUSE).await;
    }

    // All of it is told to whoever asks from where it began.
    let mut watching = tokio::process::Command::from(scene.command(&["revoke", "watch", "--after", &before]))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    for expected in [
        format!("revoked, banned: principal alice of {issuer}; by admin (left)"),
        format!("lifted: the ban of principal alice of {issuer}; by admin (was right)"),
    ] {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap();
        let line = line.unwrap().unwrap();
        assert!(line.ends_with(&expected), "{line}");
    }
    watching.kill().await.unwrap();
}
