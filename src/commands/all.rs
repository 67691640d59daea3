//! `natsgate all`: shim and decision service in one process, nothing else to run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{Position, SystemClock};
use natsgate_decision::{InProcess, Listener};
use natsgate_shim::{Local, Revocations, Shim};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cli::ConfigFile;
use crate::config::Loaded;
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
    Ok(Prepared {
        shim: Shim::new(settings, Arc::new(Local(decider)), clock).with_revocations(revocations),
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
        let server = self.decision.server(&self.stores);
        let listener = Listener::bind(address).await?;
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
