//! A channel within the process that tells its listeners when they may have missed something, by ending.

use std::sync::{Mutex, PoisonError};

use tokio::sync::broadcast;

/// Tells everybody who listens. Begun anew, it ends for those who listened so far: they read what is left, and then know
/// that something may be missing between that and what they hear when they listen again.
#[derive(Debug)]
pub(crate) struct Channel<T> {
    capacity: usize,
    sender: Mutex<broadcast::Sender<T>>,
}

impl<T: Clone> Channel<T> {
    /// One of which a listener may be `capacity` behind, 1 at least.
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            capacity,
            sender: Mutex::new(broadcast::Sender::new(capacity)),
        }
    }

    fn with<R>(&self, work: impl FnOnce(&mut broadcast::Sender<T>) -> R) -> R {
        work(&mut self.sender.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Listens from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<T> {
        self.with(|sender| sender.subscribe())
    }

    /// Tells all who listen, should there be any.
    pub(crate) fn tell(&self, what: T) {
        self.with(|sender| {
            let _nobody_listens = sender.send(what);
        });
    }

    /// Ends for all who listen.
    pub(crate) fn begin_anew(&self) {
        self.with(|sender| *sender = broadcast::Sender::new(self.capacity));
    }
}
