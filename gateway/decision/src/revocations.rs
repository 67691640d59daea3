//! `RevocationService`: something does not hold any more.
//!
//! A revocation is one entry of the revocation log; one that bans is truth first, in the store of bans, together with what is
//! to be announced, and an entry of the log next (as with pushed memberships: `crate::memberships`). [`Revoker`] does that,
//! for whoever may revoke; the rest here is its gRPC face: `selector` and `reach` say what may be asked for and by whom,
//! `waiting` waits for the shims, `watching` streams what is revoked. What a revocation does to sessions is the shims'
//! business.

mod bans;
mod counts;
mod message;
mod reach;
mod revoker;
mod revoking;
mod selector;
mod waiting;
mod watching;

use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{Board, Clock, Deadline, RevocationFeed};
use natsgate_proto::v1;
use natsgate_proto::v1::revocation_service_server::RevocationService;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use natsgate_api::caller::{CallerAuthenticator, Scope};
use natsgate_api::gate::Gate;
use natsgate_api::idempotency::body_digest;

pub use counts::RevocationCounts;
pub use revoker::{BanKeeping, BanTimes, Banned, Revocation, RevokeError, Revoked, Revoker};

pub(crate) use message::session;
pub(crate) use reach::sees;
pub(crate) use revoking::Asked;

/// The longest that shims are waited for.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What bounds one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevocationsLimits {
    /// Calls at once, those that wait for shims with them; one more is answered `RESOURCE_EXHAUSTED`.
    pub max_in_flight: usize,
    /// The longest a call may take, whatever the caller allows; waiting for shims comes on top.
    pub max_call_time: Duration,
    /// Watchers at once, of revocations and of sessions each.
    pub max_watches: usize,
}

impl Default for RevocationsLimits {
    fn default() -> Self {
        Self {
            max_in_flight: 256,
            max_call_time: Duration::from_secs(10),
            max_watches: 256,
        }
    }
}

/// What the service works with.
pub struct RevocationsParts {
    /// Revokes.
    pub revoker: Arc<Revoker>,
    /// What this process has applied of the log.
    pub feed: Arc<dyn RevocationFeed>,
    /// What shims tell of themselves.
    pub board: Arc<dyn Board>,
    /// Knows who calls.
    pub callers: Arc<CallerAuthenticator>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Bounds.
    pub limits: RevocationsLimits,
}

/// The service.
#[derive(Clone)]
pub struct Revocations {
    parts: Arc<RevocationsParts>,
    calls: Gate,
    watches: Gate,
    counters: Arc<counts::Counters>,
    stop: CancellationToken,
}

impl Revocations {
    /// The service over `parts`.
    pub fn new(parts: RevocationsParts) -> Self {
        let RevocationsLimits {
            max_in_flight,
            max_call_time,
            max_watches,
        } = parts.limits;
        let gate = |about, most| Gate::new(Arc::clone(&parts.callers), about, most, max_call_time);
        Self {
            calls: gate("revocations", max_in_flight),
            watches: gate("watching revocations", max_watches),
            parts: Arc::new(parts),
            counters: Arc::default(),
            stop: CancellationToken::new(),
        }
    }

    /// The same, whose streams end with `stop`.
    #[must_use]
    pub(crate) fn until(mut self, stop: CancellationToken) -> Self {
        self.stop = stop;
        self
    }

    /// What was revoked so far, and what was not.
    pub fn counts(&self) -> RevocationCounts {
        self.counters.read()
    }

    /// What the service works with.
    pub(crate) fn parts(&self) -> &RevocationsParts {
        &self.parts
    }

    /// Lets calls that revoke in.
    pub(crate) fn calls(&self) -> &Gate {
        &self.calls
    }
}

#[tonic::async_trait]
impl RevocationService for Revocations {
    async fn revoke(
        &self,
        request: Request<v1::RevokeRequest>,
    ) -> Result<Response<v1::RevokeResponse>, Status> {
        let admitted = self.calls.admit(Scope::Revoke, &request).await?;
        let (_, extensions, body) = request.into_parts();
        let asked = Asked {
            method: "Revoke",
            at: "selector",
            body: body_digest(&v1::RevokeRequest {
                idempotency_key: String::new(),
                wait: None,
                ..body.clone()
            }),
            key: body.idempotency_key,
            selector: body.selector,
            reason: body.reason,
            ban: body.ban,
            spread: body.spread,
            wait: body.wait,
        };
        let done = self.carry_out(admitted, &extensions, asked).await?;
        Ok(Response::new(v1::RevokeResponse {
            revision: done.revision(),
            repeated: done.revoked.repeated,
            confirmed: done.revoked.confirmed,
            id: done.revoked.id.to_string(),
            clusters: done.clusters,
            complete: done.complete,
        }))
    }

    async fn lift_ban(
        &self,
        request: Request<v1::LiftBanRequest>,
    ) -> Result<Response<v1::LiftBanResponse>, Status> {
        let admitted = self.calls.admit(Scope::Revoke, &request).await?;
        let (_, extensions, body) = request.into_parts();
        self.lift(admitted, &extensions, body).await.map(Response::new)
    }

    async fn list_bans(
        &self,
        request: Request<v1::ListBansRequest>,
    ) -> Result<Response<v1::ListBansResponse>, Status> {
        let admitted = self.calls.admit(Scope::Revoke, &request).await?;
        self.list(&admitted, request.get_ref()).await.map(Response::new)
    }

    type WatchRevocationsStream = watching::Stream;

    async fn watch_revocations(
        &self,
        request: Request<v1::WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        let admitted = self.watches.admit(Scope::Revoke, &request).await?;
        let opened = self.watch(admitted, request.get_ref()).await?;
        Ok(Response::new(opened))
    }
}

/// By when a caller who waits until `waits_until` must be answered: a little before.
fn answer_by(waits_until: Option<Deadline>, wait: Duration) -> Deadline {
    match waits_until {
        None => Deadline::after(wait),
        Some(waits) => waits
            .or_sooner(wait)
            .min(Deadline::after(waits.remaining() * 9 / 10)),
    }
}
