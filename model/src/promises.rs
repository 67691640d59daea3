//! What must hold in every state, and what must be possible in some.

use stateright::Property;

use crate::flaw::Flaw;
use crate::protocol::Protocol;
use crate::state::log::{Ids, Lineage};
use crate::state::{State, Version, Who};
use crate::step::lookup;

/// No fact older than an applied revocation.
pub const APPLIED: &str = "no fact older than an applied revocation is served";
/// End to end, for one instance.
pub const TOLD: &str = "no fact older than a returned revocation is served after a tick that began later";
/// End to end, in time.
pub const OVERDUE: &str = "no fact older than a revocation is served longer than max_lag after it returned";
/// The same for those who wait for a fetch.
pub const WAITERS: &str = "no waiter gets a fact older than could be served when he asked";
/// What the log holds.
pub const KEPT: &str = "what an instance with a confirmed position has applied stands in the log, or is still to be appended again";

/// The oldest version that an instance may serve now, for three reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// It applied the revocation of what is older.
    pub applied: Version,
    /// The revocation of what is older had returned when the tick began that confirmed its position.
    pub told: Version,
    /// The revocation of what is older returned longer than `max_lag` ago, and so long ago that no source says it any more.
    pub overdue: Version,
}

impl Due {
    /// The newest of them.
    pub fn most(self) -> Version {
        self.applied.max(self.told).max(self.overdue)
    }
}

/// What `who` may serve at the oldest.
pub fn due(state: &State, who: Who) -> Due {
    let follower = &state.instance(who).follower;
    Due {
        applied: follower.retained.newest_version(),
        told: follower.told,
        overdue: state.overdue,
    }
}

/// Where something that is served comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// The in-process cache.
    InProcess,
    /// The shared cache.
    Shared,
    /// The claims of a token that was issued before anything was revoked.
    Claims,
}

/// What `who` would serve now to whoever asks now, without asking the source.
pub fn served(protocol: &Protocol, state: &State, who: Who) -> impl Iterator<Item = (Served, Version)> {
    let instance = state.instance(who);
    let believed = if protocol.has(Flaw::LostForgotten) {
        instance.follower.claims_current_by_log()
    } else {
        instance.follower.claims_current()
    };
    let claims = (protocol.bounds.tokens && believed).then_some((Served::Claims, 0));
    let in_process = lookup::in_process(protocol, instance).map(|fact| (Served::InProcess, fact.version));
    let shared = lookup::shared(protocol, state, who).map(|fact| (Served::Shared, fact.version));
    [claims, in_process, shared].into_iter().flatten()
}

fn all_served(protocol: &Protocol, state: &State, at_least: fn(Due) -> Version) -> bool {
    Who::BOTH.into_iter().all(|who| {
        let least = at_least(due(state, who));
        least == 0 || served(protocol, state, who).all(|(_, version)| version >= least)
    })
}

fn waiters(protocol: &Protocol, state: &State) -> bool {
    state
        .instances
        .iter()
        .all(|instance| lookup::brings(protocol, instance).is_none_or(|fetch| fetch.version >= fetch.due))
}

fn kept(_protocol: &Protocol, state: &State) -> bool {
    Who::BOTH.into_iter().all(|who| forgotten(state, who).is_empty())
}

/// What `who` has applied and the log does not hold, without `who` being about to append it again.
pub fn forgotten(state: &State, who: Who) -> Ids {
    let log = &state.primary;
    let follower = &state.instance(who).follower;
    let follows = log.lineage == Lineage::Bound && follower.applied.epoch == log.epoch;
    if !follower.confirmed || !follows {
        return Ids::default();
    }
    follower
        .retained
        .without(log.ids())
        .without(log.trimmed)
        .without(follower.lost)
}

fn any(protocol: &Protocol, state: &State, kind: Served, condition: impl Fn(Who) -> bool) -> bool {
    Who::BOTH
        .into_iter()
        .any(|who| condition(who) && served(protocol, state, who).any(|(served, _)| served == kind))
}

fn always(name: &'static str, condition: fn(&Protocol, &State) -> bool) -> Property<Protocol> {
    Property::always(name, condition)
}

fn sometimes(name: &'static str, condition: fn(&Protocol, &State) -> bool) -> Property<Protocol> {
    Property::sometimes(name, condition)
}

/// All that is checked within the protocol's bounds.
pub fn properties(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let mut all = vec![
        always(APPLIED, |p, s| all_served(p, s, |due| due.applied)),
        always(TOLD, |p, s| all_served(p, s, |due| due.told)),
        always(OVERDUE, |p, s| all_served(p, s, |due| due.overdue)),
        always(WAITERS, waiters),
        always(KEPT, kept),
        sometimes("every revocation has returned", |p, s| {
            s.writer.returned == p.bounds.versions
        }),
        sometimes(
            "a fact is served in process, after a revocation of an older one",
            |p, s| any(p, s, Served::InProcess, |who| s.instance(who).follower.newest > 0),
        ),
        sometimes(
            "a fact is served from the shared cache, after a revocation of an older one",
            |p, s| {
                any(p, s, Served::Shared, |who| {
                    let instance = s.instance(who);
                    instance.follower.newest > 0 && instance.in_process.is_none()
                })
            },
        ),
    ];
    if protocol.bounds.failovers + protocol.bounds.restores > 0 {
        all.extend([
            sometimes("facts are served from both caches in a new epoch", |p, s| {
                let anew = |who| s.instance(who).follower.applied.epoch > 1;
                any(p, s, Served::InProcess, anew) && any(p, s, Served::Shared, anew)
            }),
            sometimes("an entry that was lost stands in the log again", |_, s| {
                s.primary.entries().any(|(_, entry)| entry.again)
            }),
        ]);
    }
    if protocol.bounds.tokens {
        all.push(sometimes("a token is believed", |p, s| {
            any(p, s, Served::Claims, |_| true)
        }));
    }
    if protocol.bounds.tokens && protocol.bounds.failovers > 0 {
        all.push(sometimes(
            "a token of before a failover is believed after it",
            |p, s| {
                any(p, s, Served::Claims, |who| {
                    s.instance(who).follower.applied.epoch > 1
                })
            },
        ));
    }
    if protocol.bounds.trims > 0 {
        all.push(sometimes(
            "a fact is served after entries were trimmed that were never read",
            |p, s| any(p, s, Served::InProcess, |who| s.instance(who).follower.floor > 0),
        ));
    }
    all
}
