//! One connection to one server, kept alive: the part that everything else relies on for coming back and for never waiting
//! too long.
//!
//! A task of its own (`link/supervisor.rs`) makes the connection, looks after it and replaces it. Calls only ever use the
//! connection that is there: while it is being made they wait within their own time, and while it is known to be dead they
//! fail at once.
//!
//! What keeps a frozen server from piling anything up: at most `max_in_flight` calls wait for answers; the first call
//! that waited in vain for its whole time makes the connection *suspect*, after which nothing more is sent until the
//! server has answered the supervisor; if it does not, the connection is dropped with everything on it. Calls that were
//! given up earlier (a shorter deadline, a caller that went away) leave their answers outstanding on the connection; those
//! are counted, and as many as `max_in_flight` make it suspect too.

mod supervisor;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use natsgate_core::Deadline;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, Value};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;

pub(super) use self::supervisor::Whom;
use super::channel::Channel;
use super::dial::How;
use super::error::{RedisError, failed};

/// How a connection to Redis stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// Connected, as far as is known.
    Up,
    /// Being connected for the first time, or anew after a loss a moment ago.
    Connecting,
    /// Connected, but a call was not answered: the server is being asked whether it still lives.
    Suspect,
    /// Not connected; attempts go on for ever. Calls fail at once.
    Down(String),
}

/// What was sent and made, for tests that count round trips and for metrics.
#[derive(Debug, Default)]
pub(super) struct Meter {
    pub(super) round_trips: AtomicU64,
    pub(super) connected: AtomicU64,
}

/// A channel that a link subscribes to, and what becomes of what is published there.
#[derive(Debug, Clone)]
pub(super) struct Bell {
    pub(super) channel: String,
    pub(super) rings: Rings,
}

/// Who is told of what is published.
#[derive(Debug, Clone)]
pub(super) enum Rings {
    /// Somebody who wants to know that something was.
    Doorbell(watch::Sender<u64>),
    /// Those who want to hear what.
    Listeners(Arc<Channel<Bytes>>),
}

impl Bell {
    /// The subscription was made: what was published before nobody knows.
    fn subscribed(&self) {
        match &self.rings {
            Rings::Doorbell(rings) => ring(rings),
            Rings::Listeners(channel) => channel.begin_anew(),
        }
    }

    /// Something was published: `data` is the channel's name and the message.
    fn published(&self, data: Vec<Value>) {
        match &self.rings {
            Rings::Doorbell(rings) => ring(rings),
            Rings::Listeners(channel) => {
                if let Some(Value::BulkString(message)) = data.into_iter().nth(1) {
                    channel.tell(message.into());
                }
            }
        }
    }
}

fn ring(rings: &watch::Sender<u64>) {
    rings.send_modify(|rings| *rings = rings.wrapping_add(1));
}

/// What is sent in one go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Request<'a> {
    /// A command; the answer is its own.
    One(&'a Cmd),
    /// Several; the answer is an array of theirs.
    Many(&'a Pipeline),
}

/// A link. Dropping it ends its task and its connection.
#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    _supervisor: AbortOnDropHandle<()>,
}

/// What calls and supervisor share.
#[derive(Debug)]
struct Shared {
    state: watch::Sender<State>,
    in_flight: Semaphore,
    max_in_flight: usize,
    /// Answers that nobody waits for any more and that have not come, since the server last answered the supervisor.
    unanswered: AtomicUsize,
    /// Asks the supervisor to see whether the server lives.
    probe: Notify,
    /// Calls under way that have Redis wait for something, which answers nothing else on their connection meanwhile.
    blocking: AtomicUsize,
    command_timeout: Duration,
    meter: Arc<Meter>,
}

#[derive(Clone)]
enum State {
    Connecting,
    Up(Connection),
    Suspect(Connection),
    Down(String),
}

/// A connection, and which it is.
#[derive(Clone)]
struct Connection {
    number: u64,
    connection: MultiplexedConnection,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connecting => f.write_str("Connecting"),
            Self::Up(connection) => write!(f, "Up({})", connection.number),
            Self::Suspect(connection) => write!(f, "Suspect({})", connection.number),
            Self::Down(cause) => write!(f, "Down({cause})"),
        }
    }
}

