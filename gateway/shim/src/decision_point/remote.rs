//! Several decision services over gRPC: failover and retry while the deadline allows.
//!
//! tonic retries nothing, and its balancing goes on sending calls to an endpoint that is dead; so the choice is made
//! here. Calls go round the endpoints that answered lately; one that failed is asked last for a while.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use natsgate_core::Deadline;
use natsgate_proto::v1::AuthorizeRequest;
use tonic::{Code, Request, Status};
use tracing::{debug, info, warn};

use super::{Answer, DecisionPoint, Endpoint, Unanswered, read};

/// Pause after all endpoints failed, before they are asked once more; twice as long after each further round.
const ROUND_PAUSE: Duration = Duration::from_millis(50);

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
enum Attempt {
    Answered(Box<Answer>),
    /// Worth asking another.
    Failed(String),
    /// Every other would say the same.
    Final(String),
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

    async fn attempt(
        &self,
        endpoint: &Endpoint,
        request: &AuthorizeRequest,
        deadline: Deadline,
        last: bool,
    ) -> Attempt {
        let own = if last {
            deadline
        } else {
            deadline.or_sooner(self.settings.attempt_timeout)
        };
        let given = own.remaining();
        let mut call = Request::new(request.clone());
        call.set_timeout(given);
        let mut client = endpoint.client.clone();
        let status = match own.bound(client.authorize(call)).await {
            Ok(Ok(response)) => match read(response.into_inner()) {
                Some(answer) => {
                    if endpoint.succeeded() {
                        info!(endpoint = endpoint.url, "a decision endpoint answers again");
                    }
                    return Attempt::Answered(Box::new(answer));
                }
                None => Status::internal("the answer is neither a grant nor a denial"),
            },
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
            Code::DeadlineExceeded | Code::Cancelled if given < self.settings.attempt_timeout => {}
            _ if endpoint.failed() => {
                warn!(
                    endpoint = endpoint.url,
                    failure, "a decision endpoint does not answer"
                )
            }
            _ => {}
        }
        debug!(endpoint = endpoint.url, failure, "asking another");
        Attempt::Failed(failure)
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
        let mut last_failure = String::from("no decision endpoint is configured");
        let mut pause = ROUND_PAUSE;
        loop {
            let order = self.order();
            let count = order.len();
            for (index, endpoint) in order.into_iter().enumerate() {
                if deadline.passed() {
                    return Err(Unanswered(last_failure));
                }
                match self
                    .attempt(endpoint, &request, deadline, index + 1 == count)
                    .await
                {
                    Attempt::Answered(answer) => return Ok(*answer),
                    Attempt::Failed(failure) => last_failure = failure,
                    Attempt::Final(failure) => return Err(Unanswered(failure)),
                }
            }
            if count == 0 || deadline.remaining() <= pause {
                return Err(Unanswered(last_failure));
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
    }
}

#[cfg(test)]
mod tests;
