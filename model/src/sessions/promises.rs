//! What must hold in every state, and what must be possible in some.

use stateright::Property;

use super::bounds::Bounds;
use super::protocol::Protocol;
use super::rest;
use super::state::connection::{Owner, Place};
use super::state::shim::{Known, Todo};
use super::state::{Id, Nth, State, Who};

/// End to end.
pub const REACHED: &str = "a shim that reaches log and server leaves no session live, in a bounded number of its own steps, whose permissions are older than an appended revocation";
/// What `wait` says.
pub const ACKNOWLEDGED: &str =
    "no session is live whose permissions are older than a revocation that everybody has acknowledged";
/// Who closes.
pub const ONCE: &str = "a session is counted as closed once";
/// Who is spared.
pub const SPARED: &str = "a session that loses nothing is not closed by anybody who can know that";
/// How long an answer takes.
pub const ASKED: &str = "a decision is asked for again only once for each entry and each epoch";

/// The live sessions that have permissions older than `least`.
pub fn older(state: &State, least: u8) -> impl Iterator<Item = Nth> {
    Nth::BOTH.into_iter().filter(move |nth| {
        let connection = state.connections.of(*nth);
        connection.live().is_some_and(|grant| grant.version < least)
    })
}

/// Whether `who`, left alone, fails to close what is older than what was revoked.
pub fn leaves_some(protocol: &Protocol, state: &State, who: Who) -> bool {
    older(state, state.appended).next().is_some()
        && rest::alone(protocol, state, who).is_none_or(|then| older(&then, then.appended).next().is_some())
}

fn reached(protocol: &Protocol, state: &State) -> bool {
    State::whos(&protocol.bounds)
        .iter()
        .all(|who| !leaves_some(protocol, state, *who))
}

fn acknowledged(_: &Protocol, state: &State) -> bool {
    older(state, state.completed).next().is_none()
}

fn once(_: &Protocol, state: &State) -> bool {
    state.connections.iter().all(|connection| connection.counted <= 1)
}

fn spared(_: &Protocol, state: &State) -> bool {
    !state.unjust
}

/// How often anything may have been asked again: entries there were, and epochs, in which they may have been appended again.
fn reasons(state: &State) -> u8 {
    let entries = state.appended + state.others;
    entries + (state.log.epoch - 1) * (entries + 1)
}

fn asked(_: &Protocol, state: &State) -> bool {
    known(state)
        .all(|(_, _, known)| !matches!(known, Known::InFlight { again, .. } if *again > reasons(state)))
}

fn known(state: &State) -> impl Iterator<Item = (Who, Nth, &Known)> {
    Who::BOTH.into_iter().flat_map(move |who| {
        Nth::BOTH
            .into_iter()
            .map(move |nth| (who, nth, state.shims.of(who).known.of(nth)))
    })
}

fn always(name: &'static str, condition: fn(&Protocol, &State) -> bool) -> Property<Protocol> {
    Property::<Protocol>::always(name, condition)
}

fn sometimes(name: &'static str, condition: fn(&Protocol, &State) -> bool) -> Property<Protocol> {
    Property::<Protocol>::sometimes(name, condition)
}

fn lives(state: &State, is_so: fn(&State, Nth) -> bool) -> bool {
    Nth::BOTH
        .into_iter()
        .any(|nth| state.connections.of(nth).live().is_some() && is_so(state, nth))
}

fn answered_by_who_had_not_acknowledged(state: &State, nth: Nth) -> bool {
    let Some(grant) = state.connections.of(nth).live() else {
        return false;
    };
    let Some((word, present)) = state.word(grant.owner) else {
        return false;
    };
    let crashed = matches!(grant.owner, Owner::Former(_));
    crashed && !present && !word.acked.contains(Id::Revocation(state.completed))
}

/// Whether some shim has rechecked a session since another epoch began, or entries were trimmed, and it lives on.
fn rechecked(state: &State, in_between: fn(&State, Who) -> bool) -> bool {
    known(state).any(|(who, nth, known)| {
        state.connections.of(nth).live().is_some()
            && known.session().is_some_and(|session| {
                session.todo == Todo::Nothing && session.basis.is_some() && session.valid != session.named
            })
            && in_between(state, who)
    })
}

