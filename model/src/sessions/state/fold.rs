//! Folds states together that cannot be told apart by anything that is promised, now or later.
//!
//! The shims are alike, and so are the connections: they are put in order. And what can matter no more is forgotten; not with
//! a flaw built in, which may be just that such a thing is used.

use super::connection::{Connection, Owner, Place};
use super::pair::{Nth, Pair, Side as _};
use super::shim::{Known, Shim, Todo, Word};
use super::{Revision, State};
use crate::sessions::protocol::Protocol;
use crate::state::Who;

/// What was exchanged to put a state in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swaps {
    /// The shims.
    pub shims: bool,
    /// The connections.
    pub connections: bool,
}

impl State {
    /// The one state that stands for all that cannot be told from this one.
    #[must_use]
    pub fn folded(mut self, protocol: &Protocol) -> (Self, Swaps) {
        if protocol.forgets {
            self.forget();
        }
        let mut best = (self, Swaps::default());
        for connections in [false, true] {
            if connections && protocol.bounds.connections < 2 {
                continue;
            }
            for shims in [false, true] {
                if shims && protocol.bounds.shims < 2 {
                    continue;
                }
                let mut turned = self;
                if shims {
                    turned.swap_shims();
                }
                if connections {
                    turned.swap_connections();
                }
                if turned < best.0 {
                    best = (turned, Swaps { shims, connections });
                }
            }
        }
        best
    }

    fn swap_shims(&mut self) {
        self.shims.swap();
        self.formers.swap();
        for connection in self.connections.iter_mut() {
            connection.answers.swap();
            let grants = connection.answers.iter_mut().chain([&mut connection.grant]);
            for grant in grants.flatten() {
                grant.owner = match grant.owner {
                    Owner::Running(who) => Owner::Running(other(who)),
                    Owner::Former(who) => Owner::Former(other(who)),
                };
            }
        }
    }

    fn swap_connections(&mut self) {
        self.connections.swap();
        for shim in self.shims.iter_mut() {
            shim.known.swap();
            if let Some(connz) = &mut shim.connz {
                connz.listed.swap();
                connz.telling.swap();
            }
        }
    }

    fn forget(&mut self) {
        for nth in Nth::BOTH {
            self.forget_about(nth);
        }
        self.forget_crashes();
        let epoch = self.log.epoch;
        // What the epoch before held matters to those who still follow it, and to questions asked in it.
        if self.old.is_some() && !self.shims.iter().any(|shim| shim.up && of_before(shim, epoch)) {
            self.old = None;
        }
        for shim in self.shims.iter_mut() {
            // Working it in would change nothing, now or later.
            if let Some(connz) = &shim.connz
                && connz.listed == Pair::both(false)
                && connz.telling == Pair::both(false)
                && shim.reconciled
                && (shim.swept || !connz.after)
            {
                shim.connz = None;
            }
            // To have nothing left to do at the beginning covers no gap.
            if shim.word.done
                == (Revision {
                    epoch: 1,
                    sequence: 0,
                })
            {
                shim.word.done = Revision::default();
            }
        }
    }

    fn forget_about(&mut self, nth: Nth) {
        let connection = self.connections.of_mut(nth);
        match connection.place {
            Place::Closed => {
                // What a shim still has to do about it only keeps it from saying that it is done, which it need never say.
                *connection = Connection {
                    place: Place::Closed,
                    over: true,
                    counted: connection.counted,
                    taken: connection.taken,
                    early: connection.early,
                    ..Connection::default()
                };
                for shim in self.shims.iter_mut() {
                    *shim.known.of_mut(nth) = Known::Nothing;
                    if let Some(connz) = &mut shim.connz {
                        *connz.listed.of_mut(nth) = false;
                        *connz.telling.of_mut(nth) = false;
                    }
                }
            }
            Place::Live => {
                // Whether its callout's time is over matters to those who have not seen it live.
                let seen = |known: &Known| match known {
                    Known::Nothing => true,
                    Known::InFlight { .. } => false,
                    Known::Session(session) => session.seen,
                };
                if self.shims.iter().all(|shim| seen(shim.known.of(nth))) {
                    connection.over = true;
                }
            }
            Place::Unborn | Place::InCallout => {}
        }
    }

