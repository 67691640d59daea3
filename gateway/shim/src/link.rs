//! The shim's end of the cluster link: dials the account writer, and answers its questions with what is lent ([`crate::lending`]), until
//! either ends. Then it dials again.

mod answer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use natsgate_proto::v1;
use natsgate_proto::v1::cluster_link_service_client::ClusterLinkServiceClient;
use natsgate_proto::v1::{attach_request, attach_response};
use rand::Rng;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::decision_point::{EndpointError, EndpointTls, channel};
use crate::lending::Lent;

/// Pause before dialling again; doubled with every failure in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long it may take until the writer has taken the shim.
const ATTACH_TIME: Duration = Duration::from_secs(10);

/// The largest message: what a cluster's resolvers keep of an account, several JWTs of a megabyte.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Answers on their way at most.
const ON_THE_WAY: usize = 64;

/// Questions answered at once.
const AT_ONCE: usize = 256;

/// Where the account writer is.
pub struct LinkSettings {
    /// Its URL.
    pub url: String,
    /// TLS, for `https://`.
    pub tls: Option<EndpointTls>,
    /// A file with the access token, read whenever it is dialled.
    pub token_file: Option<PathBuf>,
}

/// The link.
pub struct Link {
    settings: LinkSettings,
    client: ClusterLinkServiceClient<Channel>,
}

impl Link {
    /// A link to where `settings` say. Dials when it runs.
    ///
    /// # Errors
    /// [`EndpointError`] for a URL or TLS material that cannot be used.
    pub fn new(settings: LinkSettings) -> Result<Self, EndpointError> {
        let client = ClusterLinkServiceClient::new(channel(&settings.url, settings.tls.as_ref())?)
            .max_decoding_message_size(MOST_BYTES)
            .max_encoding_message_size(MOST_BYTES);
        Ok(Self { settings, client })
    }

    /// Lends what `lent` has, while it has something, until `stop`.
    pub async fn run(self, mut lent: watch::Receiver<Option<Arc<Lent>>>, stop: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        let mut said = None;
        loop {
            let is_there = tokio::select! {
                there = lent.wait_for(Option::is_some) => there.map(|there| (*there).clone()).ok().flatten(),
                () = stop.cancelled() => None,
            };
            let Some(one) = is_there else { return };
            let mut attached = false;
            let ended = tokio::select! {
                ended = self.lend(&one, &mut attached) => ended,
                _ = lent.wait_for(Option::is_none) => continue,
                () = stop.cancelled() => return,
            };
            let why = match ended {
                Ok(()) => "it closed the stream".to_owned(),
                Err(status) => status.message().to_owned(),
            };
            if attached {
                pause = FIRST_PAUSE;
                said = None;
            }
            // Once for each reason.
            if said.as_ref() != Some(&why) {
                let url = &self.settings.url;
                warn!(
                    url,
                    why, "the account writer does not have this cluster; it is dialled again"
                );
                said = Some(why);
            }
            // Not all shims at once.
            let jitter = rand::rng().random_range(0.5..1.5);
            tokio::select! {
                () = tokio::time::sleep(pause.mul_f64(jitter)) => {}
                () = stop.cancelled() => return,
            }
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Attaches, and answers until the stream ends. `attached` is set once the writer has taken the shim.
    async fn lend(&self, lent: &Arc<Lent>, attached: &mut bool) -> Result<(), Status> {
        let (answers, outgoing) = mpsc::channel(ON_THE_WAY);
        let hello = v1::LinkHello {
            cluster: lent.cluster.clone(),
            shim: lent.shim.clone(),
        };
        let message = attach_request::Message::Hello(hello);
        // There is room for the first one.
        let _ = answers.send(request(message)).await;
        let mut call = Request::new(ReceiverStream::new(outgoing));
        if let Some(token) = self.token().await? {
            call.metadata_mut().insert("authorization", token);
        }
        let mut client = self.client.clone();
        let taken = async {
            let mut questions = client.attach(call).await?.into_inner();
            let welcome = questions.message().await?.and_then(|welcome| welcome.message);
            match welcome {
                Some(attach_response::Message::Attached(_)) => Ok(questions),
                _ => Err(Status::unavailable("it did not take this shim")),
            }
        };
        let late = |_| Status::unavailable("it did not take this shim in time");
        let mut questions = tokio::time::timeout(ATTACH_TIME, taken).await.map_err(late)??;
        *attached = true;
        info!(url = self.settings.url, "the account writer has this cluster");
        // Those under way end with the stream.
        let mut answering = JoinSet::new();
        loop {
            tokio::select! {
                question = questions.message(), if answering.len() < AT_ONCE => {
                    let Some(message) = question? else { return Ok(()) };
                    // Something newer than this program is left unanswered.
                    let Some(attach_response::Message::Question(question)) = message.message else { continue };
                    let (lent, answers) = (Arc::clone(lent), answers.clone());
                    answering.spawn(async move {
                        let answer = answer::to(&lent.accounts, question).await;
                        // The stream has ended.
                        let _ = answers.send(request(attach_request::Message::Answer(answer))).await;
                    });
                }
                Some(_) = answering.join_next() => {}
            }
        }
    }

    /// The access token, as it stands in a call.
    async fn token(&self) -> Result<Option<MetadataValue<Ascii>>, Status> {
        let Some(path) = &self.settings.token_file else {
            return Ok(None);
        };
        let failed = |why: &dyn std::fmt::Display| {
            Status::unauthenticated(format!(
                "shim.accounts_service.token_file: {}: {why}",
                path.display()
            ))
        };
        let read = tokio::fs::read_to_string(path).await;
        let token = Zeroizing::new(read.map_err(|error| failed(&error))?);
        let value = Zeroizing::new(format!("Bearer {}", token.trim()));
        let mut value: MetadataValue<Ascii> = value
            .parse()
            .map_err(|_| failed(&"holds something that cannot be sent as a token"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn request(message: attach_request::Message) -> v1::AttachRequest {
    v1::AttachRequest {
        message: Some(message),
    }
}
