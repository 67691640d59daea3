//! Speaking HTTP to a provider: one request, no redirects, a bound on the answer's size. Time is bounded by the caller.

use std::error::Error;
use std::fmt;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Certificate, Client, Identity, RequestBuilder, StatusCode, redirect};
use url::Url;

use crate::settings::SettingsError;
use crate::settings::oidc::OidcSettings;
use crate::settings::url::{is_loopback, shown};

/// The largest document that is read, in bytes. Real key sets have a few thousand.
const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// A document could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fetching {url}: {cause}")]
pub(crate) struct FetchError {
    /// Where from, without the query.
    pub(crate) url: String,
    /// What went wrong, and the mend where there is one.
    pub(crate) cause: String,
}

impl FetchError {
    pub(crate) fn new(url: &Url, cause: impl Into<String>) -> Self {
        Self {
            url: shown(url),
            cause: cause.into(),
        }
    }
}

/// An answer, whatever it says.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The media type, in lower case and without parameters; empty if there is none.
    pub(crate) media_type: String,
    pub(crate) body: Bytes,
}

/// Fetches documents of one provider.
#[derive(Clone)]
pub(crate) struct Fetcher {
    client: Client,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetcher")
    }
}

impl Fetcher {
    /// A client for the provider of `settings`, whose first document is at `url`. It shows `certificate` to whoever asks
    /// for one.
    ///
    /// # Errors
    /// If the CA file cannot be read, or no trusted roots can be found for https.
    pub(crate) fn new(
        settings: &OidcSettings,
        url: &Url,
        certificate: Option<&Identity>,
    ) -> Result<Self, SettingsError> {
        let builder = || {
            let mut builder = Client::builder()
                .user_agent(concat!("natsgate/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                .connect_timeout(settings.fetch_timeout);
            if let Some(certificate) = certificate {
                builder = builder.identity(certificate.clone());
            }
            // A proxy from the environment is for the way out, not for this machine.
            if is_loopback(url) {
                builder.no_proxy()
            } else {
                builder
            }
        };
        let built = match &settings.ca_file {
            Some(path) => {
                let wrong = |problem: String| {
                    let shown = path.display();
                    SettingsError::new(settings.key("ca_file"), format!("reading {shown}: {problem}"))
                };
                let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
                let certificates = Certificate::from_pem_bundle(&pem)
                    .ok()
                    .filter(|certificates| !certificates.is_empty())
                    .ok_or_else(|| wrong("it holds no certificate in PEM form".to_owned()))?;
                builder().tls_certs_merge(certificates).build()
            }
            None => builder().build(),
        };
        let client = match built {
            // A machine without any trusted root can still speak http to itself; https then fails for want of one.
            Err(_) if url.scheme() == "http" => builder().tls_certs_only([]).build(),
            other => other,
        };
        let client = client.map_err(|error| {
            let cause = chain(&error);
            SettingsError::new(
                settings.key("issuer"),
                format!(
                    "TLS cannot be set up ({cause}): install the system's CA certificates, or set `ca_file`"
                ),
            )
        })?;
        Ok(Self { client })
    }

    /// The document at `url`.
    ///
    /// # Errors
    /// [`FetchError`] for anything but a 200 with a body within the bound.
    pub(crate) async fn get(&self, url: &Url) -> Result<Bytes, FetchError> {
        let answer = self.send(url, self.client.get(url.clone())).await?;
        if answer.status == StatusCode::OK {
            return Ok(answer.body);
        }
        Err(FetchError::new(url, format!("the answer is {}", answer.status)))
    }

    /// The client, to make a request for [`Self::send`] with.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends `request`, which is for `url`.
    ///
    /// # Errors
    /// [`FetchError`] if there is no whole answer, or it is a redirect or larger than the bound.
    pub(crate) async fn send(&self, url: &Url, request: RequestBuilder) -> Result<Answer, FetchError> {
        let failed = |error: reqwest::Error| FetchError::new(url, chain(&error.without_url()));
        let request = request.header(ACCEPT, "application/json");
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        if status.is_redirection() {
            return Err(FetchError::new(
                url,
                format!(
                    "the answer is a redirect ({status}), which is not followed: configure the final URL"
                ),
            ));
        }
        let media_type = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .map(|value| value.trim().to_ascii_lowercase())
            .unwrap_or_default();
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len().saturating_add(chunk.len()) > MAX_DOCUMENT_BYTES {
                return Err(FetchError::new(
                    url,
                    "the answer is larger than 1 MiB: is the URL right?",
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status,
            media_type,
            body: body.freeze(),
        })
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
