//! Asks a development provider's token endpoint, from another process than its own.

use secrecy::SecretString;
use serde::Deserialize;

use crate::error::DevkitError;

/// What the token endpoint answers, either way.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<SecretString>,
    error_description: Option<String>,
}

/// A token for `username` from the token endpoint at `url`.
///
/// # Errors
/// Nobody listens there, or the provider does not know `username`.
pub async fn fetch_token(url: &str, username: &str) -> Result<SecretString, DevkitError> {
    let failed = |error: reqwest::Error| DevkitError::Provider(format!("asking {url} for a token: {error}"));
    let client = reqwest::Client::builder().no_proxy().build().map_err(failed)?;
    let asked = client
        .post(url)
        .form(&[("username", username)])
        .send()
        .await
        .map_err(failed)?;
    let answer: Answer = asked.json().await.map_err(failed)?;
    answer.access_token.ok_or_else(|| {
        let why = answer
            .error_description
            .unwrap_or_else(|| "the answer holds no token".to_owned());
        DevkitError::Provider(format!("asking {url} for a token: {why}"))
    })
}
