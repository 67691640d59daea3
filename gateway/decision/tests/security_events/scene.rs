//! The endpoints under test, on a port of their own, and a client that sends whatever a test wants.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use natsgate_core::{Announcer, Clock, Deadline};
use natsgate_decision::security_events::{Counts, Refusal};
use natsgate_decision::{
    HttpListener, HttpServer, HttpTls, SecurityEvents, SecurityEventsLimits, SecurityEventsParts,
    WebhookSettings,
};
use natsgate_devkit::{DevProvider, DevProviderOptions, MockClock, TokenSpec};
use natsgate_identity::{LogoutSettings, LogoutTokens, OidcProvider, OidcSettings};
use natsgate_store::InProcessCache;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::log::TestLog;

/// The client at the provider whose logout tokens are accepted.
pub(crate) const CLIENT: &str = "web-app";
pub(crate) const SECRET: &str = "no-secret-but-one-for-tests-0123456789";
pub(crate) const NEXT_SECRET: &str = "the-secret-that-takes-its-place-0123456789";

pub(crate) struct Scene {
    pub(crate) log: Arc<TestLog>,
    pub(crate) clock: Arc<MockClock>,
    pub(crate) provider: Arc<DevProvider>,
    pub(crate) events: SecurityEvents,
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
}

/// What a scene is started with.
pub(crate) struct Options {
    pub(crate) webhooks: Value,
    pub(crate) limits: SecurityEventsLimits,
    pub(crate) tls: Option<HttpTls>,
    pub(crate) change: fn(&mut OidcSettings, &mut LogoutSettings),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            webhooks: json!([hook("directory"), hook_of("ci", NEXT_SECRET)]),
            limits: SecurityEventsLimits::default(),
            tls: None,
            change: |_, _| {},
        }
    }
}

/// A webhook of a directory of people.
pub(crate) fn hook(name: &str) -> Value {
    hook_of(name, SECRET)
}

fn hook_of(name: &str, secret: &str) -> Value {
    let is = |event: &str| json!([{"pointer": "/event", "equals": event}]);
    json!({
        "name": name,
        "secrets": [secret],
        "revokes": [
            {
                "when": is("user.disabled"),
                "selector": {"principal": {"issuer": "https://idp.example", "subject": {"pointer": "/user/id"}}},
                "reason": "disabled in the directory",
            },
            {
                "when": is("user.moved"),
                "selector": {"resource": {"kind": "team", "id": {"pointer": "/from"}}},
            },
            {
                "when": is("user.moved"),
                "selector": {"resource": {"kind": "team", "id": {"pointer": "/to"}}},
            },
        ],
    })
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The `error` and `error_description` in it.
    pub(crate) fn error(&self) -> (String, String) {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"));
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        (text("error"), text("error_description"))
    }
}

impl Scene {
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub(crate) async fn start_with(options: Options) -> Self {
        let clock = Arc::new(MockClock::from_now());
        let log = TestLog::new(clock.clone());
        let provider = DevProvider::start(DevProviderOptions {
            clock: clock.clone(),
            ..Default::default()
        });
        let provider = Arc::new(provider.await.unwrap());
        Self::start_over(log.clone(), log, provider, clock, options).await
    }

