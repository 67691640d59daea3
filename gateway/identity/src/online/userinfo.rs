//! Asking a userinfo endpoint (OpenID Connect Core 1.0 section 5.3), with the token as the credential (RFC 6750).

use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::locator::{Discovery, Locator};
use crate::fetch::{Answer, FetchError, Fetcher};
use crate::settings::SettingsError;
use crate::settings::oidc::OidcSettings;
use crate::settings::userinfo::UserinfoSettings;

/// One userinfo endpoint.
pub(super) struct Userinfo {
    locator: Locator,
    fetcher: Fetcher,
}

impl Userinfo {
    /// # Errors
    /// The setting that cannot be used.
    pub(super) fn new(
        settings: &OidcSettings,
        own: &UserinfoSettings,
        discovery: &Discovery,
    ) -> Result<Self, SettingsError> {
        let key = settings.key("userinfo.endpoint");
        let locator = discovery.locator(settings, "userinfo_endpoint", own.endpoint.as_deref(), &key)?;
        let fetcher = Fetcher::new(settings, locator.first(), None)?;
        Ok(Self { locator, fetcher })
    }

    /// What tells it from other endpoints.
    pub(super) fn identification(&self) -> String {
        self.locator.identification()
    }

    /// What the endpoint says of the owner of `token`; `None` if it refuses the token.
    ///
    /// # Errors
    /// If there is no such answer.
    pub(super) async fn ask(&self, token: &SecretString) -> Result<Option<Map<String, Value>>, FetchError> {
        let url = self.locator.url().await?;
        let request = self
            .fetcher
            .client()
            .get(url.clone())
            .bearer_auth(token.expose_secret());
        let answer = self.fetcher.send(&url, request).await?;
        read(&answer).map_err(|cause| FetchError::new(&url, cause))
    }
}

fn read(answer: &Answer) -> Result<Option<Map<String, Value>>, String> {
    match answer.status {
        StatusCode::OK => {}
        // RFC 6750 section 3.1: `invalid_token`.
        StatusCode::UNAUTHORIZED => return Ok(None),
        StatusCode::FORBIDDEN => {
            return Err(
                "the endpoint refuses to answer for this token (403): have clients ask for the scope `openid`"
                    .to_owned(),
            );
        }
        status => return Err(format!("the answer is {status}")),
    }
    if answer.media_type.ends_with("jwt") {
        return Err(
            "the answer is a signed JWT, which is not understood: have the provider answer plain JSON \
             (`userinfo_signed_response_alg` of the client that tokens are issued to)"
                .to_owned(),
        );
    }
    let claims: Map<String, Value> = serde_json::from_slice(&answer.body)
        .map_err(|_| "the answer is not a JSON object: is `userinfo.endpoint` right?".to_owned())?;
    match claims.get("sub") {
        Some(Value::String(_)) => Ok(Some(claims)),
        // Section 5.3.2: it is always there.
        _ => Err(
            "the answer has no `sub`, so nobody can tell whom it is about: is `userinfo.endpoint` right?"
                .to_owned(),
        ),
    }
}
