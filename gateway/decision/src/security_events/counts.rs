//! What came to an endpoint, counted: for metrics, and for tests.

use std::sync::atomic::{AtomicU64, Ordering};

use super::refusal::Refusal;

/// Counts of one endpoint since the start of the process.
#[derive(Debug)]
pub struct Counts {
    channel: String,
    accepted: AtomicU64,
    ignored: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
}

impl Counts {
    pub(super) fn new(channel: impl Into<String>) -> Self {
        Self {
            channel: channel.into(),
            accepted: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
            refused: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// The endpoint: `backchannel-logout`, `webhook:NAME` or `unknown`.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// Calls that revoked something.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Calls that were good, and mean nothing as configured.
    pub fn ignored(&self) -> u64 {
        self.ignored.load(Ordering::Relaxed)
    }

    /// Calls that were carried out before: the same as those refused for [`Refusal::Replayed`].
    pub fn replayed(&self) -> u64 {
        self.refused(Refusal::Replayed)
    }

    /// Calls refused for this reason.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.place(refusal)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Calls refused for any reason.
    pub fn all_refused(&self) -> u64 {
        self.refused
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .fold(0, u64::saturating_add)
    }

    fn place(&self, refusal: Refusal) -> Option<&AtomicU64> {
        let place = Refusal::ALL.iter().position(|one| *one == refusal)?;
        self.refused.get(place)
    }

    pub(super) fn accept(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ignore(&self) {
        self.ignored.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one more for this reason; how many there are with it.
    pub(super) fn refuse(&self, refusal: Refusal) -> u64 {
        self.place(refusal)
            .map_or(0, |count| count.fetch_add(1, Ordering::Relaxed).saturating_add(1))
    }
}
