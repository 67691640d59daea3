//! After a fetch that failed: how long not to ask again.

use std::time::Duration;

use moka::sync::Cache;
use tokio::time::Instant;

use super::key::Key;

/// The first pause; it doubles with every further failure.
const FIRST: Duration = Duration::from_millis(250);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);

/// How long after its pause a failure is remembered: until then whoever has a stale answer need not wait to see whether
/// the source is back.
const REMEMBERED: Duration = Duration::from_secs(10);

/// How many questions' failures are remembered. Beyond that some are asked again sooner.
const MOST: u64 = 10_000;

/// The failures of one source.
#[derive(Debug)]
pub(super) struct BackOff {
    failures: Cache<Key, Failures>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    in_a_row: u32,
    /// When the pause after the last one is over.
    until: Instant,
}

/// What the last fetches came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lately {
    /// Nothing failed.
    Well,
    /// The last one failed: do not ask before this pause is over.
    Pausing(Duration),
    /// The last one failed, and it is time to try again.
    Failing,
}

impl BackOff {
    pub(super) fn new() -> Self {
        let failures = Cache::builder()
            .max_capacity(MOST)
            .time_to_live(LONGEST + REMEMBERED)
            .build();
        Self { failures }
    }

    /// How it went for `key`.
    pub(super) fn lately(&self, key: &Key) -> Lately {
        let now = Instant::now();
        match self.failures.get(key) {
            Some(failures) if now < failures.until => {
                Lately::Pausing(failures.until.saturating_duration_since(now))
            }
            Some(failures) if now.saturating_duration_since(failures.until) < REMEMBERED => Lately::Failing,
            _ => Lately::Well,
        }
    }

    /// A fetch failed.
    pub(super) fn failed(&self, key: Key) {
        let before = match self.lately(&key) {
            Lately::Well => 0,
            Lately::Pausing(_) | Lately::Failing => {
                self.failures.get(&key).map_or(0, |failures| failures.in_a_row)
            }
        };
        let pause = FIRST.saturating_mul(2_u32.saturating_pow(before)).min(LONGEST);
        let now = Instant::now();
        let failures = Failures {
            in_a_row: before.saturating_add(1),
            until: now.checked_add(pause).unwrap_or(now),
        };
        self.failures.insert(key, failures);
    }

    /// A fetch got an answer.
    pub(super) fn answered(&self, key: &Key) {
        self.failures.invalidate(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_pause_doubles_up_to_five_seconds_and_an_answer_ends_it() {
        let back_off = BackOff::new();
        let key = Key([1; 32]);
        assert_eq!(back_off.lately(&key), Lately::Well);
        for pause in [250, 500, 1000, 2000, 4000, 5000, 5000] {
            let pause = Duration::from_millis(pause);
            back_off.failed(key);
            assert_eq!(back_off.lately(&key), Lately::Pausing(pause));
            assert_eq!(back_off.lately(&Key([2; 32])), Lately::Well);
            tokio::time::advance(pause).await;
            assert_eq!(back_off.lately(&key), Lately::Failing);
        }
        back_off.answered(&key);
        assert_eq!(back_off.lately(&key), Lately::Well);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_of_long_ago_is_forgotten() {
        let back_off = BackOff::new();
        let key = Key([1; 32]);
        back_off.failed(key);
        back_off.failed(key);
        tokio::time::advance(Duration::from_millis(500) + REMEMBERED).await;
        assert_eq!(back_off.lately(&key), Lately::Well);
        back_off.failed(key);
        assert_eq!(back_off.lately(&key), Lately::Pausing(FIRST));
    }
}
