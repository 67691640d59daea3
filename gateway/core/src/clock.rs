//! Wall-clock time as a port: what decides on `exp`, `nbf` and cache ages is passed in, so that tests can move it.
//!
//! Waiting is not here: time-outs and sleeps use `tokio::time`, which tests can pause by themselves.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the wall-clock time.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> SystemTime;

    /// Whole seconds since the Unix epoch (a JWT's `NumericDate`, RFC 7519 section 2, without its fraction).
    fn unix_seconds(&self) -> i64 {
        unix_seconds(self.now())
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that reads the machine's clock"
    )]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// `time` as whole seconds since the Unix epoch, rounded down; times before the epoch are 0.
pub fn unix_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The time `seconds` after the Unix epoch; `None` for negative values and for those the clock cannot hold.
pub fn from_unix_seconds(seconds: i64) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// `time` without what is smaller than a microsecond, since not every store keeps more; times before the epoch become it.
pub fn whole_micros(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    UNIX_EPOCH
        .checked_add(Duration::from_micros(micros))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_round_down_and_come_back() {
        let time = UNIX_EPOCH + Duration::from_millis(12_999);
        assert_eq!(unix_seconds(time), 12);
        assert_eq!(from_unix_seconds(12), Some(UNIX_EPOCH + Duration::from_secs(12)));
        assert_eq!(from_unix_seconds(-1), None);
    }
}
