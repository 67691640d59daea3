//! `natsgate decision`: the gRPC decision service.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use natsgate_core::SystemClock;
use natsgate_decision::Listener;

use crate::cli::ConfigFile;
use crate::lifecycle;

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
        let can_revoke = config.can_revoke();
        if can_revoke && loaded.config.store.redis.is_none() {
            tracing::warn!(
                "store.redis is missing: what is revoked here voids what decisions rest on, and reaches no shim, so that live \
                 sessions go on until they end by themselves"
            );
        }
        let stores = loaded
            .config
            .store
            .open(&loaded.base, clock.clone(), can_revoke)
            .await?;
        let parts = config.parts(&loaded.base, &stores, clock).await?;
        super::tell(&parts.notes);
        let stop = lifecycle::stop_signal()?;
        let listener = Listener::bind(parts.listen.unwrap_or(DEFAULT_LISTEN)).await?;
        parts.announce(&stores, loaded.config.store.log.retention, &stop);
        Ok(parts.server(&stores).run(listener, stop).await?)
    })
}
