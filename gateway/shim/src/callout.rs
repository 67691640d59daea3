//! Many authorization requests at once: taken, bounded, answered or given back.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use futures::StreamExt;
use natsgate_core::{Clock, Deadline};
use natsgate_proto::v1;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use crate::decision_point::{Answer, DecisionPoint};
use crate::evict::{Evictor, Kicked};
use crate::mint;
use crate::nats::is_connected;
use crate::request::{self, OpenedRequest, RequestError};
use crate::response::{Recipient, Verdict, encode_response};
use crate::servers::{NotKnown, Servers};
use crate::settings::{Issuing, ShimSettings};

/// Where nats-servers ask (ADR-26).
pub const SUBJECT: &str = "$SYS.REQ.USER.AUTH";

/// The queue group all shims of a callout account share.
pub const QUEUE: &str = "natsgate";

/// Requests beyond the bounds that are being given back at once.
const MOST_GIVEN_BACK: usize = 256;

/// Everything needed to answer one request.
pub struct Callout {
    /// The shim's settings.
    pub settings: ShimSettings,
    /// Who decides.
    pub decisions: Arc<dyn DecisionPoint>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// The connection requests come by.
    pub client: Client,
    /// Knows the servers, where there is a system connection.
    pub servers: Option<Servers>,
    /// Gives back what cannot be answered, where there is a system connection.
    pub evictor: Option<Evictor>,
}

/// How a request ended; for the log.
enum Ended {
    Answered,
    /// No answer: why.
    Unanswered(String),
}

impl Callout {
    /// Takes requests from `requests` until `stop`, then answers those already taken.
    pub async fn run(self: Arc<Self>, mut requests: Subscriber, stop: CancellationToken) {
        let bounds = self.settings.bounds;
        let deciding = Arc::new(Semaphore::new(bounds.max_in_flight));
        let waiting = Arc::new(Semaphore::new(
            bounds.max_in_flight.saturating_add(bounds.max_waiting),
        ));
        let giving_back = Arc::new(Semaphore::new(MOST_GIVEN_BACK));
        let tasks = TaskTracker::new();
        let mut draining = false;
        loop {
            let message = tokio::select! {
                message = requests.next() => message,
                () = stop.cancelled(), if !draining => {
                    draining = true;
                    // The server stops sending; what it has sent already still comes, then the stream ends.
                    if requests.drain().await.is_err() {
                        break;
                    }
                    continue;
                }
            };
            let Some(message) = message else { break };
            let callout = Arc::clone(&self);
            if let Ok(place) = Arc::clone(&waiting).try_acquire_owned() {
                let deciding = Arc::clone(&deciding);
                tasks.spawn(async move {
                    callout.handle(message, Some(&deciding)).await;
                    drop(place);
                });
            } else if let Ok(place) = Arc::clone(&giving_back).acquire_owned().await {
                tasks.spawn(async move {
                    callout.handle(message, None).await;
                    drop(place);
                });
            }
        }
        tasks.close();
        info!(
            under_way = tasks.len(),
            "no more requests are taken; those under way are answered"
        );
        tasks.wait().await;
    }

    /// One request, from its bytes to its end. Without `deciding` there is no place for it: it is given back.
    async fn handle(&self, message: Message, deciding: Option<&Semaphore>) {
        let opened = match self.open(&message).await {
            Ok(opened) => opened,
            // Whoever sent it learns nothing, not even that it was read.
            Err((refused, server)) => {
                warn!(error = %refused, server, "an authorization request was refused");
                return;
            }
        };
        let deadline = Deadline::after(
            opened
                .time_left
                .saturating_sub(self.settings.bounds.answer_margin),
        );
        let ended = match deciding {
            Some(places) => match deadline.bound(places.acquire()).await {
                Ok(Ok(_place)) => self.decide(&message, &opened, deadline).await,
                _ => {
                    Ended::Unanswered("overloaded: its turn did not come in time (shim.max_in_flight)".into())
                }
            },
            None => Ended::Unanswered("overloaded: too many requests are waiting (shim.max_waiting)".into()),
        };
        if let Ended::Unanswered(why) = ended {
            self.give_back(&opened, &why).await;
        }
    }

