//! `natsgate all`: shim, decision service and account writer in one process, nothing else to run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use natsgate_account_service::{Accounts, Cluster, Tending};
use natsgate_api::Listener;
use natsgate_core::{Position, SystemClock};
use natsgate_decision::InProcess;
use natsgate_shim::{Lending, LentCluster, Local, Revocations, Shim};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;
use tracing::{info, warn};

use super::accounts::finish;
use crate::cli::ConfigFile;
use crate::config::Loaded;
use crate::config::accounts::Site;
use crate::config::decision::DecisionParts;
use crate::config::store::Stores;
use crate::lifecycle;
use crate::monitor::{self, Watched};

/// Runs until a signal.
///
/// # Errors
/// A configuration that cannot work, an address that is taken, or a shim that cannot begin.
pub fn run(file: &ConfigFile) -> anyhow::Result<()> {
    let loaded = lifecycle::begin(file)?;
    lifecycle::block_on(async {
        let prepared = prepare(&loaded).await?;
        prepared
            .run(lifecycle::stop_signal()?, CancellationToken::new())
            .await
    })
}

/// Both parts, made but not started.
pub struct Prepared {
    shim: Shim,
    decision: DecisionParts,
    stores: Stores,
    retention: Duration,
    monitor: Option<SocketAddr>,
    accounts: Option<Accounts>,
}

/// Makes both parts out of a configuration.
///
/// # Errors
/// All that is wrong with it.
pub async fn prepare(loaded: &Loaded) -> anyhow::Result<Prepared> {
    let shim = lifecycle::section("shim", |config| config.shim.as_ref(), &loaded.config)?;
    let decision = lifecycle::section("decision", |config| config.decision.as_ref(), &loaded.config)?;
    if shim.decision.is_some() {
        warn!("shim.decision is not used: `natsgate all` decides itself");
    }
    let clock = Arc::new(SystemClock);
    let settings = shim.settings(&loaded.base)?;
    loaded.config.store.check_shared()?;
    let store = &loaded.config.store;
    let stores = store
        .open(&loaded.base, decision.can_revoke(), clock.clone())
        .await?;
    let parts = decision.parts(&loaded.base, &stores, clock.clone()).await?;
    super::tell(&parts.notes);
    let decider = InProcess(parts.decider.clone());
    let revocations = Revocations {
        feed: stores.feed(),
        board: Arc::clone(&stores.board),
    };
    let cluster = settings.cluster.clone();
    let mut shim_part =
        Shim::new(settings, Arc::new(Local(decider)), clock.clone()).with_revocations(revocations);
    if shim.accounts_service.is_some() {
        warn!(
            "shim.accounts_service is not used: `natsgate all` writes accounts itself, by its `accounts` section"
        );
    }
    // Without anybody to call it, the store is left to `natsgate account`.
    let served = loaded
        .config
        .accounts
        .as_ref()
        .filter(|_| decision.can_write_accounts());
    if let Some(accounts) = &loaded.config.accounts {
        if served.is_none() {
            warn!(
                "the account API is not served: no caller of decision.callers has a scope of it, or decision.listen is not set"
            );
        }
        if !accounts.callers.is_empty() || accounts.listen.is_some() || !accounts.clusters.is_empty() {
            warn!(
                "accounts.callers, accounts.listen and accounts.clusters are not used: `natsgate all` serves the account API at \
                 decision.listen, to decision.callers, for its own cluster"
            );
        }
    }
    let accounts = match served {
        None => None,
        Some(accounts) => {
            let served = accounts.served(Some(shim), &loaded.base)?;
            let system = accounts.system.as_ref();
            let system = system.map(|system| system.settings("accounts.system", &loaded.base));
            let (to, lent) = watch::channel(None);
            shim_part = shim_part.with_lending(Lending {
                to,
                system: system.transpose()?,
            });
            let lent = Arc::new(LentCluster::new(lent));
            let own = Cluster {
                name: cluster,
                servers: lent.clone(),
                sessions: lent,
            };
            let site = Site {
                base: &loaded.base,
                clusters: Arc::new([own]),
                callers: parts.callers(),
                clock,
            };
            Some(accounts.service(served, &site).await?)
        }
    };
    Ok(Prepared {
        shim: shim_part,
        accounts,
        monitor: loaded.config.monitor.listen,
        decision: parts,
        stores,
        retention: loaded.config.store.log.retention,
    })
}

impl Prepared {
    /// Runs both until `stop`. `ready` is cancelled once requests are taken.
    ///
    /// # Errors
    /// What ended the one that ended first, if it was an error.
    pub async fn run(self, stop: CancellationToken, ready: CancellationToken) -> anyhow::Result<()> {
        let events = self.decision.serve_events(&stop).await?;
        self.decision.announce(&self.stores, self.retention, &stop);
        if let Some(address) = self.monitor {
            let watched = Watched {
                log: Some(self.stores.follower.positions()),
                shim: Some(self.shim.counters()),
                shim_ready: Some(ready.clone()),
                measures: self.decision.measures(),
            };
            monitor::serve(address, watched, stop.clone()).await?;
        }
        let caught_up = caught_up(self.stores.follower.positions(), stop.clone());
        let Some(address) = self.decision.listen else {
            caught_up.await;
            // A shim that fails stops the listener too.
            let stops = stop.clone().drop_guard();
            let result = self.shim.run(stop, ready).await;
            drop(stops);
            events.drained().await;
            return Ok(result?);
        };
        let mut server = self.decision.server(&self.stores);
        let mut tending = None;
        if let Some(accounts) = self.accounts {
            let mut routes = RoutesBuilder::default();
            routes.add_service(accounts.server());
            server = server.beside(routes);
            let keepers = Tending::new(accounts.keepers(), Arc::default());
            let (ready, stop) = (ready.clone(), stop.clone());
            let running = tokio::spawn(async move {
                tokio::select! {
                    () = ready.cancelled() => keepers.run(stop).await,
                    () = stop.cancelled() => {}
                }
            });
            tending = Some((accounts, running));
        }
        let listener = Listener::bind("decision", address).await?;
        // One that fails stops the other; the shim is drained before the error is told.
        let _stops_both = stop.clone().drop_guard();
        let serving = async {
            let result = server.run(listener, stop.clone()).await;
            stop.cancel();
            result
        };
        let answering = async {
            caught_up.await;
            let result = self.shim.run(stop.clone(), ready).await;
            stop.cancel();
            result
        };
        let (served, answered) = tokio::join!(serving, answering);
        if let Some((accounts, running)) = tending {
            finish(&accounts, running).await;
        }
        events.drained().await;
        served?;
        Ok(answered?)
    }
}

/// How long the log is waited for before requests are taken. Silence would read as a denial: what cannot be answered then is
/// kicked.
const LOG_WITHIN: Duration = Duration::from_secs(2);

/// Waits until the revocation log was read, some seconds at most, or `stop`.
async fn caught_up(mut positions: watch::Receiver<Position>, stop: CancellationToken) {
    let known = |position: &Position| *position != Position::Unknown;
    if !known(&positions.borrow()) {
        info!("waiting for the revocation log");
    }
    tokio::select! {
        _ = positions.wait_for(known) => {}
        () = stop.cancelled() => {}
        () = tokio::time::sleep(LOG_WITHIN) => {
            warn!("the revocation log could not be read yet: until it is, every connection is kicked, and comes again");
        }
    }
}
