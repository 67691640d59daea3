//! Hears what is published of sessions, opens it, and passes it on.

use std::sync::Arc;

use natsgate_core::SessionEvent;
use tokio::sync::broadcast;
use tokio_util::task::AbortOnDropHandle;

use super::form::Form;
use crate::board::EVENTS_BEHIND;
use crate::redis::RedisConnection;
use crate::redis::channel::Channel;

/// The task that listens, and whom it tells. Ends when dropped.
pub(super) struct Listening {
    events: Arc<Channel<SessionEvent>>,
    _task: AbortOnDropHandle<()>,
}

impl Listening {
    /// Begins to listen. Must be called within a tokio runtime.
    pub(super) fn begin(connection: RedisConnection, form: Arc<Form>) -> Self {
        let events = Arc::new(Channel::new(EVENTS_BEHIND));
        let task = tokio::spawn(pass_on(connection, form, events.clone()));
        Self {
            events,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// What happens from now on; ends when something may have been missed.
    pub(super) fn listen(&self) -> broadcast::Receiver<SessionEvent> {
        self.events.listen()
    }
}

async fn pass_on(connection: RedisConnection, form: Arc<Form>, events: Arc<Channel<SessionEvent>>) {
    let mut messages = connection.messages(&form.events);
    loop {
        match messages.recv().await {
            // What does not open was not told by a shim.
            Ok(message) => {
                if let Some(event) = form.open_event(&message) {
                    events.tell(event);
                }
            }
            Err(_missed) => {
                // First listened again, then told: who listens from then on misses nothing that comes after.
                messages = connection.messages(&form.events);
                events.begin_anew();
            }
        }
    }
}
