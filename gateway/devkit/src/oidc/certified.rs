//! The npm package oidc-provider, a certified OpenID provider, as a child process (`gateway/devkit/oidc-provider`).
//!
//! A token comes out of a real authorization code flow with PKCE (RFC 6749, RFC 7636), driven here as a browser would,
//! or out of a client credentials request; it is a JWT access token (RFC 9068) or an opaque one.

use std::process::Command;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use rand::RngCore;
use reqwest::redirect::Policy;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::error::DevkitError;
use crate::oidc::algorithm::SigningAlgorithm;
use crate::process::{LOOK_AGAIN, Process};
use crate::tools;

/// How long node and the provider may take until they listen.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Where the authorization code is sent. Nothing listens there: the flow is followed no further than to this URL.
const REDIRECT_URI: &str = "http://127.0.0.1/callback";

/// The client whose sessions' ends are told: that of [`OidcProvider::token`].
pub const LOGOUT_CLIENT: &str = "natsgate-cli";

/// How the provider is started.
#[derive(Debug, Clone)]
pub struct OidcProviderOptions {
    /// The audience of its tokens, where a token does not ask for another.
    pub audience: String,
    /// How it signs, where a token does not ask for another algorithm. It has keys for RS256 and ES256.
    pub algorithm: SigningAlgorithm,
    /// How long its tokens live, where a token does not ask for another time. Whole seconds.
    pub ttl: Duration,
    /// The public JWK of [`IntrospectionClient::KEY`], which exists only with one.
    pub introspection_key: Option<Value>,
    /// Where it tells that a session of [`LOGOUT_CLIENT`] is over (OpenID Connect Back-Channel Logout 1.0).
    pub backchannel_logout_uri: Option<String>,
}

/// A client that may introspect tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntrospectionClient {
    /// Its id.
    pub id: &'static str,
    /// Its secret; empty for one that has a key instead.
    pub secret: &'static str,
}

impl IntrospectionClient {
    /// Proves itself by `client_secret_basic`.
    pub const BASIC: Self = Self {
        id: "natsgate-basic",
        secret: "development only: +%&=",
    };

    /// Proves itself by `client_secret_post`.
    pub const POST: Self = Self {
        id: "natsgate-post",
        secret: "development only: +%&=",
    };

    /// Proves itself by `private_key_jwt`.
    pub const KEY: Self = Self {
        id: "natsgate-key",
        secret: "",
    };
}

impl Default for OidcProviderOptions {
    fn default() -> Self {
        Self {
            audience: "nats".to_owned(),
            algorithm: SigningAlgorithm::default(),
            ttl: Duration::from_secs(300),
            introspection_key: None,
            backchannel_logout_uri: None,
        }
    }
}

/// What one token shall be; whatever is `None` is as the provider was started.
#[derive(Debug, Clone, Default)]
pub struct TokenOptions {
    /// How long it lives, in whole seconds, rounded down.
    pub ttl: Option<Duration>,
    /// Its audience.
    pub audience: Option<String>,
    /// How it is signed: RS256 or ES256; the provider refuses others.
    pub algorithm: Option<SigningAlgorithm>,
    /// Whether it is a JWT.
    pub format: TokenFormat,
    /// Further claims, such as `projects: ["apollo"]`.
    pub claims: Map<String, Value>,
}

/// What a token looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TokenFormat {
    /// A JWT (RFC 9068). The provider neither introspects it nor answers userinfo for it.
    #[default]
    Jwt,
    /// Opaque, with an audience. Introspection tells of it.
    Opaque,
    /// Opaque, without an audience. Introspection and userinfo tell of it: userinfo of `sub`, `email` and `projects`.
    OpaqueForUserinfo,
}

impl TokenOptions {
    /// A token of this format.
    #[must_use]
    pub fn format(mut self, format: TokenFormat) -> Self {
        self.format = format;
        self
    }

    /// A token with one more claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }
}

/// A running oidc-provider. Dropping it kills it.
#[derive(Debug)]
pub struct OidcProvider {
    process: Process,
    issuer: String,
    options: OidcProviderOptions,
    folder: TempDir,
}

#[derive(Deserialize)]
struct Ready {
    issuer: String,
}

#[derive(Deserialize)]
struct Ticket {
    ticket: String,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: SecretString,
}

impl OidcProvider {
    /// Starts the provider with keys made for this start, and waits until it listens.
    ///
    /// # Errors
    /// node or the npm package is not there, or it does not listen within a minute.
    pub async fn start(options: OidcProviderOptions) -> Result<Self, DevkitError> {
        let folder = tempfile::Builder::new()
            .prefix("natsgate-oidc-")
            .tempdir()
            .map_err(DevkitError::io("make a folder for oidc-provider"))?;
        let (process, issuer) = launch(&options, 0, &folder).await?;
        Ok(Self {
            process,
            issuer,
            options,
            folder,
        })
    }

    /// The issuer, such as `http://127.0.0.1:40128`; its discovery document is where OpenID Connect Discovery says.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The process id; `None` after [`Self::stop`] or [`Self::kill`].
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Everything it has logged.
    pub fn logs(&self) -> String {
        self.process.logs()
    }

