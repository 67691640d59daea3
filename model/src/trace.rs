//! A counterexample in words.

use std::fmt::Write;

use stateright::Path;

use crate::action::{Action, At};
use crate::promises::{self, Served};
use crate::protocol::Protocol;
use crate::state::log::{Id, Node};
use crate::state::{State, Who};
use crate::step::{self, lookup};

/// The steps of `path`, one a line, and what is wrong in the end.
pub fn tell(protocol: &Protocol, path: Path<State, Action>) -> String {
    let steps: Vec<(State, Option<Action>)> = path.into_vec();
    let mut told = String::new();
    let mut names = Names::default();
    for (number, (before, action)) in (1..).zip(&steps) {
        let Some((action, after)) =
            action.and_then(|action| Some((action, step::step(protocol, before, action)?)))
        else {
            continue;
        };
        // Writing to a string cannot fail.
        let _ = writeln!(told, "{number:>3}. {}", line(names, action, before, &after));
        names = names.after(protocol, &after);
    }
    if let Some((last, _)) = steps.last() {
        told.push_str(&wrong(protocol, names, last));
    }
    told
}

/// Who is who: states hold the instances in an order of their own.
#[derive(Debug, Clone, Copy, Default)]
struct Names {
    swapped: bool,
}

impl Names {
    fn of(self, who: Who) -> &'static str {
        match (who, self.swapped) {
            (Who::First, false) | (Who::Second, true) => "instance 1",
            (Who::Second, false) | (Who::First, true) => "instance 2",
        }
    }

    fn after(self, protocol: &Protocol, unfolded: &State) -> Self {
        let mut turned = *unfolded;
        turned.instances.reverse();
        let folds_to = |state: &State| {
            let mut alone = *state;
            let first = *alone.instance(Who::First);
            alone.instances = [first; 2];
            *alone.folded(protocol).instance(Who::First)
        };
        // Folded each by itself, they stand in the order in which the state holds them.
        let swaps = folds_to(unfolded) > folds_to(&turned);
        Self {
            swapped: self.swapped != swaps,
        }
    }
}

fn place(at: At) -> &'static str {
    match at {
        At::Primary => "the primary",
        At::Old => "the old primary",
    }
}

fn entry(id: Id) -> String {
    match id {
        Id::Revocation(version) => format!("revocation {version}"),
        Id::Other(_) => "another's entry".to_owned(),
    }
}

fn log(node: &Node) -> String {
    let entries: Vec<String> = node
        .entries()
        .map(|(sequence, held)| format!("{}.{sequence} {}", held.epoch, entry(held.id)))
        .collect();
    if entries.is_empty() {
        "nothing".to_owned()
    } else {
        entries.join(", ")
    }
}

