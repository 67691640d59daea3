//! Time. There is no clock: what counts is only whether something was longer ago than a bound, so there is one step for each bound that
//! makes everything until now longer ago than that.

use crate::flaw::Flaw;
use crate::protocol::Protocol;
use crate::state::State;
use crate::state::instance::Instance;

/// `max_lag` passes. No tick that began before confirms anything any more.
pub(super) fn max_lag(protocol: &Protocol, state: &mut State) {
    state.overdue = state.writer.returned.min(state.lagged_truth);
    for instance in &mut state.instances {
        if !protocol.has(Flaw::ConfirmedForEver) {
            instance.follower.confirmed = false;
        }
        if let Some(tick) = &mut instance.follower.tick {
            tick.aged = true;
        }
        if let Some(fetch) = &mut instance.fetch {
            fetch.young = false;
        }
    }
}

/// As long passes as the source lags behind at most: it says now what was true a moment ago.
pub(super) fn source_lag(state: &mut State) {
    state.lagged_truth = state.truth;
    for instance in &mut state.instances {
        instance.follower.lagged = instance.follower.applied;
    }
}

/// One instance's last tick began too long ago, while others ticked.
pub(super) fn degrade(protocol: &Protocol, instance: &mut Instance) -> Option<()> {
    if !instance.follower.confirmed || protocol.has(Flaw::ConfirmedForEver) {
        return None;
    }
    instance.follower.confirmed = false;
    Some(())
}