    /// Ends it and waits until it is gone.
    ///
    /// # Errors
    /// The system refuses the signal or the wait.
    pub async fn stop(&mut self) -> Result<(), DevkitError> {
        self.process.stop().await
    }

    /// Kills it and waits until it is gone.
    ///
    /// # Errors
    /// The system refuses the wait.
    pub fn kill(&mut self) -> Result<(), DevkitError> {
        self.process.kill()
    }

    /// Freezes it: it takes connections and answers nothing until [`Self::resume`].
    ///
    /// # Errors
    /// It is not running.
    pub fn suspend(&self) -> Result<(), DevkitError> {
        self.process.suspend()
    }

    /// Lets a frozen provider go on.
    ///
    /// # Errors
    /// It is not running.
    pub fn resume(&self) -> Result<(), DevkitError> {
        self.process.resume()
    }

    /// Starts it again as the same issuer, with new signing keys.
    ///
    /// # Errors
    /// As for [`Self::start`]; also when somebody else has taken the port.
    pub async fn restart(&mut self) -> Result<(), DevkitError> {
        self.process.stop().await?;
        let port = self
            .issuer
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .unwrap_or(0);
        (self.process, self.issuer) = launch(&self.options, port, &self.folder).await?;
        Ok(())
    }

    /// An access token for `subject`, by an authorization code flow with PKCE.
    ///
    /// # Errors
    /// The provider refuses a step of the flow or is away.
    pub async fn token(&self, subject: &str, options: TokenOptions) -> Result<SecretString, DevkitError> {
        let browser = client(true)?;
        let ticket = self.ticket(&browser, subject, &options).await?;
        let resource = self.resource(&options);
        let verifier = random();
        let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(&verifier));
        let scope = if resource.is_some() {
            "openid nats"
        } else {
            "openid"
        };
        let mut query = vec![
            ("client_id", "natsgate-cli"),
            ("response_type", "code"),
            ("redirect_uri", REDIRECT_URI),
            ("scope", scope),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("state", "natsgate"),
            ("login_hint", &ticket),
        ];
        query.extend(resource.as_deref().map(|resource| ("resource", resource)));
        let answer = browser
            .get(format!("{}/auth", self.issuer))
            .query(&query)
            .send()
            .await
            .map_err(|error| failed("the authorization request", error))?;
        let code = self.code(answer)?;
        let mut form = vec![
            ("client_id", "natsgate-cli"),
            ("grant_type", "authorization_code"),
            ("redirect_uri", REDIRECT_URI),
            ("code", &code),
            ("code_verifier", &verifier),
        ];
        form.extend(resource.as_deref().map(|resource| ("resource", resource)));
        access_token(browser.post(format!("{}/token", self.issuer)).form(&form)).await
    }

    /// An access token for a service, by client credentials: its subject is the client's id, `natsgate-service`.
    ///
    /// # Errors
    /// The provider refuses or is away.
    pub async fn service_token(&self, options: TokenOptions) -> Result<SecretString, DevkitError> {
        let client = client(false)?;
        let ticket = self.ticket(&client, "natsgate-service", &options).await?;
        let resource = self.resource(&options);
        let mut form = vec![("grant_type", "client_credentials"), ("ticket", ticket.as_str())];
        if let Some(resource) = &resource {
            form.extend([("scope", "nats"), ("resource", resource)]);
        }
        let request = client
            .post(format!("{}/token", self.issuer))
            .basic_auth("natsgate-service", Some("development-only"))
            .form(&form);
        access_token(request).await
    }

    /// Puts a token of [`Self::token`] out of force (RFC 7009). A JWT cannot be: the provider keeps no record of it.
    ///
    /// # Errors
    /// The provider refuses or is away.
    pub async fn revoke(&self, token: &SecretString) -> Result<(), DevkitError> {
        let form = [("client_id", "natsgate-cli"), ("token", token.expose_secret())];
        let answer = client(false)?
            .post(format!("{}/token/revocation", self.issuer))
            .form(&form)
            .send()
            .await
            .map_err(|error| failed("the revocation request", error))?;
        if answer.status().is_success() {
            return Ok(());
        }
        let status = answer.status();
        let why = answer.text().await.unwrap_or_default();
        Err(DevkitError::Provider(format!(
            "the revocation request was answered {status}: {why}"
        )))
    }

    /// Tells, at the configured `backchannel_logout_uri`, that the session `sid` of `subject` is over.
    ///
    /// # Errors
    /// There is no such URI, whoever is there does not take it, or the provider is away.
    pub async fn log_out(&self, subject: &str, sid: &str) -> Result<(), DevkitError> {
        let answer = client(false)?
            .post(format!("{}/devkit/logouts", self.issuer))
            .json(&json!({ "subject": subject, "sid": sid }))
            .send()
            .await
            .map_err(|error| failed("the logout", error))?;
        if answer.status().is_success() {
            return Ok(());
        }
        let why = answer.text().await.unwrap_or_default();
        Err(DevkitError::Provider(format!("the logout was not taken: {why}")))
    }

    /// What the token is for; `None` for nothing in particular.
    fn resource(&self, options: &TokenOptions) -> Option<String> {
        let audience = options.audience.as_deref().unwrap_or(&self.options.audience);
        let algorithm = options.algorithm.unwrap_or(self.options.algorithm);
        let format = match options.format {
            TokenFormat::Jwt => "jwt",
            TokenFormat::Opaque => "opaque",
            TokenFormat::OpaqueForUserinfo => return None,
        };
        let query: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("audience", audience)
            .append_pair("alg", algorithm.as_str())
            .append_pair("format", format)
            .finish();
        Some(format!("urn:natsgate:resource?{query}"))
    }

    /// Tells the provider what the token shall be.
    async fn ticket(
        &self,
        client: &reqwest::Client,
        subject: &str,
        options: &TokenOptions,
    ) -> Result<String, DevkitError> {
        let ttl = options.ttl.unwrap_or(self.options.ttl).as_secs();
        let answer = client
            .post(format!("{}/devkit/tickets", self.issuer))
            .json(&json!({ "subject": subject, "ttl": ttl, "claims": options.claims }))
            .send()
            .await
            .map_err(|error| failed("the ticket request", error))?;
        let ticket: Ticket = answer.json().await.map_err(|error| failed("the ticket", error))?;
        Ok(ticket.ticket)
    }

    /// The authorization code in the redirect that ends the flow.
    fn code(&self, answer: reqwest::Response) -> Result<String, DevkitError> {
        let status = answer.status();
        let target = answer
            .headers()
            .get(reqwest::header::LOCATION)
            .and_then(|target| target.to_str().ok())
            .and_then(|target| url::Url::parse(target).ok());
        let Some(target) = target else {
            return Err(DevkitError::Provider(format!(
                "the authorization flow ended with {status} instead of a redirect; its last words:\n{}",
                self.process.last_words()
            )));
        };
        let parameter = |name: &str| {
            target
                .query_pairs()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        parameter("code").ok_or_else(|| {
            let why = parameter("error_description")
                .or_else(|| parameter("error"))
                .unwrap_or_default();
            DevkitError::Provider(format!("no authorization code: {why}"))
        })
    }
}

