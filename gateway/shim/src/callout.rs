//! Many authorization requests at once: taken, bounded, answered or given back.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use futures::{FutureExt, StreamExt};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use natsgate_accounts::ManagedAccount;
use natsgate_core::{Clock, Deadline};
use natsgate_proto::v1;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use crate::account_views::AccountViews;
use crate::ceilings;
use crate::decision_point::{Answer, DecisionPoint};
use crate::enforce::Counters;
use crate::evict::{Evictor, Kicked};
use crate::grant;
use crate::mint::{self, Naming};
use crate::nats::{is_connected, round_trip};
use crate::request::{self, OpenedRequest, RequestError};
use crate::response::{Recipient, Verdict, encode_response};
use crate::servers::{NotKnown, Servers};
use crate::sessions::{self, Asked, Facts, Registry};
use crate::settings::{Issuing, ShimSettings};
use crate::watching;

/// Where nats-servers ask (ADR-26).
pub const SUBJECT: &str = "$SYS.REQ.USER.AUTH";

/// The queue group all shims of a callout account share.
pub const QUEUE: &str = "natsgate";

/// Requests beyond the bounds that are being given back at once.
const MOST_GIVEN_BACK: usize = 4096;

/// How long a request is remembered, so that it is not answered twice. Longer than any auth timeout and [`LATE_AT_MOST`].
const REMEMBERED_FOR: Duration = Duration::from_secs(120);

/// How many are remembered at most.
const MOST_REMEMBERED: u64 = 200_000;

/// A request that expired longer ago than this was not late but old, and its connection, long judged, is left alone. A
/// server judges a second after the expiry; the rest is for clocks that differ.
const LATE_AT_MOST: Duration = Duration::from_secs(5);

/// Pause before a decision is asked for again since something was revoked meanwhile.
const AGAIN_PAUSE: Duration = Duration::from_millis(2);

/// How long a kick is tried where the server is not known: it may be too new to be, or not be one.
const STRANGER_TIME: Duration = Duration::from_millis(300);

/// How long a request is worked on at most, however long the server waits. From 2.0 s after CONNECT a server sends its first
/// PING, callout or not (measured on 2.15.1), and clients take that for an answer: some for "connected", some for an error.
const BEFORE_FIRST_PING: Duration = Duration::from_millis(1700);

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
    /// What servers have in force of accounts, where there is a system connection and an operator is known.
    pub views: Option<Arc<AccountViews>>,
    /// Gives back what cannot be answered, where there is a system connection.
    pub evictor: Option<Evictor>,
    /// The user nkeys asked about lately; a server makes a new one for every connection.
    pub seen: Cache<String, ()>,
    /// The sessions.
    pub registry: Arc<Registry>,
    /// Whether sessions are remembered once they are answered: somebody watches them, and forgets them when they are gone.
    pub remembers: bool,
    /// What was done.
    pub counters: Arc<Counters>,
}

/// How a request ended; for the log.
enum Ended {
    /// A grant or a denial was sent; or the connection is being closed, so that none must be.
    Answered,
    /// No answer: why.
    Unanswered(String),
}

/// What a decision leads to.
enum Reply {
    /// This is sent.
    Send {
        payload: Vec<u8>,
        /// Whether it lets the client in.
        lets_in: bool,
    },
    /// Something that concerns it was revoked meanwhile: it is asked again.
    AskAgain(Asked),
    /// Nothing: the connection is being closed.
    Nothing,
}

/// Where a request came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// This shim's share of the requests.
    Queue,
    /// Every request, listened to while draining: most are another shim's.
    Shadow,
}

/// A memory for [`Callout::seen`].
pub fn memory() -> Cache<String, ()> {
    Cache::builder()
        .eviction_policy(EvictionPolicy::lru())
        .max_capacity(MOST_REMEMBERED)
        .time_to_live(REMEMBERED_FOR)
        .build()
}

