//! One client and what became of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::Rng;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::connection::{Connection, Order, Over};
use super::right::{Held, Right};
use super::{Persona, Shared};

/// Pause before a client comes back for the first time; doubled each time that it is not let in.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The longest pause after it was not let in without a word.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after it was told that it may not come in.
const LONGEST_PAUSE_REFUSED: Duration = Duration::from_secs(4);

/// A connection that was let in, from beginning to end.
#[derive(Debug, Clone)]
pub struct Life {
    /// The server's id.
    pub server_id: Arc<str>,
    /// The connection's id there.
    pub client_id: u64,
    /// The `jti` of the token it connected with.
    pub token_id: Arc<str>,
    /// When that was issued, in seconds since the Unix epoch.
    pub token_issued_at: i64,
    /// When it began to connect: what it was given is not older than this.
    pub began: Instant,
    /// When it was let in.
    pub opened: Instant,
    /// When its socket closed, and what it was told last.
    pub closed: Option<(Instant, Option<String>)>,
}

impl Life {
    /// Whether it is still open, as far as its client knows.
    pub fn is_open(&self) -> bool {
        self.closed.is_none()
    }
}

/// What became of a client so far.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Its connections, the last one last.
    pub lives: Vec<Life>,
    /// How often it was told that it may not come in.
    pub refused: u32,
    /// How often it was not let in without a word, or its server was not there.
    pub turned_away: u32,
    /// Whether it does not try any more.
    pub ended: bool,
}

impl View {
    /// Its connection, if it has one.
    pub fn open(&self) -> Option<&Life> {
        self.lives.last().filter(|life| life.is_open())
    }
}

/// A client. It leaves when this is dropped.
pub struct Client {
    persona: Arc<Persona>,
    view: Arc<Mutex<View>>,
    orders: mpsc::UnboundedSender<Order>,
    task: AbortHandle,
}

impl Client {
    pub(super) fn start(shared: Arc<Shared>, persona: Arc<Persona>, first: usize) -> Self {
        let view = Arc::new(Mutex::new(View::default()));
        let (orders, taken) = mpsc::unbounded_channel();
        let life = live(shared, Arc::clone(&persona), Arc::clone(&view), taken, first);
        let task = tokio::spawn(life).abort_handle();
        Self {
            persona,
            view,
            orders,
            task,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.persona.name
    }

    /// What became of it so far.
    pub fn view(&self) -> View {
        lock(&self.view).clone()
    }

    /// Looks at what became of it so far.
    pub fn look<T>(&self, at: impl FnOnce(&View) -> T) -> T {
        at(&lock(&self.view))
    }

    /// Whether it is connected, as far as it knows.
    pub fn is_open(&self) -> bool {
        self.look(|view| view.open().is_some())
    }

    /// As [`Self::held`], within `patience`.
    pub(super) async fn held_within(&self, rights: &Arc<[Right]>, patience: Duration) -> Option<Held> {
        let held = tokio::time::timeout(patience, self.held(Arc::clone(rights))).await;
        held.ok().flatten()
    }

    /// Tries all of `rights`; `None` if its connection closes meanwhile, or it has none. As long as its server takes.
    pub async fn held(&self, rights: Arc<[Right]>) -> Option<Held> {
        if !self.is_open() {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order::Try { rights, answer }).ok()?;
        answered.await.ok()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(view: &Mutex<View>) -> MutexGuard<'_, View> {
    view.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connects, lives, and comes back.
async fn live(
    shared: Arc<Shared>,
    persona: Arc<Persona>,
    view: Arc<Mutex<View>>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    first: usize,
) {
    let mut server = first;
    let mut pause = FIRST_PAUSE;
    loop {
        let visited = visit(&shared, &persona, &view, &mut orders, server).await;
        shared.changed();
        if !persona.comes_back {
            break;
        }
        pause = match visited {
            Visited::CameIn => FIRST_PAUSE,
            Visited::TurnedAway => pause.saturating_mul(2).min(LONGEST_PAUSE),
            Visited::Refused => pause.saturating_mul(2).min(LONGEST_PAUSE_REFUSED),
        };
        // Not all at the same moment.
        let pause = pause.mul_f64(rand::rng().random_range(0.5..1.5));
        tokio::time::sleep(pause).await;
        server += 1;
    }
    lock(&view).ended = true;
    shared.changed();
}

/// How a connection went.
enum Visited {
    /// It was let in.
    CameIn,
    /// It was told that it may not come in.
    Refused,
    /// It was not let in without a word, or its server was not there.
    TurnedAway,
}

/// One connection, from beginning to end.
async fn visit(
    shared: &Shared,
    persona: &Persona,
    view: &Mutex<View>,
    orders: &mut mpsc::UnboundedReceiver<Order>,
    server: usize,
) -> Visited {
    let Some(address) = server
        .checked_rem(shared.servers.len())
        .and_then(|index| shared.servers.get(index))
    else {
        return Visited::TurnedAway;
    };
    // The semaphore is never closed.
    let turn = shared.turns.acquire().await;
    let began = Instant::now();
    let token = (persona.tokens)();
    let opened = Connection::open(*address, &persona.name, &token.secret).await;
    drop(turn);
    let mut connection = match opened {
        Ok(connection) => connection,
        Err(over) => {
            let mut view = lock(view);
            return match over {
                Over::Refused => {
                    view.refused += 1;
                    Visited::Refused
                }
                Over::Closed(_) => {
                    view.turned_away += 1;
                    Visited::TurnedAway
                }
            };
        }
    };
    lock(view).lives.push(Life {
        server_id: connection.server_id.clone(),
        client_id: connection.client_id,
        token_id: token.id,
        token_issued_at: token.issued_at,
        began,
        opened: Instant::now(),
        closed: None,
    });
    shared.changed();
    let last_word = connection.stay(orders).await;
    let closed = Instant::now();
    if let Some(life) = lock(view).lives.last_mut() {
        life.closed = Some((closed, last_word));
    }
    Visited::CameIn
}
