//! The primary, its replica, and what happens to them.

use super::node;
use super::writer::takes_appends;
use crate::action::At;
use crate::flaw::Flaw;
use crate::protocol::Protocol;
use crate::state::instance::{Follower, Tick};
use crate::state::log::{Before, Lineage, Node};
use crate::state::writer::Phase;
use crate::state::{State, Who};

/// The replica gets everything. That it gets it at any time, or never, makes it any prefix.
pub(super) fn replicate(state: &mut State) -> Option<()> {
    if state.replica == Some(state.primary) {
        return None;
    }
    state.replica = Some(state.primary);
    Some(())
}

/// The replica is promoted: another replication id. Whoever waited for the primary's answer has lost it.
pub(super) fn fail_over(state: &mut State) -> Option<()> {
    let replica = state.replica?;
    state.failovers = state.failovers.checked_sub(1)?;
    state.old = Some(state.primary);
    state.primary = replica;
    // A replica of a primary that was itself set back has that data, and may lack the same.
    state.primary.lineage = match replica.lineage {
        Lineage::Restored => Lineage::Restored,
        Lineage::Bound | Lineage::Promoted => Lineage::Promoted,
    };
    state.replica = None;
    cut_off(state);
    Some(())
}

fn cut_off(state: &mut State) {
    if state.writer.phase != Phase::Idle {
        state.writer.phase = Phase::Changed;
    }
}

/// The primary saves what it has, the shared cache beside it.
pub(super) fn save_snapshot(state: &mut State) -> Option<()> {
    if state.restores == 0 {
        return None;
    }
    state.snapshot = Some((state.primary, state.shared));
    for instance in &mut state.instances {
        instance.follower.ticked_since_snapshot = false;
    }
    Some(())
}

/// The primary restarts from its snapshot.
pub(super) fn restore(state: &mut State) -> Option<()> {
    let (node, shared) = state.snapshot?;
    state.restores = state.restores.checked_sub(1)?;
    state.primary = node;
    state.primary.lineage = Lineage::Restored;
    state.shared = shared;
    state.replica = None;
    Some(())
}

/// The primary restarts with nothing.
pub(super) fn empty(protocol: &Protocol, state: &mut State) -> Option<()> {
    state.restores = state.restores.checked_sub(1)?;
    state.primary = Node::emptied();
    for instance in &mut state.instances {
        instance.follower.ticked_since_snapshot = protocol.has(Flaw::WitnessByTicks);
    }
    state.shared = None;
    state.replica = None;
    Some(())
}

/// The primary drops its oldest entry.
pub(super) fn trim(protocol: &Protocol, state: &mut State) -> Option<()> {
    if state.primary.oldest > protocol.bounds.trims || state.primary.end < state.primary.oldest {
        return None;
    }
    state.primary.trim();
    Some(())
}

/// A tick: a write that only a primary in possession of its replicas takes. It begins a new epoch where the log is not the one of
/// its epoch any more, and hears what the instance can vouch for of the epoch before. The answer is on the way.
pub(super) fn tick(protocol: &Protocol, state: &mut State, who: Who, at: At) -> Option<()> {
    if at == At::Old && !protocol.has(Flaw::OldPrimaryTicks) {
        return None;
    }
    let follower = state.instance(who).follower;
    let log = *node(state, at)?;
    if at == At::Primary {
        if must_begin_epoch(protocol, &log, &follower) {
            state.epochs += 1;
            state.primary.before = Some(Before {
                end: log.head().revision,
                whole: log.lineage == Lineage::Promoted && protocol.replicated(),
            });
            state.primary.complete = false;
            state.primary.lineage = Lineage::Bound;
            state.primary.epoch = state.epochs;
        } else if vouches(protocol, &log, &follower) {
            state.primary.complete = true;
            state.primary.before = None;
        }
    }
    let head = node(state, at)?.head();
    let told = state.writer.returned;
    let follower = &mut state.instance_mut(who).follower;
    follower.ticked_since_snapshot |=
        protocol.has(Flaw::WitnessByTicks) && head.revision.epoch == follower.applied.epoch;
    follower.tick = Some(Tick {
        head,
        aged: false,
        told,
    });
    Some(())
}

fn must_begin_epoch(protocol: &Protocol, log: &Node, witness: &Follower) -> bool {
    let other_primary = log.lineage != Lineage::Bound && !protocol.has(Flaw::EpochNotBound);
    let beyond_the_end = witness.applied.epoch == log.epoch && witness.applied.sequence > log.end;
    log.epoch == 0 || other_primary || beyond_the_end
}

/// Whether the epoch goes on being complete as the one before was (`Head::complete_since`), because of what this instance saw: it
/// saw the other's end, was told of this one, and all is back that it knows to have been lost. Even so, what was confirmed and what it
/// never saw may be missing, unless that was replicated and this is the replica.
fn vouches(protocol: &Protocol, log: &Node, follower: &Follower) -> bool {
    let (Some(before), Some((applied, complete))) = (log.before, follower.former) else {
        return false;
    };
    let told = follower.applied.epoch == log.epoch;
    let all_back = follower.lost.is_empty();
    let saw_the_end =
        complete && applied.epoch == before.end.epoch && applied.sequence >= before.end.sequence;
    let nothing_confirmed_is_missing = before.whole
        || protocol.has(Flaw::WitnessAlone)
        || (protocol.has(Flaw::WitnessByTicks) && !follower.ticked_since_snapshot);
    told && all_back && saw_the_end && nothing_confirmed_is_missing
}

/// A survivor appends again what the epoch lost, unless somebody else has done so already. It stays lost to the survivor until he
/// reads it in the new epoch: a tick that was answered before knows nothing of it.
pub(super) fn append_again(protocol: &Protocol, state: &mut State, who: Who) -> Option<()> {
    let follower = state.instance(who).follower;
    let id = follower.lost.without(state.primary.ids()).iter().next()?;
    if !takes_appends(protocol, state) || follower.applied.epoch != state.primary.epoch {
        return None;
    }
    if protocol.has(Flaw::AppendedCountsAsRead) {
        state.instance_mut(who).follower.lost.remove(id);
    }
    state.primary.push(id, true).then_some(())
}