    /// Opens and verifies. An error comes with the server's name, as far as it can be believed.
    async fn open(&self, message: &Message) -> Result<OpenedRequest, (RequestError, String)> {
        let header = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get(request::XKEY_HEADER));
        let recipient = match &self.settings.issuing {
            Issuing::Config { issuer } => issuer.public_key(),
            Issuing::Operator { callout_account, .. } => callout_account,
        };
        let header = header.map(async_nats::HeaderValue::as_str);
        let opened = request::open(
            &message.payload,
            header,
            self.settings.xkey.as_ref(),
            recipient,
            self.clock.now(),
        )
        .map_err(|refused| (refused, String::new()))?;
        if let Some(servers) = &self.servers {
            let id = &opened.body.server_id.id;
            let checked = servers.check(id, Deadline::after(opened.time_left)).await;
            checked.map_err(|error| match error {
                NotKnown::Unknown => (RequestError::UnknownServer, id.clone()),
                NotKnown::Unanswered(why) => (RequestError::ServerLookup(why), id.clone()),
            })?;
        }
        Ok(opened)
    }

    /// Asks, and answers what was decided.
    async fn decide(&self, message: &Message, opened: &OpenedRequest, deadline: Deadline) -> Ended {
        let Some(reply) = message.reply.clone() else {
            return Ended::Unanswered("the request has no reply subject".into());
        };
        let question = request::to_message(&self.settings.cluster, &opened.body);
        let answer = match self.decisions.authorize(question, deadline).await {
            Ok(answer) => answer,
            Err(unanswered) => return Ended::Unanswered(unanswered.to_string()),
        };
        let verdict = self.verdict(opened, &answer);
        let recipient = Recipient {
            server_id: &opened.body.server_id.id,
            user_nkey: &opened.body.user_nkey,
            xkey: opened.xkey.as_deref(),
        };
        let now = self.clock.unix_seconds();
        let payload = match encode_response(
            verdict,
            &recipient,
            &self.settings.issuing,
            self.settings.xkey.as_ref(),
            now,
        ) {
            Ok(payload) => payload,
            Err(error) => return Ended::Unanswered(error.to_string()),
        };
        if !is_connected(&self.client) {
            return Ended::Unanswered("the connection to the callout account is down".into());
        }
        match deadline.bound(self.client.publish(reply, payload.into())).await {
            Ok(Ok(())) => Ended::Answered,
            Ok(Err(error)) => Ended::Unanswered(format!("sending the response: {error}")),
            Err(passed) => Ended::Unanswered(format!("sending the response: {passed}")),
        }
    }

    /// The user JWT for a grant within the ceilings; a denial for everything else.
    fn verdict(&self, opened: &OpenedRequest, answer: &Answer) -> Verdict {
        let id = answer.decision_id.escape_debug();
        let server = &opened.body.server_id.id;
        let client = opened.body.client_info.id;
        let denied = || Verdict::Denied(format!("not authorized (decision {id})"));
        match &answer.outcome {
            Ok(grant) => match self.mint(grant, opened) {
                Ok(jwt) => {
                    debug!(decision_id = %id, server, client, "granted");
                    Verdict::Granted(jwt)
                }
                Err(error) => {
                    warn!(decision_id = %id, server, client, %error, "a grant was refused by this shim's ceilings");
                    denied()
                }
            },
            Err(v1::Denial { reason, .. }) => {
                debug!(decision_id = %id, server, client, reason = %reason.escape_debug(), "denied");
                denied()
            }
        }
    }

    fn mint(&self, grant: &v1::Grant, opened: &OpenedRequest) -> Result<String, mint::MintError> {
        let settings = &self.settings;
        mint::user_jwt(grant, &opened.body.user_nkey, settings, self.clock.now())
    }

    /// Closes the connection without an error, so that the client comes back, where silence would make the server say
    /// "Authorization Violation".
    async fn give_back(&self, opened: &OpenedRequest, why: &str) {
        let server = &opened.body.server_id.id;
        let client = opened.body.client_info.id;
        let Some(evictor) = &self.evictor else {
            warn!(
                server,
                client, why, "a request stays unanswered; without shim.system it cannot be kicked"
            );
            return;
        };
        if opened.body.client_info.kind != "Client" {
            // The server does not find other kinds while they are inside their callout.
            warn!(server, client, kind = %opened.body.client_info.kind.escape_debug(), why, "a request stays unanswered");
            return;
        }
        // The expiry is in whole seconds, rounded down: the server itself waits up to a second longer.
        let until = Deadline::after(self.settings.bounds.answer_margin + Duration::from_secs(1));
        match evictor.kick(server, client, until).await {
            Kicked::Closed => warn!(
                server,
                client, why, "a request could not be answered: its connection was kicked"
            ),
            Kicked::Gone => debug!(
                server,
                client, why, "a request could not be answered: its connection is gone"
            ),
            Kicked::Failed(cause) => {
                error!(server, client, why, %cause, "a request could not be answered, nor its connection kicked");
            }
        }
    }
}
