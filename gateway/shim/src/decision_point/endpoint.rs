//! One decision service over gRPC: its address, its channel, and whether it answered lately.

use std::sync::Mutex;
use std::time::Duration;

use natsgate_proto::v1::decision_service_client::DecisionServiceClient;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

/// How long connecting may take.
const CONNECT_TIME: Duration = Duration::from_millis(500);

/// The largest message: a batch of sessions to recheck, each with what its token says.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// How long an endpoint that failed is asked last; doubled with every failure in a row.
const EJECTED_FOR: Duration = Duration::from_millis(500);

/// The longest it is asked last.
const LONGEST_EJECTION: Duration = Duration::from_secs(30);

/// How the shim speaks TLS with a service.
#[derive(Clone)]
pub struct EndpointTls {
    /// The authority of its certificate, PEM; the system's are not trusted.
    pub ca: String,
    /// The name in its certificate, if not the host of the URL.
    pub server_name: Option<String>,
    /// The shim's own certificate and key, PEM.
    pub identity: Option<(String, SecretString)>,
}

/// An address that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint {url}: {cause}")]
pub struct EndpointError {
    /// The URL.
    pub url: String,
    /// The library's word.
    pub cause: tonic::transport::Error,
}

/// A decision service.
pub struct Endpoint {
    pub(super) url: String,
    pub(super) client: DecisionServiceClient<Channel>,
    failures: Mutex<Failures>,
}

/// Failures in a row, and until when the endpoint is asked last for them.
#[derive(Default, Clone, Copy)]
struct Failures {
    in_a_row: u32,
    ejected_until: Option<Instant>,
}

impl Endpoint {
    /// The endpoint at `url` (`http://host:port`, or `https://` with `tls`). Connects when first used.
    ///
    /// # Errors
    /// [`EndpointError`] for a URL or TLS material that cannot be used.
    pub fn new(url: &str, tls: Option<&EndpointTls>) -> Result<Self, EndpointError> {
        Ok(Self {
            url: url.to_owned(),
            client: DecisionServiceClient::new(channel(url, tls)?)
                .max_decoding_message_size(MOST_BYTES)
                .max_encoding_message_size(MOST_BYTES),
            failures: Mutex::default(),
        })
    }

    /// Whether it failed so lately that others are to be asked first.
    pub(super) fn is_ejected(&self) -> bool {
        self.failures()
            .ejected_until
            .is_some_and(|until| Instant::now() < until)
    }

    /// Forgets its failures; true if there were any.
    pub(super) fn succeeded(&self) -> bool {
        let failed_before = self.failures().in_a_row > 0;
        if failed_before {
            self.set(Failures::default());
        }
        failed_before
    }

    /// Counts a failure; true for the first in a row. Those of calls made at the same time count once.
    pub(super) fn failed(&self) -> bool {
        if self.is_ejected() {
            return false;
        }
        let before = self.failures();
        let time = EJECTED_FOR
            .saturating_mul(2_u32.saturating_pow(before.in_a_row.min(16)))
            .min(LONGEST_EJECTION);
        self.set(Failures {
            in_a_row: before.in_a_row.saturating_add(1),
            ejected_until: Instant::now().checked_add(time),
        });
        before.in_a_row == 0
    }

    fn failures(&self) -> Failures {
        *self
            .failures
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn set(&self, failures: Failures) {
        *self
            .failures
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = failures;
    }
}

/// A channel to `url` (`http://host:port`, or `https://` with `tls`), which connects when first used.
///
/// # Errors
/// [`EndpointError`] for a URL or TLS material that cannot be used.
pub(crate) fn channel(url: &str, tls: Option<&EndpointTls>) -> Result<Channel, EndpointError> {
    let fail = |cause| EndpointError {
        url: url.to_owned(),
        cause,
    };
    let mut endpoint = tonic::transport::Endpoint::from_shared(url.to_owned())
        .map_err(fail)?
        .connect_timeout(CONNECT_TIME)
        .tcp_nodelay(true)
        // A peer that vanished without a word is noticed here.
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(2));
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls_config(tls)).map_err(fail)?;
    }
    Ok(endpoint.connect_lazy())
}

fn tls_config(tls: &EndpointTls) -> ClientTlsConfig {
    let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.ca));
    if let Some(name) = &tls.server_name {
        config = config.domain_name(name.clone());
    }
    if let Some((certificate, key)) = &tls.identity {
        config = config.identity(Identity::from_pem(certificate, key.expose_secret()));
    }
    config
}
