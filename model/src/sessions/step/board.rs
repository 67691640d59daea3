//! What shims say of themselves, and how they come and go.

use crate::sessions::flaw::Flaw;
use crate::sessions::protocol::Protocol;
use crate::sessions::state::connection::Owner;
use crate::sessions::state::log::Entries;
use crate::sessions::state::shim::{Former, Known, Shim, Todo};
use crate::sessions::state::{Id, State, Who};

/// A shim that has looked what sessions there are, and has nothing left to do about any, others' included, says so of everything that it has applied.
pub(super) fn acknowledge(protocol: &Protocol, state: &mut State, who: Who) -> Option<()> {
    let shim = state.shims.of_mut(who);
    let looked =
        shim.reconciled || protocol.has(Flaw::AcknowledgedUnreconciled) || protocol.has(Flaw::EventsOnly);
    let pending = if protocol.has(Flaw::AcknowledgedEarly) {
        false
    } else if protocol.has(Flaw::OthersNotPending) {
        let mut sessions = shim.known.iter().filter_map(Known::session);
        sessions.any(|session| session.basis.is_some() && session.todo != Todo::Nothing)
    } else {
        shim.pending()
    };
    if !shim.up || !looked || pending {
        return None;
    }
    for id in shim.entries.up_to(shim.applied.sequence) {
        shim.word.acked.insert(id);
    }
    shim.word.done = shim.applied;
    Some(())
}

/// `wait` is over: everyone who counts as present has acknowledged the newest revocation.
pub(super) fn complete(protocol: &Protocol, state: &mut State) -> Option<()> {
    if state.completed == state.appended {
        return None;
    }
    let id = Id::Revocation(state.appended);
    let running = Who::BOTH
        .into_iter()
        .filter(|who| state.shims.of(*who).up)
        .map(Owner::Running);
    let former = Who::BOTH.into_iter().map(Owner::Former);
    let mut words = running
        .chain(former)
        .filter_map(|owner| state.word(owner))
        .filter(|(_, present)| *present)
        .peekable();
    if words.peek().is_none() && !protocol.has(Flaw::NobodyIsEverybody) {
        return None;
    }
    if !words.all(|(word, _)| word.acked.contains(id)) {
        return None;
    }
    state.completed = state.appended;
    Some(())
}

/// All it knew is lost. Its sessions and its answers on the way are those of somebody who is not there any more.
pub(super) fn crash(protocol: &Protocol, state: &mut State, who: Who) -> Option<()> {
    let crashed = state.formers.iter().flatten().count();
    let shim = state.shims.of_mut(who);
    if !shim.up || crashed >= usize::from(protocol.bounds.crashes) || state.formers.of(who).is_some() {
        return None;
    }
    *state.formers.of_mut(who) = Some(Former {
        word: shim.word,
        present: true,
    });
    *shim = Shim::default();
    for survivor in state.shims.iter_mut() {
        survivor.swept = false;
        if let Some(connz) = &mut survivor.connz {
            connz.after = false;
        }
    }
    for connection in state.connections.iter_mut() {
        let grants = connection.answers.iter_mut().chain([&mut connection.grant]);
        for grant in grants.flatten() {
            if grant.owner == Owner::Running(who) {
                grant.owner = Owner::Former(who);
            }
        }
    }
    Some(())
}

/// It comes back, reads the log, and knows of no session.
pub(super) fn restart(protocol: &Protocol, state: &mut State, who: Who) -> Option<()> {
    if state.shims.of(who).up {
        return None;
    }
    let mut shim = Shim::started(&state.log);
    if protocol.has(Flaw::LogReadFromEnd) {
        shim.entries = Entries::default();
        shim.floor = 0;
    }
    *state.shims.of_mut(who) = shim;
    Some(())
}

/// A crashed shim is waited for a while: longer than its last answers are on their way, and longer than it then takes everyone who
/// runs to ask CONNZ once; who has just started may still have to, since he acknowledges nothing before he has. If nobody runs, it is
/// waited for until somebody does.
pub(super) fn expire(protocol: &Protocol, state: &mut State, who: Who) -> Option<()> {
    let mut running = state.shims.iter().filter(|shim| shim.up).peekable();
    let forgiven = protocol.has(Flaw::VanishedForgiven) || protocol.has(Flaw::NobodyIsEverybody);
    let looks = |shim: &Shim| {
        let about_to = !shim.reconciled && shim.connz.is_none_or(|connz| connz.after);
        shim.swept || about_to
    };
    let somebody = running.peek().is_some() || forgiven;
    let long_enough = !state.former_still_answers(who) && somebody && running.all(looks);
    let former = state.formers.of_mut(who).as_mut()?;
    if !former.present || !(long_enough || protocol.has(Flaw::PresenceTooShort)) {
        return None;
    }
    former.present = false;
    Some(())
}
