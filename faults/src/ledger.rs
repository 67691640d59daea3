//! What the truth is: who belongs to what, who is banned, which tokens and connections are over.
//!
//! The test itself decides all of it, and writes it down here before natsgate is told. Whether a session may be there, and
//! what it may hold, is read from here alone.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use crate::crowd::{Held, Life, Right};
use crate::schedule::{PEOPLE, PROJECTS, Place, ROOMS};

/// All places, in the order of [`Ledger::rights`].
pub(crate) fn places() -> impl Iterator<Item = Place> {
    (0..PROJECTS)
        .map(Place::Project)
        .chain((0..ROOMS).map(Place::Room))
}

/// The truth of one schedule.
#[derive(Debug)]
pub(crate) struct Ledger {
    seed: u64,
    people: Vec<Person>,
    /// Tokens that are revoked.
    tokens: HashSet<Arc<str>>,
    /// Connections that were to be closed.
    connections: HashSet<(String, u64)>,
    /// Everybody who connected before was to be closed.
    account: Option<Instant>,
}

#[derive(Debug, Default)]
struct Person {
    belongs: BTreeSet<Place>,
    banned: bool,
    /// Tokens issued before, in seconds since the Unix epoch, are banned.
    tokens_before: Option<i64>,
}

impl Ledger {
    /// Who belongs to what at the beginning.
    pub(crate) fn new(seed: u64, belong: &[Vec<Place>]) -> Self {
        let people = (0..PEOPLE).map(|person| Person {
            belongs: belong[person].iter().copied().collect(),
            ..Person::default()
        });
        Self {
            seed,
            people: people.collect(),
            tokens: HashSet::new(),
            connections: HashSet::new(),
            account: None,
        }
    }

    /// What a person is called.
    pub(crate) fn subject(&self, person: usize) -> String {
        format!("s{}-person{person}", self.seed)
    }

    /// What a place is called: its kind and id.
    pub(crate) fn place(&self, place: Place) -> (&'static str, String) {
        match place {
            Place::Project(number) => ("project", format!("s{}-project{number}", self.seed)),
            Place::Room(number) => ("room", format!("s{}-room{number}", self.seed)),
        }
    }

    /// The rights that all places give.
    pub(crate) fn rights(&self) -> Arc<[Right]> {
        places()
            .map(|place| Right::of_project(&self.place(place).1))
            .collect()
    }

    /// A person belongs to a place from now on.
    pub(crate) fn give(&mut self, person: usize, place: Place) {
        self.people[person].belongs.insert(place);
    }

    /// Or does not.
    pub(crate) fn take(&mut self, person: usize, place: Place) {
        self.people[person].belongs.remove(&place);
    }

    /// Nobody belongs to it.
    pub(crate) fn empty(&mut self, place: Place) {
        for person in &mut self.people {
            person.belongs.remove(&place);
        }
    }

    /// A person is banned, or not any more.
    pub(crate) fn ban(&mut self, person: usize, banned: bool) {
        self.people[person].banned = banned;
    }

    /// A person's tokens issued before `time` (seconds since the Unix epoch) are banned; `None` for not any more.
    pub(crate) fn ban_tokens(&mut self, person: usize, time: Option<i64>) {
        self.people[person].tokens_before = time;
    }

    /// A token is revoked.
    pub(crate) fn token(&mut self, id: Arc<str>) {
        self.tokens.insert(id);
    }

    /// A connection is to be closed.
    pub(crate) fn connection(&mut self, server_id: &str, client_id: u64) {
        self.connections.insert((server_id.to_owned(), client_id));
    }

    /// Whoever is connected by now is to be closed.
    pub(crate) fn account(&mut self, now: Instant) {
        self.account = Some(now);
    }

    /// What was to happen to connections is not known any more, since the log was lost.
    pub(crate) fn forget_connections(&mut self) {
        self.connections.clear();
        self.account = None;
    }

    /// Whether somebody may come in with a fresh token.
    pub(crate) fn may_come(&self, person: usize) -> bool {
        let person = &self.people[person];
        !person.banned && !person.belongs.is_empty()
    }

    /// The places a person belongs to, in the order of [`Self::rights`].
    pub(crate) fn belongs(&self, person: usize) -> Vec<bool> {
        let person = &self.people[person];
        places().map(|place| person.belongs.contains(&place)).collect()
    }

    /// What is wrong with a person's connection that holds `held`; empty if nothing is.
    pub(crate) fn against(&self, person: usize, life: &Life, held: &Held) -> Vec<String> {
        let mut wrong = Vec::new();
        let truth = &self.people[person];
        if truth.banned {
            wrong.push("is there though its person is banned".to_owned());
        }
        if truth
            .tokens_before
            .is_some_and(|time| life.token_issued_at < time)
        {
            wrong.push("is there with a token that is banned".to_owned());
        }
        if self.tokens.contains(&life.token_id) {
            wrong.push("is there with a token that is revoked".to_owned());
        }
        let key = (life.server_id.to_string(), life.client_id);
        if self.connections.contains(&key) {
            wrong.push("is there though it was to be closed".to_owned());
        }
        if self.account.is_some_and(|time| life.opened < time) {
            wrong.push("is there though its account was closed".to_owned());
        }
        for (index, place) in places().enumerate() {
            if held.any(index) && !truth.belongs.contains(&place) {
                wrong.push(format!("holds {:?}, which was taken", self.place(place)));
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(token: &str, issued_at: i64) -> Life {
        Life {
            server_id: "N1".into(),
            client_id: 7,
            token_id: token.into(),
            token_issued_at: issued_at,
            began: Instant::now(),
            opened: Instant::now(),
            closed: None,
        }
    }

    /// What somebody holds who holds the first of all places.
    fn first() -> Held {
        let one: Vec<bool> = places().enumerate().map(|(index, _)| index == 0).collect();
        Held {
            connection: Default::default(),
            publish: one.clone(),
            subscribe: vec![false; one.len()],
            received: vec![false; one.len()],
        }
    }

    #[test]
    fn everything_that_can_be_wrong_is_seen() {
        let mut belong = vec![Vec::new(); PEOPLE];
        belong[0].push(Place::Project(0));
        let ledger = || Ledger::new(1, &belong);
        let wrong = |ledger: &Ledger| ledger.against(0, &life("t", 100), &first());
        assert_eq!(wrong(&ledger()), Vec::<String>::new());

        let changes: [fn(&mut Ledger); 7] = [
            |ledger| ledger.take(0, Place::Project(0)),
            |ledger| ledger.empty(Place::Project(0)),
            |ledger| ledger.ban(0, true),
            |ledger| ledger.ban_tokens(0, Some(101)),
            |ledger| ledger.token("t".into()),
            |ledger| ledger.connection("N1", 7),
            |ledger| ledger.account(Instant::now() + std::time::Duration::from_secs(1)),
        ];
        for change in changes {
            let mut ledger = ledger();
            change(&mut ledger);
            assert_eq!(wrong(&ledger).len(), 1);
        }
        let others: [fn(&mut Ledger); 6] = [
            |ledger| ledger.take(1, Place::Project(0)),
            |ledger| ledger.empty(Place::Project(1)),
            |ledger| ledger.ban(1, true),
            |ledger| ledger.ban_tokens(0, Some(100)),
            |ledger| ledger.token("u".into()),
            |ledger| ledger.connection("N2", 7),
        ];
        for change in others {
            let mut ledger = ledger();
            change(&mut ledger);
            assert_eq!(wrong(&ledger), Vec::<String>::new());
        }
    }
}
