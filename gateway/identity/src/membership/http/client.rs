//! One GET to the API: no redirects, a bound on the answer's size. Time is bounded by the caller.

use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, StatusCode, redirect};
use secrecy::{ExposeSecret, SecretString};
use url::Url;
use zeroize::Zeroizing;

use crate::fetch::chain;
use crate::settings::SettingsError;
use crate::settings::introspection::ClientCertificateSettings;
use crate::settings::membership::http::{HttpAuthenticationSettings, HttpMembershipSettings};
use crate::settings::url::is_loopback;

/// An API's answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Asks an API.
pub(super) struct Client {
    client: reqwest::Client,
    headers: HeaderMap,
    token_file: Option<PathBuf>,
}

impl Client {
    /// A client for the API of `settings`, which is at the origin of `url`.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub(super) fn new(settings: &HttpMembershipSettings, url: &Url) -> Result<Self, SettingsError> {
        let mut headers = headers(settings)?;
        headers
            .entry(ACCEPT)
            .or_insert(HeaderValue::from_static("application/json"));
        let token_file = match &settings.authentication {
            HttpAuthenticationSettings::None => None,
            HttpAuthenticationSettings::Bearer(token) => {
                let value = bearer(token).ok_or_else(|| {
                    SettingsError::new(
                        settings.key("authentication.bearer"),
                        "holds characters that no token has: check for white space and line ends",
                    )
                })?;
                headers.insert(AUTHORIZATION, value);
                None
            }
            HttpAuthenticationSettings::BearerFile(path) => Some(path.clone()),
        };
        Ok(Self {
            client: client(settings, url)?,
            headers,
            token_file,
        })
    }

    /// The answer at `url`, whose body takes from the `bytes` that may still come.
    ///
    /// # Errors
    /// If there is no whole answer, or it is larger than that.
    pub(super) async fn get(&self, url: &Url, bytes: &mut usize) -> Result<Answer, String> {
        // Without the URL, which says whom it is about.
        let failed = |error: reqwest::Error| chain(&error.without_url());
        let mut headers = self.headers.clone();
        if let Some(path) = &self.token_file {
            headers.insert(AUTHORIZATION, read_token(path).await?);
        }
        let request = self.client.get(url.clone()).headers(headers);
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            *bytes = bytes.checked_sub(chunk.len()).ok_or(
                "the answers are larger than `max_bytes`: is the URL right? If it is, raise `max_bytes`",
            )?;
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status,
            headers,
            body: body.freeze(),
        })
    }
}

fn client(settings: &HttpMembershipSettings, url: &Url) -> Result<reqwest::Client, SettingsError> {
    let identity = settings.client_certificate.as_ref();
    let identity = identity.map(|files| identity_of(files, settings)).transpose()?;
    let authorities = settings.ca_file.as_ref();
    let authorities = authorities.map(|path| {
        let wrong = |problem: String| {
            SettingsError::new(
                settings.key("ca_file"),
                format!("reading {}: {problem}", path.display()),
            )
        };
        let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| wrong("it holds no certificate in PEM form".to_owned()))
    });
    let authorities = authorities.transpose()?;
    let builder = || {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("natsgate/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(settings.timeout);
        if let Some(identity) = &identity {
            builder = builder.identity(identity.clone());
        }
        // A proxy from the environment is for the way out, not for this machine.
        if is_loopback(url) {
            builder.no_proxy()
        } else {
            builder
        }
    };
    let built = match authorities {
        Some(certificates) => builder().tls_certs_merge(certificates).build(),
        None => builder().build(),
    };
    let client = match built {
        // A machine without any trusted root can still speak http to itself; https then fails for want of one.
        Err(_) if url.scheme() == "http" => builder().tls_certs_only([]).build(),
        other => other,
    };
    client.map_err(|error| {
        let cause = chain(&error);
        SettingsError::new(
            settings.key("url"),
            format!("TLS cannot be set up ({cause}): install the system's CA certificates, or set `ca_file`"),
        )
    })
}

fn identity_of(
    files: &ClientCertificateSettings,
    settings: &HttpMembershipSettings,
) -> Result<reqwest::Identity, SettingsError> {
    let read = |field: &str, path: &PathBuf| {
        std::fs::read(path).map_err(|error| {
            let key = settings.key(&format!("client_certificate.{field}"));
            SettingsError::new(key, format!("reading {}: {error}", path.display()))
        })
    };
    let mut pem = Zeroizing::new(read("key_file", &files.key_file)?);
    pem.push(b'\n');
    pem.extend(read("certificate_file", &files.certificate_file)?);
    reqwest::Identity::from_pem(&pem).map_err(|_| {
        SettingsError::new(
            settings.key("client_certificate"),
            "the two files do not hold a certificate and its private key in PEM form",
        )
    })
}

fn headers(settings: &HttpMembershipSettings) -> Result<HeaderMap, SettingsError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        let wrong = |problem: &str| {
            let key = settings.key(&format!("headers.{}", name.escape_debug()));
            SettingsError::new(key, problem)
        };
        let name: HeaderName = name.parse().map_err(|_| wrong("is not the name of a header"))?;
        if [
            "host",
            "content-length",
            "transfer-encoding",
            "connection",
            "te",
            "upgrade",
        ]
        .contains(&name.as_str())
        {
            return Err(wrong("is for natsgate to set: remove it"));
        }
        if name == AUTHORIZATION && settings.authentication != HttpAuthenticationSettings::None {
            return Err(wrong("is set by `authentication` already: remove one"));
        }
        let mut value = HeaderValue::from_str(value.expose_secret())
            .map_err(|_| wrong("holds characters that no header may: check for line ends"))?;
        value.set_sensitive(true);
        if headers.insert(name, value).is_some() {
            return Err(wrong(
                "is set twice: names of headers do not tell upper from lower case",
            ));
        }
    }
    Ok(headers)
}

/// The header that shows `token`, unless it cannot stand in one (RFC 6750 section 2.1).
fn bearer(token: &SecretString) -> Option<HeaderValue> {
    let token = token.expose_secret();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let text = Zeroizing::new(format!("Bearer {token}"));
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

async fn read_token(path: &PathBuf) -> Result<HeaderValue, String> {
    let shown = path.display();
    let text = tokio::fs::read_to_string(path)
        .await
        .map(Zeroizing::new)
        .map_err(|error| format!("reading {shown} (`authentication.bearer_file`): {error}"))?;
    bearer(&SecretString::from(text.trim())).ok_or_else(|| {
        format!("{shown} (`authentication.bearer_file`) does not hold a token and nothing else")
    })
}
