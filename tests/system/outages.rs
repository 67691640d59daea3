//! Our outages are not denials: whatever is away, frozen, killed or too much, no client reads "Authorization
//! Violation", and every one gets in once things are well again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions};
use futures::{StreamExt, stream};
use natsgate_devkit::{
    ClusterOptions, ConfigMode, ConfigModeOptions, Fault, NatsServer, NatsServerOptions, TokenSpec,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio::sync::Notify;

use crate::harness::{
    Cluster, Folder, Gateway, Keys, Mode, PATIENCE, SHIM_READY, alice, decision_section, free_port, provider,
};

/// How the log says that a connection was given back.
const KICKED: &str = "its connection was kicked";

/// A client that keeps trying, as most do. It fails the test if it is ever told "Authorization Violation".
async fn gets_in(cluster: &Cluster, token: &SecretString) -> Client {
    tries(cluster, token, |error| {
        assert_ne!(
            error,
            ConnectErrorKind::AuthorizationViolation,
            "an outage was told as a denial"
        );
    })
    .await
}

/// A client that keeps trying whatever it is told, where nobody is there to answer for a while.
async fn gets_in_at_last(cluster: &Cluster, token: &SecretString) -> Client {
    tries(cluster, token, |_| {}).await
}

async fn tries(cluster: &Cluster, token: &SecretString, refused: impl Fn(ConnectErrorKind)) -> Client {
    let trying = async {
        loop {
            match cluster.connect(token).await {
                Ok(session) if is_in(&session.client).await => return session.client,
                Ok(_) => {}
                Err(error) => refused(error),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, trying)
        .await
        .expect("the client never got in")
}

/// Whether a member of apollo hears itself. That it is connected says nothing: async-nats believes so as soon as the
/// server sends anything, and its first PING comes while the callout is open.
async fn is_in(client: &Client) -> bool {
    let mut heard = client.subscribe("projects.apollo.in.proof").await.unwrap();
    client
        .publish("projects.apollo.in.proof", "".into())
        .await
        .unwrap();
    matches!(
        tokio::time::timeout(PATIENCE / 10, heard.next()).await,
        Ok(Some(_))
    )
}

async fn is_kicked(cluster: &Cluster, token: &SecretString) {
    let error = cluster
        .connect(token)
        .await
        .err()
        .expect("nobody can have let it in");
    assert_ne!(error, ConnectErrorKind::AuthorizationViolation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shim_restarted_and_a_decision_service_killed_amid_200_connects() {
    let provider = provider().await;
    let cluster = Arc::new(Cluster::start(Mode::Operator, true).await);
    let ports = [free_port(), free_port()];
    let mut doomed = Gateway::decision(provider.issuer(), ports[0]).await;
    let _survivor = Gateway::decision(provider.issuer(), ports[1]).await;
    let mut first = Gateway::shim(&cluster, &ports).await;
    let second = Gateway::shim(&cluster, &ports).await;

    let connected = Arc::new(AtomicUsize::new(0));
    let progress = Arc::new(Notify::new());
    let clients = {
        let (connected, progress) = (Arc::clone(&connected), Arc::clone(&progress));
        let tokens: Vec<SecretString> = (0..200)
            .map(|n| {
                provider
                    .issue(TokenSpec::new(format!("user-{n}")).claim("projects", json!(["apollo"])))
                    .unwrap()
            })
            .collect();
        let cluster = Arc::clone(&cluster);
        tokio::spawn(
            stream::iter(tokens)
                .map(move |token| {
                    let (cluster, connected, progress) =
                        (cluster.clone(), connected.clone(), progress.clone());
                    async move {
                        let client = gets_in(&cluster, &token).await;
                        connected.fetch_add(1, Ordering::SeqCst);
                        progress.notify_one();
                        client
                    }
                })
                .buffer_unordered(16)
                .collect::<Vec<Client>>(),
        )
    };
    let reached = async |count: usize| {
        while connected.load(Ordering::SeqCst) < count {
            progress.notified().await;
        }
    };
    reached(50).await;
    // SIGTERM: it takes no more requests, answers those it has, and ends.
    first.process.stop().await.unwrap();
    assert_eq!(
        first.lines("the shim stopped").len(),
        1,
        "{}",
        first.process.logs()
    );
    let _restarted = Gateway::shim(&cluster, &ports).await;
    reached(100).await;
    doomed.process.kill().unwrap();

    let clients = tokio::time::timeout(PATIENCE, clients)
        .await
        .expect("not all got in")
        .unwrap();
    assert_eq!(clients.len(), 200);
    assert!(connected.load(Ordering::SeqCst) == 200);
    for client in &clients {
        client.flush().await.unwrap();
    }
    assert!(second.lines("Authorization Violation").is_empty());
    assert!(
        !cluster
            .nats
            .logs()
            .contains("callout response not received in time"),
        "{}",
        cluster.nats.logs()
    );
}

#[tokio::test]
async fn two_shims_share_the_load() {
    let provider = provider().await;
    let cluster = Cluster::start(Mode::Config, false).await;
    let port = free_port();
    let _decision = Gateway::decision(provider.issuer(), port).await;
    let config = format!(
        "log: {{ level: 'info,natsgate_shim=debug' }}\n{}  decision: {{ endpoints: ['http://127.0.0.1:{port}'] }}\n",
        cluster.shim_section()
    );
    let shims = [
        Gateway::start("shim", &config, SHIM_READY).await,
        Gateway::start("shim", &config, SHIM_READY).await,
    ];
    let token = provider.issue(alice()).unwrap();
    for _ in 0..40 {
        cluster.connect(&token).await.unwrap();
    }
    let answered = shims.each_ref().map(|shim| shim.lines(" granted ").len());
    // The server picks at random: that one of two gets none of 40 is less likely than one in 10^11.
    assert!(answered.iter().all(|count| *count > 0), "{answered:?}");
    assert_eq!(answered.iter().sum::<usize>(), 40, "{answered:?}");
}

#[tokio::test]
async fn without_any_decision_service_clients_are_kicked_and_get_in_later() {
    let provider = provider().await;
    let cluster = Cluster::start(Mode::Operator, false).await;
    let port = free_port();
    let mut shim = Gateway::shim(&cluster, &[port]).await;
    let token = provider.issue(alice()).unwrap();
    is_kicked(&cluster, &token).await;
    shim.wait_for(KICKED).await;
    let _decision = Gateway::decision(provider.issuer(), port).await;
    gets_in(&cluster, &token).await;
}

/// Nobody is denied, and nobody held past the deadline, while the provider has `fault`.
async fn is_kicked_until_the_provider_is_well(fault: Fault, xkey: bool) {
    let provider = provider().await;
    let cluster = Cluster::start(Mode::Config, xkey).await;
    provider.set_fault(fault);
    let mut gateway = Gateway::all(&cluster, provider.issuer()).await;
    let token = provider.issue(alice()).unwrap();
    is_kicked(&cluster, &token).await;
    gateway.wait_for(KICKED).await;
    provider.set_fault(Fault::None);
    gets_in(&cluster, &token).await;
}

#[tokio::test]
async fn while_the_provider_is_away_clients_are_kicked_and_get_in_later() {
    is_kicked_until_the_provider_is_well(Fault::Status(503), true).await;
}

#[tokio::test]
async fn a_provider_that_hangs_holds_nobody_past_the_deadline() {
    is_kicked_until_the_provider_is_well(Fault::Hold, false).await;
}

#[tokio::test]
async fn a_frozen_decision_service_is_passed_over() {
    let provider = provider().await;
    let cluster = Cluster::start(Mode::Config, false).await;
    let ports = [free_port(), free_port()];
    let frozen = Gateway::decision(provider.issuer(), ports[0]).await;
    let _other = Gateway::decision(provider.issuer(), ports[1]).await;
    let shim = Gateway::shim(&cluster, &ports).await;
    let token = provider.issue(alice()).unwrap();
    for _ in 0..4 {
        gets_in(&cluster, &token).await;
    }
    frozen.process.suspend().unwrap();
    for _ in 0..8 {
        gets_in(&cluster, &token).await;
    }
    assert!(shim.lines(KICKED).is_empty(), "{}", shim.process.logs());
    frozen.process.resume().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_is_kicked() {
    let provider = provider().await;
    let cluster = Arc::new(Cluster::start(Mode::Config, false).await);
    provider.set_fault(Fault::Hold);
    let config = format!(
        "{}  max_in_flight: 1\n  max_waiting: 1\n{}",
        cluster.shim_section(),
        decision_section(provider.issuer(), None)
    );
    let mut gateway = Gateway::start("all", &config, SHIM_READY).await;
    let token = provider.issue(alice()).unwrap();
    let crowd: Vec<_> = (0..12)
        .map(|_| {
            let (cluster, token) = (Arc::clone(&cluster), token.clone());
            tokio::spawn(async move { gets_in(&cluster, &token).await })
        })
        .collect();
    gateway.wait_for("too many requests are waiting").await;
    provider.set_fault(Fault::None);
    for client in crowd {
        client.await.unwrap();
    }
}

#[tokio::test]
async fn without_system_credentials_it_says_so_and_stays_silent() {
    let provider = provider().await;
    let cluster = Cluster::start(Mode::Config, false).await;
    let section: String = cluster
        .shim_section()
        .lines()
        .filter(|line| !line.trim_start().starts_with("system:"))
        .fold(String::new(), |text, line| text + line + "\n");
    provider.set_fault(Fault::Status(503));
    let section = format!("{section}  system_account: SYS\n");
    let config = format!("{section}{}", decision_section(provider.issuer(), None));
    let folder = Folder::new(&config);
    let mut gateway = Gateway::start_in(folder, "all", SHIM_READY).await;
    assert_eq!(gateway.lines("no shim.system is configured").len(), 1);
    let token = provider.issue(alice()).unwrap();
    // Silence is all that is left, and the server makes a denial of it.
    assert_eq!(
        cluster.connect(&token).await.err(),
        Some(ConnectErrorKind::AuthorizationViolation)
    );
    gateway.wait_for("without shim.system it cannot be kicked").await;
    provider.set_fault(Fault::None);
    // The provider is asked again after a pause; until then it goes on being silent.
    gets_in_at_last(&cluster, &token).await;
}

#[tokio::test]
async fn a_nats_server_restarted_is_found_again() {
    let provider = provider().await;
    let mut cluster = Cluster::start(Mode::Operator, false).await;
    let mut gateway = Gateway::all(&cluster, provider.issuer()).await;
    let token = provider.issue(alice()).unwrap();
    gets_in(&cluster, &token).await;
    cluster.nats.restart().await.unwrap();
    gateway.wait_for("disconnected from NATS").await;
    // It has a new key now, which the system account has to vouch for.
    gets_in_at_last(&cluster, &token).await;
}

#[tokio::test]
async fn while_the_system_account_is_silent_clients_are_kicked_not_denied() {
    let provider = provider().await;
    let keys = ConfigMode::generate(ConfigModeOptions::default()).unwrap();
    let member = |routes| {
        Some(ClusterOptions {
            name: "silent".into(),
            routes,
        })
    };
    let start = |routes| {
        let (config, cluster) = (keys.server_config(), member(routes));
        NatsServer::start(NatsServerOptions {
            config,
            cluster,
            ..Default::default()
        })
    };
    let nats = start(vec![]).await.unwrap();
    let watched = start(vec![nats.cluster_url().unwrap().to_owned()]).await.unwrap();
    let watched_url = watched.client_url().to_owned();
    let cluster = Cluster {
        nats,
        keys: Keys::Config(Box::new(keys)),
        pushes: false,
    };

    // It watches through one server and kicks through the other.
    let url = cluster.nats.client_url();
    let section: String = cluster
        .shim_section()
        .lines()
        .flat_map(|line| match line.trim_start().starts_with("system:") {
            true => vec![
                line.replace(url, &watched_url),
                line.replace("system:", "eviction:"),
            ],
            false => vec![line.to_owned()],
        })
        .fold(String::new(), |text, line| text + &line + "\n");
    let config = format!("{section}{}", decision_section(provider.issuer(), None));
    let mut gateway = Gateway::start("all", &config, SHIM_READY).await;
    let token = provider.issue(alice()).unwrap();
    // The server of the first client is new to the shim, and cannot be looked up.
    watched.suspend().unwrap();
    is_kicked(&cluster, &token).await;
    gateway
        .wait_for("could not be looked up in the system account")
        .await;
    watched.resume().unwrap();
    gets_in(&cluster, &token).await;
}

#[tokio::test]
async fn sigterm_while_nats_is_away_ends_at_once() {
    let provider = provider().await;
    let mut cluster = Cluster::start(Mode::Config, false).await;
    let mut gateway = Gateway::all(&cluster, provider.issuer()).await;
    cluster.nats.stop().await.unwrap();
    gateway.wait_for("disconnected from NATS").await;
    gateway.process.stop().await.unwrap();
    assert_eq!(
        gateway.lines("the shim stopped").len(),
        1,
        "{}",
        gateway.process.logs()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_has_come_when_it_is_told_to_stop_is_answered() {
    const CROWD: usize = 300;
    let provider = provider().await;
    let options = ConfigModeOptions {
        auth_timeout: Duration::from_secs(20),
        ..Default::default()
    };
    let keys = ConfigMode::generate(options).unwrap();
    let config = keys.server_config();
    let nats = NatsServer::start(NatsServerOptions {
        config,
        ..Default::default()
    })
    .await
    .unwrap();
    let user = keys.callout_user.clone();
    let cluster = Arc::new(Cluster {
        nats,
        keys: Keys::Config(Box::new(keys)),
        pushes: false,
    });
    let mut gateway = Gateway::all(&cluster, provider.issuer()).await;
    let token = provider.issue(alice()).unwrap();
    // The provider's keys are there, and so is the watcher of what the server asks.
    gets_in(&cluster, &token).await;
    let watcher = ConnectOptions::with_user_and_password(user.user, user.password.expose_secret().to_owned());
    let watcher = watcher.connect(cluster.nats.client_url()).await.unwrap();
    let mut asked = watcher.subscribe("$SYS.REQ.USER.AUTH").await.unwrap();
    watcher.request("$SYS.REQ.USER.INFO", "".into()).await.unwrap();

    gateway.process.suspend().unwrap();
    let crowd: Vec<_> = (0..CROWD)
        .map(|_| {
            let (cluster, token) = (Arc::clone(&cluster), token.clone());
            tokio::spawn(async move { cluster.connect(&token).await.map(|session| session.client) })
        })
        .collect();
    for _ in 0..CROWD {
        asked.next().await.unwrap();
    }
    let id = gateway.process.id().unwrap().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    gateway.process.resume().unwrap();
    gateway.wait_for("the shim stopped").await;
    for client in crowd {
        assert!(client.await.unwrap().is_ok());
    }
    assert_eq!(gateway.lines("natsgate::audit: granted").len(), CROWD + 1);
}
