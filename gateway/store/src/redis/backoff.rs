//! How long to wait between attempts: longer each time, and never the same as everybody else.

use std::time::Duration;

/// The wait after the first failure.
const FIRST: Duration = Duration::from_millis(50);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(2);

/// Doubling waits between 50 ms and 2 s, each shortened at random by up to a half, so that many instances that lost the
/// same Redis do not come back in step.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(FIRST)
    }

    /// Begins anew.
    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }

    /// How long to wait now.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = wait.saturating_mul(2).min(LONGEST);
        wait.mul_f64(rand::random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_two_seconds_and_begin_anew() {
        let mut backoff = Backoff::new();
        let mut longest = FIRST;
        for _ in 0..20 {
            let wait = backoff.next();
            assert!(wait >= longest / 2 && wait <= longest, "{wait:?} of {longest:?}");
            longest = (longest * 2).min(Duration::from_secs(2));
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
