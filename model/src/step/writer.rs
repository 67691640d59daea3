//! The backend that changes the truth, and `Revoke`.

use crate::flaw::Flaw;
use crate::protocol::Protocol;
use crate::state::State;
use crate::state::log::{Id, Lineage};
use crate::state::writer::Phase;

/// The caller changes the truth first.
pub(super) fn change_truth(protocol: &Protocol, state: &mut State) -> Option<()> {
    if state.writer.phase != Phase::Idle || state.truth >= protocol.bounds.versions {
        return None;
    }
    state.truth += 1;
    state.writer.phase = Phase::Changed;
    if !protocol.bounds.lag {
        state.lagged_truth = state.truth;
    }
    Some(())
}

/// Whether the primary takes an append: the script refuses if its epoch is bound to another replication id.
pub(super) fn takes_appends(protocol: &Protocol, state: &State) -> bool {
    state.primary.lineage == Lineage::Bound || (protocol.has(Flaw::EpochNotBound) && state.primary.epoch != 0)
}

/// Entry, record and announcement in one step; or the answer of the first time.
pub(super) fn append(protocol: &Protocol, state: &mut State) -> Option<()> {
    let id = Id::Revocation(state.truth);
    match state.writer.phase {
        Phase::Changed if takes_appends(protocol, state) => {
            if state.primary.records.contains(id) {
                state.writer.phase = Phase::Appended;
                if protocol.has(Flaw::RepeatNotWaitedFor) {
                    returned(state);
                }
                return Some(());
            }
            if protocol.has(Flaw::RecordApart) {
                return None;
            }
            state.primary.records.insert(id);
        }
        Phase::Recorded if takes_appends(protocol, state) => {}
        _ => return None,
    }
    state.writer.phase = Phase::Appended;
    state.primary.push(id, false).then_some(())
}

/// With the flaw: the record alone, of something that is still to be done.
pub(super) fn record(protocol: &Protocol, state: &mut State) -> Option<()> {
    let id = Id::Revocation(state.truth);
    if state.writer.phase != Phase::Changed
        || !takes_appends(protocol, state)
        || state.primary.records.contains(id)
    {
        return None;
    }
    state.primary.records.insert(id);
    state.writer.phase = Phase::Recorded;
    Some(())
}

/// No answer: the same again, with the same key.
pub(super) fn lose_answer(state: &mut State) -> Option<()> {
    if !matches!(state.writer.phase, Phase::Appended | Phase::Recorded) {
        return None;
    }
    state.writer.phase = Phase::Changed;
    Some(())
}

/// The replica has it (`WAIT`), or none is asked for: `Revoke` returns.
pub(super) fn confirm(protocol: &Protocol, state: &mut State) -> Option<()> {
    if state.writer.phase != Phase::Appended {
        return None;
    }
    if protocol.replicated() && state.failovers + state.restores > 0 {
        // The replica has everything the primary had when it was last in step, in order: with the record it has the entry.
        let replica = state.replica.as_ref()?;
        if !replica.records.contains(Id::Revocation(state.truth)) {
            return None;
        }
    }
    returned(state);
    Some(())
}

fn returned(state: &mut State) {
    state.writer.phase = Phase::Idle;
    state.writer.returned = state.truth;
}

/// `Revoke` says that it may be lost, and nobody does anything about it.
pub(super) fn give_up(state: &mut State) -> Option<()> {
    if state.writer.phase != Phase::Appended {
        return None;
    }
    state.writer.phase = Phase::Idle;
    Some(())
}

/// An entry about other facts.
pub(super) fn append_other(protocol: &Protocol, state: &mut State) -> Option<()> {
    if state.others >= protocol.bounds.others || !takes_appends(protocol, state) {
        return None;
    }
    let id = Id::Other(state.others);
    state.others += 1;
    state.primary.push(id, false).then_some(())
}
