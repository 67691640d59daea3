//! Events from outside that revoke: a provider says that somebody logged out ([`backchannel_logout`]), some other system says
//! whatever its [`webhook`] was configured to mean. HTTP with answers as plain as can be; every call that is accepted becomes
//! entries of the revocation log.
//!
//! Nobody is believed who does not prove who he is, by a provider's signature or a shared secret, in every single call; and no call
//! counts twice: the log itself keeps what was carried out, so that every instance knows it ([`entry`]). What was refused
//! is counted ([`counts`]), and told of in the log at a rate that no flood can raise. No answer repeats what was sent.
//!
//! Not here: what is signed and by whom (a logout token is checked by a [`LogoutVerifier`]), and what a revocation does.

mod backchannel_logout;
pub mod counts;
mod entry;
pub mod http;
mod refusal;
pub mod webhook;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use natsgate_core::{Announcer, Clock, Deadline, LogoutVerifier};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tracing::warn;

pub use counts::Counts;
pub use http::{HttpError, HttpListener, HttpServer, HttpTls};
pub use refusal::Refusal;
pub use webhook::settings::{WebhookSettings, WebhookSettingsError};

use refusal::Refused;
use webhook::Webhook;

/// The largest body, in bytes: a logout token has some hundreds, an event some thousands.
pub const MAX_BODY: usize = 64 * 1024;

/// What is read of a body that is too large, so that whoever sends it can hear that.
const MAX_DISCARDED: usize = 1024 * 1024;

/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Where providers say that somebody logged out.
const LOGOUT_PATH: &str = "/backchannel-logout";

/// What webhooks' paths begin with.
const WEBHOOKS_PATH: &str = "/webhooks/";

/// What bounds one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecurityEventsLimits {
    /// Calls carried out at once, of each endpoint; one more is answered 503.
    pub max_in_flight: usize,
    /// The longest that carrying out a call may take.
    pub max_call_time: Duration,
}

impl Default for SecurityEventsLimits {
    fn default() -> Self {
        Self {
            max_in_flight: 32,
            max_call_time: Duration::from_secs(8),
        }
    }
}

/// What the endpoints work with.
pub struct SecurityEventsParts {
    /// Appends to the revocation log.
    pub log: Arc<dyn Announcer>,
    /// Tells when.
    pub clock: Arc<dyn Clock>,
    /// Checks logout tokens, if any are accepted.
    pub logouts: Option<Arc<dyn LogoutVerifier>>,
    /// The webhooks.
    pub webhooks: Vec<WebhookSettings>,
    /// Bounds.
    pub limits: SecurityEventsLimits,
}

/// The endpoints. A clone is the same endpoints.
#[derive(Clone)]
pub struct SecurityEvents {
    shared: Arc<Shared>,
}

struct Shared {
    log: Arc<dyn Announcer>,
    clock: Arc<dyn Clock>,
    logouts: Option<(Arc<dyn LogoutVerifier>, Channel)>,
    webhooks: Vec<(Webhook, Channel)>,
    /// Calls to nothing that there is.
    strangers: Channel,
    max_call_time: Duration,
    /// What was begun and must be finished before the process ends.
    under_way: TaskTracker,
}

/// One endpoint's counts, and its places: each has its own, so that calls to one cannot keep out those to another.
struct Channel {
    counts: Counts,
    places: Arc<Semaphore>,
}

/// What a call comes to that is not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// So many entries say what is revoked.
    Revoked(usize),
    /// It means nothing to us.
    Ignored,
}

/// What a call is to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Logout,
    Webhook(usize),
}

impl SecurityEvents {
    /// The endpoints of `parts`.
    ///
    /// # Errors
    /// The webhook that cannot be used.
    pub fn new(parts: SecurityEventsParts) -> Result<Self, WebhookSettingsError> {
        let places = parts.limits.max_in_flight.min(Semaphore::MAX_PERMITS);
        let channel = |name: &str| Channel {
            counts: Counts::new(name),
            places: Arc::new(Semaphore::new(places)),
        };
        let webhooks = webhook::settings::ready(&parts.webhooks)?;
        let webhooks = webhooks.into_iter().map(|webhook| {
            let channel = channel(&webhook.actor);
            (webhook, channel)
        });
        Ok(Self {
            shared: Arc::new(Shared {
                log: parts.log,
                clock: parts.clock,
                webhooks: webhooks.collect(),
                logouts: parts
                    .logouts
                    .map(|verifier| (verifier, channel("backchannel-logout"))),
                strangers: channel("unknown"),
                max_call_time: parts.limits.max_call_time,
                under_way: TaskTracker::new(),
            }),
        })
    }