impl Link {
    /// A link to `whom`, made in the background.
    pub(super) fn new(
        how: Arc<How>,
        whom: Whom,
        bell: Option<Bell>,
        max_in_flight: usize,
        meter: Arc<Meter>,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: watch::Sender::new(State::Connecting),
            in_flight: Semaphore::new(max_in_flight.min(Semaphore::MAX_PERMITS)),
            max_in_flight,
            unanswered: AtomicUsize::new(0),
            probe: Notify::new(),
            blocking: AtomicUsize::new(0),
            command_timeout: how.command_timeout,
            meter,
        });
        let supervisor = supervisor::Supervisor::new(how, whom, bell, shared.clone());
        Self {
            shared,
            _supervisor: AbortOnDropHandle::new(tokio::spawn(supervisor.run())),
        }
    }

    /// How it stands.
    pub(super) fn state(&self) -> LinkState {
        match &*self.shared.state.borrow() {
            State::Connecting => LinkState::Connecting,
            State::Up(_) => LinkState::Up,
            State::Suspect(_) => LinkState::Suspect,
            State::Down(cause) => LinkState::Down(cause.clone()),
        }
    }

    /// Sends `request` and waits for its answer until `deadline`, `within` at most; more than `command_timeout` says that
    /// it has Redis wait. An answer that is an error is [`RedisError::Refused`] for [`Request::One`].
    pub(super) async fn call(
        &self,
        request: Request<'_>,
        deadline: Deadline,
        within: Duration,
    ) -> Result<Value, RedisError> {
        let bound = deadline.or_sooner(within);
        let permit = bound.bound(self.shared.in_flight.acquire()).await;
        let Ok(Ok(_permit)) = permit else {
            return Err(RedisError::NotConnected {
                cause: "too many calls are waiting for answers".to_owned(),
            });
        };
        let Connection {
            number,
            mut connection,
        } = self.shared.connection(bound).await?;
        self.shared.meter.round_trips.fetch_add(1, Ordering::Relaxed);
        let mut outstanding = Outstanding {
            shared: &self.shared,
            number,
            answered: false,
        };
        let _blocking =
            (within > self.shared.command_timeout).then(|| Blocking::begin(&self.shared.blocking));
        let answer = bound.bound(send(&mut connection, request)).await;
        match answer {
            Ok(answer) => {
                outstanding.answered = true;
                answer.map_err(|error| {
                    if error.is_unrecoverable_error() {
                        self.shared.probe.notify_one();
                    }
                    failed(error, within)
                })
            }
            Err(_passed) => {
                // A call that was cut short says nothing about the server; one that waited its whole time does.
                if bound.instant() < deadline.instant() {
                    self.shared.suspect(number);
                }
                Err(RedisError::TimedOut { within })
            }
        }
    }

    /// The server is not, or no more, what it should be (a replica): asks for it to be looked at.
    pub(super) fn look_again(&self) {
        self.shared.probe.notify_one();
    }
}

async fn send(connection: &mut MultiplexedConnection, request: Request<'_>) -> redis::RedisResult<Value> {
    match request {
        Request::One(command) => connection.send_packed_command(command).await?.extract_error(),
        Request::Many(pipeline) => connection
            .send_packed_commands(pipeline, 0, pipeline.len())
            .await
            .map(Value::Array),
    }
}

impl Shared {
    /// The connection, as soon as there is one that may be used.
    async fn connection(&self, bound: Deadline) -> Result<Connection, RedisError> {
        let mut states = self.state.subscribe();
        let usable = async {
            loop {
                match &*states.borrow_and_update() {
                    State::Up(connection) => return Ok(connection.clone()),
                    State::Down(cause) => return Err(RedisError::NotConnected { cause: cause.clone() }),
                    State::Connecting | State::Suspect(_) => {}
                }
                if states.changed().await.is_err() {
                    return Err(RedisError::NotConnected {
                        cause: "the connection was closed".to_owned(),
                    });
                }
            }
        };
        bound.bound(usable).await.unwrap_or_else(|_passed| {
            Err(RedisError::NotConnected {
                cause: "a connection is being made, or asked whether it lives".to_owned(),
            })
        })
    }

    /// Nothing more is sent on connection `number` until the server has answered the supervisor.
    fn suspect(&self, number: u64) {
        self.state.send_if_modified(|state| match state {
            State::Up(connection) if connection.number == number => {
                *state = State::Suspect(connection.clone());
                true
            }
            _ => false,
        });
        self.probe.notify_one();
    }

    /// The server answered: what was held against it is forgotten.
    fn lives(&self) {
        self.unanswered.store(0, Ordering::Relaxed);
        self.state.send_if_modified(|state| match state {
            State::Suspect(connection) => {
                *state = State::Up(connection.clone());
                true
            }
            _ => false,
        });
    }
}

/// A request that was sent. Dropped without an answer, it counts as outstanding on its connection.
struct Outstanding<'a> {
    shared: &'a Shared,
    number: u64,
    answered: bool,
}

impl Drop for Outstanding<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let before = self.shared.unanswered.fetch_add(1, Ordering::Relaxed);
        if before >= self.shared.max_in_flight {
            self.shared.suspect(self.number);
        } else {
            self.shared.probe.notify_one();
        }
    }
}

/// A call that has Redis wait, while it is under way.
struct Blocking<'a>(&'a AtomicUsize);

impl<'a> Blocking<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Blocking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
