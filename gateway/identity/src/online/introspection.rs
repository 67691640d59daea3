//! Asking an introspection endpoint (RFC 7662).

use natsgate_core::Clock;
use reqwest::{Identity, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::client_authentication::ClientAuthentication;
use super::locator::{Discovery, Locator};
use crate::fetch::{Answer, FetchError, Fetcher};
use crate::settings::SettingsError;
use crate::settings::introspection::{ClientCertificateSettings, IntrospectionSettings};
use crate::settings::oidc::OidcSettings;

/// One introspection endpoint, and the client that natsgate is there.
pub(super) struct Introspection {
    locator: Locator,
    fetcher: Fetcher,
    client_id: String,
    authentication: ClientAuthentication,
    clock: std::sync::Arc<dyn Clock>,
}

impl Introspection {
    /// # Errors
    /// The setting that cannot be used.
    pub(super) fn new(
        settings: &OidcSettings,
        own: &IntrospectionSettings,
        discovery: &Discovery,
    ) -> Result<Self, SettingsError> {
        let key = |field: &str| settings.key(&format!("introspection.{field}"));
        let locator = discovery.locator(
            settings,
            "introspection_endpoint",
            own.endpoint.as_deref(),
            &key("endpoint"),
        )?;
        let certificate = own
            .client_certificate
            .as_ref()
            .map(|files| certificate(files, &key("client_certificate")))
            .transpose()?;
        let fetcher = Fetcher::new(settings, locator.first(), certificate.as_ref())?;
        let authentication = ClientAuthentication::new(
            &own.authentication,
            &own.client_id,
            &settings.issuer,
            &key("authentication"),
        )?;
        Ok(Self {
            locator,
            fetcher,
            client_id: own.client_id.clone(),
            authentication,
            clock: discovery.clock(),
        })
    }

    /// What tells it from other endpoints and clients.
    pub(super) fn identification(&self) -> String {
        format!("{} {}", self.locator.identification(), self.client_id)
    }

    /// What the endpoint says of `token`; `None` if it is not active.
    ///
    /// # Errors
    /// If there is no such answer.
    pub(super) async fn ask(&self, token: &SecretString) -> Result<Option<Map<String, Value>>, FetchError> {
        let url = self.locator.url().await?;
        let failed = |cause: String| FetchError::new(&url, cause);
        let form = [
            ("token", token.expose_secret()),
            ("token_type_hint", "access_token"),
        ];
        let request = self.fetcher.client().post(url.clone());
        let request = self
            .authentication
            .apply(request, &form, self.clock.now())
            .map_err(|problem| failed(problem.to_owned()))?;
        let answer = self.fetcher.send(&url, request).await?;
        read(&answer).map_err(failed)
    }
}

fn read(answer: &Answer) -> Result<Option<Map<String, Value>>, String> {
    match answer.status {
        StatusCode::OK => {}
        // RFC 7662 section 2.3: it is us whom it does not know, not the token.
        StatusCode::UNAUTHORIZED => {
            return Err(
                "the endpoint refuses natsgate's own credentials (401): check `introspection.client_id` and \
                 `introspection.authentication`"
                    .to_owned(),
            );
        }
        status @ (StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN) => {
            return Err(format!(
                "the endpoint refuses the question ({status}): check that the client of `introspection.client_id` may \
                 introspect, and that `introspection.authentication` is its method"
            ));
        }
        status => return Err(format!("the answer is {status}")),
    }
    if answer.media_type.ends_with("jwt") {
        return Err(
            "the answer is a signed JWT (RFC 9701), which is not understood: have the provider answer plain JSON to this \
             client"
                .to_owned(),
        );
    }
    let mut claims: Map<String, Value> = serde_json::from_slice(&answer.body)
        .map_err(|_| "the answer is not a JSON object: is `introspection.endpoint` right?".to_owned())?;
    match claims.remove("active") {
        Some(Value::Bool(true)) => Ok(Some(claims)),
        Some(Value::Bool(false)) => Ok(None),
        _ => Err(
            "the answer does not say whether the token is `active`: is `introspection.endpoint` right?"
                .to_owned(),
        ),
    }
}

fn certificate(files: &ClientCertificateSettings, key: &str) -> Result<Identity, SettingsError> {
    let read = |field: &str, path: &std::path::Path| {
        std::fs::read(path).map_err(|error| {
            SettingsError::new(
                format!("{key}.{field}"),
                format!("reading {}: {error}", path.display()),
            )
        })
    };
    let mut pem = zeroize::Zeroizing::new(read("key_file", &files.key_file)?);
    pem.push(b'\n');
    pem.extend(read("certificate_file", &files.certificate_file)?);
    Identity::from_pem(&pem).map_err(|_| {
        SettingsError::new(
            key,
            "the two files do not hold a certificate and its private key in PEM form",
        )
    })
}
