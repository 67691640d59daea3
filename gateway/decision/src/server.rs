//! Listens: the gRPC server with the standard health and reflection services, and how it stops.

use std::net::SocketAddr;
use std::time::Duration;

use natsgate_proto::v1::FILE_DESCRIPTOR_SET;
use natsgate_proto::v1::decision_service_server::DecisionServiceServer;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};
use tracing::info;

use crate::service::Decider;

/// How long a stopping server waits for calls under way.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// The server's certificate and whom it takes calls from.
#[derive(Clone)]
pub struct TlsMaterial {
    /// The server's certificate chain, PEM.
    pub certificate: String,
    /// Its private key, PEM.
    pub key: SecretString,
    /// Callers must show a certificate of this authority, PEM.
    pub client_ca: Option<String>,
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

/// The decision service's gRPC server.
pub struct Server {
    decider: Decider,
    tls: Option<TlsMaterial>,
}

impl Server {
    /// A server for `decider`, plain or with `tls`.
    pub fn new(decider: Decider, tls: Option<TlsMaterial>) -> Self {
        Self { decider, tls }
    }

    /// Serves on `listener` until `stop`, then finishes the calls under way, within ten seconds.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn run(self, listener: Listener, stop: CancellationToken) -> Result<(), ServerError> {
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<DecisionServiceServer<Decider>>().await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(ServerError::Reflection)?;

        let mut server = tonic::transport::Server::builder()
            .tcp_nodelay(true)
            .http2_keepalive_interval(Some(Duration::from_secs(10)));
        if let Some(tls) = &self.tls {
            server = server.tls_config(tls_config(tls)).map_err(ServerError::Tls)?;
        }
        let address = listener.address;
        info!(%address, tls = self.tls.is_some(), "the decision service listens");

        let draining = stop.clone();
        let serving = server
            .add_service(health_service)
            .add_service(reflection)
            .add_service(DecisionServiceServer::new(self.decider))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener.socket), async move {
                draining.cancelled().await;
                // Whoever watches our health goes elsewhere before we are gone.
                health.set_not_serving::<DecisionServiceServer<Decider>>().await;
            });
        tokio::select! {
            done = serving => done.map_err(ServerError::Serve)?,
            () = drain_time_over(&stop) => info!("calls under way were left at the end of the drain time"),
        }
        info!(%address, "the decision service stopped");
        Ok(())
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
        Some(authority) => config.client_ca_root(Certificate::from_pem(authority)),
        None => config,
    }
}
