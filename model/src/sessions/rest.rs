//! What a shim comes to by itself if from now on nothing fails: log, decision service and server answer, and nobody else does anything
//! (but put a lost kick back).

use super::action::{Action, Answer};
use super::flaw::Flaw;
use super::protocol::Protocol;
use super::state::shim::{Known, Todo};
use super::state::{Nth, State, Who};
use super::step;

/// How many steps a shim may need until nothing is left to do for it.
pub const STEPS: usize = 40;

/// The state in which nothing is left to do for `who`, who does everything alone; `None` if that takes more than [`STEPS`] steps. One that is
/// down comes back first.
pub fn alone(protocol: &Protocol, from: &State, who: Who) -> Option<State> {
    let mut state = *from;
    state.shims.of_mut(who).connz = None;
    for _ in 0..STEPS {
        if let Some(next) = next(protocol, &state, who) {
            state = next;
        } else {
            return (!state.shims.of(who).pending()).then_some(state);
        }
    }
    None
}

fn next(protocol: &Protocol, state: &State, who: Who) -> Option<State> {
    let changed = |action| step::step(protocol, state, action).filter(|next| next != state);
    if !state.shims.of(who).up {
        return changed(Action::Restart(who));
    }
    let mut own = vec![Action::Follow(who)];
    if protocol.has(Flaw::LookedUpBeforeApplied) {
        own.push(Action::LookUp(who));
    }
    own.push(Action::Read(who));
    let head = state.log.head();
    let answer = Answer {
        as_of: head,
        version: state.log.oldest_version(head.sequence),
    };
    for &nth in State::nths(&protocol.bounds) {
        own.push(Action::Rechecked(who, nth, answer));
        own.push(Action::Kick(who, nth, true));
    }
    if let Some(next) = own.into_iter().find_map(changed) {
        return Some(next);
    }
    if let Some(looked) = look(protocol, state, who) {
        return Some(looked);
    }
    // A kick that an epoch lost is in the log again in the end (the caches' model: KEPT), and nothing but the log tells of it.
    if protocol.bounds.kicks
        && state.lost.newest_version() > 0
        && let Some(next) = changed(Action::AppendAgain)
    {
        return Some(next);
    }
    // What is still to be closed and cannot be found is inside its callout: that comes to an end.
    State::nths(&protocol.bounds)
        .iter()
        .filter(|nth| is_to_be_closed(state, who, **nth))
        .find_map(|nth| changed(Action::TimeOver(*nth)))
}

/// A whole CONNZ, if the registry is another one after it.
fn look(protocol: &Protocol, state: &State, who: Who) -> Option<State> {
    if protocol.has(Flaw::EventsOnly) {
        return None;
    }
    let asked = step::step(protocol, state, Action::AskConnz(who))?;
    let worked_in = step::step(protocol, &asked, Action::WorkConnzIn(who))?;
    (worked_in.shims.of(who).known != state.shims.of(who).known).then_some(worked_in)
}

fn is_to_be_closed(state: &State, who: Who, nth: Nth) -> bool {
    matches!(state.shims.of(who).known.of(nth), Known::Session(session) if session.todo == Todo::Close)
}
