//! Schedules drawn from seeds: processes that write one account, interleaved at every await, frozen for
//! longer than their lease and revived, killed and replaced, while others push and servers come, go and miss
//! pushes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use natsgate_claims::{AccountBody, ClaimsToSign, decode, encode};
use natsgate_core::Deadline;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::oracle::Counted;
use super::world::World;
use super::{after_a_while, first_jwt, hour, process};
use crate::defaults::DefaultPermissions;
use crate::naming::ScopeRole;
use crate::operation::Operation;
use crate::testing::{NOW, name, operator, permissions, template};
use crate::writer::record::Record;
use crate::writer::{Report, Request, Writer, WriterError};

const STEPS: usize = 70;
const TEMPLATES: [&str; 3] = ["member", "guest", "admin"];

type Answer = Result<Report, WriterError>;

/// A process with the request it is at.
struct Process {
    number: usize,
    writer: Arc<Writer>,
    request: Option<Pin<Box<dyn Future<Output = Answer>>>>,
    /// The step up to which it does nothing.
    frozen: usize,
}

struct Play {
    rng: StdRng,
    world: Arc<World>,
    first: String,
    processes: Vec<Process>,
    started: usize,
    edits: i64,
    edited_at: i64,
    /// What was on servers when somebody took a copy.
    copies: Vec<String>,
}

/// Plays the schedule of `seed`. Returns what was counted.
///
/// # Errors
/// What did not hold.
pub(super) async fn play(seed: u64) -> Result<Counted, String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let first = first_jwt();
    let world = World::new(rng.random(), rng.random_range(1..=3), &first);
    world.state().chaos = true;
    let mut play = Play {
        rng,
        world,
        copies: vec![first.clone()],
        first,
        processes: Vec::new(),
        started: 0,
        edits: 0,
        edited_at: 0,
    };
    for step in 0..STEPS {
        play.step(step).await;
    }
    play.settle().await;
    let oracle = &mut play.world.state().oracle;
    match oracle.broken.as_slice() {
        [] => Ok(std::mem::take(&mut oracle.counted)),
        broken => Err(format!("seed {seed}: {}", broken.join("; "))),
    }
}

impl Play {
    async fn step(&mut self, step: usize) {
        match self.rng.random_range(0..1000) {
            0..50 => self.edit().await,
            50..60 => self.old_copy(),
            60..100 => self.server(),
            100..115 => pass(self.rng.random_range(0..3_000)).await,
            115..125 => pass(self.rng.random_range(3_000..60_000)).await,
            125..190 => self.freeze(step).await,
            190..205 => self.kill(),
            _ => self.run(step),
        }
    }

    /// Some process that is not frozen goes on.
    fn run(&mut self, step: usize) {
        if self.processes.len() < 2 {
            self.started += 1;
            self.processes.push(Process {
                number: self.started,
                writer: Arc::new(process(&self.world, self.started)),
                request: None,
                frozen: 0,
            });
        }
        let awake = self.processes.iter().enumerate();
        let awake: Vec<usize> = awake
            .filter(|(_, one)| one.frozen <= step)
            .map(|(index, _)| index)
            .collect();
        if awake.is_empty() {
            return;
        }
        let any = awake[self.rng.random_range(0..awake.len())];
        let index = self.busy().filter(|_| self.rng.random_bool(0.5)).unwrap_or(any);
        self.processes[index].frozen = 0;
        if self.processes[index].request.is_none() {
            let operations = self.operations();
            let process = &mut self.processes[index];
            self.world.state().oracle.requested(process.number, &operations);
            process.request = Some(request(Arc::clone(&process.writer), operations));
        }
        // A few awaits at a time, so that requests come to an end too.
        for _ in 0..self.rng.random_range(1..12) {
            if self.poll(index) {
                break;
            }
        }
    }

