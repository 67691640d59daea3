//! Puts a shim together, runs it and drains it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use natsgate_core::Clock;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::callout::{Callout, QUEUE, SUBJECT};
use crate::decision_point::DecisionPoint;
use crate::evict::Evictor;
use crate::nats::{self, ConnectError};
use crate::servers::Servers;
use crate::settings::{Issuing, ShimSettings};

/// How long the server may take to say which account a connection is in.
const ACCOUNT_LOOKUP_TIME: Duration = Duration::from_secs(5);

/// How long closing a connection may take.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// Why a shim did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// A connection could not be begun.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The subscription could not be made.
    #[error("subscribing to {SUBJECT}: {0}")]
    Subscribe(async_nats::SubscribeError),
    /// A target account is one no grant may lead into.
    #[error("shim.accounts: {name} is the {kind} account, into which no grant may lead; remove it")]
    ForbiddenAccount {
        /// The account's configured name.
        name: String,
        /// `system` or `callout`.
        kind: &'static str,
    },
}

/// A callout shim.
pub struct Shim {
    settings: ShimSettings,
    decisions: Arc<dyn DecisionPoint>,
    clock: Arc<dyn Clock>,
}

impl Shim {
    /// A shim that asks `decisions`.
    pub fn new(settings: ShimSettings, decisions: Arc<dyn DecisionPoint>, clock: Arc<dyn Clock>) -> Self {
        Self {
            settings,
            decisions,
            clock,
        }
    }

    /// Answers authorization requests until `stop`; then takes no more, answers those it has taken, and closes its
    /// connections. `ready` is cancelled once it takes requests.
    ///
    /// # Errors
    /// [`ShimError`] if it cannot begin.
    pub async fn run(self, stop: CancellationToken, ready: CancellationToken) -> Result<(), ShimError> {
        let client = nats::connect(&self.settings.callout, "callout").await?;
        let system = match &self.settings.system {
            Some(settings) => Some(nats::connect(settings, "system").await?),
            None => {
                warn!(
                    "no shim.system is configured: authorization requests are accepted from any key that signs as a \
                     server, and what cannot be answered in time stays silent, which the client reads as \
                     \"Authorization Violation\""
                );
                None
            }
        };
        let eviction = match &self.settings.eviction {
            Some(settings) => Some(nats::connect(settings, "eviction").await?),
            None => system.clone(),
        };
        tokio::select! {
            refused = self.check_accounts(&client, system.as_ref()) => refused?,
            () = stop.cancelled() => return Ok(()),
        }

        let requests = client
            .queue_subscribe(SUBJECT, QUEUE.to_owned())
            .await
            .map_err(ShimError::Subscribe)?;
        let servers = system.clone().map(Servers::new);
        let following = servers
            .clone()
            .map(|servers| tokio::spawn(servers.follow(stop.clone())));
        let callout = Arc::new(Callout {
            settings: self.settings,
            decisions: self.decisions,
            clock: self.clock,
            client: client.clone(),
            servers,
            evictor: eviction.clone().map(Evictor::new),
        });
        // The server does things in order: once it answers anything, it has the subscription. (A flush does not wait
        // for the server.)
        let _ = account_of(&client).await;
        info!(
            cluster = callout.settings.cluster,
            "the shim takes authorization requests"
        );
        ready.cancel();
        callout.run(requests, stop).await;

        if let Some(following) = following {
            following.abort();
        }
        for connection in [Some(client), eviction, system].into_iter().flatten() {
            close(&connection).await;
        }
        info!("the shim stopped");
        Ok(())
    }

    /// Refuses target accounts that turn out to be the system or the callout account.
    async fn check_accounts(&self, callout: &Client, system: Option<&Client>) -> Result<(), ShimError> {
        if let Issuing::Operator { callout_account, .. } = &self.settings.issuing {
            self.forbid(callout_account, "callout")?;
        }
        for (connection, kind) in [(Some(callout), "callout"), (system, "system")] {
            let Some(connection) = connection else { continue };
            match account_of(connection).await {
                Ok(account) => self.forbid(&account, kind)?,
                Err(cause) => warn!(
                    connection = kind,
                    %cause,
                    "which account this connection is in could not be learned ($SYS.REQ.USER.INFO); that no grant \
                     leads into it rests on shim.accounts alone"
                ),
            }
        }
        Ok(())
    }

    fn forbid(&self, account: &str, kind: &'static str) -> Result<(), ShimError> {
        let forbidden = self.settings.accounts.iter().find(|target| {
            target.name == account
                || target
                    .signer
                    .as_ref()
                    .is_some_and(|signer| signer.account == account)
        });
        match forbidden {
            Some(target) => {
                let refused = ShimError::ForbiddenAccount {
                    name: target.name.clone(),
                    kind,
                };
                error!(error = %refused, "the shim does not start");
                Err(refused)
            }
            None => Ok(()),
        }
    }
}

#[derive(Deserialize)]
struct UserInfo {
    data: Option<UserInfoData>,
}

#[derive(Deserialize)]
struct UserInfoData {
    account: String,
}

/// The account `client` is in: its public key in operator mode, its name otherwise. Waits for the first connection.
async fn account_of(client: &Client) -> Result<String, String> {
    while !nats::is_connected(client) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let asked = client.request("$SYS.REQ.USER.INFO", "".into());
    let message = tokio::time::timeout(ACCOUNT_LOOKUP_TIME, asked)
        .await
        .map_err(|_| "no answer in time".to_owned())?
        .map_err(|error| error.to_string())?;
    let info: UserInfo = serde_json::from_slice(&message.payload).map_err(|error| error.to_string())?;
    info.data
        .map(|data| data.account)
        .ok_or_else(|| "the answer names no account".to_owned())
}

/// Sends what is buffered, then closes.
async fn close(client: &Client) {
    let flushed = tokio::time::timeout(CLOSE_TIME, client.flush()).await;
    if !matches!(flushed, Ok(Ok(()))) {
        warn!("a NATS connection was closed with messages that could not be sent");
    }
    if let Err(cause) = client.drain().await {
        warn!(%cause, "closing a NATS connection");
    }
}
