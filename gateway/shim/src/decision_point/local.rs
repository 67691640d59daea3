//! A decision service in this process: called directly, with no network between.

use async_trait::async_trait;
use natsgate_core::Deadline;
use natsgate_proto::v1::AuthorizeRequest;
use natsgate_proto::v1::decision_service_server::DecisionService;
use tonic::Request;

use super::{Answer, DecisionPoint, Unanswered, read};

/// Calls `S` as the gRPC server would.
pub struct Local<S>(pub S);

#[async_trait]
impl<S: DecisionService> DecisionPoint for Local<S> {
    async fn authorize(&self, request: AuthorizeRequest, deadline: Deadline) -> Result<Answer, Unanswered> {
        let mut request = Request::new(request);
        request.set_timeout(deadline.remaining());
        let response = deadline
            .bound(self.0.authorize(request))
            .await
            .map_err(|passed| Unanswered(passed.to_string()))?
            .map_err(|status| Unanswered(status.message().to_owned()))?;
        read(response.into_inner())
            .ok_or_else(|| Unanswered("the answer is neither a grant nor a denial".into()))
    }
}
