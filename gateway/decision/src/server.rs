//! Listens: the gRPC server with the standard health and reflection services, and how it stops.

use std::net::SocketAddr;
use std::time::Duration;

use natsgate_core::Position;
use natsgate_proto::v1::FILE_DESCRIPTOR_SET;
use natsgate_proto::v1::decision_service_server::DecisionServiceServer;
use natsgate_proto::v1::membership_service_server::MembershipServiceServer;
use natsgate_proto::v1::revocation_service_server::RevocationServiceServer;
use natsgate_proto::v1::session_service_server::SessionServiceServer;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::info;

use crate::memberships::Memberships;
use crate::revocations::{LONGEST_WAIT, Revocations};
use crate::service::Decider;
use crate::sessions::Sessions;

/// How long a stopping server waits for calls under way.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Calls at once on one connection: a shim has one connection and many requests.
const MAX_STREAMS: u32 = 1024;

/// No answer begins later: shims are waited for so long at most, and a call whose body never comes is given up then. What is
/// streamed goes on as long as somebody watches it.
const LONGEST_CALL: Duration = Duration::from_secs(LONGEST_WAIT.as_secs() + 30);

/// The largest question to the decision service: of sessions, as `RecheckRequest` has them; an authorization request has a token
/// of 1 MiB, the most that can be configured, twice in its CONNECT.
const MAX_QUESTION_BYTES: usize = 8 * 1024 * 1024 + 64 * 1024;

/// The largest push: 500 memberships with all of their texts as long as may be.
const MAX_PUSH_BYTES: usize = 1_500_000;

/// The server's certificate and whom it takes calls from.
#[derive(Clone)]
pub struct TlsMaterial {
    /// The server's certificate chain, PEM.
    pub certificate: String,
    /// Its private key, PEM.
    pub key: SecretString,
    /// Callers must show a certificate of this authority, PEM.
    pub client_ca: Option<String>,
    /// Whether callers may also come without a certificate, because some prove themselves by tokens.
    pub certificate_optional: bool,
}

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is taken or not ours.
    #[error("decision.listen: listening on {address}: {cause}; free the address or choose another")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's word.
        cause: std::io::Error,
    },
    /// The certificate, key or authority cannot be used.
    #[error(
        "decision.tls: {0}; certificate, key and client_ca must be PEM, and the key that of the certificate"
    )]
    Tls(tonic::transport::Error),
    /// The descriptor set compiled in cannot be read.
    #[error("serving gRPC reflection: {0}")]
    Reflection(tonic_reflection::server::Error),
    /// The server failed while running.
    #[error("serving gRPC: {0}")]
    Serve(tonic::transport::Error),
}

/// An address that is taken: connections wait until [`Server::run`] takes them.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Takes `address`; port 0 lets the system choose.
    ///
    /// # Errors
    /// [`ServerError::Bind`].
    pub async fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        let bind = |cause| ServerError::Bind { address, cause };
        let socket = TcpListener::bind(address).await.map_err(bind)?;
        let address = socket.local_addr().map_err(bind)?;
        Ok(Self { socket, address })
    }

    /// The address it has.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The name by which the health service tells whether the revocation log is within reach. Not serving means degraded:
/// decisions are made from the sources alone, and grants are short.
pub const LOG_HEALTH: &str = "natsgate.RevocationLog";

/// What is served.
pub struct Services {
    /// Decides.
    pub decider: Decider,
    /// Takes pushed memberships, where they are kept.
    pub memberships: Option<Memberships>,
    /// Revokes.
    pub revocations: Option<Revocations>,
    /// Knows sessions.
    pub sessions: Option<Sessions>,
}

/// The decision service's gRPC server.
pub struct Server {
    services: Services,
    tls: Option<TlsMaterial>,
    position: watch::Receiver<Position>,
}

impl Server {
    /// A server for `services`, plain or with `tls`, healthy as the log's `position` says.
    pub fn new(services: Services, tls: Option<TlsMaterial>, position: watch::Receiver<Position>) -> Self {
        Self {
            services,
            tls,
            position,
        }
    }

    /// Serves on `listener` until `stop`, then finishes the calls under way, within ten seconds.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn run(self, listener: Listener, stop: CancellationToken) -> Result<(), ServerError> {
        let (health, health_service) = tonic_health::server::health_reporter();
        let reporting = tokio::spawn(report(health, self.position.clone(), stop.clone()));
        let _ends_with_us = AbortOnDrop(reporting.abort_handle());
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(ServerError::Reflection)?;

        let mut server = tonic::transport::Server::builder()
            .tcp_nodelay(true)
            .max_concurrent_streams(Some(MAX_STREAMS))
            .timeout(LONGEST_CALL)
            .http2_keepalive_interval(Some(Duration::from_secs(10)));
        if let Some(tls) = &self.tls {
            server = server.tls_config(tls_config(tls)).map_err(ServerError::Tls)?;
        }
        let memberships = self.services.memberships;
        let memberships = memberships
            .map(|service| MembershipServiceServer::new(service).max_decoding_message_size(MAX_PUSH_BYTES));
        let revocations = self.services.revocations;
        let revocations =
            revocations.map(|service| RevocationServiceServer::new(service.until(stop.clone())));
        let sessions = self.services.sessions;
        let sessions = sessions.map(|service| SessionServiceServer::new(service.until(stop.clone())));
        let address = listener.address;
        info!(%address, tls = self.tls.is_some(), "the decision service listens");

        let draining = stop.clone();
        let serving = server
            .add_service(health_service)
            .add_service(reflection)
            .add_service(
                DecisionServiceServer::new(self.services.decider)
                    .max_decoding_message_size(MAX_QUESTION_BYTES),
            )
            .add_optional_service(memberships)
            .add_optional_service(revocations)
            .add_optional_service(sessions)
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener.socket), async move {
                draining.cancelled().await;
                // Whoever watches our health goes elsewhere before we are gone.
                let _ = reporting.await;
            });
        tokio::select! {
            done = serving => done.map_err(ServerError::Serve)?,
            () = drain_time_over(&stop) => info!("calls under way were left at the end of the drain time"),
        }
        info!(%address, "the decision service stopped");
        Ok(())
    }
}

/// Tells whoever watches our health: serving once the log was read and until `stop`, and apart from that whether the log
/// is within reach.
async fn report(health: HealthReporter, mut position: watch::Receiver<Position>, stop: CancellationToken) {
    let status = |serving| {
        if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    };
    loop {
        let now = *position.borrow_and_update();
        let stopping = stop.is_cancelled();
        let decides = status(now != Position::Unknown && !stopping);
        // The empty name is the whole server (gRPC health checking protocol).
        for name in ["", DecisionServiceServer::<Decider>::NAME] {
            health.set_service_status(name, decides).await;
        }
        let reached = status(matches!(now, Position::Confirmed(_)));
        health.set_service_status(LOG_HEALTH, reached).await;
        if stopping {
            return;
        }
        tokio::select! {
            changed = position.changed() => if changed.is_err() { stop.cancelled().await },
            () = stop.cancelled() => {}
        }
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn drain_time_over(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(DRAIN_TIME).await;
}

fn tls_config(tls: &TlsMaterial) -> ServerTlsConfig {
    let config =
        ServerTlsConfig::new().identity(Identity::from_pem(&tls.certificate, tls.key.expose_secret()));
    match &tls.client_ca {
        Some(authority) => config
            .client_ca_root(Certificate::from_pem(authority))
            .client_auth_optional(tls.certificate_optional),
        None => config,
    }
}
