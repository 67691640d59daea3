//! Drawing a schedule from its seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::{Call, How, Left, PEOPLE, PROJECTS, Part, Place, ROOMS, Schedule, Step, What};

/// Over how many milliseconds things are begun.
const SPAN: u64 = 3000;

/// How long a part is out of order, in milliseconds.
const OUTAGE: std::ops::Range<u64> = 100..2500;

impl Schedule {
    /// The schedule of `seed`, on a site with so many shims, decision services and nats-servers.
    pub fn draw(seed: u64, shims: usize, decisions: usize, servers: usize) -> Self {
        let mut draw = Draw {
            rng: StdRng::seed_from_u64(seed),
            steps: Vec::new(),
            taken: Vec::new(),
            shims,
            decisions,
            servers,
        };
        let belong = (0..PEOPLE).map(|_| draw.places()).collect();
        let clients = (0..PEOPLE).map(|_| draw.rng.random_range(1..5)).collect();
        let left = draw.left();
        let mut at = 100;
        while at < SPAN {
            draw.event(at);
            at += draw.rng.random_range(20..300);
        }
        for _ in 0..draw.rng.random_range(1..4) {
            let at = draw.rng.random_range(0..SPAN);
            draw.failure(at);
        }
        let mut steps = draw.steps;
        // Stable: what is drawn for the same moment stays in order.
        steps.sort_by_key(|step| step.at);
        Self {
            seed,
            belong,
            clients,
            steps,
            left,
        }
    }
}

struct Draw {
    rng: StdRng,
    steps: Vec<Step>,
    /// When each part is out of order: never twice at once.
    taken: Vec<(Part, u64, u64)>,
    shims: usize,
    decisions: usize,
    servers: usize,
}

impl Draw {
    fn places(&mut self) -> Vec<Place> {
        let projects = (0..PROJECTS).map(Place::Project);
        let mut places: Vec<Place> = projects.chain((0..ROOMS).map(Place::Room)).collect();
        places.retain(|_| self.rng.random_bool(0.5));
        places
    }

    fn person(&mut self) -> usize {
        self.rng.random_range(0..PEOPLE)
    }

    fn add(&mut self, at: u64, what: What) {
        let at = Duration::from_millis(at);
        self.steps.push(Step { at, what });
    }

    fn event(&mut self, at: u64) {
        match self.rng.random_range(0..100) {
            0..15 => self.join(at),
            15..20 => {
                let person = self.person();
                self.add(at, What::Leave { person });
            }
            20..24 => self.add(at, What::DropSubscribers),
            24..26 => self.add(at, What::DropConnections),
            _ => self.call(at),
        }
    }

    fn join(&mut self, at: u64) {
        let person = self.person();
        self.join_of(person, at);
    }

    fn join_of(&mut self, person: usize, at: u64) {
        let what = What::Join {
            person,
            server: self.rng.random_range(0..self.servers),
            fresh: self.rng.random_bool(0.5),
        };
        self.add(at, what);
    }

    fn call(&mut self, at: u64) {
        let person = self.person();
        let project = self.rng.random_range(0..PROJECTS);
        let place = if self.rng.random_bool(0.5) {
            Place::Project(project)
        } else {
            Place::Room(self.rng.random_range(0..ROOMS))
        };
        let call = match self.rng.random_range(0..100) {
            0..30 => Call::Take { person, place },
            30..40 => Call::TakeSayingWho { person, project },
            40..55 => Call::Give { person, place },
            55..63 => Call::Empty { project },
            63..67 => Call::Role,
            67..73 => Call::BanTokens { person },
            73..79 => Call::Ban { person },
            79..83 => Call::Lift { person },
            83..91 => Call::Token { person },
            91..98 => Call::Session { person },
            _ => Call::Account,
        };
        let decision = self.rng.random_range(0..self.decisions);
        self.add(at, What::Call { at: decision, call });
        // Some who are just coming in while it is said.
        if self.rng.random_bool(0.4) {
            for _ in 0..self.rng.random_range(1..4) {
                let around = (at + self.rng.random_range(0..40)).saturating_sub(20);
                self.join_of(person, around);
            }
        }
        // And something that breaks just then.
        if self.rng.random_bool(0.15) {
            let soon = at + self.rng.random_range(0..40);
            self.failure(soon);
        }
    }

    fn failure(&mut self, at: u64) {
        let (part, how) = match self.rng.random_range(0..100) {
            0..30 => {
                let how = [How::Killed, How::Killed, How::Frozen, How::Stopped];
                (
                    Part::Shim(self.rng.random_range(0..self.shims)),
                    self.one_of(&how),
                )
            }
            30..55 => {
                let how = [How::Killed, How::Killed, How::Frozen, How::Stopped];
                (
                    Part::Decision(self.rng.random_range(0..self.decisions)),
                    self.one_of(&how),
                )
            }
            55..80 => {
                let how = [How::Killed, How::Frozen, How::Emptied, How::KilledAndEmptied];
                (Part::Redis, self.one_of(&how))
            }
            _ => {
                let how = [How::Killed, How::Frozen];
                (
                    Part::Nats(self.rng.random_range(0..self.servers)),
                    self.one_of(&how),
                )
            }
        };
        let until = match how {
            How::Emptied => at,
            _ => at + self.rng.random_range(OUTAGE),
        };
        let overlaps = |(other, from, to): &(Part, u64, u64)| *other == part && at <= *to && *from <= until;
        if self.taken.iter().any(overlaps) {
            return;
        }
        self.taken.push((part, at, until));
        self.add(at, What::Fail { part, how });
        if how != How::Emptied {
            self.add(until, What::Mend { part });
        }
    }

    fn one_of(&mut self, how: &[How]) -> How {
        how.choose(&mut self.rng).copied().unwrap_or(How::Killed)
    }

    fn left(&mut self) -> Option<Left> {
        let part = match self.rng.random_range(0..10) {
            0..2 => Part::Shim(self.rng.random_range(0..self.shims)),
            2 => Part::Decision(self.rng.random_range(0..self.decisions)),
            _ => return None,
        };
        let how = self.one_of(&[How::Killed, How::Frozen]);
        // It is out of order in the end, so it must not be mended after.
        Some(Left { part, how })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_schedule() {
        for seed in 0..50 {
            let schedule = Schedule::draw(seed, 2, 2, 3);
            assert_eq!(schedule, Schedule::draw(seed, 2, 2, 3));
            assert!(schedule.steps.is_sorted_by_key(|step| step.at));
            let calls = schedule
                .steps
                .iter()
                .filter(|step| matches!(step.what, What::Call { .. }));
            assert!(calls.count() > 3, "{schedule}");
        }
        assert_ne!(Schedule::draw(1, 2, 2, 3), Schedule::draw(2, 2, 2, 3));
    }

    #[test]
    fn what_fails_is_mended_before_it_fails_again() {
        for seed in 0..300 {
            let schedule = Schedule::draw(seed, 2, 2, 3);
            let mut out = std::collections::HashSet::new();
            for step in &schedule.steps {
                match step.what {
                    What::Fail {
                        how: How::Emptied,
                        part,
                    } => assert!(!out.contains(&part), "{schedule}"),
                    What::Fail { part, .. } => assert!(out.insert(part), "{schedule}"),
                    What::Mend { part } => assert!(out.remove(&part), "{schedule}"),
                    _ => {}
                }
            }
            assert!(out.is_empty(), "{schedule}");
        }
    }
}