    fn forget_crashes(&mut self) {
        if !self.formers.iter().flatten().any(|former| former.present) {
            for shim in self.shims.iter_mut() {
                shim.swept = false;
                if let Some(connz) = &mut shim.connz {
                    connz.after = false;
                }
            }
        }
        // What a crashed shim had said matters to its sessions, and to those who wait for it; its presence only while there is one.
        for who in Who::BOTH {
            let has_sessions = self.connections.iter().any(|connection| {
                let grants = connection.answers.iter().chain([&connection.grant]);
                grants.flatten().any(|grant| grant.owner == Owner::Former(who))
            });
            if let Some(former) = self.formers.of_mut(who)
                && !former.present
            {
                former.word.done = Revision::default();
                if !has_sessions {
                    former.word = Word::default();
                }
            }
        }
    }
}

fn other(who: Who) -> Who {
    if who.is_second() { Who::First } else { Who::Second }
}

fn of_before(shim: &Shim, epoch: u8) -> bool {
    shim.applied.epoch != epoch
        || shim.known.iter().any(|known| match known {
            Known::Nothing => false,
            Known::InFlight { min, .. } => min.epoch != epoch,
            Known::Session(session) => {
                matches!(session.todo, Todo::Recheck { min } if min.epoch != epoch)
            }
        })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use stateright::{Expectation, Model};

    use super::*;
    use crate::sessions::bounds::Bounds;

    const BOUNDS: Bounds = Bounds {
        shims: 2,
        connections: 2,
        leaves: false,
        versions: 1,
        others: 1,
        rechecks: true,
        kicks: false,
        failovers: 1,
        trims: 1,
        crashes: 1,
        twice: true,
    };

    const KICKS: Bounds = Bounds {
        kicks: true,
        ..BOUNDS
    };

    /// Some thousand states, as a search without folding comes by them: not the nearest, but here and there.
    fn some_states(bounds: Bounds) -> Vec<State> {
        let unfolded = Protocol {
            forgets: false,
            ..Protocol::right(bounds)
        };
        let mut known: HashSet<State> = unfolded.init_states().into_iter().collect();
        let mut level: Vec<State> = known.iter().copied().collect();
        let mut all = level.clone();
        while !level.is_empty() && all.len() < 15_000 {
            let mut next: Vec<State> = Vec::new();
            for state in &level {
                next.extend(
                    unfolded
                        .next_states(state)
                        .into_iter()
                        .filter(|s| known.insert(*s)),
                );
            }
            // A part of each level, so that deep ones are among them too.
            let stride = (next.len() / 1_000).max(1);
            level = next.into_iter().step_by(stride).collect();
            all.extend(&level);
        }
        all
    }

    fn both() -> impl Iterator<Item = (Protocol, State)> {
        [BOUNDS, KICKS].into_iter().flat_map(|bounds| {
            let states = some_states(bounds).into_iter();
            states.map(move |state| (Protocol::right(bounds), state))
        })
    }

    #[test]
    fn a_folded_state_stands_for_itself_and_for_those_with_shims_or_connections_swapped() {
        for (protocol, state) in both() {
            let folded = state.folded(&protocol).0;
            assert_eq!(folded.folded(&protocol).0, folded);
            let mut swapped = state;
            swapped.swap_shims();
            assert_eq!(swapped.folded(&protocol).0, folded);
            swapped.swap_connections();
            assert_eq!(swapped.folded(&protocol).0, folded);
        }
    }

    #[test]
    fn folding_changes_nothing_that_is_promised() {
        for (protocol, state) in both() {
            let folded = state.folded(&protocol).0;
            for property in protocol.properties() {
                let holds = property.condition;
                let (before, after) = (holds(&protocol, &state), holds(&protocol, &folded));
                let same = match property.expectation {
                    Expectation::Always => before == after,
                    // What must be possible may be forgotten, but not made up.
                    _ => before || !after,
                };
                assert!(same, "{}", property.name);
            }
        }
    }
}
