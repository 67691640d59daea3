//! How old an entry may be, by the wall clock alone. Whether something was revoked since is not asked here.

use std::time::{Duration, SystemTime};

use natsgate_core::{CacheTimes, Fact};

use super::entry::Entry;

/// How far another instance's clock may be ahead. An entry from further in the future has no age that could be known.
const CLOCK_SKEW: Duration = Duration::from_secs(2);

/// What an entry's age allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// To be used.
    Fresh,
    /// To be used, and fetched again in the background.
    Due,
    /// To be used only while its source cannot be asked.
    Stale,
    /// Not to be used.
    Over,
}

/// The times of one source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    times: CacheTimes,
    /// At what age an entry that is used is fetched again ahead of time.
    due: Option<Duration>,
}

impl Times {
    /// `times`, and whether to fetch again before they are over.
    pub(super) fn new(times: CacheTimes, refresh_ahead: bool) -> Self {
        let due = refresh_ahead.then(|| times.fresh.saturating_sub(times.fresh / 4));
        Self { times, due }
    }

    /// What may be done with `entry` at `now`.
    pub(super) fn standing<F: Fact>(&self, entry: &Entry<F>, now: SystemTime) -> Standing {
        let Some(age) = age(entry.fetched_at, now) else {
            return Standing::Over;
        };
        if entry.expires_at().is_some_and(|end| end <= now) {
            return Standing::Over;
        }
        if entry.is_negative() {
            return if age < self.times.negative {
                Standing::Fresh
            } else {
                Standing::Over
            };
        }
        if age < self.times.fresh {
            return if self.due.is_some_and(|due| age >= due) {
                Standing::Due
            } else {
                Standing::Fresh
            };
        }
        if age < self.kept() {
            Standing::Stale
        } else {
            Standing::Over
        }
    }

    /// For how long from `now` on `entry` can be of any use.
    pub(super) fn left<F: Fact>(&self, entry: &Entry<F>, now: SystemTime) -> Duration {
        let Some(age) = age(entry.fetched_at, now) else {
            return Duration::ZERO;
        };
        let whole = if entry.is_negative() {
            self.times.negative
        } else {
            self.kept()
        };
        let left = whole.saturating_sub(age);
        match entry.expires_at() {
            None => left,
            Some(end) => left.min(end.duration_since(now).unwrap_or_default()),
        }
    }

    fn kept(&self) -> Duration {
        self.times.fresh.saturating_add(self.times.stale_if_error)
    }
}

/// The time since `then`; none at all for what lies ahead by no more than clocks differ. `None` beyond.
fn age(then: SystemTime, now: SystemTime) -> Option<Duration> {
    match now.duration_since(then) {
        Ok(age) => Some(age),
        Err(ahead) => (ahead.duration() <= CLOCK_SKEW).then_some(Duration::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use natsgate_core::{Concern, Denial, DenialReason, Epoch, Revision};
    use serde::{Deserialize, Serialize};

    use super::super::entry::Said;
    use super::*;

    #[derive(Clone, Serialize, Deserialize)]
    struct Text {
        nothing: bool,
        expires_at: Option<SystemTime>,
    }

    impl Fact for Text {
        const KIND: &'static str = "text.1";

        fn concerns(&self) -> Vec<Concern> {
            Vec::new()
        }

        fn is_negative(&self) -> bool {
            self.nothing
        }

        fn expires_at(&self) -> Option<SystemTime> {
            self.expires_at
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn start() -> SystemTime {
        UNIX_EPOCH + SECOND * 1_000_000
    }

    fn entry(said: Said<Text>) -> Entry<Text> {
        let stamp = Revision::new(Epoch::from_bytes([1; 16]), 1);
        Entry::new(said, stamp, start(), Vec::new())
    }

    fn times(refresh_ahead: bool) -> Times {
        let times = CacheTimes {
            fresh: SECOND * 40,
            stale_if_error: SECOND * 60,
            negative: SECOND * 5,
        };
        Times::new(times, refresh_ahead)
    }

    fn fact(nothing: bool, ends_after: Option<u32>) -> Said<Text> {
        let expires_at = ends_after.map(|seconds| start() + SECOND * seconds);
        Said::Fact(Text { nothing, expires_at })
    }

    fn at(entry: &Entry<Text>, nanos_before: u32, seconds: u32) -> Standing {
        times(true).standing(
            entry,
            start() + SECOND * seconds - Duration::from_nanos(nanos_before.into()),
        )
    }

    #[test]
    fn each_time_ends_to_the_nanosecond() {
        let entry = entry(fact(false, None));
        assert_eq!(at(&entry, 1, 30), Standing::Fresh);
        assert_eq!(at(&entry, 0, 30), Standing::Due);
        assert_eq!(at(&entry, 1, 40), Standing::Due);
        assert_eq!(at(&entry, 0, 40), Standing::Stale);
        assert_eq!(at(&entry, 1, 100), Standing::Stale);
        assert_eq!(at(&entry, 0, 100), Standing::Over);
        assert_eq!(
            times(false).standing(&entry, start() + SECOND * 39),
            Standing::Fresh
        );
    }

    #[test]
    fn no_and_nothing_have_their_own_time_and_are_never_stale() {
        let denial = Denial::new(DenialReason::InactiveToken, "inactive");
        for said in [fact(true, None), Said::Denied(denial)] {
            let entry = entry(said);
            assert_eq!(at(&entry, 1, 5), Standing::Fresh);
            assert_eq!(at(&entry, 0, 5), Standing::Over);
            assert_eq!(times(true).left(&entry, start() + SECOND), SECOND * 4);
        }
    }

    #[test]
    fn nothing_outlives_its_own_expiry() {
        let entry = entry(fact(false, Some(20)));
        assert_eq!(at(&entry, 1, 20), Standing::Fresh);
        assert_eq!(at(&entry, 0, 20), Standing::Over);
        assert_eq!(times(true).left(&entry, start()), SECOND * 20);
        assert_eq!(times(true).left(&entry, start() + SECOND * 30), Duration::ZERO);
    }

    #[test]
    fn what_lies_in_the_future_counts_only_within_the_skew_of_clocks() {
        let entry = entry(fact(false, None));
        let now = start() - CLOCK_SKEW;
        assert_eq!(times(true).standing(&entry, now), Standing::Fresh);
        assert_eq!(times(true).left(&entry, now), SECOND * 100);
        let now = now - Duration::from_nanos(1);
        assert_eq!(times(true).standing(&entry, now), Standing::Over);
        assert_eq!(times(true).left(&entry, now), Duration::ZERO);
    }
}
