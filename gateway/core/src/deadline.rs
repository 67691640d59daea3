//! The moment after which an answer is of no use to anybody.
//!
//! Every lookup made for one authorization request carries the same [`Deadline`], down to the HTTP call to a provider.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// A point in (monotonic) time by which something must have been answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

/// The deadline passed before the work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request's deadline passed")]
pub struct DeadlinePassed;

impl Deadline {
    /// The deadline `timeout` from now.
    pub fn after(timeout: Duration) -> Self {
        let now = Instant::now();
        Self(now.checked_add(timeout).unwrap_or(now))
    }

    /// The deadline at `instant`.
    pub fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// The moment itself.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// Time left; zero once it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// The earlier of this deadline and the one `timeout` from now.
    pub fn or_sooner(self, timeout: Duration) -> Self {
        self.min(Self::after(timeout))
    }

    /// Runs `work` until the deadline.
    ///
    /// # Errors
    /// [`DeadlinePassed`] when `work` was not done in time; it is dropped then.
    pub async fn bound<F: Future>(self, work: F) -> Result<F::Output, DeadlinePassed> {
        tokio::time::timeout_at(self.0, work)
            .await
            .map_err(|_| DeadlinePassed)
    }
}
