//! `SessionService`: who is connected, as the shims tell it on the board (`natsgate_core::board`), and closing one session.
//!
//! Nothing is enforced by what is told here: closing is a revocation like any other ([`crate::revocations`]).

mod filter;
mod listing;
mod message;
mod watching;

use std::sync::Arc;

use natsgate_proto::v1;
use natsgate_proto::v1::session_service_server::SessionService;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::revocations::{Asked, Revocations, session};
use natsgate_api::caller::Scope;
use natsgate_api::gate::Gate;
use natsgate_api::idempotency::body_digest;

/// The service.
#[derive(Clone)]
pub struct Sessions {
    revocations: Revocations,
    lists: Gate,
    watches: Gate,
    stop: CancellationToken,
}

impl Sessions {
    /// The service over the parts of `revocations`, which closes sessions. As many calls and watchers at once as that.
    pub fn new(revocations: Revocations) -> Self {
        let parts = revocations.parts();
        let limits = parts.limits;
        let gate = |about, most| Gate::new(Arc::clone(&parts.callers), about, most, limits.max_call_time);
        Self {
            lists: gate("sessions", limits.max_in_flight),
            watches: gate("watching sessions", limits.max_watches),
            revocations,
            stop: CancellationToken::new(),
        }
    }

    /// The same, whose streams end with `stop`.
    #[must_use]
    pub(crate) fn until(mut self, stop: CancellationToken) -> Self {
        self.revocations = self.revocations.until(stop.clone());
        self.stop = stop;
        self
    }
}

#[tonic::async_trait]
impl SessionService for Sessions {
    async fn list_sessions(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        let admitted = self.lists.admit(Scope::SessionsRead, &request).await?;
        self.list(&admitted, request.into_inner())
            .await
            .map(Response::new)
    }

    type WatchSessionsStream = watching::Stream;

    async fn watch_sessions(
        &self,
        request: Request<v1::WatchSessionsRequest>,
    ) -> Result<Response<Self::WatchSessionsStream>, Status> {
        let admitted = self.watches.admit(Scope::SessionsRead, &request).await?;
        self.watch(admitted, request.into_inner()).map(Response::new)
    }

    async fn kick_session(
        &self,
        request: Request<v1::KickSessionRequest>,
    ) -> Result<Response<v1::KickSessionResponse>, Status> {
        let admitted = self.revocations.calls().admit(Scope::Revoke, &request).await?;
        let (_, extensions, body) = request.into_parts();
        let asked = Asked {
            method: "KickSession",
            at: "",
            body: body_digest(&v1::KickSessionRequest {
                idempotency_key: String::new(),
                wait: None,
                ..body.clone()
            }),
            key: body.idempotency_key,
            selector: Some(session(body.session)),
            reason: body.reason,
            ban: None,
            spread: None,
            wait: body.wait,
        };
        let done = self.revocations.carry_out(admitted, &extensions, asked).await?;
        Ok(Response::new(v1::KickSessionResponse {
            revision: done.revision(),
            repeated: done.revoked.repeated,
            confirmed: done.revoked.confirmed,
            clusters: done.clusters,
            complete: done.complete,
        }))
    }
}
