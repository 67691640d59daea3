//! The protocol as something stateright can check.

use stateright::{Model, Property};

use super::action::{self, Action};
use super::bounds::Bounds;
use super::flaw::Flaw;
use super::promises;
use super::state::State;
use super::step;

/// The protocol within bounds, as it is or with a flaw built in.
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    /// How large a world.
    pub bounds: Bounds,
    /// What is wrong with it.
    pub flaw: Option<Flaw>,
    /// Whether states forget what cannot matter to them any more ([`super::state::fold`]).
    pub forgets: bool,
}

impl Protocol {
    /// The protocol as it should be.
    pub fn right(bounds: Bounds) -> Self {
        Self {
            bounds,
            flaw: None,
            forgets: true,
        }
    }

    /// The protocol with `flaw` built in. Nothing is forgotten: it may be just what the flaw uses.
    pub fn with(flaw: Flaw, bounds: Bounds) -> Self {
        Self {
            bounds,
            flaw: Some(flaw),
            forgets: false,
        }
    }

    /// Whether `flaw` is built in.
    pub fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::at_rest(&self.bounds)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        action::conceivable(self, state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let next = step::step(self, last, action)?.folded(self).0;
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises::properties(self)
    }
}
