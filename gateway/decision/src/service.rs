//! `DecisionService`: the gRPC face of the pipeline.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use natsgate_core::{Deadline, Failure, Revision};
use natsgate_proto::v1::authorize_response::Result as Answer;
use natsgate_proto::v1::decision_service_server::DecisionService;
use natsgate_proto::v1::recheck_result::Result as RecheckAnswer;
use natsgate_proto::v1::{
    AuthorizeRequest, AuthorizeResponse, RecheckRequest, RecheckResponse, RecheckResult,
};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use crate::convert::Beside;
use crate::pipeline::{Pipeline, Question, Rechecked};
use crate::{audit, convert};
use natsgate_api::caller::{CallerAuthenticator, Scope, mark_local};
use natsgate_api::gate::grpc_timeout;

/// The most sessions one call may ask about.
pub const MAX_BASES: usize = 500;

/// Calls about sessions at once. Connections that wait to be let in go first.
const MAX_RECHECKS: usize = 8;

/// What bounds one instance.
#[derive(Debug, Clone, Copy)]
pub struct DeciderLimits {
    /// Decisions at once; one more is answered `RESOURCE_EXHAUSTED`, so that the shim asks another instance.
    pub max_in_flight: usize,
    /// The longest a decision may take, whatever the caller allows.
    pub max_decision_time: Duration,
}

/// Decides, for gRPC callers and for a shim in the same process.
#[derive(Clone)]
pub struct Decider {
    pipeline: Arc<Pipeline>,
    limits: DeciderLimits,
    callers: Arc<CallerAuthenticator>,
    places: Arc<Semaphore>,
    recheck_places: Arc<Semaphore>,
}

impl Decider {
    /// A decider over `pipeline`, for `callers`.
    pub fn new(pipeline: Arc<Pipeline>, limits: DeciderLimits, callers: Arc<CallerAuthenticator>) -> Self {
        let places = Arc::new(Semaphore::new(limits.max_in_flight.min(Semaphore::MAX_PERMITS)));
        Self {
            pipeline,
            limits,
            callers,
            places,
            recheck_places: Arc::new(Semaphore::new(MAX_RECHECKS)),
        }
    }

    /// Finds out whether the caller may, and by when it is to be answered.
    async fn admit<T>(&self, request: &Request<T>) -> Result<Deadline, Status> {
        let allowed = grpc_timeout(request.metadata()).unwrap_or(self.limits.max_decision_time);
        let deadline = Deadline::after(allowed).or_sooner(self.limits.max_decision_time);
        let (extensions, metadata) = (request.extensions(), request.metadata());
        self.callers
            .authorize(Scope::Authorize, extensions, metadata, deadline)
            .await?;
        Ok(deadline)
    }
}

/// A decider for a shim in the same process, which needs no credentials.
#[derive(Clone)]
pub struct InProcess(pub Decider);

#[tonic::async_trait]
impl DecisionService for InProcess {
    async fn authorize(
        &self,
        mut request: Request<AuthorizeRequest>,
    ) -> Result<Response<AuthorizeResponse>, Status> {
        mark_local(request.extensions_mut());
        self.0.authorize(request).await
    }

    async fn recheck(
        &self,
        mut request: Request<RecheckRequest>,
    ) -> Result<Response<RecheckResponse>, Status> {
        mark_local(request.extensions_mut());
        self.0.recheck(request).await
    }
}

#[tonic::async_trait]
impl DecisionService for Decider {
    async fn authorize(
        &self,
        request: Request<AuthorizeRequest>,
    ) -> Result<Response<AuthorizeResponse>, Status> {
        let deadline = self.admit(&request).await?;
        let mut request = request.into_inner();
        let connect = request.connect_options.take().unwrap_or_default();
        let _place = self.places.try_acquire().map_err(|_| {
            tracing::warn!(
                max_in_flight = self.limits.max_in_flight,
                "overloaded: an authorization request was sent away"
            );
            Status::resource_exhausted(
                "more decisions at once than this instance takes (decision.max_in_flight)",
            )
        })?;
        let connection = convert::connection(&request).map_err(Status::invalid_argument)?;
        let min_revision = min_revision(&request.min_revision)?;
        let question = Question {
            connect: &connect,
            certificates: &convert::verified_chains(request.client_tls.as_ref()),
            connection: &connection,
            min_revision,
        };

        let decision_id = decision_id();
        let decision = self.pipeline.decide(&question, deadline).await;
        audit::record(&decision_id, &connection, &decision);
        let answer = match decision.outcome {
            Ok(grant) => {
                let beside = Beside {
                    as_of: decision.as_of,
                    generation: self.pipeline.policy.generation(),
                    concerns: decision.concerns,
                    basis: decision.basis,
                };
                Answer::Grant(convert::grant(grant, beside))
            }
            Err(Failure::Denied(denial)) => Answer::Denial(convert::denial(denial)),
            Err(Failure::Unavailable(what)) => {
                return Err(Status::unavailable(format!("decision {decision_id}: {what}")));
            }
        };
        Ok(Response::new(AuthorizeResponse {
            decision_id,
            result: Some(answer),
        }))
    }

    async fn recheck(&self, request: Request<RecheckRequest>) -> Result<Response<RecheckResponse>, Status> {
        let deadline = self.admit(&request).await?;
        let request = request.into_inner();
        let _place = self.recheck_places.try_acquire().map_err(|_| {
            tracing::warn!(
                at_once = MAX_RECHECKS,
                "overloaded: a question about sessions was sent away"
            );
            Status::resource_exhausted(
                "more questions about sessions at once than this instance takes: ask again",
            )
        })?;
        let most = MAX_BASES;
        if request.bases.is_empty() || request.bases.len() > most {
            return Err(Status::invalid_argument(format!(
                "the request must have 1 to {most} `bases`"
            )));
        }
        let min_revision = min_revision(&request.min_revision)?;
        let asked = request.bases.len();
        let rechecked = self.pipeline.recheck(request.bases, min_revision, deadline).await;
        audit::record_rechecked(asked, &rechecked);
        let rechecked = rechecked.map_err(|what| Status::unavailable(what.to_string()))?;
        let generation = self.pipeline.policy.generation();
        let results = rechecked.into_iter().map(|one| RecheckResult {
            result: Some(recheck_result(one, generation)),
        });
        Ok(Response::new(RecheckResponse {
            results: results.collect(),
        }))
    }
}

/// The revision that the caller has applied.
fn min_revision(text: &str) -> Result<Option<Revision>, Status> {
    convert::revision(text)
        .map_err(|error| Status::invalid_argument(format!("the request's `min_revision`: {error}")))
}

/// What one session would get, as a message.
fn recheck_result(rechecked: Rechecked, generation: Option<u64>) -> RecheckAnswer {
    match rechecked {
        Rechecked::Granted {
            grant,
            as_of,
            concerns,
            basis,
        } => {
            let beside = Beside {
                as_of: Some(as_of),
                generation,
                concerns,
                basis,
            };
            RecheckAnswer::Grant(convert::grant(*grant, beside))
        }
        Rechecked::Denied(denial) => RecheckAnswer::Denial(convert::denial(denial)),
        Rechecked::InDoubt(why) => RecheckAnswer::InDoubt(why.to_owned()),
    }
}

/// A name for one decision: 16 random bytes as base32, lower case.
fn decision_id() -> String {
    BASE32_NOPAD
        .encode(&rand::random::<[u8; 16]>())
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_have_names_of_their_own() {
        assert_ne!(decision_id(), decision_id());
        assert_eq!(decision_id().len(), 26);
    }
}
