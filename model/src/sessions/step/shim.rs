//! A shim follows the log, and holds its sessions against what it applies.

use super::callout::ahead;
use crate::sessions::action::Answer;
use crate::sessions::flaw::Flaw;
use crate::sessions::protocol::Protocol;
use crate::sessions::state::pair::Nth;
use crate::sessions::state::shim::{Against, Known, Shim, Todo};
use crate::sessions::state::{State, Who};

/// Reads and applies the next entry, and holds every session against it, in one step: nothing else is done to the registry
/// meanwhile. If entries are missing, every session that may be older than what is missing is looked at.
pub(super) fn read(protocol: &Protocol, state: &mut State, who: Who) -> Option<()> {
    let log = state.log;
    let shim = state.shims.of_mut(who);
    let apart = protocol.has(Flaw::LookedUpBeforeApplied);
    if apart && !shim.looked {
        return None;
    }
    advance(protocol, &log, shim)?;
    shim.looked = false;
    if !apart {
        look_at_all(protocol, shim);
    }
    Some(())
}

fn advance(protocol: &Protocol, log: &crate::sessions::state::log::Log, shim: &mut Shim) -> Option<()> {
    let next = shim.applied.sequence + 1;
    if !shim.up || shim.applied.epoch != log.epoch || next > log.end {
        return None;
    }
    if next < log.oldest {
        let trimmed = log.oldest - 1;
        shim.applied.sequence = trimmed;
        if !protocol.has(Flaw::TrimmedGapIgnored) {
            shim.floor = trimmed;
            shim.entries.forget_up_to(trimmed);
        }
    } else {
        shim.applied.sequence = next;
        shim.entries.put(next, log.entries.at(next))?;
    }
    Some(())
}

/// With the flaw: the sessions first, the position later.
pub(super) fn look_up(protocol: &Protocol, state: &mut State, who: Who) -> Option<()> {
    let log = state.log;
    let shim = state.shims.of_mut(who);
    if shim.looked {
        return None;
    }
    let mut then = *shim;
    advance(protocol, &log, &mut then)?;
    look_at_all(protocol, &mut then);
    shim.known = then.known;
    shim.looked = true;
    Some(())
}

/// With the flaw: applies the last entry, whatever is between.
pub(super) fn hear(protocol: &Protocol, state: &mut State, who: Who) -> Option<()> {
    let log = state.log;
    let shim = state.shims.of_mut(who);
    if shim.applied.epoch != log.epoch || log.end <= shim.applied.sequence {
        return None;
    }
    shim.applied.sequence = log.end;
    shim.entries.put(log.end, log.entries.at(log.end))?;
    look_at_all(protocol, shim);
    Some(())
}

/// Another epoch: all of it is read, and every session is looked at.
pub(super) fn follow(protocol: &Protocol, state: &mut State, who: Who) -> Option<()> {
    let log = state.log;
    let shim = state.shims.of_mut(who);
    if !shim.up || shim.applied.epoch == log.epoch {
        return None;
    }
    if protocol.has(Flaw::EpochIgnored) {
        shim.applied.epoch = log.epoch;
        return Some(());
    }
    shim.begin(&log);
    look_at_all(protocol, shim);
    Some(())
}

fn look_at_all(protocol: &Protocol, shim: &mut Shim) {
    for nth in Nth::BOTH {
        look_at(protocol, shim, nth);
    }
}

/// Holds one session against all that is applied. Whether anything is to be done about it.
pub(super) fn look_at(protocol: &Protocol, shim: &mut Shim, nth: Nth) -> bool {
    let applied = shim.applied;
    let Some(session) = shim.known.of(nth).session() else {
        return false;
    };
    let basis = session.basis.is_some();
    let against = shim.against(protocol, session.valid, basis);
    let todo = match (against, basis) {
        (Against::Nothing, _) => return false,
        (_, false) if protocol.has(Flaw::OwnerOnly) => return false,
        (Against::Something, true) if !protocol.bounds.rechecks => Todo::Close,
        (Against::Unknown, true) if protocol.has(Flaw::ClosedUnasked) => Todo::Close,
        (_, true) => Todo::Recheck { min: applied },
        (_, false) => Todo::Close,
    };
    if let Some(session) = shim.known.of_mut(nth).session_mut() {
        session.todo = match session.todo {
            // A recheck under way is held against what came meanwhile when it is answered.
            Todo::Recheck { min } if todo != Todo::Close => Todo::Recheck { min },
            Todo::Close => Todo::Close,
            Todo::Nothing | Todo::Recheck { .. } => todo,
        };
    }
    true
}

/// What a session would get now. It is left alone if that is not less than what it has, and closed if it is.
pub(super) fn rechecked(
    protocol: &Protocol,
    state: &mut State,
    who: Who,
    nth: Nth,
    answer: Answer,
) -> Option<()> {
    let head = state.log.head();
    let shim = state.shims.of_mut(who);
    let applied = shim.applied;
    let stands = shim.against(protocol, answer.as_of, true) == Against::Nothing;
    let Known::Session(session) = shim.known.of_mut(nth) else {
        return None;
    };
    let held = session.basis?;
    if !matches!(session.todo, Todo::Recheck { .. }) {
        return None;
    }
    if !stands && !protocol.has(Flaw::RecheckNotAskedAgain) {
        if ahead(answer.as_of, applied, head) {
            return None;
        }
        session.todo = Todo::Recheck { min: applied };
    } else if answer.version > held {
        session.todo = Todo::Close;
    } else {
        session.valid = answer.as_of;
        session.todo = Todo::Nothing;
    }
    Some(())
}
