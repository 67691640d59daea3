//! `MembershipService`: memberships that backends push.
//!
//! A write is truth first: the store keeps it together with what is to be announced. Then it is appended to the revocation
//! log, then that is noted, then the caller is answered. Whatever stops that half-way, the [`Relay`] goes on with later.
//! How truth is kept is the store's business (`natsgate_core::pushed`); who calls is found out in [`natsgate_api::caller`].

mod message;
mod page_token;
mod relay;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{
    Clock, MembershipFilter, MembershipStore, MembershipStoreError, OtherSources, Violation, WriteAct,
};
use natsgate_proto::v1;
use natsgate_proto::v1::membership_service_server::MembershipService;
use tonic::{Code, Request, Response, Status};
use tracing::warn;

use natsgate_api::caller::{Caller, CallerAuthenticator, Scope};
use natsgate_api::gate::Gate;
use natsgate_api::idempotency::body_digest;
use natsgate_api::refusal;

pub use relay::{Relay, RelayState};

/// How many records a page has unless the request says so.
const PAGE: u32 = 100;

/// How many a page may have.
const MAX_PAGE: u32 = 1000;

/// What bounds one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MembershipsLimits {
    /// Calls at once; one more is answered `RESOURCE_EXHAUSTED`.
    pub max_in_flight: usize,
    /// The longest a call may take, whatever the caller allows.
    pub max_call_time: Duration,
}

impl Default for MembershipsLimits {
    fn default() -> Self {
        Self {
            max_in_flight: 64,
            max_call_time: Duration::from_secs(10),
        }
    }
}

/// What the service works with.
pub struct MembershipsParts {
    /// Holds what is pushed.
    pub store: Arc<dyn MembershipStore>,
    /// Announces it. Over the same store.
    pub relay: Arc<Relay>,
    /// Knows who calls.
    pub callers: Arc<CallerAuthenticator>,
    /// Knows who else grants a membership, if anybody does.
    pub others: Option<Arc<dyn OtherSources>>,
    /// Tells when something was pushed.
    pub clock: Arc<dyn Clock>,
    /// Bounds.
    pub limits: MembershipsLimits,
}

/// The service.
#[derive(Clone)]
pub struct Memberships {
    parts: Arc<MembershipsParts>,
    gate: Gate,
}

impl Memberships {
    /// The service over `parts`.
    pub fn new(parts: MembershipsParts) -> Self {
        let MembershipsLimits {
            max_in_flight,
            max_call_time,
        } = parts.limits;
        let callers = Arc::clone(&parts.callers);
        Self {
            parts: Arc::new(parts),
            gate: Gate::new(callers, "memberships", max_in_flight, max_call_time),
        }
    }
}

#[tonic::async_trait]
impl MembershipService for Memberships {
    async fn put_memberships(
        &self,
        request: Request<v1::PutMembershipsRequest>,
    ) -> Result<Response<v1::PutMembershipsResponse>, Status> {
        let admitted = self.gate.admit(Scope::MembershipsWrite, &request).await?;
        let (_, extensions, body) = request.into_parts();
        let asked = writing::Asked {
            method: "PutMemberships",
            act: WriteAct::Put,
            body: body_digest(&v1::PutMembershipsRequest {
                idempotency_key: String::new(),
                ..body.clone()
            }),
            key: body.idempotency_key,
            reason: body.reason,
            items: body.items,
        };
        let done = writing::write(&self.parts, admitted, &extensions, asked).await?;
        Ok(Response::new(v1::PutMembershipsResponse {
            revision: done.revision,
            repeated: done.repeated,
            confirmed: done.confirmed,
            results: done
                .outcomes
                .into_iter()
                .map(|(outcome, _)| v1::PutResult {
                    changed: outcome.changed,
                    record: Some(message::record(outcome.record)),
                })
                .collect(),
        }))
    }

