//! A clock that stands still until a test moves it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use natsgate_core::{Clock, SystemClock};

/// A [`Clock`] that tells the time it was given. Clones share the time.
#[derive(Debug, Clone)]
pub struct MockClock {
    now: Arc<Mutex<SystemTime>>,
}

impl MockClock {
    /// A clock that stands at `now`.
    pub fn at(now: SystemTime) -> Self {
        Self {
            now: Arc::new(Mutex::new(now)),
        }
    }

    /// A clock that stands at the machine's present time, cut to whole seconds: what real servers and tokens made a
    /// moment ago agree with.
    pub fn from_now() -> Self {
        let seconds = SystemClock.unix_seconds();
        Self::at(natsgate_core::clock::from_unix_seconds(seconds).unwrap_or(SystemTime::UNIX_EPOCH))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.lock();
        *now = now.checked_add(by).unwrap_or(*now);
    }

    /// Sets the clock, backwards too.
    pub fn set(&self, to: SystemTime) {
        *self.lock() = to;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, SystemTime> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for MockClock {
    fn now(&self) -> SystemTime {
        *self.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_still_until_moved_and_clones_move_together() {
        let clock = MockClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(100));
        let other = clock.clone();
        assert_eq!(clock.unix_seconds(), 100);
        other.advance(Duration::from_secs(20));
        assert_eq!(clock.unix_seconds(), 120);
        clock.set(SystemTime::UNIX_EPOCH);
        assert_eq!(other.unix_seconds(), 0);
    }
}
