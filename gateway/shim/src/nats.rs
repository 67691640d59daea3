//! Connections to a nats-server: credentials, TLS, and reconnecting for ever.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// The longest wait between two attempts to reconnect.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(2);

/// Where a server says who one is.
const USER_INFO: &str = "$SYS.REQ.USER.INFO";

/// How long it may take to.
const ROUND_TRIP_TIME: Duration = Duration::from_secs(1);

/// How often a silent connection is tested: a server that vanished or froze is noticed after two of these.
const PING_EVERY: Duration = Duration::from_secs(5);

/// How to connect.
#[derive(Clone)]
pub struct NatsSettings {
    /// `nats://`, `tls://`, `ws://` or `wss://` URLs of one cluster's servers.
    pub servers: Vec<String>,
    /// As whom.
    pub credentials: NatsCredentials,
    /// Demand TLS even if the server does not.
    pub require_tls: bool,
    /// An authority to trust beside the system's, a PEM file.
    pub ca_file: Option<PathBuf>,
    /// The client certificate and its key, PEM files.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
}

/// As whom to connect.
#[derive(Clone)]
pub enum NatsCredentials {
    /// As nobody in particular: the TLS certificate says it, or the server has a `no_auth_user`.
    None,
    /// A credentials file's text: user JWT and seed.
    Creds(SecretString),
    /// A user's nkey seed.
    Nkey(SecretString),
    /// User name and password.
    Password {
        /// The user name.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// A token.
    Token(SecretString),
}

/// Why a connection could not even be begun.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The credentials text is not a credentials file's.
    #[error(
        "connecting to NATS ({role}): the credentials cannot be read: a credentials file holds a user JWT and its seed"
    )]
    Credentials {
        /// Which connection.
        role: &'static str,
    },
    /// TLS settings or URLs that cannot work.
    #[error("connecting to NATS ({role}) at {servers}: {cause}")]
    Connect {
        /// Which connection.
        role: &'static str,
        /// The URLs.
        servers: String,
        /// The client's word.
        cause: async_nats::ConnectError,
    },
}

/// What happens to a connection, for whoever has to know.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// Cancelled if the server refuses a subscription.
    pub refused: CancellationToken,
    /// Rung when messages may have been missed: it was connected (again), or they came faster than they were taken.
    pub missed: Arc<Notify>,
}

/// Connects, and goes on trying for ever: a server that is away now does not end the shim. `role` names the
/// connection in logs and to the server.
///
/// # Errors
/// [`ConnectError`] for settings with which no attempt can succeed.
pub async fn connect(
    settings: &NatsSettings,
    role: &'static str,
    signals: Signals,
) -> Result<Client, ConnectError> {
    let servers = settings.servers.join(",");
    let options = options(settings, role, signals)?
        .retry_on_initial_connect()
        .max_reconnects(None);
    options
        .connect(settings.servers.as_slice())
        .await
        .map_err(|cause| ConnectError::Connect { role, servers, cause })
}

/// Connects now or not at all: for a command that somebody waits for. Each server is tried once; a connection that was there is
/// made again when it breaks.
///
/// # Errors
/// [`ConnectError`]: with these settings no attempt can succeed, or no server was reached.
pub async fn connect_now(settings: &NatsSettings, role: &'static str) -> Result<Client, ConnectError> {
    let servers = settings.servers.join(",");
    options(settings, role, Signals::default())?
        .connect(settings.servers.as_slice())
        .await
        .map_err(|cause| ConnectError::Connect { role, servers, cause })
}