fn line(names: Names, action: Action, before: &State, after: &State) -> String {
    match action {
        Action::ChangeTruth => format!("the truth becomes version {}", after.truth),
        Action::Append if before.primary.end == after.primary.end => {
            format!(
                "the primary finds the record of revocation {} and answers from it",
                after.truth
            )
        }
        Action::Append | Action::AppendOther => {
            format!("the primary appends; it holds {}", log(&after.primary))
        }
        Action::Record => format!(
            "the primary records that revocation {} was asked for",
            after.truth
        ),
        Action::LoseAnswer => "no answer arrives: the same is asked again, with the same key".to_owned(),
        Action::Return => format!("revocation {} returns, confirmed", after.writer.returned),
        Action::ReturnUnconfirmed => "the revocation returns, not confirmed".to_owned(),
        Action::Replicate => format!("the replica has what the primary has: {}", log(&after.primary)),
        Action::FailOver => format!("the replica is promoted; it holds {}", log(&after.primary)),
        Action::SaveSnapshot => format!("the primary saves a snapshot: {}", log(&after.primary)),
        Action::Restore => format!(
            "the primary restarts from the snapshot; it holds {}",
            log(&after.primary)
        ),
        Action::Empty => "the primary restarts with nothing".to_owned(),
        Action::Trim => format!(
            "the primary drops its oldest entry; it holds {}",
            log(&after.primary)
        ),
        Action::MaxLagPasses => "max_lag passes".to_owned(),
        Action::SourceLagPasses => "as long passes as the source lags behind".to_owned(),
        Action::Tick(who, at) => tick(names, who, at, before, after),
        Action::FinishTick(who, at) => format!(
            "{} gets its tick's answer, reads from {} and {}",
            names.of(who),
            place(at),
            position(who, after)
        ),
        Action::Read(who, at) => format!(
            "{} reads from {} and {}",
            names.of(who),
            place(at),
            position(who, after)
        ),
        Action::Hear(who) => format!(
            "{} hears of the last entry and {}",
            names.of(who),
            position(who, after)
        ),
        Action::AppendAgain(who) => format!(
            "{} appends again what was lost; the primary holds {}",
            names.of(who),
            log(&after.primary)
        ),
        Action::Degrade(who) => format!("{}'s last tick began too long ago", names.of(who)),
        Action::Crash(who) => format!("{} crashes and starts anew", names.of(who)),
        Action::BeginFetch(who) => match after.instance(who).fetch {
            Some(fetch) => match fetch.stamp {
                Some(stamp) => format!(
                    "{} begins a fetch with stamp {}.{}; the source says version {}",
                    names.of(who),
                    stamp.epoch,
                    stamp.sequence,
                    fetch.version
                ),
                None => format!(
                    "{} begins a fetch without a stamp; the source says version {}",
                    names.of(who),
                    fetch.version
                ),
            },
            None => format!("{} begins a fetch", names.of(who)),
        },
        Action::JoinFetch(who) => format!("somebody else asks {} and joins the fetch", names.of(who)),
        Action::CompleteFetch(who) => format!("{}'s fetch ends; {}", names.of(who), kept(who, after)),
        Action::PutShared(who) => format!("{} puts what it keeps into the shared cache", names.of(who)),
        Action::TakeShared(who) => format!(
            "{} finds a fact in the shared cache; {}",
            names.of(who),
            kept(who, after)
        ),
    }
}

fn tick(names: Names, who: Who, at: At, before: &State, after: &State) -> String {
    let Some(tick) = after.instance(who).follower.tick else {
        return format!("{} ticks", names.of(who));
    };
    let head = tick.head.revision;
    let epoch = if after.epochs > before.epochs {
        format!(" which begins epoch {},", head.epoch)
    } else if after.primary.complete && !before.primary.complete {
        format!(" and vouches for what was before epoch {},", head.epoch)
    } else {
        String::new()
    };
    format!(
        "{} ticks at {},{epoch} which answers {}.{}",
        names.of(who),
        place(at),
        head.epoch,
        head.sequence
    )
}

fn position(who: Who, after: &State) -> String {
    let follower = &after.instance(who).follower;
    let confirmed = if follower.confirmed {
        "confirmed"
    } else {
        "not confirmed"
    };
    format!(
        "is at {}.{}, {confirmed}",
        follower.applied.epoch, follower.applied.sequence
    )
}

fn kept(who: Who, after: &State) -> String {
    match after.instance(who).in_process {
        Some(fact) => format!(
            "it keeps version {} with stamp {}.{}",
            fact.version, fact.stamp.epoch, fact.stamp.sequence
        ),
        None => "it keeps nothing".to_owned(),
    }
}

fn wrong(protocol: &Protocol, names: Names, state: &State) -> String {
    let mut told = String::new();
    for who in Who::BOTH {
        let due = promises::due(state, who);
        for (from, version) in promises::served(protocol, state, who) {
            let from = match from {
                Served::InProcess => "out of its in-process cache",
                Served::Shared => "out of the shared cache",
                Served::Claims => "as the old token claims it",
            };
            for (least, why) in [
                (due.applied, "it has applied revocation"),
                (
                    due.told,
                    "before its last tick began there had returned revocation",
                ),
                (due.overdue, "longer than max_lag ago there returned revocation"),
            ] {
                if version < least {
                    let _ = writeln!(
                        told,
                        "  => {} serves version {version} {from}, though {why} {least}",
                        names.of(who)
                    );
                }
            }
        }
        if let Some(fetch) = lookup::brings(protocol, state.instance(who))
            && fetch.version < fetch.due
        {
            let _ = writeln!(
                told,
                "  => {}'s fetch brings a waiter version {}, though revocation {} was in force for him when he asked",
                names.of(who),
                fetch.version,
                fetch.due
            );
        }
        for lost in promises::forgotten(state, who).iter() {
            let _ = writeln!(
                told,
                "  => {} is confirmed and has applied {}, which the log does not hold",
                names.of(who),
                entry(lost)
            );
        }
    }
    told
}
