//! Whoever decides: a decision service in this process, or several over gRPC.

mod endpoint;
mod local;
mod remote;

use async_trait::async_trait;
use natsgate_core::Deadline;
use natsgate_proto::v1::authorize_response::Result as Answered;
use natsgate_proto::v1::{
    AuthorizeRequest, AuthorizeResponse, Denial, Grant, RecheckRequest, RecheckResponse,
};

pub(crate) use endpoint::channel;
pub use endpoint::{Endpoint, EndpointError, EndpointTls};
pub use local::Local;
pub use remote::{Remote, RemoteSettings};

/// The longest decision id kept, in characters.
const LONGEST_ID: usize = 64;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The decision's name in logs and audit, on both sides.
    pub decision_id: String,
    /// Yes or no.
    pub outcome: Result<Grant, Denial>,
}

/// No answer before the deadline, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no decision: {0}")]
pub struct Unanswered(pub String);

/// Sessions were not rechecked, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no recheck: {why}")]
pub struct NotRechecked {
    /// Why.
    pub why: String,
    /// Whether asking again would bring the same: whoever decides cannot do it.
    pub is_final: bool,
}

/// Decides about authorization requests.
#[async_trait]
pub trait DecisionPoint: Send + Sync {
    /// Asks about `request`.
    ///
    /// # Errors
    /// [`Unanswered`] when there was no answer before `deadline`. Never a grant made up for want of one.
    async fn authorize(&self, request: AuthorizeRequest, deadline: Deadline) -> Result<Answer, Unanswered>;

    /// Asks what sessions granted before would get now.
    ///
    /// # Errors
    /// [`NotRechecked`] when there was no answer before `deadline`, or there cannot be one.
    async fn recheck(
        &self,
        request: RecheckRequest,
        deadline: Deadline,
    ) -> Result<RecheckResponse, NotRechecked>;
}

/// What `response` says; `None` if it says neither yes nor no.
fn read(response: AuthorizeResponse) -> Option<Answer> {
    let outcome = match response.result? {
        Answered::Grant(grant) => Ok(grant),
        Answered::Denial(denial) => Err(denial),
    };
    Some(Answer {
        decision_id: plain(&response.decision_id),
        outcome,
    })
}

/// A decision id as it may stand in a log and in an answer: somebody else chose it.
fn plain(id: &str) -> String {
    id.chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .take(LONGEST_ID)
        .collect()
}