    /// Polls a process once. Returns whether it has nothing to do now.
    fn poll(&mut self, index: usize) -> bool {
        let process = &mut self.processes[index];
        let Some(request) = &mut process.request else {
            return true;
        };
        let Poll::Ready(answer) = request.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            return false;
        };
        process.request = None;
        let oracle = &mut self.world.state().oracle;
        match answer {
            Ok(_) => oracle.succeeded(process.number),
            Err(
                WriterError::Held { .. }
                | WriterError::Store { .. }
                | WriterError::Servers { .. }
                | WriterError::NoServers { .. }
                | WriterError::Plan { .. }
                | WriterError::Unsettled { .. },
            ) => *oracle.counted.entry("requests that failed").or_default() += 1,
            Err(other) => oracle.broken.push(format!("process {}: {other}", process.number)),
        }
        true
    }

    fn operations(&mut self) -> Vec<Operation> {
        let count = self.rng.random_range(0..3);
        (0..count).filter_map(|_| self.operation()).collect()
    }

    fn operation(&mut self) -> Option<Operation> {
        let template_name = TEMPLATES[self.rng.random_range(0..TEMPLATES.len())];
        let subject = format!("a.{}", self.rng.random_range(0..4));
        Some(match self.rng.random_range(0..100) {
            0..55 => Operation::PutTemplate(Box::new(template(template_name, &[&subject], &["b"]))),
            55..68 => Operation::RetireTemplate(name(template_name)),
            68..76 => {
                let defaults = permissions(&[&subject], &[]);
                Operation::SetDefaults(DefaultPermissions::new(defaults).unwrap())
            }
            76..80 => Operation::ClearDefaults,
            80..84 => Operation::RevokeEveryone {
                up_to: self.world.now(),
            },
            84..86 => Operation::Rotate,
            _ => Operation::RemoveGeneration(self.an_older_generation()?),
        })
    }

    fn an_older_generation(&mut self) -> Option<ScopeRole> {
        let older = self.world.state().oracle.older();
        let index = self.rng.random_range(0..older.len().max(1));
        older.into_iter().nth(index)
    }

    /// Somebody edits a copy, mostly a fresh one, and pushes it; perhaps natsgate's keys are not in it.
    async fn edit(&mut self) {
        let kept = {
            let state = self.world.state();
            let index = self.rng.random_range(0..state.servers.len());
            state.servers[index].kept.clone().unwrap()
        };
        self.copies.push(kept.clone());
        let old = self.rng.random_bool(0.2);
        let copy = if old { self.a_copy() } else { kept };
        let mut claims: ClaimsToSign<AccountBody> = decode(&copy, NOW).unwrap().into();
        self.edits += 1;
        match self.rng.random_range(0..3) {
            0 => {
                let import =
                    json!({"name": format!("import-{}", self.edits), "subject": "x", "type": "stream"});
                claims.body.imports.push(import);
            }
            1 => drop(claims.body.imports.pop()),
            _ => claims.body.description = Some(format!("edit {}", self.edits)),
        }
        claims.body.info_url = Some(format!("https://example.com/{}", self.edits));
        if self.rng.random_bool(0.2) {
            claims.body.signing_keys.clear();
        }
        // No two edits of one second: which of those wins is for nobody to say.
        if self.edited_at >= self.world.now() {
            pass(1_000).await;
        }
        self.edited_at = self.world.now();
        let jwt = encode(claims, &operator(), self.edited_at).unwrap();
        self.copies.push(jwt.clone());
        self.world.state().oracle.edited(&jwt);
        self.world.push_by_hand(&jwt);
    }

    fn a_copy(&mut self) -> String {
        self.copies[self.rng.random_range(0..self.copies.len())].clone()
    }

    /// Somebody pushes an old copy as it is.
    fn old_copy(&mut self) {
        let copy = self.a_copy();
        self.world.push_by_hand(&copy);
    }

    fn server(&mut self) {
        let count = self.world.state().servers.len();
        let (one, other) = (self.rng.random_range(0..count), self.rng.random_range(0..count));
        let mut state = self.world.state();
        let server = &mut state.servers[one];
        match self.rng.random_range(0..5) {
            0 => (server.up, server.in_force) = (false, None),
            1 | 2 => server.up = true,
            3 => server.in_force = server.kept.clone(),
            _ => {
                drop(state);
                self.world.sync(one, other);
            }
        }
    }

    /// A process does nothing for a while, mostly for longer than its lease; another takes its place.
    async fn freeze(&mut self, step: usize) {
        let Some(index) = self.busy().filter(|_| self.processes.len() <= 3) else {
            return;
        };
        let frozen = step + self.rng.random_range(3..50);
        self.processes[index].frozen = frozen;
        if self.rng.random_bool(0.8) {
            pass(31_000).await;
        }
        self.started += 1;
        self.processes.push(Process {
            number: self.started,
            writer: Arc::new(process(&self.world, self.started)),
            request: None,
            frozen: 0,
        });
    }

    /// The process that got the newest lease, if it is at a request and not frozen.
    fn busy(&self) -> Option<usize> {
        let state = self.world.state();
        let busy = |one: &Process| {
            one.request.is_some() && one.frozen == 0 && state.oracle.fence(one.number) == state.newest
        };
        self.processes.iter().position(busy)
    }

    fn kill(&mut self) {
        if let Some(index) = self.busy() {
            self.processes.swap_remove(index);
        }
    }

    /// All that was begun ends; then one writer tends.
    async fn settle(&mut self) {
        while !self.processes.is_empty() {
            let index = self.rng.random_range(0..self.processes.len());
            if self.poll(index) {
                self.processes.swap_remove(index);
            }
        }
        self.world.state().chaos = false;
        for server in &mut self.world.state().servers {
            server.up = true;
        }
        pass(61_000).await;
        let number = self.started + 1;
        let writer = process(&self.world, number);
        self.world.state().oracle.requested(number, &[]);
        let mut report = None;
        for _ in 0..3 {
            pass(1_000).await;
            let tended = after_a_while(writer.tend(&settled_request(), hour()));
            match tended {
                Ok(tended) => report = Some(tended),
                Err(error) => self.world.state().oracle.broken.push(format!("tending: {error}")),
            }
        }
        let mut state = self.world.state();
        let state = &mut *state;
        let record = Record::read(&state.stored.as_ref().unwrap().body).unwrap();
        state.oracle.settled(&self.first, &record);
        let jwt = &record.last.as_ref().unwrap().jwt;
        for (index, server) in state.servers.iter().enumerate() {
            let in_force = server.in_force.as_ref().is_none_or(|found| found == jwt);
            if server.kept.as_ref() != Some(jwt) || !in_force {
                state
                    .oracle
                    .broken
                    .push(format!("in the end server {index} has another JWT"));
            }
        }
        if report.is_none_or(|report| report.pushes > 0 || report.signed.is_some() || !report.is_complete()) {
            state
                .oracle
                .broken
                .push("in the end there is still something to do".to_owned());
        }
    }
}

fn settled_request() -> Request {
    Request {
        may_reconnect: true,
        ..Request::default()
    }
}

fn request(writer: Arc<Writer>, operations: Vec<Operation>) -> Pin<Box<dyn Future<Output = Answer>>> {
    Box::pin(async move {
        let request = Request {
            operations,
            ..settled_request()
        };
        writer
            .push(&request, Deadline::after(Duration::from_secs(86_400)))
            .await
    })
}

async fn pass(milliseconds: u64) {
    tokio::time::advance(Duration::from_millis(milliseconds)).await;
}
