//! What happens when something happens. One file for each part that acts.

mod board;
pub mod callout;
mod connz;
mod kick;
mod log;
mod shim;

use super::action::Action;
use super::protocol::Protocol;
use super::state::State;

/// The state after `action`; `None` if it cannot happen now.
pub fn step(protocol: &Protocol, last: &State, action: Action) -> Option<State> {
    let mut state = *last;
    let s = &mut state;
    if protocol.forgets {
        // They have been looked at.
        for connection in s.connections.iter_mut() {
            connection.counted = 0;
            connection.taken = false;
            connection.early = false;
        }
    }
    match action {
        Action::ChangeTruth => log::change_truth(protocol, s)?,
        Action::Append => log::append(s)?,
        Action::AppendOther => log::append_other(protocol, s)?,
        Action::AppendAgain => log::append_again(s)?,
        Action::FailOver(keep) => log::fail_over(protocol, s, keep)?,
        Action::Trim => log::trim(protocol, s)?,
        Action::Complete => board::complete(protocol, s)?,

        Action::Connect(who, nth) => callout::connect(s, who, nth)?,
        Action::Receive(who, nth) => callout::receive(s, who, nth)?,
        Action::Decided(who, nth, answer) => callout::decided(protocol, s, who, nth, answer)?,
        Action::Arrive(who, nth) => callout::arrive(s, who, nth)?,
        Action::TimeOver(nth) => callout::time_over(s, nth)?,
        Action::Leave(nth) => callout::leave(s, nth)?,

        Action::Read(who) => shim::read(protocol, s, who)?,
        Action::Follow(who) => shim::follow(protocol, s, who)?,
        Action::Hear(who) => shim::hear(protocol, s, who)?,
        Action::LookUp(who) => shim::look_up(protocol, s, who)?,
        Action::Rechecked(who, nth, answer) => shim::rechecked(protocol, s, who, nth, answer)?,
        Action::Kick(who, nth, heard) => kick::kick(protocol, s, who, nth, heard)?,
        Action::KickLost(who, nth) => kick::give_up(s, who, nth)?,

        Action::HearConnect(who, nth) => connz::hear_connect(protocol, s, who, nth)?,
        Action::HearDisconnect(who, nth) => connz::hear_disconnect(protocol, s, who, nth)?,
        Action::AskConnz(who) => connz::ask(protocol, s, who)?,
        Action::WorkConnzIn(who) => connz::work_in(protocol, s, who)?,
        Action::ConnzUnanswered(who) => connz::unanswered(protocol, s, who)?,

        Action::Acknowledge(who) => board::acknowledge(protocol, s, who)?,
        Action::Crash(who) => board::crash(protocol, s, who)?,
        Action::Restart(who) => board::restart(protocol, s, who)?,
        Action::Expire(who) => board::expire(protocol, s, who)?,
    }
    Some(state)
}
