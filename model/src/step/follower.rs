//! What an instance does to follow the log.

use crate::flaw::Flaw;
use crate::protocol::Protocol;
use crate::state::instance::{Follower, Instance};
use crate::state::log::{Head, Ids, Node};

/// Reads and applies the next entry, if it is of the epoch followed: what another epoch says is for the next tick to find out.
pub(super) fn read(follower: &mut Follower, node: &Node) -> Option<()> {
    let next = follower.applied.sequence + 1;
    let entry = node.entry(next)?;
    if entry.epoch != follower.applied.epoch {
        return None;
    }
    follower.apply(next, entry);
    Some(())
}

/// With the flaw: applies the last entry, whatever is between.
pub(super) fn hear(protocol: &Protocol, follower: &mut Follower, node: &Node) -> Option<()> {
    let entry = node.entry(node.end)?;
    if !protocol.has(Flaw::GapIgnored)
        || node.end <= follower.applied.sequence
        || entry.epoch != follower.applied.epoch
    {
        return None;
    }
    follower.apply(node.end, entry);
    Some(())
}

/// Works a tick's answer in: reads up to the head, in a new epoch everything anew, and is confirmed then, if the tick is not too old.
pub(super) fn finish_tick(protocol: &Protocol, instance: &mut Instance, node: &Node) -> Option<()> {
    let follower = &mut instance.follower;
    let tick = follower.tick.take()?;
    let head = tick.head;
    let ends_in_the_head =
        node.entry(head.revision.sequence) == head.last || node.oldest > head.revision.sequence;
    if node.end < head.revision.sequence || (!ends_in_the_head && !protocol.has(Flaw::HeadNotChecked)) {
        return None;
    }
    if head.revision.epoch == follower.applied.epoch {
        follower.complete = head.complete;
        read_on(protocol, follower, node, &head)?;
    } else {
        begin_anew(protocol, follower, node, &head)?;
    }
    if !tick.aged || protocol.has(Flaw::ConfirmedFromEnd) {
        follower.confirmed = true;
        follower.told = follower.told.max(tick.told);
    }
    Some(())
}

fn read_on(protocol: &Protocol, follower: &mut Follower, node: &Node, head: &Head) -> Option<()> {
    let mut from = follower.applied.sequence + 1;
    if from > head.revision.sequence {
        return Some(());
    }
    if node.oldest > from {
        // Entries that were never read are gone: whatever is older than them may be concerned.
        from = node.oldest;
        follower.applied.sequence = node.oldest - 1;
        if !protocol.has(Flaw::TrimmedGapIgnored) {
            follower.floor = node.oldest - 1;
            follower.complete = false;
        }
    }
    for sequence in from..=head.revision.sequence {
        let entry = node.entry(sequence)?;
        if entry.epoch != follower.applied.epoch && !protocol.has(Flaw::HeadNotChecked) {
            return None;
        }
        follower.apply(sequence, entry);
    }
    Some(())
}

/// A new epoch: nothing of before counts, everything the log holds is read.
fn begin_anew(protocol: &Protocol, follower: &mut Follower, node: &Node, head: &Head) -> Option<()> {
    follower.former = follower
        .is_known()
        .then_some((follower.applied, follower.complete));
    follower.applied = head.revision;
    follower.newest = 0;
    follower.floor = node.oldest - 1;
    follower.complete = head.complete && node.oldest == 1;
    follower.confirmed = false;
    let mut held = Ids::default();
    let before = follower.retained;
    for sequence in node.oldest..=head.revision.sequence {
        let entry = node.entry(sequence)?;
        follower.apply(sequence, entry);
        held.insert(entry.id);
    }
    // What was trimmed for its age is not missing.
    follower.lost = before.without(held).without(node.trimmed);
    if protocol.has(Flaw::LagForgottenAnew) {
        follower.lagged = head.revision;
    }
    if protocol.has(Flaw::NotAppendedAgain) {
        follower.lost = Ids::default();
    }
    Some(())
}
