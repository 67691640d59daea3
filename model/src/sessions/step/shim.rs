//! A shim follows the log, and holds its sessions against what it applies.

use super::callout::ahead;
use crate::sessions::action::Answer;
use crate::sessions::flaw::Flaw;
use crate::sessions::protocol::Protocol;
use crate::sessions::state::connection::Grant;
use crate::sessions::state::pair::Nth;
use crate::sessions::state::shim::{Against, Known, Shim, Todo};
use crate::sessions::state::{Revision, State, Who};

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
        look_at_all(protocol, shim, shim.kick_came());
    }
    Some(())
}

fn advance(protocol: &Protocol, log: &crate::sessions::state::log::Log, shim: &mut Shim) -> Option<()> {
    let next = shim.applied.sequence + 1;
    if !shim.up || shim.applied.epoch != log.epoch || next > log.end {
        return None;
    }
    if next < log.oldest {
        let missed = if protocol.has(Flaw::MissedOnlyRechecked) {
            log.end
        } else {
            log.oldest - 1
        };
        shim.applied.sequence = missed;
        if !protocol.has(Flaw::TrimmedGapIgnored) {
            shim.floor = missed;
            shim.entries.forget_up_to(missed);
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
    let came = then.kick_came();
    look_at_all(protocol, &mut then, came);
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
    look_at_all(protocol, shim, shim.kick_came());
    Some(())
}

/// Another epoch: all of it is read, and every session is looked at. What the log holds and this shim had not taken in before is carried out
/// as if it came now; what it had, it has carried out, or is about to.
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
    let before = *shim;
    shim.begin(&log);
    if protocol.has(Flaw::MissedOnlyRechecked) {
        shim.floor = shim.applied.sequence;
        shim.entries.forget_up_to(shim.floor);
    }
    let missed = if protocol.has(Flaw::TakenInTwice) {
        shim.kicks()
    } else {
        shim.kicks().without(before.kicks())
    };
    look_at_all(protocol, shim, !missed.is_empty());
    let after = *shim;
    let mut nths = Nth::BOTH.into_iter();
    state.unjust |= nths.any(|nth| is_closed_twice(protocol, state, &before, &after, nth));
    Some(())
}

/// For the promises only: whether a session that loses nothing is to be closed from now on by the shim that answered it, which had taken in
/// before whatever kicks the log holds.
fn is_closed_twice(protocol: &Protocol, state: &State, before: &Shim, after: &Shim, nth: Nth) -> bool {
    let own_to_close = |shim: &Shim| {
        let session = shim.known.of(nth).session();
        session.is_some_and(|session| session.todo == Todo::Close && session.basis.is_some())
    };
    let loses_nothing = |grant: &Grant| grant.version == state.truth && grant.knew == state.appended;
    protocol.bounds.kicks
        && after.kicks().without(before.kicks()).is_empty()
        && !own_to_close(before)
        && own_to_close(after)
        && state.connections.of(nth).live().is_some_and(loses_nothing)
}

fn look_at_all(protocol: &Protocol, shim: &mut Shim, kick_came: bool) {
    for nth in Nth::BOTH {
        look_at(protocol, shim, nth, kick_came);
    }
}

/// Holds one session against all that is applied, and against a kick that came just now. Whether anything is to be done about it.
pub(super) fn look_at(protocol: &Protocol, shim: &mut Shim, nth: Nth, kick_came: bool) -> bool {
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
        (_, true) if shim.closes(protocol, session.valid, kick_came) => Todo::Close,
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
    } else if answer.version > held && !protocol.bounds.kicks {
        session.todo = Todo::Close;
    } else {
        session.valid = reached(protocol, answer.as_of, applied);
        session.todo = Todo::Nothing;
    }
    Some(())
}

/// How far a session comes that a recheck spared: where kicks may stand in what the shim has not taken in yet, no further than that. (The kicks
/// that it has taken in are not skipped by this: they made the session one to be closed, whatever a recheck says.)
fn reached(protocol: &Protocol, as_of: Revision, applied: Revision) -> Revision {
    if !protocol.bounds.kicks || protocol.has(Flaw::SparedPastKick) {
        return as_of;
    }
    Revision {
        sequence: as_of.sequence.min(applied.sequence),
        ..as_of
    }
}
