//! Listens: a gRPC server with the standard health and reflection services beside what it serves, and how it stops.

use std::net::SocketAddr;
use std::time::Duration;

use natsgate_proto::v1::FILE_DESCRIPTOR_SET;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};
use tonic_health::server::HealthReporter;
use tracing::info;

/// How long a stopping server waits for calls under way.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Calls at once on one connection: a shim has one connection and many requests.
const MAX_STREAMS: u32 = 1024;

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
    #[error("{section}.listen: listening on {address}: {cause}; free the address or choose another")]
    Bind {
        /// The section of the configuration.
        section: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's word.
        cause: std::io::Error,
    },
    /// The certificate, key or authority cannot be used.
    #[error(
        "{section}.tls: {cause}; certificate, key and client_ca must be PEM, and the key that of the certificate"
    )]
    Tls {
        /// The section of the configuration.
        section: &'static str,
        /// The library's word.
        cause: tonic::transport::Error,
    },
    /// The descriptor set compiled in cannot be read.
    #[error("serving gRPC reflection: {0}")]
    Reflection(tonic_reflection::server::Error),
    /// The server failed while running.
    #[error("serving gRPC: {0}")]
    Serve(tonic::transport::Error),
}

/// An address that is taken: connections wait until [`Listener::serve`] takes them.
pub struct Listener {
    section: &'static str,
    socket: TcpListener,
    address: SocketAddr,
}

/// What is served.
pub struct Served {
    /// What it is, for the log: "the decision service".
    pub name: &'static str,
    /// The services.
    pub routes: RoutesBuilder,
    /// No answer begins later; what is streamed goes on as long as somebody reads it.
    pub longest_call: Duration,
    /// With TLS, or plain.
    pub tls: Option<TlsMaterial>,
}

impl Listener {
    /// Takes `address`, as the `section` of the configuration says; port 0 lets the system choose.
    ///
    /// # Errors
    /// [`ServerError::Bind`].
    pub async fn bind(section: &'static str, address: SocketAddr) -> Result<Self, ServerError> {
        let bind = |cause| ServerError::Bind {
            section,
            address,
            cause,
        };
        let socket = TcpListener::bind(address).await.map_err(bind)?;
        let address = socket.local_addr().map_err(bind)?;
        Ok(Self {
            section,
            socket,
            address,
        })
    }

    /// The address it has.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then finishes the calls under way, within ten seconds. What `report` makes of the health service runs
    /// beside it, and is to end after `stop`, having said that nothing is served any more.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn serve<R: Future<Output = ()> + Send + 'static>(
        self,
        served: Served,
        report: impl FnOnce(HealthReporter) -> R,
        stop: CancellationToken,
    ) -> Result<(), ServerError> {
        let Served {
            name,
            routes,
            longest_call,
            tls,
        } = served;
        let (health, health_service) = tonic_health::server::health_reporter();
        let reporting = tokio::spawn(report(health));
        let _ends_with_us = AbortOnDrop(reporting.abort_handle());
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(ServerError::Reflection)?;

        let mut server = tonic::transport::Server::builder()
            .tcp_nodelay(true)
            .max_concurrent_streams(Some(MAX_STREAMS))
            .timeout(longest_call)
            .http2_keepalive_interval(Some(Duration::from_secs(10)));
        if let Some(tls) = &tls {
            let section = self.section;
            let failed = |cause| ServerError::Tls { section, cause };
            server = server.tls_config(tls_config(tls)).map_err(failed)?;
        }
        let address = self.address;
        info!(%address, tls = tls.is_some(), "{name} listens");

        let draining = stop.clone();
        let mut routes = routes;
        routes.add_service(health_service).add_service(reflection);
        let serving = server.add_routes(routes.routes()).serve_with_incoming_shutdown(
            TcpListenerStream::new(self.socket),
            async move {
                draining.cancelled().await;
                // Whoever watches our health goes elsewhere before we are gone.
                let _ = reporting.await;
            },
        );
        tokio::select! {
            done = serving => done.map_err(ServerError::Serve)?,
            () = drain_time_over(&stop) => info!("calls under way were left at the end of the drain time"),
        }
        info!(%address, "{name} stopped");
        Ok(())
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
