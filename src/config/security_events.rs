//! `decision.http`, `decision.backchannel_logout` and `decision.webhooks`: events from outside that revoke.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{Announcer, Clock, LogoutVerifier};
use natsgate_decision::security_events::webhook::mapping::TextFrom;
use natsgate_decision::{
    HttpListener, HttpServer, HttpTls, SecurityEvents, SecurityEventsLimits, SecurityEventsParts,
    WebhookSettings,
};
use natsgate_identity::{Identities, LogoutSettings, LogoutTokens};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::problem::{Problem, Problems};
use super::store::Stores;

/// Where natsgate takes events over HTTP: `/backchannel-logout` and `/webhooks/NAME`. A port of its own, since whoever sends
/// events is no caller of the gRPC API.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// The address.
    pub listen: SocketAddr,
    /// TLS. Needed to listen on anything but this machine's own addresses.
    pub tls: Option<HttpTlsConfig>,
}

/// TLS of the HTTP listener.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpTlsConfig {
    /// The server's certificate chain: a PEM file.
    pub cert_file: PathBuf,
    /// Its key: a PEM file.
    pub key_file: PathBuf,
}

/// All that is configured of events from outside.
pub struct SecurityEventsConfig<'a> {
    pub(super) http: Option<&'a HttpConfig>,
    pub(super) backchannel_logout: &'a [LogoutSettings],
    pub(super) webhooks: &'a [WebhookSettings],
    /// The names of all providers, by issuer.
    pub(super) issuers: HashMap<String, String>,
}

/// What takes events, and where.
pub struct EventsListener {
    listen: SocketAddr,
    /// The server.
    pub server: HttpServer,
}

/// A running listener, or none.
pub struct EventsServing(Option<JoinHandle<()>>);

impl SecurityEventsConfig<'_> {
    /// Whether anything that comes in can revoke.
    pub fn can_revoke(&self) -> bool {
        self.http.is_some() && !(self.backchannel_logout.is_empty() && self.webhooks.is_empty())
    }

    /// What takes events, if that is configured; paths start from `base`. Tokens are checked by the keys of `identities`.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn listener(
        &self,
        base: &Path,
        identities: &Identities,
        stores: &Stores,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<EventsListener>, Problems> {
        let mut problems = Problems::default();
        self.check_reach(&mut problems);
        self.check_memory(stores.log_retention, &mut problems);
        self.check_issuers(&mut problems);
        let tls = problems.take(self.tls(base));
        let at = |key: &str, problem: String| Problem::new(format!("decision.{key}"), problem);
        let logouts = LogoutTokens::new(self.backchannel_logout, identities.providers());
        let logouts = problems.take(logouts.map_err(|error| at(&error.key, error.problem)));
        let events = logouts.and_then(|logouts| {
            let accepted = !self.backchannel_logout.is_empty();
            let events = SecurityEvents::new(SecurityEventsParts {
                log: Arc::clone(&stores.follower) as Arc<dyn Announcer>,
                clock: Arc::clone(clock),
                logouts: accepted.then(|| Arc::new(logouts) as Arc<dyn LogoutVerifier>),
                webhooks: self.webhooks.to_vec(),
                limits: SecurityEventsLimits::default(),
            });
            problems.take(events.map_err(|error| at(&error.key, error.problem)))
        });
        let listener = match (self.http, tls, events) {
            (Some(http), Some(tls), Some(events)) if self.can_revoke() => {
                let server = HttpServer::new(events, tls.as_ref())
                    .map_err(|error| Problem::new("decision.http.tls", error.to_string()));
                problems.take(server).map(|server| EventsListener {
                    listen: http.listen,
                    server,
                })
            }
            _ => None,
        };
        problems.or(Some(listener))
    }

    /// Events must be able to come in, and must not be read on the way.
    fn check_reach(&self, problems: &mut Problems) {
        let nothing = self.backchannel_logout.is_empty() && self.webhooks.is_empty();
        match self.http {
            None if !nothing => problems.push(Problem::new(
                "decision.http",
                "is missing: decision.backchannel_logout and decision.webhooks need an address to listen on",
            )),
            Some(_) if nothing => problems.push(Problem::new(
                "decision.http",
                "is of no use without decision.backchannel_logout or decision.webhooks: configure one, or remove it",
            )),
            Some(http) if http.tls.is_none() && !http.listen.ip().is_loopback() => problems.push(Problem::new(
                "decision.http.listen",
                format!(
                    "{} is reachable from other machines, and what they send says who logged out and why; set \
                     decision.http.tls, or listen on 127.0.0.1 behind a proxy on this machine",
                    http.listen
                ),
            )),
            _ => {}
        }
    }

    /// What is used before must be known for as long as it would be accepted.
    fn check_memory(&self, retention: Duration, problems: &mut Problems) {
        let logouts = self.backchannel_logout.iter().map(|one| {
            (
                format!("backchannel_logout[{}].max_age", one.provider.escape_debug()),
                one.max_age,
            )
        });
        // From the earliest time of signing that is accepted to the latest.
        let webhooks = self.webhooks.iter().enumerate().map(|(index, one)| {
            let tolerance = one.tolerance.saturating_mul(2);
            (format!("webhooks[{index}].tolerance"), tolerance)
        });
        for (key, time) in logouts.chain(webhooks) {
            if time >= retention {
                problems.push(Problem::new(
                    format!("decision.{key}"),
                    "is too long for store.log.retention: what was used before would be forgotten while it is still accepted; \
                     lower the one or raise the other",
                ));
            }
        }
    }

    /// An issuer that nobody has is a slip of the pen, and what revokes nobody is found out too late.
    fn check_issuers(&self, problems: &mut Problems) {
        for (index, webhook) in self.webhooks.iter().enumerate() {
            for (rule, one) in webhook.revokes.iter().enumerate() {
                if let Some(TextFrom::Constant(issuer)) = one.selector.issuer()
                    && !self.issuers.contains_key(issuer)
                {
                    problems.push(Problem::new(
                        format!("decision.webhooks[{index}].revokes[{rule}].selector.issuer"),
                        "is the issuer of none of decision.providers and decision.certificates, so it would revoke nobody: it must be \
                         theirs byte for byte",
                    ));
                }
            }
        }
    }

    fn tls(&self, base: &Path) -> Result<Option<HttpTls>, Problem> {
        let Some(tls) = self.http.and_then(|http| http.tls.as_ref()) else {
            return Ok(None);
        };
        let (cert, key) = (base.join(&tls.cert_file), base.join(&tls.key_file));
        let (certificate, key) = super::tls::identity(
            ("decision.http.tls.cert_file", &cert),
            ("decision.http.tls.key_file", &key),
        )?;
        Ok(Some(HttpTls {
            certificate,
            key: key.into(),
        }))
    }
}

impl EventsListener {
    /// Takes the address and serves in the background until `stop`.
    ///
    /// # Errors
    /// An address that is taken.
    pub async fn serve(&self, stop: &CancellationToken) -> anyhow::Result<EventsServing> {
        let listener = HttpListener::bind(self.listen).await?;
        let serving = self.server.clone().run(listener, stop.clone());
        Ok(EventsServing(Some(tokio::spawn(serving))))
    }
}

impl EventsServing {
    /// None.
    pub fn none() -> Self {
        Self(None)
    }

    /// Waits until everything that was begun is done, after `stop`.
    pub async fn drained(self) {
        if let Some(serving) = self.0 {
            // It ends by itself, and has nothing to say then.
            let _ended = serving.await;
        }
    }
}
