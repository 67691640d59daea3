//! A counterexample in words.

use std::fmt::Write;

use stateright::Path;

use super::action::{Action, Answer};
use super::promises;
use super::protocol::Protocol;
use super::state::connection::{Connection, Owner, Place};
use super::state::fold::Swaps;
use super::state::log::Log;
use super::state::shim::{Known, Session, Todo};
use super::state::{Id, Nth, Revision, State, Who};
use super::step;

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
        let line = Line {
            names,
            leaf: protocol.bounds.leaves,
            kicks: protocol.bounds.kicks,
            before,
            after: &after,
        };
        // Writing to a string cannot fail.
        let _ = writeln!(told, "{number:>3}. {}", line.of(action));
        names = names.after(after.folded(protocol).1);
    }
    if let Some((last, _)) = steps.last() {
        told.push_str(&wrong(protocol, names, last));
    }
    told
}

/// Who is who: states hold shims and connections in an order of their own.
#[derive(Debug, Clone, Copy, Default)]
struct Names(Swaps);

impl Names {
    fn shim(self, who: Who) -> &'static str {
        match (who, self.0.shims) {
            (Who::First, false) | (Who::Second, true) => "shim 1",
            (Who::Second, false) | (Who::First, true) => "shim 2",
        }
    }

    fn connection(self, nth: Nth) -> &'static str {
        match (nth, self.0.connections) {
            (Nth::First, false) | (Nth::Second, true) => "A",
            (Nth::Second, false) | (Nth::First, true) => "B",
        }
    }

    fn after(self, swaps: Swaps) -> Self {
        Self(Swaps {
            shims: self.0.shims != swaps.shims,
            connections: self.0.connections != swaps.connections,
        })
    }
}

fn at(revision: Revision) -> String {
    format!("{}.{}", revision.epoch, revision.sequence)
}

fn log(log: &Log) -> String {
    let held: Vec<String> = (log.oldest..=log.end)
        .filter_map(|sequence| {
            let what = match log.entries.at(sequence)? {
                Id::Revocation(version) => format!("revocation {version}"),
                Id::Other(_) => "another entry".to_owned(),
            };
            Some(format!("{}.{sequence} {what}", log.epoch))
        })
        .collect();
    if held.is_empty() {
        "nothing".to_owned()
    } else {
        held.join(", ")
    }
}

struct Line<'a> {
    names: Names,
    leaf: bool,
    kicks: bool,
    before: &'a State,
    after: &'a State,
}

