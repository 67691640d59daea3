//! A whole natsgate as a site runs it, and what is held against it.
//!
//! - [`Site`]: a cluster of real nats-servers, a Redis, an OpenID provider, memberships that the test keeps, decision services
//!   and shims as processes of their own, each configured by files.
//! - [`crowd`]: thousands of cheap clients that know when they were closed and what they may do.
//! - [`Api`]: the gRPC API as a backend calls it. [`System`]: what nats-server itself says of connections.
//! - [`schedule`] and [`play`]: what happens, drawn from a seed, and who holds in the end what he must not hold.
//!
//! Whole-system tests and benches use it; nothing of it is linked by natsgate.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fixture that cannot be made ends the test"
)]

mod api;
pub mod crowd;
mod ledger;
mod members;
mod nats;
pub mod play;
mod program;
pub mod schedule;
mod site;
mod system;
mod tls;

pub use api::{Api, selector};
pub use crowd::{Client, Crowd, Persona, Right};
pub use members::Members;
pub use nats::Nats;
pub use program::{Natsgate, Program};
pub use site::{CLUSTER, POLICY, Site, SiteOptions};
pub use system::{Gone, System, kick};

use std::time::Duration;

/// The longest anything here may take before a test fails: generous, and never waited for when all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done`.
///
/// # Panics
/// It takes longer than [`PATIENCE`]; says `what`.
pub async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let waiting = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, waiting).await.is_ok(),
        "never: {what}"
    );
}

/// A port that was free a moment ago, below those that the system gives to connections: a server that is away for a while
/// finds it free again.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = rand::random_range(10_000..32_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