fn options(
    settings: &NatsSettings,
    role: &'static str,
    signals: Signals,
) -> Result<ConnectOptions, ConnectError> {
    let servers = settings.servers.join(",");
    let mut options = authenticate(ConnectOptions::new(), &settings.credentials)
        .map_err(|_| ConnectError::Credentials { role })?
        .name(format!("natsgate shim ({role})"))
        .custom_inbox_prefix("_INBOX.natsgate")
        .ping_interval(PING_EVERY)
        .reconnect_delay_callback(reconnect_delay)
        .require_tls(settings.require_tls)
        .event_callback(move |event| log(role, servers.clone(), signals.clone(), event));
    if let Some(file) = &settings.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    if let Some((certificate, key)) = &settings.client_certificate {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(options)
}

/// Whether messages sent now go out now. (While disconnected the client keeps them and sends them later, when an
/// answer is of no use.)
pub fn is_connected(client: &Client) -> bool {
    client.connection_state() == State::Connected
}

/// The account `client` is in, asked of the server: its public key in operator mode, its name otherwise.
///
/// # Errors
/// Why the server did not say.
pub async fn account_of(client: &Client) -> Result<String, String> {
    let asked = client.request(USER_INFO, "".into());
    let message = tokio::time::timeout(ROUND_TRIP_TIME, asked)
        .await
        .map_err(|_| "no answer in time".to_owned())?
        .map_err(|error| error.to_string())?;
    let info: UserInfo = serde_json::from_slice(&message.payload).map_err(|error| error.to_string())?;
    info.data
        .map(|data| data.account)
        .ok_or_else(|| "the answer names no account".to_owned())
}

/// Waits until the server has done everything sent to it so far: it does things in order, so its answer to a question
/// says as much. (async-nats' `flush` waits for the socket, not for the server.)
pub async fn round_trip(client: &Client) {
    if let Err(cause) = account_of(client).await {
        warn!(cause, "the server did not answer {USER_INFO}; going on without");
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

fn authenticate(options: ConnectOptions, credentials: &NatsCredentials) -> std::io::Result<ConnectOptions> {
    Ok(match credentials {
        NatsCredentials::None => options,
        NatsCredentials::Creds(text) => options.credentials(text.expose_secret())?,
        NatsCredentials::Nkey(seed) => options.nkey(seed.expose_secret().to_owned()),
        NatsCredentials::Password { user, password } => {
            options.user_and_password(user.clone(), password.expose_secret().to_owned())
        }
        NatsCredentials::Token(token) => options.token(token.expose_secret().to_owned()),
    })
}

/// At once, then slower and slower.
fn reconnect_delay(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(8);
    if attempts <= 1 {
        Duration::ZERO
    } else {
        (Duration::from_millis(25) * 2_u32.pow(doublings)).min(MAX_RECONNECT_DELAY)
    }
}

async fn log(role: &'static str, servers: String, signals: Signals, event: Event) {
    match event {
        Event::Connected => {
            signals.missed.notify_one();
            info!(connection = role, servers, "connected to NATS");
        }
        Event::Disconnected => warn!(connection = role, servers, "disconnected from NATS; reconnecting"),
        Event::SlowConsumer(_) => {
            signals.missed.notify_one();
            error!(
                connection = role,
                "NATS messages were dropped: they came faster than they were taken"
            );
        }
        Event::ServerError(cause) => {
            let cause = cause.to_string();
            if cause.contains("Permissions Violation for Subscription") {
                signals.refused.cancel();
            }
            error!(connection = role, cause, "the nats-server reports an error");
        }
        Event::ClientError(cause) => {
            let cause = cause.to_string();
            warn!(
                connection = role,
                servers, cause, "the NATS connection reports an error; trying again"
            );
        }
        other => info!(connection = role, event = %other, "NATS connection"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnecting_begins_at_once_and_slows_down() {
        let delays: Vec<u128> = (0..12).map(|n| reconnect_delay(n).as_millis()).collect();
        assert_eq!(
            delays,
            [0, 0, 50, 100, 200, 400, 800, 1600, 2000, 2000, 2000, 2000]
        );
        assert_eq!(reconnect_delay(usize::MAX), MAX_RECONNECT_DELAY);
    }
}
