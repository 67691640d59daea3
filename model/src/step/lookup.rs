//! What an instance does to look a fact up: fetches, their waiters, and the two caches.

use crate::flaw::Flaw;
use crate::promises;
use crate::protocol::Protocol;
use crate::state::instance::{Fetch, Follower, Instance};
use crate::state::{Fact, Revision, State, Who};

/// The stamp of a fetch that begins now (`Freshness::stamp`). It says what the fact is at least as new as, so whether the position is
/// confirmed does not matter to it.
fn stamp(protocol: &Protocol, follower: &Follower) -> Option<Revision> {
    if protocol.has(Flaw::NoStampWhileDegraded) && !follower.confirmed {
        return None;
    }
    if protocol.bounds.lag && !protocol.has(Flaw::LagNotSubtracted) {
        return Some(follower.lagged);
    }
    Some(follower.applied)
}

/// Takes the stamp and asks the source. That the source is read at once is the worst it can do: later it could only say something
/// newer. For the same reason it always says the oldest that it may.
pub(super) fn begin(protocol: &Protocol, state: &mut State, who: Who) -> Option<()> {
    let instance = state.instance(who);
    if !instance.follower.is_known() {
        return None;
    }
    let fetch = Fetch {
        stamp: stamp(protocol, &instance.follower),
        version: if protocol.bounds.lag {
            state.lagged_truth
        } else {
            state.truth
        },
        young: true,
        due: promises::due(state, who).most(),
    };
    state.instance_mut(who).fetch = Some(fetch);
    Some(())
}

/// Somebody asks for what is being fetched. Whoever may not join begins a fetch of his own, which is [`begin`].
pub(super) fn join(protocol: &Protocol, state: &mut State, who: Who) -> Option<()> {
    let due = promises::due(state, who).most();
    let Instance { follower, fetch, .. } = state.instance_mut(who);
    let fetch = fetch.as_mut()?;
    if !protocol.has(Flaw::JoinsAnyFetch) {
        let recent = follower.confirmed || fetch.young || protocol.has(Flaw::JoinsOldFetchWhileDegraded);
        let fresh = match fetch.stamp {
            Some(stamp) => !follower.superseded(stamp),
            None => !follower.confirmed,
        };
        if !fresh || !recent {
            return None;
        }
    }
    fetch.due = fetch.due.max(due);
    Some(())
}

/// What the fetch's waiters get, if it ends now. It is held against what was applied meanwhile once more; a waiter for whom it does
/// not count looks again.
pub fn brings(protocol: &Protocol, instance: &Instance) -> Option<Fetch> {
    let fetch = instance.fetch?;
    let unchecked = protocol.has(Flaw::JoinsAnyFetch) || protocol.has(Flaw::StampAfterFetch);
    match fetch.stamp {
        Some(stamp) if instance.follower.superseded(stamp) && !unchecked => None,
        Some(_) | None => Some(fetch),
    }
}

/// The fact is kept in process.
pub(super) fn complete(protocol: &Protocol, instance: &mut Instance) -> Option<()> {
    let fetch = instance.fetch.take()?;
    let stamp = if protocol.has(Flaw::StampAfterFetch) {
        stamp(protocol, &instance.follower)
    } else {
        fetch.stamp
    };
    if let Some(stamp) = stamp {
        instance.in_process = Some(Fact {
            version: fetch.version,
            stamp,
        });
    }
    Some(())
}

/// What the instance would serve out of the in-process cache now.
pub fn in_process(protocol: &Protocol, instance: &Instance) -> Option<Fact> {
    let fact = instance.in_process?;
    let confirmed = instance.follower.confirmed || protocol.has(Flaw::ServedUnconfirmed);
    (confirmed && !instance.follower.superseded(fact.stamp)).then_some(fact)
}

/// What the instance would serve out of the shared cache now.
pub fn shared(protocol: &Protocol, state: &State, who: Who) -> Option<Fact> {
    let fact = state.shared?;
    let follower = &state.instance(who).follower;
    let superseded = if protocol.has(Flaw::SharedWithoutEpoch) {
        follower.superseded_by_sequence(fact.stamp)
    } else {
        follower.superseded(fact.stamp)
    };
    (follower.confirmed && !superseded).then_some(fact)
}

/// A fact from the shared cache is kept in process, with the stamp it has.
pub(super) fn take_shared(protocol: &Protocol, state: &mut State, who: Who) -> Option<()> {
    let fact = if protocol.has(Flaw::SharedTakenAsNew) {
        Fact {
            version: state.shared?.version,
            stamp: stamp(protocol, &state.instance(who).follower)?,
        }
    } else {
        shared(protocol, state, who)?
    };
    state.instance_mut(who).in_process = Some(fact);
    Some(())
}
