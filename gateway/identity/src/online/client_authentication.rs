//! natsgate's own proof to a provider, put into a request (RFC 6749 section 2.3.1, RFC 7523 section 2.2, RFC 8705).

use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::crypto::aws_lc;
use natsgate_core::clock::unix_seconds;
use rand::RngCore;
use reqwest::RequestBuilder;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use crate::algorithm::Algorithm;
use crate::settings::SettingsError;
use crate::settings::client_authentication::{
    ClientAuthenticationSettings, ClientSecretSettings, PrivateKeyJwtSettings,
};

/// How long an assertion is good for, in seconds: it is used at once.
const ASSERTION_LIFE: i64 = 60;

/// A client and its proof.
pub(super) struct ClientAuthentication {
    client_id: String,
    method: Method,
}

enum Method {
    Basic(SecretString),
    Post(SecretString),
    Assertion(Box<Assertion>),
    Certificate,
}

struct Assertion {
    algorithm: Algorithm,
    key: EncodingKey,
    key_id: Option<String>,
    audience: String,
}

impl fmt::Debug for ClientAuthentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientAuthentication")
    }
}

impl ClientAuthentication {
    /// The client `client_id` of the provider `issuer`. Reads files; `key` names the settings in errors.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub(super) fn new(
        settings: &ClientAuthenticationSettings,
        client_id: &str,
        issuer: &str,
        key: &str,
    ) -> Result<Self, SettingsError> {
        let method = match settings {
            ClientAuthenticationSettings::ClientSecretBasic(settings) => {
                Method::Basic(secret(settings, key)?)
            }
            ClientAuthenticationSettings::ClientSecretPost(settings) => Method::Post(secret(settings, key)?),
            ClientAuthenticationSettings::PrivateKeyJwt(settings) => {
                Method::Assertion(Box::new(Assertion::new(settings, client_id, issuer, key)?))
            }
            ClientAuthenticationSettings::TlsClientAuth => Method::Certificate,
        };
        Ok(Self {
            client_id: client_id.to_owned(),
            method,
        })
    }

    /// Gives `request` the `form` and the proof.
    ///
    /// # Errors
    /// If an assertion cannot be signed.
    pub(super) fn apply(
        &self,
        request: RequestBuilder,
        form: &[(&str, &str)],
        now: SystemTime,
    ) -> Result<RequestBuilder, &'static str> {
        let mut form = form.to_vec();
        let assertion;
        let mut request = request;
        match &self.method {
            Method::Basic(secret) => {
                // Both are form-encoded first, so that a colon in the id does not move the border.
                let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                let secret = Zeroizing::new(encode(secret.expose_secret()));
                request = request.basic_auth(encode(&self.client_id), Some(secret.as_str()));
            }
            Method::Post(secret) => {
                form.push(("client_id", &self.client_id));
                form.push(("client_secret", secret.expose_secret()));
            }
            Method::Assertion(by) => {
                assertion = by.sign(&self.client_id, now)?;
                form.push(("client_id", &self.client_id));
                form.push((
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                ));
                form.push(("client_assertion", &assertion));
            }
            Method::Certificate => form.push(("client_id", &self.client_id)),
        }
        Ok(request.form(&form))
    }
}

impl Assertion {
    fn new(
        settings: &PrivateKeyJwtSettings,
        client_id: &str,
        issuer: &str,
        key: &str,
    ) -> Result<Self, SettingsError> {
        let wrong = |problem: String| {
            let path = settings.key_file.display();
            SettingsError::new(
                format!("{key}.private_key_jwt.key_file"),
                format!("{path}: {problem}"),
            )
        };
        let pem =
            Zeroizing::new(std::fs::read(&settings.key_file).map_err(|error| wrong(error.to_string()))?);
        let read = match settings.algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(&pem),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(&pem),
            _ => EncodingKey::from_rsa_pem(&pem),
        };
        let unfit = || {
            wrong(format!(
                "it holds no private key in PEM form that fits `algorithm` {}",
                settings.algorithm
            ))
        };
        let assertion = Self {
            algorithm: settings.algorithm,
            key: read.map_err(|_| unfit())?,
            key_id: settings.key_id.clone(),
            audience: settings.audience.clone().unwrap_or_else(|| issuer.to_owned()),
        };
        // A key of another curve reads well and signs nothing: better to know at the start.
        assertion
            .sign(client_id, SystemTime::UNIX_EPOCH)
            .map_err(|_| unfit())?;
        Ok(assertion)
    }

    /// A new assertion (RFC 7523 section 3).
    fn sign(&self, client_id: &str, now: SystemTime) -> Result<String, &'static str> {
        let mut id = [0_u8; 16];
        rand::rng().fill_bytes(&mut id);
        let now = unix_seconds(now);
        let mut header = json!({"alg": self.algorithm.name(), "typ": "JWT"});
        if let (Some(header), Some(key_id)) = (header.as_object_mut(), &self.key_id) {
            header.insert("kid".to_owned(), json!(key_id));
        }
        let claims = json!({
            "iss": client_id,
            "sub": client_id,
            "aud": self.audience,
            "jti": BASE64URL_NOPAD.encode(&id),
            "iat": now,
            "exp": now.saturating_add(ASSERTION_LIFE),
        });
        let encode = |part: &serde_json::Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
        let message = format!("{}.{}", encode(&header), encode(&claims));
        // Named outright: the crate's own choice of provider panics if two are compiled in.
        let signature =
            (aws_lc::DEFAULT_PROVIDER.signer_factory)(&self.algorithm.to_jsonwebtoken(), &self.key)
                .ok()
                .and_then(|signer| signer.try_sign(message.as_bytes()).ok())
                .ok_or("natsgate's own assertion cannot be signed: check `introspection.authentication`")?;
        Ok(format!("{message}.{}", BASE64URL_NOPAD.encode(&signature)))
    }
}

fn secret(settings: &ClientSecretSettings, key: &str) -> Result<SecretString, SettingsError> {
    match (&settings.secret, &settings.secret_file) {
        (Some(secret), _) => Ok(secret.clone()),
        (None, Some(path)) => read_secret(path, key),
        (None, None) => Err(SettingsError::new(
            format!("{key}.secret_file"),
            "must be set: the file with the client's secret",
        )),
    }
}

fn read_secret(path: &Path, key: &str) -> Result<SecretString, SettingsError> {
    let wrong = |problem: String| {
        SettingsError::new(
            format!("{key}.secret_file"),
            format!("reading {}: {problem}", path.display()),
        )
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let text = Zeroizing::new(text);
    match text.trim_end() {
        "" => Err(wrong("it is empty".to_owned())),
        secret => Ok(SecretString::from(secret)),
    }
}

#[cfg(test)]
mod tests;
