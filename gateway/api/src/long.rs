//! Streams that go on for as long as somebody watches: when they end.

use std::time::Duration;

use natsgate_core::Clock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::caller::Caller;
use crate::refusal;

/// The longest time that a timer is set for.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// When a stream ends: with this instance, or with the caller's credentials.
pub struct Ending {
    stop: CancellationToken,
    until: Option<Instant>,
}

impl Ending {
    /// The end of what `caller` watches, which comes with `stop` at the latest.
    pub fn of(caller: &Caller, clock: &dyn Clock, stop: CancellationToken) -> Self {
        let left = caller
            .until()
            .map(|until| until.duration_since(clock.now()).unwrap_or_default().min(LONGEST));
        Self {
            stop,
            until: left.and_then(|left| Instant::now().checked_add(left)),
        }
    }

    /// An error if it has come.
    pub fn check(&self) -> Result<(), Status> {
        if self.stop.is_cancelled() {
            return Err(ends());
        }
        match self.until {
            Some(until) if until <= Instant::now() => Err(expired()),
            _ => Ok(()),
        }
    }

    /// Waits until it comes.
    pub async fn reached(&self) -> Status {
        let expires = async {
            match self.until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => ends(),
            () = expires => expired(),
        }
    }
}

/// This instance stops.
pub fn ends() -> Status {
    refusal::refusal(
        Code::Unavailable,
        "STOPPING",
        "this instance stops: go on at another, from where you are",
    )
}

fn expired() -> Status {
    refusal::refusal(
        Code::Unauthenticated,
        "CALLER_NOT_AUTHENTICATED",
        "the access token has expired: call with a new one, and go on from where you are",
    )
}
