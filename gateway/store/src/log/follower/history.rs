//! When how much of the log was applied, so that a source that lags behind gets a stamp of then.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How many moments are kept. Beyond it every second one of the older half goes, which makes stamps of then older than
/// they need be, never newer.
const MOMENTS: usize = 4096;

/// Since when each sequence is applied, the oldest first.
#[derive(Debug)]
pub(super) struct History {
    moments: VecDeque<(Instant, u64)>,
}

impl History {
    /// The history that begins `now`, with everything up to `sequence` applied.
    pub(super) fn begin(now: Instant, sequence: u64) -> Self {
        Self {
            moments: VecDeque::from([(now, sequence)]),
        }
    }

    /// From `now` on, everything up to `sequence` is applied.
    pub(super) fn applied(&mut self, now: Instant, sequence: u64) {
        self.moments.push_back((now, sequence));
        if self.moments.len() > MOMENTS {
            let mut place = 0_usize;
            self.moments.retain(|_moment| {
                place = place.saturating_add(1);
                place == 1 || place > MOMENTS / 2 || place.is_multiple_of(2)
            });
        }
    }

    /// What was applied `lag` before `now`; `None` if that was before it began: whoever lags so far may lack what was
    /// in the log already then.
    pub(super) fn as_of(&self, now: Instant, lag: Duration) -> Option<u64> {
        let then = now.checked_sub(lag)?;
        let after = self
            .moments
            .partition_point(|(moment, _sequence)| *moment <= then);
        let (_moment, sequence) = self.moments.get(after.checked_sub(1)?)?;
        Some(*sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_was_applied_then_is_known_and_what_was_before_the_beginning_is_not() {
        let start = Instant::now() + SECOND * 1000;
        let mut history = History::begin(start, 10);
        history.applied(start + SECOND * 2, 12);
        let now = start + SECOND * 3;
        assert_eq!(history.as_of(now, Duration::ZERO), Some(12));
        assert_eq!(history.as_of(now, SECOND), Some(12));
        assert_eq!(history.as_of(now, SECOND + Duration::from_nanos(1)), Some(10));
        assert_eq!(history.as_of(now, SECOND * 3), Some(10));
        assert_eq!(history.as_of(now, SECOND * 3 + Duration::from_nanos(1)), None);
        assert_eq!(history.as_of(now, Duration::MAX), None);
    }

    #[test]
    fn a_long_history_is_thinned_and_never_says_more_than_was_applied() {
        let start = Instant::now();
        let mut history = History::begin(start, 0);
        for second in 1..=20_000_u32 {
            history.applied(start + SECOND * second, u64::from(second));
        }
        assert!(history.moments.len() <= MOMENTS);
        let now = start + SECOND * 20_000;
        for lag in 0..20_000_u32 {
            let known = history.as_of(now, SECOND * lag).unwrap();
            assert!(known <= u64::from(20_000 - lag), "{lag}: {known}");
        }
        assert_eq!(history.as_of(now, Duration::ZERO), Some(20_000));
        assert_eq!(history.as_of(now, SECOND * 100), Some(19_900));
    }
}
