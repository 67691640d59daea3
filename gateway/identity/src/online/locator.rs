//! Where an endpoint is: at a configured URL, or where the discovery document says, which is read again now and then.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use natsgate_core::{Clock, Revision};
use tokio::sync::Mutex;
use url::Url;

use crate::discovery::{discovery_url, endpoint_url};
use crate::documents::{self, Accept, Documents};
use crate::fetch::FetchError;
use crate::settings::SettingsError;
use crate::settings::oidc::OidcSettings;
use crate::settings::url::parse;

/// How long a discovery document that could not be had is not asked for again.
const PAUSE: Duration = Duration::from_secs(2);

/// The discovery document of one provider, to find endpoints in.
#[derive(Clone)]
pub(crate) struct Discovery {
    documents: Documents,
    clock: Arc<dyn Clock>,
}

/// Finds one endpoint.
pub(super) enum Locator {
    Fixed(Url),
    Discovered(Box<Discovered>),
}

pub(super) struct Discovered {
    discovery: Discovery,
    url: Url,
    member: &'static str,
    issuer: String,
    allow_http: bool,
    refresh_after: Duration,
    keep_for: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    found: Option<Found>,
    failure: Option<(SystemTime, FetchError)>,
}

struct Found {
    endpoint: Url,
    fetched_at: SystemTime,
    stamp: Option<Revision>,
}

impl Discovery {
    pub(crate) fn new(documents: Documents, clock: Arc<dyn Clock>) -> Self {
        Self { documents, clock }
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// The endpoint that is `configured`, in the setting `key`, or that the discovery document names as `member`.
    ///
    /// # Errors
    /// If a URL cannot be used.
    pub(super) fn locator(
        &self,
        settings: &OidcSettings,
        member: &'static str,
        configured: Option<&str>,
        key: &str,
    ) -> Result<Locator, SettingsError> {
        if let Some(text) = configured {
            let url = parse(text, settings.allow_http).map_err(|problem| SettingsError::new(key, problem))?;
            return Ok(Locator::Fixed(url));
        }
        Ok(Locator::Discovered(Box::new(Discovered {
            discovery: self.clone(),
            url: discovery_url(settings)?,
            member,
            issuer: settings.issuer.clone(),
            allow_http: settings.allow_http,
            refresh_after: settings.refresh_after,
            keep_for: settings.keep_for,
            state: Mutex::default(),
        })))
    }
}

impl Locator {
    /// The URL that is asked first.
    pub(super) fn first(&self) -> &Url {
        match self {
            Self::Fixed(url) => url,
            Self::Discovered(discovered) => &discovered.url,
        }
    }

    /// What tells it from others.
    pub(super) fn identification(&self) -> String {
        match self {
            Self::Fixed(url) => url.to_string(),
            Self::Discovered(discovered) => format!("{} in {}", discovered.member, discovered.url),
        }
    }

    /// The endpoint.
    ///
    /// # Errors
    /// If the discovery document cannot be had or does not name it.
    pub(super) async fn url(&self) -> Result<Url, FetchError> {
        match self {
            Self::Fixed(url) => Ok(url.clone()),
            Self::Discovered(discovered) => discovered.url().await,
        }
    }
}

impl Discovered {
    async fn url(&self) -> Result<Url, FetchError> {
        // Held across the fetch, so that however many ask, one fetches. Whoever waits is bound by his own deadline.
        let mut state = self.state.lock().await;
        let now = self.discovery.clock.now();
        let age = |since: SystemTime| now.duration_since(since).ok();
        let paused = state
            .failure
            .as_ref()
            .filter(|(at, _)| age(*at).is_some_and(|passed| passed < PAUSE))
            .map(|(_, error)| error.clone());
        let found = state
            .found
            .as_ref()
            .filter(|found| !self.discovery.documents.voided(found.stamp.as_ref(), &[]))
            .and_then(|found| Some((found.endpoint.clone(), age(found.fetched_at)?)))
            .filter(|(_, age)| *age < self.keep_for);
        match (&found, &paused) {
            (Some((endpoint, age)), _) if *age < self.refresh_after => return Ok(endpoint.clone()),
            (Some((endpoint, _)), Some(_)) => return Ok(endpoint.clone()),
            (None, Some(error)) => return Err(error.clone()),
            _ => {}
        }
        let read =
            |document: &[u8]| endpoint_url(document, self.member, &self.issuer, &self.url, self.allow_http);
        let fetched = self
            .discovery
            .documents
            .get(documents::DISCOVERY, &self.url, Accept::Cached, read, |_| {
                Vec::new()
            })
            .await;
        match fetched {
            Ok(document) => {
                state.failure = None;
                state.found = Some(Found {
                    endpoint: document.value.clone(),
                    fetched_at: document.fetched_at,
                    stamp: document.stamp,
                });
                Ok(document.value)
            }
            Err(error) => {
                state.failure = Some((now, error.clone()));
                found.map(|(endpoint, _)| endpoint).ok_or(error)
            }
        }
    }
}
