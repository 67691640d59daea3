//! Several decision services over gRPC: failover and retry while the deadline allows.
//!
//! tonic retries nothing, and its balancing goes on sending calls to an endpoint that is dead; so the choice is made
//! here. Calls go round the endpoints that answered lately; one that failed is asked last for a while.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use natsgate_core::Deadline;
use natsgate_proto::v1::decision_service_client::DecisionServiceClient;
use natsgate_proto::v1::{AuthorizeRequest, RecheckRequest, RecheckResponse};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tracing::{debug, info, warn};

use super::{Answer, DecisionPoint, Endpoint, NotRechecked, Unanswered, read};

/// Pause after all endpoints failed, before they are asked once more; twice as long after each further round.
const ROUND_PAUSE: Duration = Duration::from_millis(50);

/// How long one endpoint may take for what sessions would get now, at the least.
const RECHECK_ATTEMPT: Duration = Duration::from_millis(1500);

/// The longest text of another's status in an error, in characters.
const LONGEST_MESSAGE: usize = 256;

/// How calls are made.
#[derive(Debug, Clone, Copy)]
pub struct RemoteSettings {
    /// How long one endpoint may take while there is another one to ask.
    pub attempt_timeout: Duration,
}

/// Decision services over gRPC.
pub struct Remote {
    endpoints: Vec<Endpoint>,
    settings: RemoteSettings,
    next: AtomicUsize,
}

/// What came of asking one endpoint.
enum Attempt<A> {
    Answered(A),
    /// Worth asking another.
    Failed(String),
    /// It does not know the method; others may.
    Unknown(String),
    /// Every other would say the same.
    Final(String),
}

/// Nobody answered.
struct Nobody {
    why: String,
    is_final: bool,
}

/// A method of the decision service.
#[async_trait]
trait Method: Sync {
    type Answer: Send;

    /// How long one endpoint may take while there is another to ask; `settled` is what the settings say.
    fn attempt_time(&self, settled: Duration) -> Duration;

    /// Calls it, for `time` at most.
    async fn call(
        &self,
        client: &mut DecisionServiceClient<Channel>,
        time: Duration,
    ) -> Result<Self::Answer, Status>;
}

struct Authorize(AuthorizeRequest);

#[async_trait]
impl Method for Authorize {
    type Answer = Box<Answer>;

    fn attempt_time(&self, settled: Duration) -> Duration {
        settled
    }

    async fn call(
        &self,
        client: &mut DecisionServiceClient<Channel>,
        time: Duration,
    ) -> Result<Box<Answer>, Status> {
        let mut call = Request::new(self.0.clone());
        call.set_timeout(time);
        let response = client.authorize(call).await?.into_inner();
        read(response)
            .map(Box::new)
            .ok_or_else(|| Status::internal("the answer is neither a grant nor a denial"))
    }
}

struct Recheck(RecheckRequest);

#[async_trait]
impl Method for Recheck {
    type Answer = RecheckResponse;

    /// Many sessions take longer than one connection, and nobody waits in his callout for them.
    fn attempt_time(&self, settled: Duration) -> Duration {
        settled.max(RECHECK_ATTEMPT)
    }

    async fn call(
        &self,
        client: &mut DecisionServiceClient<Channel>,
        time: Duration,
    ) -> Result<RecheckResponse, Status> {
        let mut call = Request::new(self.0.clone());
        call.set_timeout(time);
        Ok(client.recheck(call).await?.into_inner())
    }
}

impl Remote {
    /// Over `endpoints`.
    pub fn new(endpoints: Vec<Endpoint>, settings: RemoteSettings) -> Self {
        Self {
            endpoints,
            settings,
            next: AtomicUsize::new(0),
        }
    }

    /// All endpoints in the order they are to be asked: round robin, those that failed lately last.
    fn order(&self) -> Vec<&Endpoint> {
        let start = self.next.fetch_add(1, Ordering::Relaxed) % self.endpoints.len().max(1);
        let (head, tail) = self.endpoints.split_at_checked(start).unwrap_or_default();
        let (mut order, ejected): (Vec<_>, Vec<_>) = tail
            .iter()
            .chain(head)
            .partition(|endpoint| !endpoint.is_ejected());
        order.extend(ejected);
        order
    }