/// What must be possible where some entries are looked at first and others close unasked.
fn beside_kicks(bounds: &Bounds) -> Vec<Property<Protocol>> {
    let mut all = vec![
        sometimes(
            "a session lives on, rechecked, beside a kick carried out",
            |_, s| s.completed > 0 && rechecked(s, |_, _| true),
        ),
        sometimes(
            "a session that a recheck spared is to be closed by a kick",
            |_, s| {
                known(s).any(|(_, nth, known)| {
                    s.connections.of(nth).live().is_some()
                        && known.session().is_some_and(|session| {
                            session.todo == Todo::Close
                                && session.basis.is_some()
                                && session.valid != session.named
                        })
                })
            },
        ),
    ];
    if bounds.failovers > 0 {
        all.push(sometimes(
            "a session lives on, rechecked, though another epoch holds a kick that its shim took in before",
            |_, s| {
                rechecked(s, |s, who| {
                    let shim = s.shims.of(who);
                    shim.applied.epoch > 1 && !shim.kicks().is_empty()
                })
            },
        ));
    }
    all
}

/// All promises, and what must be possible within the bounds.
pub fn properties(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let bounds = &protocol.bounds;
    let mut all = vec![
        always(REACHED, reached),
        always(ACKNOWLEDGED, acknowledged),
        always(ONCE, once),
        always(SPARED, spared),
        always(ASKED, asked),
        sometimes("a shim closes a session that it answered", |_, s| {
            s.connections.iter().any(|c| c.counted > 0 && !c.taken)
        }),
        sometimes("a decision is asked for again", |_, s| {
            known(s).any(|(_, _, known)| matches!(known, Known::InFlight { again: 1.., .. }))
        }),
        sometimes("a session is closed inside its callout", |_, s| {
            s.connections.iter().any(|c| c.counted > 0 && c.early)
        }),
        sometimes("all is acknowledged while a newer session is live", |p, s| {
            s.completed == p.bounds.versions && lives(s, |_, _| true)
        }),
    ];
    if bounds.shims > 1 {
        all.push(sometimes(
            "a shim closes a session that another answered",
            |_, s| s.connections.iter().any(|c| c.counted > 0 && c.taken),
        ));
    }
    if bounds.leaves {
        all.retain(|property| property.name != "a session is closed inside its callout");
        all.push(sometimes(
            "a leaf node inside its callout is still to be closed",
            |_, s| {
                known(s).any(|(_, nth, known)| {
                    s.connections.of(nth).place == Place::InCallout
                        && known.session().is_some_and(|session| session.todo == Todo::Close)
                })
            },
        ));
    }
    if bounds.rechecks && !bounds.kicks {
        all.push(sometimes(
            "a session of before the revocation lives on, rechecked",
            |_, s| s.completed > 0 && rechecked(s, |_, _| true),
        ));
    }
    if bounds.kicks {
        all.extend(beside_kicks(bounds));
    }
    if bounds.failovers > 0 {
        all.push(sometimes(
            "a session of the epoch before lives on, rechecked",
            |_, s| rechecked(s, |s, who| s.log.epoch > 1 && s.shims.of(who).applied.epoch > 1),
        ));
        all.push(sometimes("all is acknowledged in a new epoch", |_, s| {
            s.completed > 0
                && s.log.epoch > 1
                && s.shims.iter().all(|shim| !shim.up || shim.word.done.epoch > 1)
        }));
    }
    if bounds.trims > 0 {
        all.push(sometimes(
            "a session of before a gap lives on, rechecked",
            |_, s| rechecked(s, |s, who| s.shims.of(who).floor > 0),
        ));
    }
    if bounds.crashes > 0 {
        all.push(sometimes(
            "all is acknowledged without who crashed, and a session of his that loses nothing lives on",
            |_, s| s.completed > 0 && lives(s, answered_by_who_had_not_acknowledged),
        ));
    }
    all
}
