//! Folds states together that cannot be told apart by anything that is promised, now or later.
//!
//! The two instances are alike, so they are put in order. And what can never be served, never confirm anything and never make
//! a promise stricter is forgotten; not with a flaw built in, which may be just that such a thing is used.

use super::State;
use super::instance::Instance;
use super::log::Lineage;
use crate::protocol::Protocol;
use crate::state::Revision;

impl State {
    /// The one state that stands for all that cannot be told from this one.
    #[must_use]
    pub fn folded(mut self, protocol: &Protocol) -> Self {
        if protocol.forgets {
            self.forget(protocol);
        }
        self.instances.sort_unstable();
        self
    }

    fn forget(&mut self, protocol: &Protocol) {
        let overdue = self.overdue;
        if !protocol.bounds.tokens {
            self.primary.before = None;
        }
        // Only the primary's present epoch is vouched for, and only once.
        let vouched_for = self.primary.before.map(|_before| self.primary.epoch);
        for instance in &mut self.instances {
            forget_of(instance, protocol, overdue);
            if vouched_for != Some(instance.follower.applied.epoch) {
                instance.follower.former = None;
            }
        }
        if self.restores == 0 {
            self.snapshot = None;
        }
        if self.failovers + self.restores == 0 {
            self.replica = None;
        }
        if let Some(old) = self.old
            && !self.followed(old.epoch)
        {
            self.old = None;
        }
        if let Some(fact) = self.shared
            && !self.followed(fact.stamp.epoch)
            && (self.primary.epoch != fact.stamp.epoch || self.primary.lineage != Lineage::Bound)
        {
            self.shared = None;
        }
        if !protocol.bounds.tokens {
            self.primary.complete = false;
        }
    }

    /// Whether an instance follows `epoch`, or is about to. No epoch comes back once it is over.
    fn followed(&self, epoch: u8) -> bool {
        self.instances.iter().any(|instance| {
            let follower = &instance.follower;
            follower.applied.epoch == epoch
                || follower
                    .tick
                    .is_some_and(|tick| tick.head.revision.epoch == epoch)
        })
    }
}

fn forget_of(instance: &mut Instance, protocol: &Protocol, overdue: u8) {
    let follower = &mut instance.follower;
    let applied = follower.applied;
    let least = follower.retained.newest_version().max(overdue);
    if follower.told <= least {
        follower.told = 0;
    }
    if let Some(tick) = &mut follower.tick {
        if tick.aged || tick.told <= least.max(follower.told) {
            tick.told = 0;
        }
        let brings_nothing = tick.head.revision.epoch == applied.epoch
            && tick.head.revision.sequence <= applied.sequence
            && (tick.aged || (follower.confirmed && tick.told == 0));
        if brings_nothing {
            follower.tick = None;
        }
    }
    if !protocol.bounds.tokens {
        follower.complete = false;
    }
    if !protocol.bounds.lag {
        follower.lagged = Revision::default();
    }
    let follower = &instance.follower;
    let over = |stamp: Revision| stamp.epoch != applied.epoch || follower.behind(stamp);
    if instance.in_process.is_some_and(|fact| over(fact.stamp)) {
        instance.in_process = None;
    }
    if instance.fetch.is_some_and(|fetch| fetch.stamp.is_some_and(over)) {
        instance.fetch = None;
    }
    if let Some(fetch) = &mut instance.fetch
        && fetch.due <= fetch.version
    {
        fetch.due = 0;
    }
    if over(follower.lagged) {
        instance.follower.lagged = Revision::default();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use stateright::Model;

    use super::*;
    use crate::bounds::Bounds;

    /// Some thousand states, as a search without folding comes by them.
    fn some_states(bounds: Bounds) -> Vec<State> {
        let unfolded = Protocol {
            forgets: false,
            ..Protocol::right(bounds)
        };
        let mut known: HashSet<State> = unfolded.init_states().into_iter().collect();
        let mut all: Vec<State> = known.iter().copied().collect();
        let mut at = 0;
        while let Some(state) = all.get(at).copied()
            && all.len() < 50_000
        {
            at += 1;
            for next in unfolded.next_states(&state) {
                if known.insert(next) {
                    all.push(next);
                }
            }
        }
        all
    }

    #[test]
    fn a_folded_state_stands_for_itself_and_for_the_one_with_the_instances_swapped() {
        let bounds = Bounds {
            versions: 1,
            failovers: 1,
            silences: true,
            tokens: true,
            ..Bounds::default()
        };
        let protocol = Protocol::right(bounds);
        for state in some_states(bounds) {
            let folded = state.folded(&protocol);
            assert_eq!(folded.folded(&protocol), folded);
            let mut swapped = state;
            swapped.instances.reverse();
            assert_eq!(swapped.folded(&protocol), folded);
        }
    }

    #[test]
    fn folding_changes_nothing_that_is_promised() {
        let bounds = Bounds {
            versions: 1,
            failovers: 1,
            silences: true,
            tokens: true,
            ..Bounds::default()
        };
        let protocol = Protocol::right(bounds);
        let properties = protocol.properties();
        for state in some_states(bounds) {
            let folded = state.folded(&protocol);
            for property in &properties {
                let holds = property.condition;
                assert_eq!(
                    holds(&protocol, &state),
                    holds(&protocol, &folded),
                    "{}",
                    property.name
                );
            }
        }
    }
}