/// The places of a running callout.
struct Places {
    deciding: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    giving_back: Arc<Semaphore>,
    dropped: AtomicU64,
    tasks: TaskTracker,
}

impl Callout {
    /// Takes requests from `requests` until `stop`, then answers those already taken.
    pub async fn run(self: Arc<Self>, mut requests: Subscriber, stop: CancellationToken) {
        let bounds = self.settings.bounds;
        let places = Places {
            deciding: Arc::new(Semaphore::new(bounds.max_in_flight)),
            waiting: Arc::new(Semaphore::new(
                bounds.max_in_flight.saturating_add(bounds.max_waiting),
            )),
            giving_back: Arc::new(Semaphore::new(MOST_GIVEN_BACK)),
            dropped: AtomicU64::new(0),
            tasks: TaskTracker::new(),
        };
        loop {
            tokio::select! {
                message = requests.next() => match message {
                    Some(message) => self.take(message, Source::Queue, &places),
                    None => break,
                },
                () = stop.cancelled() => {
                    self.drain(requests, &places).await;
                    break;
                }
            }
        }
        places.tasks.close();
        info!(
            under_way = places.tasks.len(),
            "no more requests are taken; those under way are answered"
        );
        places.tasks.wait().await;
    }

    /// Ends the subscription without losing a request that the server has sent already.
    ///
    /// async-nats forgets a draining subscription as soon as UNSUB is written, with what is still on its way to it. So
    /// another subscription listens beside it meanwhile, and the server's answers tell when both have everything: it does
    /// things in order.
    async fn drain(self: &Arc<Self>, mut requests: Subscriber, places: &Places) {
        if !is_connected(&self.client) {
            // No more is on its way. What is here cannot be answered, but it can be kicked.
            for message in buffered(&mut requests) {
                self.take(message, Source::Queue, places);
            }
            return;
        }
        let mut shadow = self.client.subscribe(SUBJECT).await.ok();
        round_trip(&self.client).await;
        if let Some(shadow) = &mut shadow {
            // What it heard so far is another shim's, or is in `requests` as well.
            drop(buffered(shadow));
        }
        if requests.drain().await.is_ok() {
            round_trip(&self.client).await;
        }
        let mut taken = HashSet::new();
        for message in buffered(&mut requests) {
            taken.insert(message.reply.as_ref().map(ToString::to_string));
            self.take(message, Source::Queue, places);
        }
        for message in shadow.iter_mut().flat_map(buffered) {
            if !taken.contains(&message.reply.as_ref().map(ToString::to_string)) {
                self.take(message, Source::Shadow, places);
            }
        }
    }

