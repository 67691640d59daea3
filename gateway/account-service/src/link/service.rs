//! `ClusterLinkService`: lets shims attach.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use natsgate_api::long::Ending;
use natsgate_api::{Caller, CallerAuthenticator, Gate, Scope, refusal};
use natsgate_core::Clock;
use natsgate_core::pushed::write::text_problem;
use natsgate_proto::v1;
use natsgate_proto::v1::cluster_link_service_server::ClusterLinkService;
use natsgate_proto::v1::{attach_request, attach_response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Extensions, Request, Response, Status, Streaming};
use tracing::info;

use super::Links;
use super::attached::{Attached, WAITING};

/// How long a shim may take to say who it is.
const HELLO_TIME: Duration = Duration::from_secs(10);

/// Shims attached at once at most.
const MOST: usize = 1024;

/// The longest name of a cluster or a shim, in bytes.
const LONGEST_NAME: usize = 256;

/// What the service works with.
pub struct LinkParts {
    /// Who is attached.
    pub links: Arc<Links>,
    /// Knows who calls.
    pub callers: Arc<CallerAuthenticator>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Ends all streams.
    pub stop: CancellationToken,
}

/// The service.
#[derive(Clone)]
pub struct ClusterLinks {
    parts: Arc<LinkParts>,
    gate: Gate,
}

impl ClusterLinks {
    /// The service over `parts`.
    pub fn new(parts: LinkParts) -> Self {
        let gate = Gate::new(Arc::clone(&parts.callers), "attaching", MOST, HELLO_TIME);
        Self {
            parts: Arc::new(parts),
            gate,
        }
    }

    /// Who says `hello`, if `caller` may speak for that cluster.
    fn welcome(
        &self,
        caller: &Caller,
        extensions: &Extensions,
        message: Option<v1::AttachRequest>,
    ) -> Result<v1::LinkHello, Status> {
        let invalid = |what: String| refusal::refusal(Code::InvalidArgument, "INVALID_REQUEST", what);
        let Some(attach_request::Message::Hello(hello)) = message.and_then(|message| message.message) else {
            return Err(invalid("the first message must be a hello".to_owned()));
        };
        for (field, text) in [("hello.cluster", &hello.cluster), ("hello.shim", &hello.shim)] {
            if let Some(problem) = text_problem(text, LONGEST_NAME) {
                return Err(invalid(format!("{field}: {problem}")));
            }
        }
        if !caller.may_link(&hello.cluster) {
            let why = format!(
                "caller `{}` may not speak for the cluster {}: it must be in `clusters` of its entry of `callers`",
                caller.name(),
                hello.cluster
            );
            self.parts.callers.note_denied(extensions, caller, &why);
            return Err(refusal::refusal(Code::PermissionDenied, "OUT_OF_REACH", why));
        }
        if !self.parts.links.knows(&hello.cluster) {
            let why = format!("the cluster {} is none of accounts.clusters", hello.cluster);
            return Err(refusal::refusal(
                Code::PermissionDenied,
                "CLUSTER_NOT_CONFIGURED",
                why,
            ));
        }
        Ok(hello)
    }
}

#[tonic::async_trait]
impl ClusterLinkService for ClusterLinks {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<v1::AttachResponse, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<v1::AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let admitted = self.gate.admit(Scope::AccountsLink, &request).await?;
        let ending = Ending::of(&admitted.caller, &*self.parts.clock, self.parts.stop.clone());
        ending.check()?;
        let (_, extensions, mut answers) = request.into_parts();
        let first = admitted.deadline.bound(answers.message()).await;
        let late = |_| refusal::refusal(Code::InvalidArgument, "INVALID_REQUEST", "no hello came in time");
        let hello = self.welcome(&admitted.caller, &extensions, first.map_err(late)??)?;
        let v1::LinkHello { cluster, shim } = hello;

        let (questions, asked) = mpsc::channel(WAITING);
        let attached = Arc::new(Attached::new(shim, questions.clone()));
        let welcome = v1::AttachResponse {
            message: Some(attach_response::Message::Attached(v1::LinkAttached {})),
        };
        // There is room for the first one.
        let _ = questions.send(Ok(welcome)).await;
        let links = Arc::clone(&self.parts.links);
        links.add(&cluster, &attached);
        info!(
            cluster,
            shim = attached.name(),
            caller = admitted.caller.name(),
            "a shim lends its cluster"
        );
        let place = admitted.place;
        tokio::spawn(async move {
            let _place = place;
            let why = loop {
                tokio::select! {
                    end = ending.reached() => {
                        let why = end.message().to_owned();
                        // A shim that reads nothing finds the stream ended all the same.
                        let _ = questions.try_send(Err(end));
                        break why;
                    }
                    answer = answers.next() => match answer {
                        Some(Ok(v1::AttachRequest {
                            message: Some(attach_request::Message::Answer(answer)),
                        })) => attached.answered(answer),
                        // Something newer than this program.
                        Some(Ok(_)) => {}
                        Some(Err(status)) => break status.message().to_owned(),
                        None => break "it closed the stream".to_owned(),
                    },
                }
            };
            links.remove(&cluster, &attached);
            attached.gone();
            info!(
                cluster,
                shim = attached.name(),
                why,
                "a shim lends its cluster no more"
            );
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(asked))))
    }
}