    async fn delete_memberships(
        &self,
        request: Request<v1::DeleteMembershipsRequest>,
    ) -> Result<Response<v1::DeleteMembershipsResponse>, Status> {
        let admitted = self.gate.admit(Scope::MembershipsWrite, &request).await?;
        let (_, extensions, body) = request.into_parts();
        let asked = writing::Asked {
            method: "DeleteMemberships",
            act: WriteAct::Delete,
            body: body_digest(&v1::DeleteMembershipsRequest {
                idempotency_key: String::new(),
                ..body.clone()
            }),
            key: body.idempotency_key,
            reason: body.reason,
            items: body.items,
        };
        let done = writing::write(&self.parts, admitted, &extensions, asked).await?;
        Ok(Response::new(v1::DeleteMembershipsResponse {
            revision: done.revision,
            repeated: done.repeated,
            confirmed: done.confirmed,
            results: done
                .outcomes
                .into_iter()
                .map(|(outcome, others)| v1::DeleteResult {
                    changed: outcome.changed,
                    record: Some(message::record(outcome.record)),
                    still_granted_by: others.granted_by,
                    not_checked: others.not_checked,
                })
                .collect(),
        }))
    }

    async fn list_memberships(
        &self,
        request: Request<v1::ListMembershipsRequest>,
    ) -> Result<Response<v1::ListMembershipsResponse>, Status> {
        let admitted = self.gate.admit(Scope::MembershipsRead, &request).await?;
        let request = request.into_inner();
        let invalid = |field: &str, problem: String| {
            refusal::invalid(&[Violation {
                field: field.to_owned(),
                problem,
            }])
        };
        let limit = match request.page_size {
            0 => PAGE,
            size if size <= MAX_PAGE => size,
            _ => return Err(invalid("page_size", format!("must be {MAX_PAGE} at most"))),
        };
        let filter = filter(&admitted.caller, &request);
        let after = page_token::read(&request.page_token, &filter)
            .map_err(|problem| invalid("page_token", problem.to_owned()))?;
        let page = self
            .parts
            .store
            .list(&filter, after.as_ref(), limit as usize, admitted.deadline)
            .await
            .map_err(|error| store_refusal(&error, false))?;
        Ok(Response::new(v1::ListMembershipsResponse {
            next_page_token: page
                .next
                .map(|next| page_token::write(&next, &filter))
                .unwrap_or_default(),
            records: page.records.into_iter().map(message::record).collect(),
        }))
    }
}

/// What `caller` asks for, within what it may speak for.
fn filter(caller: &Caller, request: &v1::ListMembershipsRequest) -> MembershipFilter {
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    MembershipFilter {
        reach: caller.reach(),
        issuer: given(&request.issuer),
        subject: given(&request.subject),
        kind: given(&request.kind),
        id: given(&request.id),
        role: given(&request.role),
        deleted: request.include_deleted,
    }
}

/// What the store could not do, as the caller is told. The cause is for the log: it speaks of our own servers.
fn store_refusal(error: &MembershipStoreError, writing: bool) -> Status {
    match error {
        MembershipStoreError::Unavailable { .. } => {
            warn!(%error, "the store of pushed memberships is out of reach");
            refusal::refusal(
                Code::Unavailable,
                "STORE_UNAVAILABLE",
                if writing {
                    "the store of memberships did not answer, so whether this was written is not known: call again with the \
                     same idempotency key"
                } else {
                    "the store of memberships did not answer: call again"
                },
            )
        }
        MembershipStoreError::Conflict(conflicts) => message::conflict(conflicts),
        MembershipStoreError::KeyReused => refusal::of_fields(
            Code::InvalidArgument,
            "IDEMPOTENCY_KEY_REUSED",
            &[Violation {
                field: "idempotency_key".to_owned(),
                problem: "was used before for another request: use a new key for every request".to_owned(),
            }],
        ),
        MembershipStoreError::Damaged(_) => {
            tracing::error!(%error, "the store of pushed memberships must be looked after");
            refusal::refusal(
                Code::Internal,
                "STORE_DAMAGED",
                "the store of memberships is damaged: natsgate's log says more",
            )
        }
    }
}
