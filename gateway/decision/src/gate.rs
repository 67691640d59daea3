//! The head of every call: who makes it, by when it is to be answered, and whether there is a place for it.

use std::sync::Arc;
use std::time::Duration;

use natsgate_core::Deadline;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Request, Status};
use tracing::warn;

use crate::caller::{Caller, CallerAuthenticator, Scope};
use crate::refusal;
use crate::service::grpc_timeout;

/// Lets calls in, so many at once.
#[derive(Clone)]
pub(crate) struct Gate {
    callers: Arc<CallerAuthenticator>,
    /// What the calls are about, for the log.
    about: &'static str,
    places: Arc<Semaphore>,
    max_in_flight: usize,
    max_call_time: Duration,
}

/// A call that may go on.
pub(crate) struct Admitted {
    pub(crate) caller: Caller,
    /// By when its work must be done.
    pub(crate) deadline: Deadline,
    /// Until when the caller waits at most, if it says so.
    pub(crate) waits_until: Option<Deadline>,
    /// Taken as long as this lives.
    pub(crate) place: OwnedSemaphorePermit,
}

impl Gate {
    /// A gate for calls `about` something: `max_in_flight` at once, each of which may take `max_call_time` at most.
    pub(crate) fn new(
        callers: Arc<CallerAuthenticator>,
        about: &'static str,
        max_in_flight: usize,
        max_call_time: Duration,
    ) -> Self {
        let places = Arc::new(Semaphore::new(max_in_flight.min(Semaphore::MAX_PERMITS)));
        Self {
            callers,
            about,
            places,
            max_in_flight,
            max_call_time,
        }
    }

    /// Finds out who calls, and takes a place.
    pub(crate) async fn admit<T>(&self, scope: Scope, request: &Request<T>) -> Result<Admitted, Status> {
        let waits_until = grpc_timeout(request.metadata()).map(Deadline::after);
        let most = Deadline::after(self.max_call_time);
        let deadline = waits_until.map_or(most, |waits| waits.min(most));
        let (extensions, metadata) = (request.extensions(), request.metadata());
        let caller = self
            .callers
            .authorize(scope, extensions, metadata, deadline)
            .await?;
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            warn!(
                max_in_flight = self.max_in_flight,
                "overloaded: a call about {} was sent away", self.about
            );
            refusal::refusal(
                Code::ResourceExhausted,
                "OVERLOADED",
                "more calls at once than this instance takes: call again after a while",
            )
        })?;
        Ok(Admitted {
            caller,
            deadline,
            waits_until,
            place,
        })
    }
}