async fn launch(
    options: &OidcProviderOptions,
    port: u16,
    folder: &TempDir,
) -> Result<(Process, String), DevkitError> {
    let script = tools::oidc_provider()?;
    let ready_file = folder.path().join("ready.json");
    // Left over from the start before this one.
    let _absent = std::fs::remove_file(&ready_file);
    let argument = json!({
        "ready_file": ready_file,
        "port": port,
        "audience": options.audience,
        "alg": options.algorithm.as_str(),
        "ttl": options.ttl.as_secs(),
        "introspection_key": options.introspection_key,
        "backchannel_logout_uri": options.backchannel_logout_uri,
    });
    let mut command = Command::new("node");
    command.arg(script).arg(argument.to_string());
    let mut process = Process::spawn("oidc-provider", &mut command, &folder.path().join("oidc.log"))?;
    let ready = async {
        loop {
            process.check_running()?;
            if let Ok(text) = std::fs::read(&ready_file) {
                let ready: Ready = serde_json::from_slice(&text).map_err(|error| {
                    DevkitError::Provider(format!("its ready file is unreadable: {error}"))
                })?;
                return Ok(ready.issuer);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    match tokio::time::timeout(READY_WITHIN, ready).await {
        Ok(issuer) => Ok((process, issuer?)),
        Err(_elapsed) => Err(DevkitError::NotReady {
            name: "oidc-provider".to_owned(),
            within: READY_WITHIN,
            log: process.last_words(),
        }),
    }
}

/// A browser as far as this flow needs one: cookies, and redirects up to the redirect URI, which it does not fetch.
fn client(browser: bool) -> Result<reqwest::Client, DevkitError> {
    let policy = Policy::custom(|attempt| {
        if attempt.url().path() == "/callback" || attempt.previous().len() > 10 {
            attempt.stop()
        } else {
            attempt.follow()
        }
    });
    reqwest::Client::builder()
        .no_proxy()
        .cookie_store(browser)
        .redirect(policy)
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(|error| failed("an HTTP client", error))
}

async fn access_token(request: reqwest::RequestBuilder) -> Result<SecretString, DevkitError> {
    let answer = request
        .send()
        .await
        .map_err(|error| failed("the token request", error))?;
    let status = answer.status();
    if !status.is_success() {
        let why = answer.text().await.unwrap_or_default();
        return Err(DevkitError::Provider(format!(
            "the token request was answered {status}: {why}"
        )));
    }
    let token: TokenAnswer = answer
        .json()
        .await
        .map_err(|error| failed("the token answer", error))?;
    Ok(token.access_token)
}

/// 32 random bytes as 43 characters: a code verifier (RFC 7636 section 4.1).
fn random() -> String {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    BASE64URL_NOPAD.encode(&bytes)
}

fn failed(what: &str, error: reqwest::Error) -> DevkitError {
    // Without the URL, whose query carries the code.
    DevkitError::Provider(format!("{what} failed: {}", error.without_url()))
}
