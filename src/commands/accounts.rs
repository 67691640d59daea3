//! `natsgate accounts`: the account writer, which reaches its clusters through the shims that lend them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use natsgate_account_service::link::{ClusterLinks, LinkParts, LinkedCluster, Links};
use natsgate_account_service::{Accounts, Cluster, Tending};
use natsgate_api::Listener;
use natsgate_api::listener::Served;
use natsgate_core::{Clock, SystemClock};
use natsgate_proto::v1::account_service_server::AccountServiceServer;
use natsgate_proto::v1::cluster_link_service_server::ClusterLinkServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;
use tonic_health::server::HealthReporter;
use tracing::warn;

use crate::cli::ConfigFile;
use crate::config::Problem;
use crate::config::accounts::Site;
use crate::lifecycle;
use crate::monitor::{self, Measure, Watched};

/// Where it listens unless told otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7223);

/// No answer begins later.
const LONGEST_CALL: Duration = Duration::from_secs(90);

/// The largest message of a shim: what a cluster's resolvers keep of an account, several JWTs of a megabyte.
const MAX_LINK_BYTES: usize = 16 * 1024 * 1024;

/// How long what is under way may take when it stops.
const FINISH_TIME: Duration = Duration::from_secs(8);

/// Runs until a signal.
///
/// # Errors
/// A configuration that cannot work, or an address that is taken.
pub fn run(file: &ConfigFile) -> anyhow::Result<()> {
    let loaded = lifecycle::begin(file)?;
    let config = lifecycle::section("accounts", |config| config.accounts.as_ref(), &loaded.config)?;
    let (shim, base) = (loaded.config.shim.as_ref(), loaded.base.as_path());
    let served = config.served(shim, base)?;
    if config.clusters.is_empty() {
        let what =
            "is empty; name the clusters that accounts are pushed to, as their shims do (shim.cluster)";
        return Err(Problem::new("accounts.clusters", what).into());
    }
    let address = config.listen.unwrap_or(DEFAULT_LISTEN);
    config.access().check_exposure(address)?;
    let tls = config.access().tls_material(base)?;
    if config.callers.is_empty() {
        warn!("accounts.callers: there are none, so nobody can call, and no shim can lend its cluster");
    }
    lifecycle::block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        loaded.config.store.check_shared()?;
        let stores = loaded.config.store.open(base, false, Arc::clone(&clock)).await?;
        let callers = config.access().authenticator(base, &stores, &clock)?;
        let links = Arc::new(Links::new(config.clusters.iter().cloned()));
        let clusters = config
            .clusters
            .iter()
            .map(|name| LinkedCluster::cluster(&links, name));
        let site = Site {
            base,
            clusters: clusters.collect::<Vec<Cluster>>().into(),
            callers: Arc::clone(&callers),
            clock: Arc::clone(&clock),
        };
        let accounts = config.service(served, &site).await?;
        let stop = lifecycle::stop_signal()?;
        let listener = Listener::bind("accounts", address).await?;
        if let Some(address) = loaded.config.monitor.listen {
            let watched = Watched {
                log: Some(stores.follower.positions()),
                measures: measures(&links),
                ..Watched::default()
            };
            monitor::serve(address, watched, stop.clone()).await?;
        }
        let link = ClusterLinks::new(LinkParts {
            links: Arc::clone(&links),
            callers,
            clock,
            stop: stop.clone(),
        });
        let mut routes = RoutesBuilder::default();
        routes.add_service(accounts.server());
        routes.add_service(ClusterLinkServiceServer::new(link).max_decoding_message_size(MAX_LINK_BYTES));
        let served = Served {
            name: "the account writer",
            routes,
            longest_call: LONGEST_CALL,
            tls,
        };
        let tending = Tending::new(accounts.keepers(), links.attached());
        let tending = tokio::spawn(tending.run(stop.clone()));
        let stopping = stop.clone();
        listener
            .serve(served, |health| report(health, stopping), stop)
            .await?;
        finish(&accounts, tending).await;
        Ok(())
    })
}

/// Waits for what is under way, so that no lease is left behind.
pub(super) async fn finish(accounts: &Accounts, tending: tokio::task::JoinHandle<()>) {
    let finished = async {
        accounts.drained().await;
        let _ = tending.await;
    };
    if tokio::time::timeout(FINISH_TIME, finished).await.is_err() {
        warn!(
            "an account was still being written; the next writer waits for its lease to end, and goes on with it"
        );
    }
}

/// Tells whoever watches our health: serving until `stop`.
async fn report(health: HealthReporter, stop: CancellationToken) {
    for serving in [true, false] {
        let status = match serving {
            true => tonic_health::ServingStatus::Serving,
            false => tonic_health::ServingStatus::NotServing,
        };
        for name in ["", ACCOUNTS, LINKS] {
            health.set_service_status(name, status).await;
        }
        if serving {
            stop.cancelled().await;
        }
    }
}

const ACCOUNTS: &str = <AccountServiceServer<Accounts> as tonic::server::NamedService>::NAME;
const LINKS: &str = <ClusterLinkServiceServer<ClusterLinks> as tonic::server::NamedService>::NAME;

fn measures(links: &Arc<Links>) -> Vec<Measure> {
    let reached = Arc::clone(links);
    let away = Arc::clone(links);
    let count = |links: &Links, is: fn(usize) -> bool| {
        let counts = links.counts();
        u64::try_from(counts.values().filter(|count| is(**count)).count()).unwrap_or(u64::MAX)
    };
    vec![
        Measure::gauge(
            "accounts_clusters_reached",
            "Clusters that a shim lends the account writer.",
            move || count(&reached, |shims| shims > 0),
        ),
        Measure::gauge(
            "accounts_clusters_missing",
            "Clusters that no shim lends the account writer, so that nothing reaches them.",
            move || count(&away, |shims| shims == 0),
        ),
    ]
}
