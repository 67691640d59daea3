//! Listens for events: HTTP/1.1, with or without TLS, one call a connection.
//!
//! Whoever connects is nobody yet, so everything about a connection has a bound: how many there are, how long the handshake,
//! the head and the whole may take, how large the head is.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::SecurityEvents;

/// Connections at once; more wait until the system's queue is full.
const MAX_CONNECTIONS: usize = 256;

/// How long a TLS handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// How long the head of a request may take.
const HEAD_WITHIN: Duration = Duration::from_secs(5);

/// How long a whole connection may take.
const CONNECTION_WITHIN: Duration = Duration::from_secs(30);

/// The largest head, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// The most headers.
const MAX_HEADERS: usize = 64;

/// How long a stopping server waits for calls under way.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// The pause after a connection could not be taken: the process has too many files open.
const PAUSE: Duration = Duration::from_millis(100);

/// The server's certificate.
#[derive(Clone)]
pub struct HttpTls {
    /// The certificate chain, PEM.
    pub certificate: String,
    /// Its private key, PEM.
    pub key: SecretString,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is taken or not ours.
    #[error("decision.http.listen: listening on {address}: {cause}; free the address or choose another")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's word.
        cause: std::io::Error,
    },
    /// The certificate or key cannot be used.
    #[error("decision.http.tls: {0}; certificate and key must be PEM, and the key that of the certificate")]
    Tls(String),
}

/// An address that is taken: connections wait until [`HttpServer::run`] takes them.
pub struct HttpListener {
    socket: TcpListener,
    address: SocketAddr,
}

impl HttpListener {
    /// Takes `address`; port 0 lets the system choose.
    ///
    /// # Errors
    /// [`HttpError::Bind`].
    pub async fn bind(address: SocketAddr) -> Result<Self, HttpError> {
        let bind = |cause| HttpError::Bind { address, cause };
        let socket = TcpListener::bind(address).await.map_err(bind)?;
        let address = socket.local_addr().map_err(bind)?;
        Ok(Self { socket, address })
    }

    /// The address it has.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves the endpoints over HTTP.
#[derive(Clone)]
pub struct HttpServer {
    events: SecurityEvents,
    tls: Option<TlsAcceptor>,
}

impl HttpServer {
    /// A server for `events`, plain or with `tls`.
    ///
    /// # Errors
    /// [`HttpError::Tls`].
    pub fn new(events: SecurityEvents, tls: Option<&HttpTls>) -> Result<Self, HttpError> {
        Ok(Self {
            events,
            tls: tls.map(acceptor).transpose()?,
        })
    }

    /// What it serves, for its counts.
    pub fn events(&self) -> &SecurityEvents {
        &self.events
    }

    /// Serves on `listener` until `stop`, then finishes the calls under way, within ten seconds.
    pub async fn run(self, listener: HttpListener, stop: CancellationToken) {
        let HttpListener { socket, address } = listener;
        info!(%address, tls = self.tls.is_some(), "listening for events that revoke");
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let connections = TaskTracker::new();
        // Cut off at the end of the drain time.
        let cut = CancellationToken::new();
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (socket.accept().await, place)
            };
            let (accepted, place) = tokio::select! {
                next = next => next,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (server, stop, cut) = (self.clone(), stop.clone(), cut.clone());
                    connections.spawn(async move {
                        let _place = place;
                        let serving = server.serve(stream, peer, &stop);
                        tokio::select! {
                            ended = tokio::time::timeout(CONNECTION_WITHIN, serving) => {
                                if ended.is_err() {
                                    debug!(%peer, "a connection took too long, and was closed");
                                }
                            }
                            () = cut.cancelled() => {}
                        }
                    });
                }
                Err(error) => {
                    warn!(%error, "a connection to decision.http could not be taken");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        drop(socket);
        connections.close();
        let drained = async {
            connections.wait().await;
            self.events.settled().await;
        };
        if tokio::time::timeout(DRAIN_TIME, drained).await.is_err() {
            info!("calls under way were left at the end of the drain time");
        }
        cut.cancel();
        info!(%address, "no longer listening for events that revoke");
    }

    async fn serve(&self, stream: TcpStream, peer: SocketAddr, stop: &CancellationToken) {
        let Some(tls) = &self.tls else {
            return self.speak(stream, peer, stop).await;
        };
        match tokio::time::timeout(HANDSHAKE_WITHIN, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.speak(stream, peer, stop).await,
            Ok(Err(error)) => debug!(%peer, %error, "a TLS handshake failed"),
            Err(_) => debug!(%peer, "a TLS handshake took too long"),
        }
    }

    async fn speak<S>(&self, stream: S, peer: SocketAddr, stop: &CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let service = service_fn(|request: Request<Incoming>| async move {
            Ok::<_, Infallible>(self.events.answer(request, peer).await)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                // One without a request yet is closed, the others are answered.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(%peer, %error, "a connection broke off");
        }
    }
}

fn acceptor(tls: &HttpTls) -> Result<TlsAcceptor, HttpError> {
    let wrong = |problem: String| HttpError::Tls(problem);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(tls.certificate.as_bytes()).collect();
    let chain = chain.map_err(|_| wrong("the certificate is not PEM".to_owned()))?;
    // Its error may quote the key.
    let key = PrivateKeyDer::from_pem_slice(tls.key.expose_secret().as_bytes())
        .map_err(|_| wrong("the key is not PEM".to_owned()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| wrong(error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