    async fn attempt<M: Method>(
        &self,
        endpoint: &Endpoint,
        method: &M,
        deadline: Deadline,
        last: bool,
    ) -> Attempt<M::Answer> {
        let enough = method.attempt_time(self.settings.attempt_timeout);
        let own = if last {
            deadline
        } else {
            deadline.or_sooner(enough)
        };
        let given = own.remaining();
        let mut client = endpoint.client.clone();
        let status = match own.bound(method.call(&mut client, given)).await {
            Ok(Ok(answer)) => {
                if endpoint.succeeded() {
                    info!(endpoint = endpoint.url, "a decision endpoint answers again");
                }
                return Attempt::Answered(answer);
            }
            Ok(Err(status)) => status,
            Err(passed) => Status::deadline_exceeded(passed.to_string()),
        };
        let message: String = status.message().chars().take(LONGEST_MESSAGE).collect();
        let failure = format!("{}: {:?}: {message}", endpoint.url, status.code());
        match status.code() {
            Code::InvalidArgument => return Attempt::Final(failure),
            // It answered: the trouble lies behind it, or it has enough to do.
            Code::Unavailable if is_its_own_word(&status) => {}
            Code::ResourceExhausted => {}
            // It was given less time than it may take.
            Code::DeadlineExceeded | Code::Cancelled if given < enough => {}
            _ if endpoint.failed() => {
                warn!(
                    endpoint = endpoint.url,
                    failure, "a decision endpoint does not answer"
                )
            }
            _ => {}
        }
        debug!(endpoint = endpoint.url, failure, "asking another");
        if status.code() == Code::Unimplemented {
            return Attempt::Unknown(failure);
        }
        Attempt::Failed(failure)
    }

    /// Asks one endpoint after the other, round after round, until one answers.
    async fn ask<M: Method>(&self, method: &M, deadline: Deadline) -> Result<M::Answer, Nobody> {
        let nobody = |why: String, is_final| Nobody { why, is_final };
        let mut last_failure = String::from("no decision endpoint is configured");
        let mut pause = ROUND_PAUSE;
        loop {
            let order = self.order();
            let count = order.len();
            let mut unknown = 0_usize;
            for (index, endpoint) in order.into_iter().enumerate() {
                if deadline.passed() {
                    return Err(nobody(last_failure, false));
                }
                match self.attempt(endpoint, method, deadline, index + 1 == count).await {
                    Attempt::Answered(answer) => return Ok(answer),
                    Attempt::Failed(failure) => last_failure = failure,
                    Attempt::Unknown(failure) => {
                        unknown = unknown.saturating_add(1);
                        last_failure = failure;
                    }
                    Attempt::Final(failure) => return Err(nobody(failure, true)),
                }
            }
            if count == 0 || deadline.remaining() <= pause || unknown == count {
                return Err(nobody(last_failure, unknown == count));
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
    }
}

/// Whether an `UNAVAILABLE` was sent by the service (a provider is away) rather than made up by the transport (the
/// service is away): only the latter has a source.
fn is_its_own_word(status: &Status) -> bool {
    std::error::Error::source(status).is_none()
}

#[async_trait]
impl DecisionPoint for Remote {
    async fn authorize(&self, request: AuthorizeRequest, deadline: Deadline) -> Result<Answer, Unanswered> {
        let asked = self.ask(&Authorize(request), deadline).await;
        asked
            .map(|answer| *answer)
            .map_err(|nobody| Unanswered(nobody.why))
    }

    async fn recheck(
        &self,
        request: RecheckRequest,
        deadline: Deadline,
    ) -> Result<RecheckResponse, NotRechecked> {
        let asked = self.ask(&Recheck(request), deadline).await;
        asked.map_err(|Nobody { why, is_final }| NotRechecked { why, is_final })
    }
}

#[cfg(test)]
mod tests;