    /// What came to each endpoint so far: `backchannel-logout`, `webhook:NAME`, and `unknown` for what there is not.
    pub fn counts(&self) -> impl Iterator<Item = &Counts> {
        let shared = &self.shared;
        let logouts = shared.logouts.iter().map(|(_, channel)| channel);
        let webhooks = shared.webhooks.iter().map(|(_, channel)| channel);
        let channels = logouts.chain(webhooks).chain(std::iter::once(&shared.strangers));
        channels.map(|channel| &channel.counts)
    }

    /// Answers one call, which came from `peer`.
    pub(crate) async fn answer<B>(&self, request: Request<B>, peer: SocketAddr) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let shared = &self.shared;
        let Some(endpoint) = shared.endpoint(request.uri().path()) else {
            let refused = Refused::new(Refusal::NotFound, "there is nothing at this path");
            return shared.refused(None, &refused, peer);
        };
        let Taken { headers, body, place } = match shared.take(endpoint, request).await {
            Ok(taken) => taken,
            Err(refused) => return shared.refused(Some(endpoint), &refused, peer),
        };
        // Once begun it goes on even if the caller does not wait for it.
        let worker = Arc::clone(shared);
        let working = shared.under_way.spawn(async move {
            let _place = place;
            let outcome = worker.carry_out(endpoint, &headers, &body).await;
            worker.concluded(endpoint, outcome, peer)
        });
        working.await.unwrap_or_else(|_| {
            let refused = Refused::new(Refusal::Unavailable, "the call was stopped half-way");
            shared.refused(Some(endpoint), &refused, peer)
        })
    }

    /// Waits until everything that was begun is done.
    pub(crate) async fn settled(&self) {
        self.shared.under_way.close();
        self.shared.under_way.wait().await;
    }
}

/// A call that was read and has a place.
struct Taken {
    headers: HeaderMap,
    body: Bytes,
    place: OwnedSemaphorePermit,
}

