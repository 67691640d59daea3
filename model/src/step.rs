//! What happens when something happens. One file for each part that acts.

mod follower;
mod log;
pub mod lookup;
mod time;
mod writer;

use crate::action::{Action, At};
use crate::protocol::Protocol;
use crate::state::State;
use crate::state::log::Node;

/// The state after `action`; `None` if it cannot happen now.
pub fn step(protocol: &Protocol, last: &State, action: Action) -> Option<State> {
    let mut state = *last;
    match action {
        Action::ChangeTruth => writer::change_truth(protocol, &mut state)?,
        Action::Append => writer::append(protocol, &mut state)?,
        Action::Record => writer::record(protocol, &mut state)?,
        Action::LoseAnswer => writer::lose_answer(&mut state)?,
        Action::Return => writer::confirm(protocol, &mut state)?,
        Action::ReturnUnconfirmed => writer::give_up(&mut state)?,
        Action::AppendOther => writer::append_other(protocol, &mut state)?,

        Action::Replicate => log::replicate(&mut state)?,
        Action::FailOver => log::fail_over(&mut state)?,
        Action::SaveSnapshot => log::save_snapshot(&mut state)?,
        Action::Restore => log::restore(&mut state)?,
        Action::Empty => log::empty(protocol, &mut state)?,
        Action::Trim => log::trim(protocol, &mut state)?,

        Action::MaxLagPasses => time::max_lag(protocol, &mut state),
        Action::SourceLagPasses => time::source_lag(&mut state),
        Action::Degrade(who) => time::degrade(protocol, state.instance_mut(who))?,

        Action::Tick(who, at) => log::tick(protocol, &mut state, who, at)?,
        Action::FinishTick(who, at) => {
            let node = *node(&state, at)?;
            follower::finish_tick(protocol, state.instance_mut(who), &node)?;
        }
        Action::Read(who, at) => {
            let node = *node(&state, at)?;
            follower::read(&mut state.instance_mut(who).follower, &node)?;
        }
        Action::Hear(who) => {
            let node = state.primary;
            follower::hear(protocol, &mut state.instance_mut(who).follower, &node)?;
        }
        Action::AppendAgain(who) => log::append_again(protocol, &mut state, who)?,
        Action::Crash(who) => *state.instance_mut(who) = Default::default(),

        Action::BeginFetch(who) => lookup::begin(protocol, &mut state, who)?,
        Action::JoinFetch(who) => lookup::join(protocol, &mut state, who)?,
        Action::CompleteFetch(who) => lookup::complete(protocol, state.instance_mut(who))?,
        Action::PutShared(who) => state.shared = Some(state.instance(who).in_process?),
        Action::TakeShared(who) => lookup::take_shared(protocol, &mut state, who)?,
    }
    Some(state)
}

fn node(state: &State, at: At) -> Option<&Node> {
    match at {
        At::Primary => Some(&state.primary),
        At::Old => state.old.as_ref(),
    }
}
