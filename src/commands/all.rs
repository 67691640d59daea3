//! `natsgate all`: shim and decision service in one process, nothing else to run.

use std::sync::Arc;

use natsgate_core::SystemClock;
use natsgate_decision::{Listener, Server};
use natsgate_shim::{Local, Shim};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::cli::ConfigFile;
use crate::config::{Loaded, Problems};
use crate::lifecycle;

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
    server: Option<(Server, std::net::SocketAddr)>,
}

/// Makes both parts out of a configuration.
///
/// # Errors
/// All that is wrong with it.
pub async fn prepare(loaded: &Loaded) -> Result<Prepared, Problems> {
    let shim = lifecycle::section("shim", |config| config.shim.as_ref(), &loaded.config)?;
    let decision = lifecycle::section("decision", |config| config.decision.as_ref(), &loaded.config)?;
    if shim.decision.is_some() {
        warn!("shim.decision is not used: `natsgate all` decides itself");
    }
    let clock = Arc::new(SystemClock);
    let cache = super::in_process_cache(clock.clone());
    let settings = shim.settings(&loaded.base)?;
    let parts = decision.parts(&loaded.base, cache, clock.clone()).await?;
    super::tell(&parts.notes);
    let server = parts
        .listen
        .map(|address| (Server::new(parts.decider.clone(), parts.tls), address));
    Ok(Prepared {
        shim: Shim::new(settings, Arc::new(Local(parts.decider)), clock),
        server,
    })
}

impl Prepared {
    /// Runs both until `stop`. `ready` is cancelled once requests are taken.
    ///
    /// # Errors
    /// What ended the one that ended first, if it was an error.
    pub async fn run(self, stop: CancellationToken, ready: CancellationToken) -> anyhow::Result<()> {
        let Some((server, address)) = self.server else {
            return Ok(self.shim.run(stop, ready).await?);
        };
        let listener = Listener::bind(address).await?;
        // One that fails stops the other; the shim is drained before the error is told.
        let _stops_both = stop.clone().drop_guard();
        let serving = async {
            let result = server.run(listener, stop.clone()).await;
            stop.cancel();
            result
        };
        let answering = async {
            let result = self.shim.run(stop.clone(), ready).await;
            stop.cancel();
            result
        };
        let (served, answered) = tokio::join!(serving, answering);
        served?;
        Ok(answered?)
    }
}
