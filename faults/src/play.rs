//! Plays a schedule on a site, and looks who holds what he must not hold.
//!
//! **The bound.** When all steps are done, everything is mended but what the schedule leaves out of order: from then on a
//! shim, Redis, a decision service and all nats-servers reach one another. Every call has returned. [`BOUND`] after that no
//! session may hold anything that the ledger does not have. It is looked at again and again before, so that most schedules
//! need not wait for it; and once more at the end of the next schedule on the same site, when it is long over.

mod errands;
mod judge;
mod many;
mod parts;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use natsgate_core::{Clock, SystemClock};
use natsgate_proto::v1;
use secrecy::SecretString;

use crate::api::selector;
use crate::crowd::{Client, Crowd, Persona, Tokens};
use crate::ledger::Ledger;
use crate::schedule::{Call, How, PEOPLE, Part, Place, Schedule, What};
use crate::site::Site;
use errands::{Diary, Errand, Errands};

pub use many::{Report, play_all};

/// How long after everything works again a session may still hold what was revoked. A shim that is killed counts as gone
/// after 10 s; another takes its sessions over within a second, asks for 5 s at most what they would get now, and closes them
/// over one second; a kick that failed is tried again after a second. The rest is for a busy machine.
pub const BOUND: Duration = Duration::from_secs(20);

/// How long a call may take to succeed once everything works again, and somebody to come in who may.
const WORKS_WITHIN: Duration = Duration::from_secs(60);

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A schedule that was played without a finding.
pub struct Played {
    seed: u64,
    ledger: Ledger,
    clients: Vec<(usize, Client)>,
    /// How long it took, from when everything worked again, until nobody held what he must not hold.
    pub settled: Duration,
    /// How many connections were looked at in the end.
    pub judged: usize,
}

/// What was found.
#[derive(Debug)]
pub struct Finding {
    /// What is wrong.
    pub what: Vec<String>,
    /// What happened, with times from the beginning of the schedule.
    pub diary: Vec<String>,
}

/// One schedule being played.
struct Play<'a> {
    site: &'a mut Site,
    schedule: &'a Schedule,
    crowd: Crowd,
    ledger: Ledger,
    clients: Vec<(usize, Client)>,
    /// All tokens that clients have come with.
    tokens: Arc<Mutex<HashMap<Arc<str>, SecretString>>>,
    errands: Errands,
    diary: Diary,
}

/// Plays `schedule`; `before` is what was played on the same site before.
///
/// # Errors
/// What was found.
pub async fn play(site: &mut Site, schedule: &Schedule, before: Option<Played>) -> Result<Played, Finding> {
    let diary = Diary::begin();
    let mut play = Play {
        crowd: site.crowd(10),
        ledger: Ledger::new(schedule.seed, &schedule.belong),
        clients: Vec::new(),
        tokens: Arc::default(),
        errands: Errands::begin(site.api.clone(), diary.clone()),
        diary: diary.clone(),
        site,
        schedule,
    };
    let played = play.run(before.as_ref()).await;
    let (ledger, mut clients) = (play.ledger, play.clients);
    // Those who are not let in would only go on trying.
    clients.retain(|(_, client)| client.is_open());
    match played {
        Ok((settled, judged)) => Ok(Played {
            seed: schedule.seed,
            ledger,
            clients,
            settled,
            judged,
        }),
        Err(what) => Err(Finding {
            what,
            diary: diary.lines(),
        }),
    }
}

