//! `natsgate shim`: answers a NATS cluster's auth callout, asking decision services over gRPC.

use std::sync::Arc;

use natsgate_core::SystemClock;
use natsgate_shim::{Lending, Revocations, Shim};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cli::ConfigFile;
use crate::lifecycle;
use crate::monitor::{self, Watched};

/// Runs until a signal.
///
/// # Errors
/// A configuration that cannot work, or a shim that cannot begin.
pub fn run(file: &ConfigFile) -> anyhow::Result<()> {
    let loaded = lifecycle::begin(file)?;
    let config = lifecycle::section("shim", |config| config.shim.as_ref(), &loaded.config)?;
    let settings = config.settings(&loaded.base)?;
    lifecycle::block_on(async {
        let decisions = config.decision_point(&loaded.base)?;
        let service = config.accounts_service.as_ref();
        let link = service.map(|service| service.link(&loaded.base)).transpose()?;
        let clock = Arc::new(SystemClock);
        let watching = loaded.config.store.open_watching(&loaded.base, clock.clone())?;
        let mut shim = Shim::new(settings, decisions, clock);
        if let Some(watching) = &watching {
            shim = shim.with_revocations(Revocations {
                feed: watching.feed(),
                board: Arc::clone(&watching.board),
            });
        }
        let stop = lifecycle::stop_signal()?;
        if let Some((link, system)) = link {
            let (to, lent) = watch::channel(None);
            shim = shim.with_lending(Lending { to, system });
            tokio::spawn(link.run(lent, stop.clone()));
        }
        let ready = CancellationToken::new();
        if let Some(address) = loaded.config.monitor.listen {
            let watched = Watched {
                log: watching.as_ref().map(|watching| watching.follower.positions()),
                shim: Some(shim.counters()),
                shim_ready: Some(ready.clone()),
                ..Watched::default()
            };
            monitor::serve(address, watched, stop.clone()).await?;
        }
        Ok(shim.run(stop, ready).await?)
    })
}
