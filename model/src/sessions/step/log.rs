//! The log, and those who append to it.

use crate::sessions::protocol::Protocol;
use crate::sessions::state::log::Log;
use crate::sessions::state::shim::{Shim, is_kick};
use crate::sessions::state::{Id, Ids, State};

/// The caller changes the truth first.
pub(super) fn change_truth(protocol: &Protocol, state: &mut State) -> Option<()> {
    if state.truth >= protocol.bounds.versions || state.truth > state.appended {
        return None;
    }
    state.truth += 1;
    Some(())
}

/// Then revokes.
pub(super) fn append(state: &mut State) -> Option<()> {
    if state.appended == state.truth {
        return None;
    }
    state.appended = state.truth;
    state.log.push(Id::Revocation(state.truth))
}

/// Something else.
pub(super) fn append_other(protocol: &Protocol, state: &mut State) -> Option<()> {
    if state.others >= protocol.bounds.others {
        return None;
    }
    state.log.push(Id::Other(state.others))?;
    state.others += 1;
    Some(())
}

/// Someone who had read it appends again what the epoch lost. Or nobody does, for as long as it likes.
pub(super) fn append_again(state: &mut State) -> Option<()> {
    let id = state.lost.iter().next()?;
    state.lost.remove(id);
    state.log.push(id)
}

/// Another primary, with as much of the log as it happens to have: a new epoch, in which nothing counts that was read before it
/// began.
pub(super) fn fail_over(protocol: &Protocol, state: &mut State, keep: u8) -> Option<()> {
    if state.log.epoch > protocol.bounds.failovers || keep > state.log.end {
        return None;
    }
    let before = state.log;
    let mut lost = Ids::default();
    for id in before.entries.after(keep.max(before.oldest - 1)) {
        lost.insert(id);
    }
    let mut entries = before.entries;
    entries.forget_after(keep);
    state.lost = state.lost.or(lost);
    state.log = Log {
        epoch: before.epoch + 1,
        base: state.truth,
        end: keep,
        oldest: before.oldest.min(keep + 1),
        entries,
    };
    state.old = Some(before);
    Some(())
}

/// The oldest entry goes. A kick does not before everyone who runs has read it: nobody could carry it out any more, and no recheck shows it.
pub(super) fn trim(protocol: &Protocol, state: &mut State) -> Option<()> {
    let log = &mut state.log;
    if log.oldest > protocol.bounds.trims || log.oldest > log.end {
        return None;
    }
    let kick = protocol.bounds.kicks && log.entries.at(log.oldest).is_some_and(is_kick);
    let has_read =
        |shim: &Shim| !shim.up || shim.applied.epoch == log.epoch && shim.applied.sequence >= log.oldest;
    if kick && !state.shims.iter().all(has_read) {
        return None;
    }
    log.oldest += 1;
    Some(())
}
