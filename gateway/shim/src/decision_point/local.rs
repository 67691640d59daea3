//! A decision service in this process: called directly, with no network between.

use async_trait::async_trait;
use natsgate_core::Deadline;
use natsgate_proto::v1::decision_service_server::DecisionService;
use natsgate_proto::v1::{AuthorizeRequest, RecheckRequest, RecheckResponse};
use tonic::{Code, Request};

use super::{Answer, DecisionPoint, NotRechecked, Unanswered, read};

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

    async fn recheck(
        &self,
        request: RecheckRequest,
        deadline: Deadline,
    ) -> Result<RecheckResponse, NotRechecked> {
        let failed = |why: String, is_final| NotRechecked { why, is_final };
        let mut request = Request::new(request);
        request.set_timeout(deadline.remaining());
        let response = deadline
            .bound(self.0.recheck(request))
            .await
            .map_err(|passed| failed(passed.to_string(), false))?
            .map_err(|status| {
                let is_final = matches!(status.code(), Code::Unimplemented | Code::InvalidArgument);
                failed(status.message().to_owned(), is_final)
            })?;
        Ok(response.into_inner())
    }
}