impl Line<'_> {
    fn of(&self, action: Action) -> String {
        let shim = |who| self.names.shim(who);
        let connection = |nth| self.names.connection(nth);
        let kind = if self.leaf { "leaf node" } else { "client" };
        let after = self.after;
        match action {
            Action::ChangeTruth => format!("the truth becomes version {}", after.truth),
            Action::Append | Action::AppendOther | Action::AppendAgain => {
                format!("an entry is appended; the log holds {}", log(&after.log))
            }
            Action::FailOver(_) => format!(
                "a failover: epoch {} begins; the log holds {}",
                after.log.epoch,
                log(&after.log)
            ),
            Action::Trim => format!("the log drops its oldest entry; it holds {}", log(&after.log)),
            Action::Complete => format!("`wait` says that revocation {} is carried out", after.completed),
            Action::Connect(who, nth) => {
                format!("{kind} {} connects; {} asks about it", connection(nth), shim(who))
            }
            Action::Receive(who, nth) => format!(
                "{} gets the request of {kind} {} too, and asks",
                shim(who),
                connection(nth)
            ),
            Action::Decided(who, nth, answer) => self.decided(who, nth, answer),
            Action::Arrive(who, nth) => format!(
                "the answer of {} reaches the server: {} is live",
                shim(who),
                connection(nth)
            ),
            Action::TimeOver(nth) => format!("the time of {}'s callout is over", connection(nth)),
            Action::Leave(nth) => format!("{kind} {} closes its connection", connection(nth)),
            Action::Read(who) => {
                format!("{} reads the log and is at {}", shim(who), self.position(who))
            }
            Action::Follow(who) => format!(
                "{} hears of the new epoch and is at {}",
                shim(who),
                self.position(who)
            ),
            Action::Hear(who) => {
                format!(
                    "{} hears of the last entry and is at {}",
                    shim(who),
                    self.position(who)
                )
            }
            Action::LookUp(who) => {
                format!("{} looks up the sessions that the next entry touches", shim(who))
            }
            Action::Rechecked(who, nth, answer) => self.rechecked(who, nth, answer),
            Action::Kick(who, nth, heard) => self.kick(who, nth, heard),
            Action::KickLost(who, nth) => format!(
                "the KICK of {} for {} gets no answer, and is given up",
                shim(who),
                connection(nth)
            ),
            Action::HearConnect(who, nth) => format!(
                "{} hears that {} is connected: {}",
                shim(who),
                connection(nth),
                todo(after.shims.of(who).known.of(nth))
            ),
            Action::HearDisconnect(who, nth) => {
                format!("{} hears that {} is gone", shim(who), connection(nth))
            }
            Action::AskConnz(who) => format!(
                "{} asks CONNZ, and the server answers {}",
                shim(who),
                self.listed()
            ),
            Action::WorkConnzIn(who) => format!("{} works it in: {}", shim(who), self.registry(who)),
            Action::ConnzUnanswered(who) => format!(
                "{} asks CONNZ, and the server does not answer: {}",
                shim(who),
                self.registry(who)
            ),
            Action::Acknowledge(who) => format!(
                "{} acknowledges all up to {}",
                shim(who),
                at(after.shims.of(who).word.done)
            ),
            Action::Crash(who) => format!("{} crashes", shim(who)),
            Action::Restart(who) => format!(
                "{} comes back under another name and is at {}",
                shim(who),
                at(after.shims.of(who).applied)
            ),
            Action::Expire(who) => {
                format!("what crashed as {} does not count as present any more", shim(who))
            }
        }
    }

    fn decided(&self, who: Who, nth: Nth, answer: Answer) -> String {
        let what = match self.after.shims.of(who).known.of(nth) {
            Known::InFlight { .. } => "asks again",
            _ => "answers the server",
        };
        format!(
            "{} gets version {} as of {} for {} and {what}",
            self.names.shim(who),
            answer.version,
            at(answer.as_of),
            self.names.connection(nth)
        )
    }

    fn rechecked(&self, who: Who, nth: Nth, answer: Answer) -> String {
        let known = self.after.shims.of(who).known.of(nth);
        // Where kicks are apart, a recheck sees nothing of what they take away.
        let (what, now) = match known.session() {
            Some(session) if self.kicks && session.todo == Todo::Nothing => (
                "the same".to_owned(),
                format!(", valid as of {}", at(session.valid)),
            ),
            _ if self.kicks => ("the same".to_owned(), String::new()),
            _ => (format!("version {}", answer.version), String::new()),
        };
        format!(
            "{} is told that {} would get {what} now, as of {}: {}{now}",
            self.names.shim(who),
            self.names.connection(nth),
            at(answer.as_of),
            todo(known)
        )
    }

    fn position(&self, who: Who) -> String {
        let shim = self.after.shims.of(who);
        let mut told = at(shim.applied);
        for nth in Nth::BOTH {
            let known = shim.known.of(nth);
            let before = self.before.shims.of(who).known.of(nth);
            if known != before {
                told.push_str(&format!("; {}: {}", self.names.connection(nth), todo(known)));
            }
        }
        told
    }

    fn kick(&self, who: Who, nth: Nth, heard: bool) -> String {
        let shim = self.names.shim(who);
        let connection = self.names.connection(nth);
        let was = self.before.connections.of(nth);
        let is = self.after.connections.of(nth);
        let dropped = self
            .after
            .shims
            .of(who)
            .known
            .of(nth)
            .session()
            .is_some_and(|session| session.todo != Todo::Close);
        if dropped {
            return format!("{shim} sees that the owner of {connection} has done what there was to do");
        }
        let reply = if was.place != Place::Closed && is.place == Place::Closed {
            "which is closed"
        } else {
            "\"no such client\""
        };
        let lost = if heard { "" } else { "; the reply is lost" };
        format!("{shim} sends KICK for {connection}: {reply}{lost}")
    }

    fn listed(&self) -> String {
        let live: Vec<&str> = Nth::BOTH
            .into_iter()
            .filter(|nth| self.after.connections.of(*nth).live().is_some())
            .map(|nth| self.names.connection(nth))
            .collect();
        if live.is_empty() {
            "that nobody is there".to_owned()
        } else {
            live.join(", ")
        }
    }

    fn registry(&self, who: Who) -> String {
        let told: Vec<String> = Nth::BOTH
            .into_iter()
            .filter(|nth| self.after.connections.of(*nth).place != Place::Unborn)
            .map(|nth| {
                let known = self.after.shims.of(who).known.of(nth);
                format!("{}: {}", self.names.connection(nth), todo(known))
            })
            .collect();
        if told.is_empty() {
            "nobody".to_owned()
        } else {
            told.join("; ")
        }
    }
}

fn todo(known: &Known) -> &'static str {
    match known {
        Known::Nothing => "not known",
        Known::InFlight { .. } => "asked about",
        Known::Session(Session { todo, .. }) => match todo {
            Todo::Nothing => "nothing to do",
            Todo::Recheck { .. } => "to be rechecked",
            Todo::Close => "to be closed",
        },
    }
}

fn owner(names: Names, owner: Owner) -> String {
    match owner {
        Owner::Running(who) => names.shim(who).to_owned(),
        Owner::Former(who) => format!("{} before it crashed", names.shim(who)),
    }
}

fn wrong(protocol: &Protocol, names: Names, state: &State) -> String {
    let mut told = String::new();
    for nth in Nth::BOTH {
        told.push_str(&wrong_with(names, state, nth));
    }
    for &who in State::whos(&protocol.bounds) {
        if promises::leaves_some(protocol, state, who) {
            let _ = writeln!(
                told,
                "  => {}, left alone from here, never closes what is older than revocation {}",
                names.shim(who),
                state.appended
            );
        }
        for nth in Nth::BOTH {
            if let Known::InFlight {
                again: again @ 2.., ..
            } = state.shims.of(who).known.of(nth)
            {
                let _ = writeln!(
                    told,
                    "  => {} has asked about {} {again} times again",
                    names.shim(who),
                    names.connection(nth)
                );
            }
        }
    }
    if state.unjust {
        let _ = writeln!(
            told,
            "  => a session was closed that loses nothing, and that could be known"
        );
    }
    told
}

fn wrong_with(names: Names, state: &State, nth: Nth) -> String {
    let mut told = String::new();
    let connection: &Connection = state.connections.of(nth);
    if let Some(grant) = connection.live()
        && grant.version < state.completed
    {
        let _ = writeln!(
            told,
            "  => {} is live with version {}, answered by {}, though revocation {} is said to be carried out",
            names.connection(nth),
            grant.version,
            owner(names, grant.owner),
            state.completed
        );
    }
    if connection.counted > 1 {
        let _ = writeln!(
            told,
            "  => {} counts as closed {} times",
            names.connection(nth),
            connection.counted
        );
    }
    told
}
