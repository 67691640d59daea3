//! A connection, from its request to its end: what the server does, and what the shim that it asks does.

use crate::sessions::action::Answer;
use crate::sessions::flaw::Flaw;
use crate::sessions::protocol::Protocol;
use crate::sessions::state::connection::{Connection, Grant, Owner, Place};
use crate::sessions::state::log::{Log, newest};
use crate::sessions::state::pair::Nth;
use crate::sessions::state::shim::{Against, Known, Session, Todo};
use crate::sessions::state::{Revision, State, Who};

/// All that a decision service may answer to whoever has applied `min`: it may be as far behind as `min`, or in a newer epoch, and say
/// anything that is not older than what its `as_of` includes. It answers at the moment its answer arrives: whatever it
/// could have answered earlier, it still can then.
pub fn answers(protocol: &Protocol, state: &State, min: Revision) -> impl Iterator<Item = Answer> {
    let any = protocol.has(Flaw::NoMinRevision);
    let late = protocol.has(Flaw::StampedLate);
    let truth = state.truth;
    [Some(state.log), state.old]
        .into_iter()
        .flatten()
        .filter(move |log| any || log.epoch >= min.epoch)
        .flat_map(move |log| {
            let from = if log.epoch == min.epoch && !any {
                min.sequence
            } else {
                0
            };
            (from..=log.end).flat_map(move |sequence| {
                let oldest = if late {
                    log.base
                } else {
                    log.oldest_version(sequence)
                };
                (oldest..=truth).map(move |version| Answer {
                    as_of: Revision {
                        epoch: log.epoch,
                        sequence,
                    },
                    version,
                })
            })
        })
}

/// A connection, and its request at the shim that the queue group gives it to. It is registered, then asked about with what is applied.
pub(super) fn connect(state: &mut State, who: Who, nth: Nth) -> Option<()> {
    let connection = state.connections.of_mut(nth);
    if connection.place != Place::Unborn || !state.shims.of(who).up {
        return None;
    }
    *connection = Connection {
        place: Place::InCallout,
        ..Connection::default()
    };
    ask(state, who, nth);
    Some(())
}

/// The same request at the other shim, which listens beside the queue group while it drains.
pub(super) fn receive(state: &mut State, who: Who, nth: Nth) -> Option<()> {
    let shim = state.shims.of(who);
    if !shim.up
        || *shim.known.of(nth) != Known::Nothing
        || state.connections.of(nth).answers.of(who).is_some()
    {
        return None;
    }
    ask(state, who, nth);
    Some(())
}

fn ask(state: &mut State, who: Who, nth: Nth) {
    let shim = state.shims.of_mut(who);
    *shim.known.of_mut(nth) = Known::InFlight {
        min: shim.applied,
        again: 0,
    };
}

/// The decision is there. Under the registry's lock: if nothing that concerns it was applied since its `as_of`, the session is noted and the
/// answer sent; otherwise it is asked again.
pub(super) fn decided(
    protocol: &Protocol,
    state: &mut State,
    who: Who,
    nth: Nth,
    answer: Answer,
) -> Option<()> {
    let head = state.log.head();
    let log = log_of(state, answer.as_of.epoch)?;
    let knew = newest(log.entries.up_to(answer.as_of.sequence));
    let shim = state.shims.of_mut(who);
    let applied = shim.applied;
    let stands = shim.against(protocol, answer.as_of, true) == Against::Nothing;
    let known = shim.known.of_mut(nth);
    let Known::InFlight { again, .. } = *known else {
        return None;
    };
    if !stands && !protocol.has(Flaw::NotAskedAgain) {
        if ahead(answer.as_of, applied, head) {
            return None;
        }
        *known = Known::InFlight {
            min: applied,
            again: (again + 1).min(7),
        };
        return Some(());
    }
    *known = if protocol.has(Flaw::RegisteredOnceConnected) {
        Known::Nothing
    } else {
        Known::Session(Session {
            named: answer.as_of,
            valid: answer.as_of,
            basis: Some(answer.version),
            seen: false,
            todo: Todo::Nothing,
        })
    };
    let connection = state.connections.of_mut(nth);
    if connection.place == Place::InCallout {
        *connection.answers.of_mut(who) = Some(Grant {
            version: answer.version,
            as_of: answer.as_of,
            owner: Owner::Running(who),
            knew,
        });
    }
    Some(())
}

/// Whether an answer is of an epoch that the shim has still to come to: then asking again changes nothing until it has.
pub(super) fn ahead(as_of: Revision, applied: Revision, head: Revision) -> bool {
    as_of.epoch != applied.epoch && as_of.epoch == head.epoch
}

fn log_of(state: &State, epoch: u8) -> Option<Log> {
    [Some(state.log), state.old]
        .into_iter()
        .flatten()
        .find(|log| log.epoch == epoch)
}

/// The first answer makes it live.
pub(super) fn arrive(state: &mut State, who: Who, nth: Nth) -> Option<()> {
    let connection = state.connections.of_mut(nth);
    let grant = (*connection.answers.of(who))?;
    if connection.place != Place::InCallout {
        return None;
    }
    connection.answers = Default::default();
    connection.grant = Some(grant);
    connection.place = Place::Live;
    Some(())
}

/// Who has no answer by now gets none.
pub(super) fn time_over(state: &mut State, nth: Nth) -> Option<()> {
    let connection = state.connections.of_mut(nth);
    if connection.over {
        return None;
    }
    connection.over = true;
    if connection.place == Place::InCallout {
        connection.close();
    }
    for shim in state.shims.iter_mut() {
        let known = shim.known.of_mut(nth);
        if matches!(known, Known::InFlight { .. }) {
            *known = Known::Nothing;
        }
    }
    Some(())
}

/// The client closes it.
pub(super) fn leave(state: &mut State, nth: Nth) -> Option<()> {
    let connection = state.connections.of_mut(nth);
    if connection.place != Place::Live {
        return None;
    }
    connection.close();
    Some(())
}