impl Shared {
    async fn take<B>(&self, endpoint: Endpoint, request: Request<B>) -> Result<Taken, Refused>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if request.method() != Method::POST {
            return Err(Refused::new(Refusal::Method, "only POST is taken here"));
        }
        let (head, body) = request.into_parts();
        let body = tokio::time::timeout(BODY_WITHIN, read(&head.headers, body))
            .await
            .map_err(|_| Refused::new(Refusal::TooSlow, "the body did not arrive in time"))??;
        let places = Arc::clone(&self.channel(Some(endpoint)).places);
        let place = places
            .try_acquire_owned()
            .map_err(|_| Refused::new(Refusal::Overloaded, "more calls at once than this instance takes"))?;
        Ok(Taken {
            headers: head.headers,
            body,
            place,
        })
    }

    async fn carry_out(&self, endpoint: Endpoint, headers: &HeaderMap, body: &[u8]) -> Result<Done, Refused> {
        let deadline = Deadline::after(self.max_call_time);
        match endpoint {
            Endpoint::Logout => backchannel_logout::carry_out(self, headers, body, deadline).await,
            Endpoint::Webhook(index) => match self.webhooks.get(index) {
                Some((webhook, _)) => webhook.carry_out(self, headers, body, deadline).await,
                None => Err(Refused::new(Refusal::NotFound, "there is nothing at this path")),
            },
        }
    }

    /// Counts what came of a call, and answers it.
    fn concluded(
        &self,
        endpoint: Endpoint,
        outcome: Result<Done, Refused>,
        peer: SocketAddr,
    ) -> Response<Full<Bytes>> {
        let counts = &self.channel(Some(endpoint)).counts;
        match outcome {
            Ok(done) => {
                match done {
                    Done::Revoked(_) => counts.accept(),
                    Done::Ignored => counts.ignore(),
                }
                accepted(endpoint, done)
            }
            Err(refused) => self.refused(Some(endpoint), &refused, peer),
        }
    }

    fn endpoint(&self, path: &str) -> Option<Endpoint> {
        if path == LOGOUT_PATH {
            return self.logouts.as_ref().map(|_| Endpoint::Logout);
        }
        let name = path.strip_prefix(WEBHOOKS_PATH)?;
        let index = self
            .webhooks
            .iter()
            .position(|(webhook, _)| webhook.name == name)?;
        Some(Endpoint::Webhook(index))
    }

    fn channel(&self, endpoint: Option<Endpoint>) -> &Channel {
        let found = match endpoint {
            Some(Endpoint::Logout) => self.logouts.as_ref().map(|(_, channel)| channel),
            Some(Endpoint::Webhook(index)) => self.webhooks.get(index).map(|(_, channel)| channel),
            None => None,
        };
        found.unwrap_or(&self.strangers)
    }

    /// Counts what was refused, tells of it the first time, the second, the fourth, and so on, and answers.
    fn refused(
        &self,
        endpoint: Option<Endpoint>,
        refused: &Refused,
        peer: SocketAddr,
    ) -> Response<Full<Bytes>> {
        let counts = &self.channel(endpoint).counts;
        let times = counts.refuse(refused.refusal);
        if times.is_power_of_two() {
            warn!(
                channel = counts.channel(),
                reason = refused.refusal.code(),
                detail = refused.detail,
                times,
                %peer,
                "an event from outside was refused"
            );
        }
        let refusal = refused.refusal;
        let (status, error) = match endpoint {
            // Section 2.8 of the specification: what is wrong with the request is always this.
            Some(Endpoint::Logout) if refusal.is_callers_mistake() => {
                (StatusCode::BAD_REQUEST, "invalid_request")
            }
            _ => (refusal.status(), refusal.code()),
        };
        let description = match &refused.shown {
            Some(shown) => format!("{}: {shown}", refusal.description()),
            None => refusal.description().to_owned(),
        };
        let body = serde_json::json!({ "error": error, "error_description": description });
        let mut response = json(status, &body);
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

/// Reads a body within its bound.
async fn read<B>(headers: &HeaderMap, mut body: B) -> Result<Bytes, Refused>
where
    B: Body<Data = Bytes> + Unpin,
{
    let too_large = || Refused::new(Refusal::TooLarge, "the body is larger than 64 KiB");
    let stated = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    if stated
        .and_then(|length| length.parse().ok())
        .is_some_and(|length: usize| length > MAX_DISCARDED)
    {
        return Err(too_large());
    }
    let mut held = BytesMut::new();
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refused::new(Refusal::Malformed, "the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen <= MAX_BODY {
            held.extend_from_slice(&data);
        } else if seen > MAX_DISCARDED {
            break;
        }
    }
    if seen > MAX_BODY {
        return Err(too_large());
    }
    Ok(held.freeze())
}

fn accepted(endpoint: Endpoint, done: Done) -> Response<Full<Bytes>> {
    match (endpoint, done) {
        // Section 2.8 of the specification: 200, and nothing more to say.
        (Endpoint::Logout, _) => {
            let mut response = Response::new(Full::default());
            response
                .headers_mut()
                .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        (Endpoint::Webhook(_), Done::Revoked(count)) => json(
            StatusCode::OK,
            &serde_json::json!({ "status": "revoked", "revocations": count }),
        ),
        (Endpoint::Webhook(_), Done::Ignored) => json(
            StatusCode::OK,
            &serde_json::json!({ "status": "ignored", "revocations": 0 }),
        ),
    }
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether the media type that `headers` give is `wanted`, its parameters aside.
fn is_of_type(headers: &HeaderMap, wanted: &str) -> bool {
    let mut given = headers.get_all(CONTENT_TYPE).iter();
    let (Some(one), None) = (given.next(), given.next()) else {
        return false;
    };
    let Ok(text) = one.to_str() else { return false };
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(wanted)
}
