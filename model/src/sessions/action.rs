//! What can happen: one step of one part, and every fault.

use super::flaw::Flaw;
use super::protocol::Protocol;
use super::state::connection::Place;
use super::state::pair::Nth;
use super::state::shim::{Known, Todo};
use super::state::{Revision, State, Version, Who};
use super::step::callout;

/// What a decision service answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Answer {
    /// What its facts were validated at.
    pub as_of: Revision,
    /// What they say.
    pub version: Version,
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The backend takes something away.
    ChangeTruth,
    /// `Revoke` appends the revocation.
    Append,
    /// Somebody appends another entry.
    AppendOther,
    /// A survivor appends again what the epoch lost.
    AppendAgain,
    /// The log loses everything after this sequence, and begins a new epoch.
    FailOver(u8),
    /// The log drops its oldest entry.
    Trim,
    /// `Revoke` with `wait`: every shim that is present has acknowledged the newest revocation.
    Complete,

    /// A connection is made; its request reaches a shim, which registers it and asks.
    Connect(Who, Nth),
    /// The request reaches the other shim too.
    Receive(Who, Nth),
    /// A shim gets the decision, and answers the server or asks again.
    Decided(Who, Nth, Answer),
    /// A shim's answer reaches the server.
    Arrive(Who, Nth),
    /// The callout's time is over: whatever has no answer by then is closed.
    TimeOver(Nth),
    /// The client closes its connection.
    Leave(Nth),

    /// A shim reads the next entry, or finds that it was trimmed.
    Read(Who),
    /// A shim hears of another epoch, and reads all of it.
    Follow(Who),
    /// With [`Flaw::GapIgnored`]: a shim hears of the last entry and applies it.
    Hear(Who),
    /// With [`Flaw::LookedUpBeforeApplied`]: a shim looks up the sessions that the next entry touches.
    LookUp(Who),
    /// A shim is told what a session would get now.
    Rechecked(Who, Nth, Answer),
    /// A shim sends KICK, which reaches the server; whether the answer reaches the shim.
    Kick(Who, Nth, bool),
    /// With [`Flaw::GivenUp`]: it does not reach the server.
    KickLost(Who, Nth),

    /// A shim hears a CONNECT event.
    HearConnect(Who, Nth),
    /// A shim hears a DISCONNECT event.
    HearDisconnect(Who, Nth),
    /// The server answers a shim's CONNZ.
    AskConnz(Who),
    /// The shim works the answer in.
    WorkConnzIn(Who),
    /// With flaws: the server does not answer, and the shim makes something of that.
    ConnzUnanswered(Who),

    /// A shim says on the board what it has carried out.
    Acknowledge(Who),
    /// A shim crashes.
    Crash(Who),
    /// It comes back, under another name.
    Restart(Who),
    /// What crashed there does not count as present any more.
    Expire(Who),
}

/// All that could happen in this state; [`super::step`] knows what really can.
pub fn conceivable(protocol: &Protocol, state: &State, actions: &mut Vec<Action>) {
    let bounds = &protocol.bounds;
    let whos = State::whos(bounds);
    actions.extend([Action::ChangeTruth, Action::Append, Action::Complete]);
    if bounds.others > 0 {
        actions.push(Action::AppendOther);
    }
    if bounds.trims > 0 {
        actions.push(Action::Trim);
    }
    if bounds.failovers > 0 {
        actions.extend((0..=state.log.end).map(Action::FailOver));
        actions.push(Action::AppendAgain);
    }
    for &who in whos {
        if state.shims.of(who).up {
            of_shim(protocol, state, who, actions);
        } else {
            actions.push(Action::Restart(who));
        }
        if state.formers.of(who).is_some() {
            actions.push(Action::Expire(who));
        }
    }
    for &nth in State::nths(bounds) {
        match state.connections.of(nth).place {
            Place::Unborn => actions.extend(whos.iter().map(|who| Action::Connect(*who, nth))),
            Place::InCallout => {
                actions.push(Action::TimeOver(nth));
                actions.extend(whos.iter().map(|who| Action::Arrive(*who, nth)));
                if bounds.twice {
                    actions.extend(whos.iter().map(|who| Action::Receive(*who, nth)));
                }
            }
            Place::Live => actions.extend([Action::TimeOver(nth), Action::Leave(nth)]),
            Place::Closed => {}
        }
    }
}

fn of_shim(protocol: &Protocol, state: &State, who: Who, actions: &mut Vec<Action>) {
    let bounds = &protocol.bounds;
    actions.extend([Action::Read(who), Action::Acknowledge(who)]);
    if bounds.failovers > 0 {
        actions.push(Action::Follow(who));
    }
    if bounds.crashes > 0 {
        actions.push(Action::Crash(who));
    }
    if !protocol.has(Flaw::EventsOnly) {
        actions.extend([Action::AskConnz(who), Action::WorkConnzIn(who)]);
    }
    match protocol.flaw {
        Some(Flaw::GapIgnored) => actions.push(Action::Hear(who)),
        Some(Flaw::LookedUpBeforeApplied) => actions.push(Action::LookUp(who)),
        Some(Flaw::SilenceIsGone | Flaw::SilenceIsReconciled) => {
            actions.push(Action::ConnzUnanswered(who));
        }
        _ => {}
    }
    for &nth in State::nths(bounds) {
        match state.connections.of(nth).place {
            Place::Live => actions.push(Action::HearConnect(who, nth)),
            Place::Closed => actions.push(Action::HearDisconnect(who, nth)),
            _ => {}
        }
        match state.shims.of(who).known.of(nth) {
            Known::Nothing => {}
            Known::InFlight { min, .. } => {
                let answers = callout::answers(protocol, state, *min);
                actions.extend(answers.map(|answer| Action::Decided(who, nth, answer)));
            }
            Known::Session(session) => match session.todo {
                Todo::Nothing => {}
                Todo::Recheck { min } => {
                    let answers = callout::answers(protocol, state, min);
                    actions.extend(answers.map(|answer| Action::Rechecked(who, nth, answer)));
                }
                Todo::Close => {
                    actions.extend([Action::Kick(who, nth, true), Action::Kick(who, nth, false)]);
                    if protocol.has(Flaw::GivenUp) {
                        actions.push(Action::KickLost(who, nth));
                    }
                }
            },
        }
    }
}
