//! The head of every call: who makes it, by when it is to be answered, and whether there is a place for it.

use std::sync::Arc;
use std::time::Duration;

use natsgate_core::Deadline;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};
use tracing::warn;

use crate::caller::{Caller, CallerAuthenticator, Scope};
use crate::refusal;

/// Lets calls in, so many at once.
#[derive(Clone)]
pub struct Gate {
    callers: Arc<CallerAuthenticator>,
    /// What the calls are about, for the log.
    about: &'static str,
    places: Arc<Semaphore>,
    max_in_flight: usize,
    max_call_time: Duration,
}

/// A call that may go on.
pub struct Admitted {
    /// Who calls.
    pub caller: Caller,
    /// By when its work must be done.
    pub deadline: Deadline,
    /// Until when the caller waits at most, if it says so.
    pub waits_until: Option<Deadline>,
    /// Taken as long as this lives.
    pub place: OwnedSemaphorePermit,
}

impl Gate {
    /// A gate for calls `about` something: `max_in_flight` at once, each of which may take `max_call_time` at most.
    pub fn new(
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
    pub async fn admit<T>(&self, scope: Scope, request: &Request<T>) -> Result<Admitted, Status> {
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

/// The caller's `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP/2, "Requests"). tonic enforces it but
/// does not tell it; the lookups need it.
pub fn grpc_timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_timeout_is_read() {
        let timeout = |text: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            grpc_timeout(&metadata)
        };
        assert_eq!(timeout("1500m"), Some(Duration::from_millis(1500)));
        assert_eq!(timeout("2S"), Some(Duration::from_secs(2)));
        assert_eq!(timeout("99999999u"), Some(Duration::from_micros(99_999_999)));
        for bad in ["", "m", "1", "-1S", "123456789S", "1 S", "1.5S", "1X"] {
            assert_eq!(timeout(bad), None, "{bad:?}");
        }
        assert_eq!(grpc_timeout(&MetadataMap::new()), None);
    }
}