    /// Takes on one request, as far as there are places.
    fn take(self: &Arc<Self>, message: Message, source: Source, places: &Places) {
        let callout = Arc::clone(self);
        if let Ok(place) = Arc::clone(&places.waiting).try_acquire_owned() {
            let deciding = Arc::clone(&places.deciding);
            places.tasks.spawn(async move {
                callout.handle(message, source, Some(&deciding)).await;
                drop(place);
            });
        } else if let Ok(place) = Arc::clone(&places.giving_back).try_acquire_owned() {
            places.tasks.spawn(async move {
                callout.handle(message, source, None).await;
                drop(place);
            });
        } else {
            // A line for each would be one more flood.
            let dropped = places.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                error!(
                    dropped,
                    "overloaded: requests are dropped, more than could even be kicked"
                );
            }
        }
    }

    /// One request, from its bytes to its end. Without `deciding` there is no place for it: it is given back.
    async fn handle(&self, message: Message, source: Source, deciding: Option<&Semaphore>) {
        let opened = match self.open(&message) {
            Ok(opened) => opened,
            // Whoever sent it learns nothing, not even that it was read.
            Err(refused) => {
                warn!(error = %refused, "an authorization request was refused");
                return;
            }
        };
        let deadline = self.deadline(&opened);
        match self.check_server(&opened, deadline).await {
            Ok(()) => {}
            Err(NotKnown::Unknown) => {
                let server = &opened.body.server_id.id;
                warn!(error = %RequestError::UnknownServer, server, "an authorization request was refused");
                // It may be one too new to be known everywhere. A stranger reaches nobody with this: the id is its own.
                if let Some(evictor) = self.evictor.as_ref().filter(|_| opened.is_timely(LATE_AT_MOST)) {
                    let client = opened.body.client_info.id;
                    evictor.kick(server, client, Deadline::after(STRANGER_TIME)).await;
                }
                return;
            }
            Err(NotKnown::Unanswered(why)) => {
                let why = format!("the server could not be looked up in the system account: {why}");
                if opened.is_timely(LATE_AT_MOST) && !self.seen.contains_key(&opened.body.user_nkey) {
                    self.give_back(&opened, source, &why).await;
                } else {
                    warn!(
                        error = why,
                        "an authorization request was refused: it is old or was seen before"
                    );
                }
                return;
            }
        }
        // Only now, so that nobody but a server can have a request remembered.
        if !self
            .seen
            .entry(opened.body.user_nkey.clone())
            .or_insert(())
            .is_fresh()
        {
            let server = &opened.body.server_id.id;
            warn!(error = %RequestError::Replayed, server, "an authorization request was refused");
            return;
        }
        if let Some(late_by) = opened.late_by {
            let server = &opened.body.server_id.id;
            let refused = RequestError::Expired(late_by);
            warn!(error = %refused, server, "an authorization request was refused");
            if opened.is_timely(LATE_AT_MOST) {
                self.give_back(&opened, source, "it expired before it was read")
                    .await;
            }
            return;
        }
        let ended = match deciding {
            Some(places) => match deadline.bound(places.acquire()).await {
                Ok(Ok(_place)) => self.decide(&message, &opened, deadline).await,
                _ => Ended::Unanswered(self.late(&opened)),
            },
            None => Ended::Unanswered("overloaded: too many requests are waiting (shim.max_waiting)".into()),
        };
        if let Ended::Unanswered(why) = ended {
            self.give_back(&opened, source, &why).await;
        }
    }

    fn deadline(&self, opened: &OpenedRequest) -> Deadline {
        let time = opened
            .time_left
            .saturating_sub(self.settings.bounds.answer_margin);
        Deadline::after(time.min(BEFORE_FIRST_PING))
    }

    /// Why a request's turn did not come.
    fn late(&self, opened: &OpenedRequest) -> String {
        if opened.time_left <= self.settings.bounds.answer_margin {
            "the request left no time: the server's auth timeout is too short for shim.answer_margin, or the clocks of \
             server and shim differ"
                .into()
        } else {
            "overloaded: its turn did not come in time (shim.max_in_flight)".into()
        }
    }

    /// Opens and verifies, as far as the request itself tells.
    fn open(&self, message: &Message) -> Result<OpenedRequest, RequestError> {
        let header = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get(request::XKEY_HEADER));
        let recipient = match &self.settings.issuing {
            Issuing::Config { issuer } => issuer.public_key(),
            Issuing::Operator { callout_account, .. } => callout_account,
        };
        let header = header.map(async_nats::HeaderValue::as_str);
        let xkey = self.settings.xkey.as_ref();
        let opened = request::open(&message.payload, header, xkey, recipient, self.clock.now())?;
        if message.reply.is_none() {
            return Err(RequestError::NoReply);
        }
        Ok(opened)
    }

    /// Whether the server that signed is one of the deployment's.
    async fn check_server(&self, opened: &OpenedRequest, deadline: Deadline) -> Result<(), NotKnown> {
        let Some(servers) = &self.servers else {
            return Ok(());
        };
        // One that is late already is still looked up: it may be owed a kick.
        let deadline = deadline.max(Deadline::after(self.settings.bounds.answer_margin));
        servers.check(&opened.body.server_id.id, deadline).await
    }

    /// Asks, and answers what was decided. The connection is registered before it is asked about, so that a revocation finds
    /// it at any moment.
    async fn decide(&self, message: &Message, opened: &OpenedRequest, deadline: Deadline) -> Ended {
        let Some(reply) = message.reply.clone() else {
            return Ended::Unanswered("the request has no reply subject".into());
        };
        let record = request::record(&self.settings.cluster, &opened.body);
        let key = record.key.clone();
        let leaf = watching::is_leaf(&record.client_kind);
        let asked = self.registry.ask(record, leaf);
        let (ended, let_in) = self.ask(&reply, opened, asked, deadline).await;
        if !(let_in && self.remembers) {
            self.registry.refused(&key);
        }
        ended
    }

    /// Asks until there is an answer that holds, and sends it; and whether that let the client in.
    async fn ask(
        &self,
        reply: &async_nats::Subject,
        opened: &OpenedRequest,
        mut asked: Asked,
        deadline: Deadline,
    ) -> (Ended, bool) {
        let unanswered = |why: String| (Ended::Unanswered(why), false);
        loop {
            let mut question = request::to_message(&self.settings.cluster, &opened.body);
            question.min_revision = asked
                .applied
                .map(|applied| applied.to_string())
                .unwrap_or_default();
            let answer = match self.decisions.authorize(question, deadline).await {
                Ok(answer) => answer,
                Err(error) => return unanswered(error.to_string()),
            };
            let account = match self.account_jwt(opened, &answer, deadline).await {
                Ok(account) => account,
                Err(why) => return unanswered(why),
            };
            let (payload, lets_in) = match self.reply(opened, &answer, account.as_deref(), asked) {
                Ok(Reply::Send { payload, lets_in }) => (payload, lets_in),
                Ok(Reply::Nothing) => return (Ended::Answered, false),
                Ok(Reply::AskAgain(again)) => {
                    self.counters.asked_again.fetch_add(1, Ordering::Relaxed);
                    if deadline.passed() {
                        return unanswered("what it rests on was revoked while it was decided".into());
                    }
                    asked = again;
                    // One that does not know what it was told to know needs a moment.
                    tokio::time::sleep(AGAIN_PAUSE).await;
                    continue;
                }
                Err(why) => return unanswered(why),
            };
            if !is_connected(&self.client) {
                return unanswered("the connection to the callout account is down".into());
            }
            let sent = deadline.bound(self.client.publish(reply.clone(), payload.into()));
            return match sent.await {
                Ok(Ok(())) => (Ended::Answered, lets_in),
                Ok(Err(error)) => unanswered(format!("sending the response: {error}")),
                Err(passed) => unanswered(format!("sending the response: {passed}")),
            };
        }
    }

    /// The account's JWT as the server has it in force, where the grant says that what it gives is written there.
    async fn account_jwt(
        &self,
        opened: &OpenedRequest,
        answer: &Answer,
        deadline: Deadline,
    ) -> Result<Option<Arc<ManagedAccount>>, String> {
        let Some(grant) = answer
            .outcome
            .as_ref()
            .ok()
            .filter(|grant| grant::is_written(grant))
        else {
            return Ok(None);
        };
        // One that is not the shim's to give, or has no JWT, is refused when the grant is read.
        let target = ceilings::account(grant, &self.settings.accounts)
            .ok()
            .and_then(|target| target.signer.as_ref());
        let (Some(views), Some(target)) = (&self.views, target) else {
            return Ok(None);
        };
        let server = &opened.body.server_id.id;
        let view = views.at(server, &target.scoped, deadline).await;
        view.map(Some).map_err(|error| error.to_string())
    }

    /// What the server is sent: the user JWT for a grant within the ceilings that still holds, a denial for everything else. A
    /// user JWT larger than the server takes is a denial: trying again would not make it smaller.
    fn reply(
        &self,
        opened: &OpenedRequest,
        answer: &Answer,
        account: Option<&ManagedAccount>,
        asked: Asked,
    ) -> Result<Reply, String> {
        let decision_id = answer.decision_id.as_str();
        let server = &opened.body.server_id.id;
        let client = opened.body.client_info.id;
        let refuse = || {
            Ok(Reply::Send {
                payload: self.encode(opened, denied(decision_id))?,
                lets_in: false,
            })
        };
        let grant = match &answer.outcome {
            Ok(grant) => grant,
            Err(v1::Denial { reason, .. }) => {
                debug!(decision_id, server, client, reason = reason.as_str(), "denied");
                return refuse();
            }
        };
        let now = self.clock.now();
        let as_of = if grant.as_of.is_empty() {
            asked.applied
        } else {
            match grant.as_of.parse() {
                Ok(as_of) => Some(as_of),
                Err(error) => return Err(format!("the grant's as_of cannot be read: {error}")),
            }
        };
        let naming = Naming {
            account,
            as_of,
            shim: self.registry.me(),
        };
        let minted = mint::for_request(grant, &opened.body, &self.settings, naming, now)
            .and_then(|jwt| Ok((jwt, ceilings::expiry(grant, self.settings.max_session, now)?)));
        let (jwt, expiry) = match minted {
            Ok(minted) => minted,
            Err(error) if error.may_pass(account, now) => return Err(error.to_string()),
            Err(error) => {
                warn!(decision_id, server, client, %error, "a grant was refused by this shim's ceilings");
                return refuse();
            }
        };
        let payload = self.encode(opened, Verdict::Granted(jwt))?;
        let most = self.client.max_payload();
        if payload.len() > most {
            error!(
                decision_id,
                bytes = payload.len(),
                most,
                "a grant was refused: its user JWT is larger than the server takes"
            );
            return refuse();
        }
        let record = request::granted(
            request::record(&self.settings.cluster, &opened.body),
            grant,
            as_of,
            expiry,
        );
        match self.registry.answer(record, Facts::of(grant, expiry), asked) {
            sessions::Answer::Give { .. } => {
                debug!(decision_id, server, client, "granted");
                Ok(Reply::Send {
                    payload,
                    lets_in: true,
                })
            }
            sessions::Answer::AskAgain(again) => {
                debug!(decision_id, server, client, "revoked meanwhile: asking again");
                Ok(Reply::AskAgain(again))
            }
            sessions::Answer::Drop => Ok(Reply::Nothing),
        }
    }

    fn encode(&self, opened: &OpenedRequest, verdict: Verdict) -> Result<Vec<u8>, String> {
        let recipient = Recipient {
            server_id: &opened.body.server_id.id,
            user_nkey: &opened.body.user_nkey,
            xkey: opened.xkey.as_deref(),
        };
        let xkey = self.settings.xkey.as_ref();
        encode_response(
            verdict,
            &recipient,
            &self.settings.issuing,
            xkey,
            self.clock.unix_seconds(),
        )
        .map_err(|error| error.to_string())
    }

    /// Closes the connection without an error, so that the client comes back, where silence would make the server say
    /// "Authorization Violation".
    async fn give_back(&self, opened: &OpenedRequest, source: Source, why: &str) {
        if source == Source::Shadow {
            // Another shim may well have let it in.
            return;
        }
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
            let kind = opened.body.client_info.kind.as_str();
            warn!(
                server,
                client, kind, why, "a request stays unanswered: only clients can be kicked in their callout"
            );
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
                error!(
                    server,
                    client, why, cause, "a request could not be answered, nor its connection kicked"
                );
            }
        }
    }
}

/// What `subscriber` has and has not been asked for yet. (Without `unconstrained` tokio would say "nothing" after a hundred or
/// so, so that others get their turn.)
fn buffered(subscriber: &mut Subscriber) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(Some(message)) = tokio::task::unconstrained(subscriber.next()).now_or_never() {
        messages.push(message);
    }
    messages
}

/// A denial as the server's log shows it: which decision, not why.
fn denied(decision_id: &str) -> Verdict {
    Verdict::Denied(format!("not authorized (decision {decision_id})"))
}
