//! KICK: a request with a reply. It is sent, reaches the server and is carried out in one step: later would find the same or less. Its reply
//! may be lost; that it is lost on its way there is that this never happens.

use super::shim::look_at;
use crate::sessions::flaw::Flaw;
use crate::sessions::protocol::Protocol;
use crate::sessions::state::connection::{Grant, Owner, Place};
use crate::sessions::state::pair::Nth;
use crate::sessions::state::shim::{Against, Known, Session, Shim, Todo};
use crate::sessions::state::{Revision, State, Who};

/// A shim closes a session: one that it answered at once; another's some time later, after a look at what the owner said.
pub(super) fn kick(protocol: &Protocol, state: &mut State, who: Who, nth: Nth, heard: bool) -> Option<()> {
    let shim = *state.shims.of(who);
    let session = *shim.known.of(nth).session()?;
    if !shim.up || session.todo != Todo::Close {
        return None;
    }
    let takes_over = session.basis.is_none();
    if takes_over && !protocol.has(Flaw::TakeoverBlind) {
        let unknown = shim.against(protocol, session.valid, false) == Against::Unknown;
        let behind = shim.applied.epoch != state.log.epoch;
        if unknown && behind && !protocol.has(Flaw::UnknownEpochClosed) {
            return None;
        }
        let gap = unknown && protocol.has(Flaw::GapNotVouchedFor);
        if let Some(valid) = vouched_for(protocol, state, who, nth, &session)
            && !gap
        {
            let shim = state.shims.of_mut(who);
            if let Some(session) = shim.known.of_mut(nth).session_mut() {
                session.valid = valid;
                session.todo = Todo::Nothing;
            }
            look_at(protocol, shim, nth, false);
            return Some(());
        }
    }
    let unjust = is_unjust(protocol, state, who, nth, &session);
    let leaf = protocol.bounds.leaves;
    let connection = state.connections.of_mut(nth);
    let found = match connection.place {
        Place::Live => true,
        Place::InCallout => !leaf,
        Place::Unborn | Place::Closed => false,
    };
    if found {
        connection.early = connection.place == Place::InCallout;
        connection.close();
        connection.taken |= takes_over;
        state.unjust |= unjust;
    }
    if heard && (found || protocol.has(Flaw::GoneCountsAsClosed)) {
        connection.counted += 1;
    }
    // "No such client" says of a client that it is gone, of a leaf node nothing: it may be inside its callout.
    if heard && (found || !leaf || protocol.has(Flaw::LeafLikeClient)) {
        *state.shims.of_mut(who).known.of_mut(nth) = Known::Nothing;
    }
    Some(())
}

/// With the flaw: no answer, and that is the end of it.
pub(super) fn give_up(state: &mut State, who: Who, nth: Nth) -> Option<()> {
    let session = state.shims.of_mut(who).known.of_mut(nth).session_mut()?;
    if session.todo != Todo::Close {
        return None;
    }
    session.todo = Todo::Nothing;
    Some(())
}

/// Whether the owner has said that it has done everything that this shim has against a session: what the session is valid as of then.
/// It acknowledges entries one by one; and its presence says how far it is with nothing left to do, which alone covers a gap,
/// another epoch, and entries that it never saw because they were trimmed.
fn vouched_for(
    protocol: &Protocol,
    state: &State,
    who: Who,
    nth: Nth,
    session: &Session,
) -> Option<Revision> {
    let shim = state.shims.of(who);
    let owner = state.connections.of(nth).grant?.owner;
    if owner == Owner::Running(who) {
        return None;
    }
    let (word, present) = state.word(owner)?;
    let through = present && word.done.epoch == shim.applied.epoch && word.done.sequence >= shim.floor;
    match shim.against(protocol, session.valid, false) {
        Against::Nothing => Some(session.valid),
        Against::Unknown => through.then_some(word.done),
        Against::Something => {
            let done = if through { word.done.sequence } else { 0 };
            let mut left = shim.entries.after(session.valid.sequence.max(done));
            left.all(|id| word.acked.contains(id)).then_some(shim.applied)
        }
    }
}

/// For the promises only: whether the session loses nothing, and whoever closes it could have known.
fn is_unjust(protocol: &Protocol, state: &State, who: Who, nth: Nth, session: &Session) -> bool {
    let Some(&Grant {
        version,
        knew,
        as_of,
        owner,
    }) = state.connections.of(nth).live()
    else {
        return false;
    };
    if version < state.truth {
        return false;
    }
    let informed = Shim {
        floor: state.log.oldest - 1,
        entries: state.log.entries,
        applied: state.log.head(),
        ..*state.shims.of(who)
    };
    if session.basis.is_some() {
        // If the server took another's answer, that is still to be heard. Where sessions are closed at once, being older than an
        // entry is reason enough.
        let its_own = owner == Owner::Running(who) && as_of == session.named;
        let older = knew < state.appended;
        let touched = if protocol.bounds.kicks {
            // What a shim that changes epochs may not carry out is looked at when it does.
            older || informed.closes(protocol, session.valid, !informed.kicks().is_empty())
        } else {
            !protocol.bounds.rechecks
                && (older || informed.against(protocol, session.valid, true) == Against::Something)
        };
        return its_own && !touched;
    }
    match state.shims.of(who).against(protocol, session.valid, false) {
        Against::Nothing => true,
        Against::Something => vouched_for(protocol, state, who, nth, session).is_some(),
        // It could have read on first.
        Against::Unknown => {
            let mut as_informed = *state;
            *as_informed.shims.of_mut(who) = informed;
            informed.against(protocol, session.valid, false) == Against::Nothing
                || vouched_for(protocol, &as_informed, who, nth, session).is_some()
        }
    }
}