    /// With `announcer` to append to, and another's provider.
    pub(crate) async fn start_over(
        announcer: Arc<dyn Announcer>,
        log: Arc<TestLog>,
        provider: Arc<DevProvider>,
        clock: Arc<MockClock>,
        options: Options,
    ) -> Self {
        // Another test of this process may have done so.
        let _done = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut settings = OidcSettings::new("corp", provider.issuer(), vec!["nats".into()]);
        let mut logout = LogoutSettings::new("corp", vec![CLIENT.into()]);
        (options.change)(&mut settings, &mut logout);
        let cache = Arc::new(InProcessCache::new(1 << 20, clock.clone()));
        let oidc = OidcProvider::new(settings, clock.clone(), cache).unwrap();
        let logouts = LogoutTokens::new(&[logout], [&oidc].into_iter()).unwrap();
        let webhooks: Vec<WebhookSettings> = serde_json::from_value(options.webhooks).unwrap();
        let events = SecurityEvents::new(SecurityEventsParts {
            log: announcer,
            clock: clock.clone(),
            logouts: Some(Arc::new(logouts)),
            webhooks,
            limits: options.limits,
        })
        .unwrap();
        let listener = HttpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let address = listener.address();
        let server = HttpServer::new(events.clone(), options.tls.as_ref()).unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.run(listener, stop.clone()));
        Self {
            log,
            clock,
            provider,
            events,
            address,
            stop,
            serving,
        }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `head` (lines without the last empty one) and `body`.
    pub(crate) async fn send(&self, head: &str, body: &[u8]) -> Answer {
        talk(self.connect().await, head, body).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &str, body: &[u8]) -> Answer {
        self.send(&post(path, headers, body.len()), body).await
    }

    /// Sends a logout token.
    pub(crate) async fn log_out(&self, token: &str) -> Answer {
        let body = format!("logout_token={token}");
        self.post("/backchannel-logout", FORM, body.as_bytes()).await
    }

    /// A logout token, changed as a test needs it.
    pub(crate) fn token(&self, change: impl FnOnce(TokenSpec) -> TokenSpec) -> String {
        let honest = TokenSpec::logout(CLIENT).claim("sub", "alice");
        self.provider
            .issue(change(honest))
            .unwrap()
            .expose_secret()
            .to_owned()
    }

    /// The time as webhooks are signed with it, `ahead` seconds from now.
    pub(crate) fn timestamp(&self, ahead: i64) -> String {
        (self.clock.unix_seconds() + ahead).to_string()
    }

    /// Calls the webhook `directory`, honestly signed.
    pub(crate) async fn call(&self, body: &str) -> Answer {
        let timestamp = self.timestamp(0);
        self.call_with("directory", &timestamp, &sign(SECRET, &timestamp, body), body)
            .await
    }

    pub(crate) async fn call_with(&self, name: &str, timestamp: &str, signature: &str, body: &str) -> Answer {
        let headers = format!("{JSON}X-Timestamp: {timestamp}\r\nX-Signature: {signature}\r\n");
        self.post(&format!("/webhooks/{name}"), &headers, body.as_bytes())
            .await
    }

    pub(crate) fn counts(&self, channel: &str) -> &Counts {
        self.events
            .counts()
            .find(|counts| counts.channel() == channel)
            .unwrap()
    }

    /// Calls to `channel` that were accepted, ignored, replayed, and refused for any reason.
    pub(crate) fn counted(&self, channel: &str) -> [u64; 4] {
        let counts = self.counts(channel);
        [
            counts.accepted(),
            counts.ignored(),
            counts.replayed(),
            counts.all_refused(),
        ]
    }

    pub(crate) fn refused(&self, channel: &str, refusal: Refusal) -> u64 {
        self.counts(channel).refused(refusal)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
pub(crate) const JSON: &str = "Content-Type: application/json\r\n";

pub(crate) fn post(path: &str, headers: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: natsgate\r\n{headers}Content-Length: {length}\r\n")
}

/// The signature of a webhook's call.
pub(crate) fn sign(secret: &str, timestamp: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{timestamp}.{body}").as_bytes());
    format!("sha256={}", HEXLOWER.encode(tag.as_ref()))
}

pub(crate) async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    head: &str,
    body: &[u8],
) -> Answer {
    // A server that answers early may take no more.
    let _cut = stream.write_all(format!("{head}\r\n").as_bytes()).await;
    let _cut = stream.write_all(body).await;
    listen(stream).await
}

pub(crate) async fn listen<S: AsyncRead + Unpin>(mut stream: S) -> Answer {
    let mut text = Vec::new();
    let reading = stream.read_to_end(&mut text);
    // A server with TLS may end the connection without saying so.
    let _end = tokio::time::timeout(Duration::from_secs(20), reading)
        .await
        .expect("an answer");
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {text:?}"));
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}
