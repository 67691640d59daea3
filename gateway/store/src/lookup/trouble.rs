//! Says that something does not work often enough to be heard, and not a thousand times a second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How far apart two reports are.
const APART: Duration = Duration::from_secs(10);

/// What went wrong of one kind.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    reported: Option<Instant>,
    unreported: u64,
}

impl Trouble {
    /// It happened again. How often since the last report, if a report is due.
    pub(super) fn again(&self) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.unreported = state.unreported.saturating_add(1);
        let due = state
            .reported
            .is_none_or(|at| now.saturating_duration_since(at) >= APART);
        due.then(|| {
            state.reported = Some(now);
            std::mem::take(&mut state.unreported)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_is_reported_at_once_and_the_others_together() {
        let trouble = Trouble::default();
        assert_eq!(trouble.again(), Some(1));
        assert_eq!(trouble.again(), None);
        assert_eq!(trouble.again(), None);
        tokio::time::advance(APART).await;
        assert_eq!(trouble.again(), Some(3));
        assert_eq!(trouble.again(), None);
    }
}
