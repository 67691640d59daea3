//! What happens in one run, and when: drawn from a seed, the same for the same seed.

mod draw;

use std::fmt;
use std::time::Duration;

/// How many people a schedule has.
pub const PEOPLE: usize = 10;

/// How many projects, known from the backend.
pub const PROJECTS: usize = 4;

/// How many rooms, pushed.
pub const ROOMS: usize = 3;

/// Everything that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// What it was drawn from.
    pub seed: u64,
    /// Who belongs to what at the beginning, person by person.
    pub belong: Vec<Vec<Place>>,
    /// How many clients each person has at the beginning.
    pub clients: Vec<usize>,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// What is still out of order when it is looked who holds what: the rest does all the work.
    pub left: Option<Left>,
}

/// Something that somebody may belong to, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A project.
    Project(usize),
    /// A room.
    Room(usize),
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When, from the beginning.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What may happen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "numbers of people, places and parts; the variants say what of them"
)]
pub enum What {
    /// A person has one more client, at this server first. With `fresh` it comes with a new token each time.
    Join {
        person: usize,
        server: usize,
        fresh: bool,
    },
    /// A person's oldest client goes.
    Leave { person: usize },
    /// The API is called, at this decision service first.
    Call { at: usize, call: Call },
    /// A part fails.
    Fail { part: Part, how: How },
    /// It works again.
    Mend { part: Part },
    /// Redis closes all connections that are subscribed to something: what was published meanwhile is lost.
    DropSubscribers,
    /// Redis closes all connections.
    DropConnections,
}

/// What is called for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "numbers of people, places and parts; the variants say what of them"
)]
pub enum Call {
    /// A person does not belong to this any more; said by membership.
    Take { person: usize, place: Place },
    /// The same, said by principal.
    TakeSayingWho { person: usize, project: usize },
    /// A person belongs to this from now on.
    Give { person: usize, place: Place },
    /// Nobody belongs to this any more.
    Empty { project: usize },
    /// A role is revoked of which nobody loses anything.
    Role,
    /// A person's tokens issued until now are banned.
    BanTokens { person: usize },
    /// A person is banned.
    Ban { person: usize },
    /// No longer.
    Lift { person: usize },
    /// The token of a person's newest client is revoked, at the provider and here.
    Token { person: usize },
    /// A person's newest connection is closed.
    Session { person: usize },
    /// All sessions of the account are closed.
    Account,
}

/// A part that may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// A shim.
    Shim(usize),
    /// A decision service.
    Decision(usize),
    /// Redis.
    Redis,
    /// A nats-server.
    Nats(usize),
}

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// SIGKILL; it is started again.
    Killed,
    /// SIGKILL, and it has nothing of what it knew when it is started again. Redis only.
    KilledAndEmptied,
    /// FLUSHALL: it goes on, without its data. Redis only.
    Emptied,
    /// SIGSTOP, and SIGCONT.
    Frozen,
    /// SIGTERM; it is started again.
    Stopped,
}

/// What is not mended before it is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// The part: a shim or a decision service.
    pub part: Part,
    /// How it fails.
    pub how: How,
}

impl Schedule {
    /// Whether the revocation log is lost in it: what it said of connections, and not of people, is then no longer known.
    pub fn loses_the_log(&self) -> bool {
        self.steps.iter().any(|step| {
            matches!(
                step.what,
                What::Fail {
                    how: How::Emptied | How::KilledAndEmptied,
                    ..
                }
            )
        })
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        for (person, places) in self.belong.iter().enumerate() {
            writeln!(
                f,
                "  person {person}: {places:?}, {} clients",
                self.clients[person]
            )?;
        }
        for step in &self.steps {
            writeln!(f, "  {:>5} ms  {:?}", step.at.as_millis(), step.what)?;
        }
        match self.left {
            Some(left) => writeln!(f, "  still {:?} when it is looked: {:?}", left.how, left.part),
            None => writeln!(f, "  all is mended when it is looked"),
        }
    }
}
