//! What shims hear of the server's connections: events, which may come late or never, and CONNZ.

use super::shim::look_at;
use crate::sessions::flaw::Flaw;
use crate::sessions::protocol::Protocol;
use crate::sessions::state::connection::Owner;
use crate::sessions::state::pair::{Nth, Pair};
use crate::sessions::state::shim::{Connz, Known, Session, Todo};
use crate::sessions::state::{Ids, State, Who};

/// CONNECT, with the name.
pub(super) fn hear_connect(protocol: &Protocol, state: &mut State, who: Who, nth: Nth) -> Option<()> {
    state.connections.of(nth).live()?;
    found(protocol, state, who, nth)
}

/// DISCONNECT: it is gone, whatever was to be done.
pub(super) fn hear_disconnect(protocol: &Protocol, state: &mut State, who: Who, nth: Nth) -> Option<()> {
    let known = &mut state.shims.of_mut(who).known;
    if *known.of(nth) == Known::Nothing {
        return None;
    }
    *known.of_mut(nth) = Known::Nothing;
    if protocol.has(Flaw::ClientIdAlone) {
        *known = Pair::default();
    }
    Some(())
}

/// CONNZ is asked and answered. What is inside its callout is not listed, so that something is not listed says that it is gone only if it
/// was known to be live before, or its callout's time was over.
pub(super) fn ask(protocol: &Protocol, state: &mut State, who: Who) -> Option<()> {
    if state.shims.of(who).connz.is_some() {
        return None;
    }
    let after = state.formers.iter().flatten().any(|former| former.present)
        && !Who::BOTH.into_iter().any(|who| state.former_still_answers(who));
    let mut connz = Connz {
        listed: Pair::both(false),
        telling: Pair::both(false),
        after,
    };
    for nth in Nth::BOTH {
        let connection = state.connections.of(nth);
        *connz.listed.of_mut(nth) = connection.live().is_some();
        if let Some(session) = state.shims.of(who).known.of(nth).session() {
            *connz.telling.of_mut(nth) =
                session.seen || connection.over || protocol.has(Flaw::AbsenceBelievedEarly);
        }
    }
    state.shims.of_mut(who).connz = Some(connz);
    Some(())
}

/// The answer is worked in.
pub(super) fn work_in(protocol: &Protocol, state: &mut State, who: Who) -> Option<()> {
    let connz = state.shims.of_mut(who).connz.take()?;
    for nth in Nth::BOTH {
        if *connz.listed.of(nth) {
            found(protocol, state, who, nth);
        } else if *connz.telling.of(nth) {
            *state.shims.of_mut(who).known.of_mut(nth) = Known::Nothing;
        }
    }
    let shim = state.shims.of_mut(who);
    shim.reconciled = true;
    shim.swept |= connz.after;
    Some(())
}

/// With flaws: no answer, and the shim makes something of it. (Otherwise nothing happens.)
pub(super) fn unanswered(protocol: &Protocol, state: &mut State, who: Who) -> Option<()> {
    let shim = state.shims.of_mut(who);
    if protocol.has(Flaw::SilenceIsReconciled) {
        shim.reconciled = true;
    } else {
        for known in shim.known.iter_mut().filter(|known| known.session().is_some()) {
            *known = Known::Nothing;
        }
    }
    Some(())
}

/// A session is there, under a name. If it is none that this shim knows, it is taken over as found, and held against all that was
/// applied. What the name says counts, even beside an answer of one's own: the server took another's.
fn found(protocol: &Protocol, state: &mut State, who: Who, nth: Nth) -> Option<()> {
    let grant = state.connections.of(nth).grant?;
    let shim = state.shims.of_mut(who);
    let applied = shim.applied;
    if let Known::Session(session) = shim.known.of_mut(nth) {
        let answered_here = grant.owner == Owner::Running(who) && grant.as_of == session.named;
        if session.basis.is_none() || answered_here || protocol.has(Flaw::OwnAnswerBelieved) {
            session.seen = true;
            return Some(());
        }
    }
    let valid = if protocol.has(Flaw::AsOfNotInName) {
        applied
    } else {
        grant.as_of
    };
    *shim.known.of_mut(nth) = Known::Session(Session {
        named: grant.as_of,
        valid,
        basis: None,
        seen: true,
        todo: Todo::Nothing,
    });
    if protocol.has(Flaw::FoundNotJudged) {
        return Some(());
    }
    let to_do = look_at(protocol, shim, nth, false);
    if to_do && !protocol.has(Flaw::NotWithdrawn) {
        // What was said to be done is not.
        shim.word.acked = Ids::default();
    }
    Some(())
}
