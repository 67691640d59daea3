//! A nats-server with somebody answering its callout, each a process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use natsgate_benches::bare::Told;
use natsgate_benches::rules;
use natsgate_devkit::process::Process;
use natsgate_devkit::{ConfigMode, ConfigModeOptions, ConfiguredUser, NatsServer, NatsServerOptions};
use secrecy::ExposeSecret;
use serde_json::json;
use tempfile::TempDir;

/// How long a process may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server and its responder. Dropping it ends both.
pub(crate) struct Contender {
    /// The server.
    pub(crate) nats: NatsServer,
    _responder: Process,
    _folder: TempDir,
}

impl Contender {
    /// The responder that lets everybody in.
    pub(crate) async fn bare() -> Self {
        let (keys, nats) = server(false).await;
        let told = Told {
            url: nats.client_url().to_owned(),
            user: keys.callout_user.user,
            password: keys.callout_user.password.expose_secret().to_owned(),
            issuer_seed: keys.issuer.seed().unwrap().expose_secret().to_owned(),
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("told.json");
        std::fs::write(&file, serde_json::to_vec(&told).unwrap()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bare-responder"));
        command.arg(&file);
        Self::of(nats, folder, "bare-responder", &mut command, "ready").await
    }

    /// `natsgate all`, which verifies `issuer`'s tokens.
    pub(crate) async fn natsgate(issuer: &str, xkey: bool) -> Self {
        let (keys, nats) = server(xkey).await;
        let login = |user: &ConfiguredUser| json!({ "servers": [nats.client_url()], "user": user.user, "password": user.password.expose_secret() });
        let mut config = json!({
            "shim": {
                "cluster": "bench",
                "nats": login(&keys.callout_user),
                "system": login(&keys.system_user),
                "config_mode": { "issuer_seed": keys.issuer.seed().unwrap().expose_secret() },
                "accounts": [{ "name": "APP" }],
            },
            "decision": {
                "policy_file": "policy.yaml",
                "providers": [{ "name": "bench", "issuer": issuer, "audiences": ["nats"] }],
                "memberships": [{ "claim": { "name": "projects", "kind": "project", "role": "member" } }],
            },
        });
        if let (Some(shim), Some(xkey)) = (config.pointer_mut("/shim"), &keys.xkey) {
            shim["xkey_seed"] = xkey.seed().expose_secret().into();
        }
        let folder = tempfile::tempdir().unwrap();
        // JSON is YAML too.
        let file = folder.path().join("natsgate.yaml");
        std::fs::write(&file, config.to_string()).unwrap();
        std::fs::write(folder.path().join("policy.yaml"), rules::document()).unwrap();
        let mut command = Command::new(program());
        command.arg("all").arg("--config").arg(&file);
        Self::of(
            nats,
            folder,
            "natsgate",
            &mut command,
            "the shim takes authorization requests",
        )
        .await
    }

    async fn of(nats: NatsServer, folder: TempDir, name: &str, command: &mut Command, ready: &str) -> Self {
        let mut responder = Process::spawn(name, command, &log(folder.path())).unwrap();
        let listening = async {
            while !responder.logs().contains(ready) {
                assert!(responder.is_running(), "{name} ended: {}", responder.logs());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, listening)
            .await
            .expect("the responder is not ready");
        Self {
            nats,
            _responder: responder,
            _folder: folder,
        }
    }
}

async fn server(xkey: bool) -> (ConfigMode, NatsServer) {
    let keys = ConfigMode::generate(ConfigModeOptions {
        xkey,
        ..ConfigModeOptions::default()
    })
    .unwrap();
    // What a server does beside logging is what is measured.
    let options = NatsServerOptions {
        config: keys.server_config(),
        debug: false,
        ..NatsServerOptions::default()
    };
    (keys, NatsServer::start(options).await.unwrap())
}

fn log(folder: &Path) -> PathBuf {
    folder.join("log")
}

/// `natsgate` of the profile this bench is of: cargo puts a bench into `deps`, beside it.
fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.ancestors().nth(2).unwrap().join("natsgate");
    assert!(
        program.is_file(),
        "{} is not there: run `make bench`, or first `cargo build --release -p natsgate`",
        program.display()
    );
    program
}
