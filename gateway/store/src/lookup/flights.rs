//! The fetches that are running, one a question, and what they come to.
//!
//! A table, and no more: who may join a fetch is decided in `cached`, what a fetch does in `flying`. The lock is held for
//! moments and never across an await. Whatever a fetch keeps in memory it puts there under this lock, in one step with
//! leaving the table; so who holds the lock and finds neither entry nor fetch knows that there is none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use natsgate_core::{Revision, Unavailable};
use tokio::sync::watch;
use tokio::time::Instant;

use super::entry::Entry;
use super::key::Key;

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tier {
    /// The shared cache.
    Shared,
    /// The source itself.
    Source,
}

/// What a fetch came to.
#[derive(Debug)]
pub(super) enum Landed<F> {
    /// An answer.
    Answer(Arc<Entry<F>>, Tier),
    /// None; and the old one of the shared cache, if it had one.
    Failed(Unavailable, Option<Arc<Entry<F>>>),
}

impl<F> Clone for Landed<F> {
    fn clone(&self) -> Self {
        match self {
            Self::Answer(entry, tier) => Self::Answer(Arc::clone(entry), *tier),
            Self::Failed(error, old) => Self::Failed(error.clone(), old.clone()),
        }
    }
}

/// Where a fetch's end is seen. Closed without a value if the fetch was cut off.
pub(super) type Landing<F> = watch::Receiver<Option<Landed<F>>>;

/// A fetch that is running.
#[derive(Debug)]
pub(super) struct Flight<F> {
    /// Tells it from a later one of the same question.
    pub(super) number: u64,
    /// The revision that was applied before it began, less the source's lag where that could be told.
    pub(super) stamp: Revision,
    /// Whether that position was confirmed.
    pub(super) confirmed: bool,
    pub(super) began: Instant,
    pub(super) landing: Landing<F>,
}

/// The newest running fetch of each question.
#[derive(Debug)]
pub(super) struct Running<F> {
    newest: HashMap<Key, Flight<F>>,
    begun: u64,
}

impl<F> Running<F> {
    pub(super) fn get(&self, key: &Key) -> Option<&Flight<F>> {
        self.newest.get(key)
    }

    /// The number of the next fetch.
    pub(super) fn next(&mut self) -> u64 {
        self.begun = self.begun.wrapping_add(1);
        self.begun
    }

    /// `flight` is now the one that others may join. An older one goes on for those who wait for it.
    pub(super) fn begin(&mut self, key: Key, flight: Flight<F>) {
        self.newest.insert(key, flight);
    }

    /// The fetch of this `number` is over.
    pub(super) fn end(&mut self, key: &Key, number: u64) {
        if self.newest.get(key).is_some_and(|flight| flight.number == number) {
            self.newest.remove(key);
        }
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Flights<F>(Mutex<Running<F>>);

impl<F> Flights<F> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Running {
            newest: HashMap::new(),
            begun: 0,
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Running<F>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
