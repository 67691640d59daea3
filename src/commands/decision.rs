//! `natsgate decision`: the gRPC decision service.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use natsgate_api::Listener;
use natsgate_core::SystemClock;

use crate::cli::ConfigFile;
use crate::lifecycle;
use crate::monitor::{self, Watched};

/// Where it listens unless told otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7222);

/// Runs until a signal.
///
/// # Errors
/// A configuration that cannot work, or an address that is taken.
pub fn run(file: &ConfigFile) -> anyhow::Result<()> {
    let loaded = lifecycle::begin(file)?;
    let config = lifecycle::section("decision", |config| config.decision.as_ref(), &loaded.config)?;
    lifecycle::block_on(async {
        let clock = Arc::new(SystemClock);
        loaded.config.store.check_shared()?;
        let store = &loaded.config.store;
        let stores = store
            .open(&loaded.base, config.can_revoke(), clock.clone())
            .await?;
        let parts = config.parts(&loaded.base, &stores, clock).await?;
        super::tell(&parts.notes);
        let stop = lifecycle::stop_signal()?;
        let listener = Listener::bind("decision", parts.listen.unwrap_or(DEFAULT_LISTEN)).await?;
        if let Some(address) = loaded.config.monitor.listen {
            let watched = Watched {
                log: Some(stores.follower.positions()),
                measures: parts.measures(),
                ..Watched::default()
            };
            monitor::serve(address, watched, stop.clone()).await?;
        }
        let events = parts.serve_events(&stop).await?;
        parts.announce(&stores, loaded.config.store.log.retention, &stop);
        parts.server(&stores).run(listener, stop).await?;
        events.drained().await;
        Ok(())
    })
}