impl Play<'_> {
    async fn run(&mut self, before: Option<&Played>) -> Result<(Duration, usize), Vec<String>> {
        self.begin().await?;
        let begun = tokio::time::Instant::now();
        for step in &self.schedule.steps {
            tokio::time::sleep_until(begun + step.at).await;
            self.diary.note(format!("{:?}", step.what));
            self.take(&step.what).await;
        }
        if let Some(left) = self.schedule.left {
            self.site.fail(left.part, left.how).await;
        }
        self.diary.note("all steps are taken");
        self.works_again().await?;
        if self.schedule.loses_the_log() {
            self.ledger.forget_connections();
        }
        let settled = self.settle(before).await?;
        let judged = self.clients.len();
        self.lets_in().await?;
        if let Some(left) = self.schedule.left {
            self.site.mend(left.part).await;
        }
        self.site.ready().await;
        Ok((settled, judged))
    }

    /// Everybody is there who is there at the beginning, with everything that they belong to.
    async fn begin(&mut self) -> Result<(), Vec<String>> {
        let mut items = Vec::new();
        for (person, places) in self.schedule.belong.iter().enumerate() {
            let subject = self.ledger.subject(person);
            for place in places {
                match (place, self.ledger.place(*place)) {
                    (Place::Project(_), (_, id)) => self.site.members.add(&subject, &id),
                    (Place::Room(_), (kind, id)) => items.push(self.site.api.item(&subject, kind, &id)),
                }
            }
        }
        self.errands.run(PEOPLE, 0, Errand::Put(items));
        if !self.errands.all_done(WORKS_WITHIN).await {
            return Err(vec!["memberships cannot be pushed at the beginning".to_owned()]);
        }
        for person in 0..PEOPLE {
            for number in 0..self.schedule.clients[person] {
                self.join(person, person + number, number % 2 == 0);
            }
        }
        let ledger = &self.ledger;
        let clients = &self.clients;
        let all_in = || {
            clients
                .iter()
                .all(|(person, client)| !ledger.may_come(*person) || client.is_open())
        };
        if self.crowd.until(WORKS_WITHIN, all_in).await {
            Ok(())
        } else {
            Err(vec!["not everybody is let in at the beginning".to_owned()])
        }
    }

    fn join(&mut self, person: usize, server: usize, fresh: bool) {
        let subject = self.ledger.subject(person);
        let tokens = match fresh {
            true => self.site.fresh_tokens(&subject),
            false => self.site.one_token(&subject),
        };
        let known = Arc::clone(&self.tokens);
        let noted: Tokens = Arc::new(move || {
            let token = tokens();
            known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(Arc::clone(&token.id), token.secret.clone());
            token
        });
        let persona = Persona {
            name: subject,
            tokens: noted,
            comes_back: true,
        };
        self.clients
            .push((person, self.crowd.join(Arc::new(persona), server)));
    }

    async fn take(&mut self, what: &What) {
        match what {
            What::Join {
                person,
                server,
                fresh,
            } => self.join(*person, *server, *fresh),
            What::Leave { person } => {
                if let Some(index) = self.clients.iter().position(|(whose, _)| whose == person) {
                    self.clients.remove(index);
                }
            }
            What::Call { at, call } => self.call(*at, call),
            What::Fail { part, how } => self.site.fail(*part, *how).await,
            What::Mend { part } => self.site.mend(*part).await,
            What::DropSubscribers => self.site.redis_says(&["CLIENT", "KILL", "TYPE", "pubsub"]).await,
            What::DropConnections => self.site.redis_says(&["CLIENT", "KILL", "TYPE", "normal"]).await,
        }
    }

    /// Changes the truth, then tells natsgate.
    fn call(&mut self, at: usize, call: &Call) {
        let api = self.site.api.clone();
        let (person, errand) = match call {
            Call::Take { person, place } | Call::Give { person, place } => {
                let given = matches!(call, Call::Give { .. });
                let (kind, id) = self.ledger.place(*place);
                let subject = self.ledger.subject(*person);
                if given {
                    self.ledger.give(*person, *place);
                } else {
                    self.ledger.take(*person, *place);
                }
                let errand = match (place, given) {
                    (Place::Project(_), true) => {
                        self.site.members.add(&subject, &id);
                        Errand::Revoke(selector::membership(api.principal(&subject), kind, &id))
                    }
                    (Place::Project(_), false) => {
                        self.site.members.remove(&subject, &id);
                        Errand::Revoke(selector::membership(api.principal(&subject), kind, &id))
                    }
                    (Place::Room(_), true) => Errand::Put(vec![api.item(&subject, kind, &id)]),
                    (Place::Room(_), false) => Errand::Delete(vec![api.item(&subject, kind, &id)]),
                };
                (*person, errand)
            }
            Call::TakeSayingWho { person, project } => {
                let place = Place::Project(*project);
                let (_, id) = self.ledger.place(place);
                self.ledger.take(*person, place);
                self.site.members.remove(&self.ledger.subject(*person), &id);
                (
                    *person,
                    Errand::Revoke(selector::principal(api.principal(&self.ledger.subject(*person)))),
                )
            }
            Call::Empty { project } => {
                let place = Place::Project(*project);
                let (kind, id) = self.ledger.place(place);
                self.ledger.empty(place);
                self.site.members.remove_all(&id);
                (PEOPLE, Errand::Revoke(selector::resource(kind, &id)))
            }
            Call::Role => (PEOPLE, Errand::Revoke(selector::role("project", "member"))),
            Call::BanTokens { person } => {
                let errand = Errand::BanTokens(api.principal(&self.ledger.subject(*person)));
                self.ledger.ban_tokens(*person, Some(SystemClock.unix_seconds()));
                (*person, errand)
            }
            Call::Ban { person } => {
                let errand = Errand::Ban(api.principal(&self.ledger.subject(*person)));
                self.ledger.ban(*person, true);
                (*person, errand)
            }
            Call::Lift { person } => {
                self.ledger.ban(*person, false);
                self.ledger.ban_tokens(*person, None);
                (*person, Errand::LiftAll)
            }
            Call::Token { person } => {
                let Some(life) = self.newest(*person) else { return };
                let known = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(token) = known.get(&life.token_id) {
                    self.site.provider.revoke(token);
                }
                drop(known);
                let by = selector::token(api.issuer(), &life.token_id);
                self.ledger.token(life.token_id);
                (*person, Errand::Revoke(by))
            }
            Call::Session { person } => {
                let Some(life) = self.newest(*person) else { return };
                self.ledger.connection(&life.server_id, life.client_id);
                (
                    *person,
                    Errand::Revoke(selector::session(&life.server_id, life.client_id)),
                )
            }
            Call::Account => {
                self.ledger.account(Instant::now());
                (PEOPLE, Errand::Revoke(selector::account("APP")))
            }
        };
        self.errands.run(person, at, errand);
    }

    /// A person's newest connection.
    fn newest(&self, person: usize) -> Option<crate::crowd::Life> {
        let theirs = self.clients.iter().rev().filter(|(whose, _)| *whose == person);
        theirs
            .filter_map(|(_, client)| client.look(|view| view.open().cloned()))
            .next()
    }

    /// Mends everything but what is left out of order, and waits until all calls have returned.
    async fn works_again(&mut self) -> Result<(), Vec<String>> {
        let left = self.schedule.left.map(|left| left.part);
        self.site.works(left).await;
        self.diary.note("everything works again");
        if !self.errands.all_done(WORKS_WITHIN).await {
            return Err(vec![format!(
                "calls do not return though everything works: {:?}",
                self.errands.left()
            )]);
        }
        self.diary.note("all calls have returned");
        let refused = self.errands.refused();
        if refused.is_empty() { Ok(()) } else { Err(refused) }
    }
}

/// What is revoked, and how.
fn revoke(key: &str, selector: v1::Selector) -> v1::RevokeRequest {
    v1::RevokeRequest {
        idempotency_key: key.to_owned(),
        selector: Some(selector),
        reason: "a schedule".to_owned(),
        ..Default::default()
    }
}

/// Whether this is a shim out of order that still has its share of requests.
fn takes_requests_and_is_silent(schedule: &Schedule) -> bool {
    schedule
        .left
        .is_some_and(|left| matches!(left.part, Part::Shim(_)) && left.how == How::Frozen)
}
