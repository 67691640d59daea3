//! Schedules drawn at random, each from its seed: two instances that share a cache and read the log each at its own
//! pace, revocations, new epochs, outages, slow and lagging sources, clocks that go on. Whatever happens, no answer is
//! older than a revocation that concerns it and that its instance had applied when the look-up began.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use natsgate_core::{Cache, Concern, Deadline, Denial, DenialReason, Fact, Failure, Lookup, Source};
use natsgate_devkit::MockClock;
use natsgate_store::{Cached, LookupCounts, LookupSettings, LookupTiers, SourceCacheSettings};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::support::cache::{HandCache, Mode};
use crate::support::freshness::HandFreshness;
use crate::support::rig::{SECOND, digests, soon};
use crate::support::source::{number, room};

const SCHEDULES: u64 = 400;
const STEPS: u32 = 150;
const NUMBERS: u32 = 2;
const ROOMS: u32 = 2;

/// What the source said, and when it read that: the count of the world's steps.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Reading {
    read_at: u64,
    rooms: Vec<u32>,
    nothing: bool,
}

impl Fact for Reading {
    const KIND: &'static str = "reading.1";

    fn concerns(&self) -> Vec<Concern> {
        self.rooms.iter().map(|one| room(&one.to_string())).collect()
    }

    fn is_negative(&self) -> bool {
        self.nothing
    }

    fn expires_at(&self) -> Option<SystemTime> {
        None
    }
}

/// What a held fetch is told to do.
enum Release {
    /// Say what was read when it began.
    Then,
    /// Say what is read now.
    Now,
    Fail,
    Panic,
}

/// The truth, and the fetches that are under way.
struct World {
    rng: StdRng,
    /// How many steps there were by when.
    steps: Vec<(Instant, u64)>,
    held: Vec<oneshot::Sender<Release>>,
}

impl World {
    fn step(&self) -> u64 {
        self.steps.last().map_or(0, |(_, step)| *step)
    }

    /// The truth as of up to `lag` ago.
    fn read(&mut self, lag: Duration) -> Result<Reading, Failure> {
        let as_of = Instant::now() - lag.mul_f64(self.rng.random_range(0.0..=1.0));
        let seen = self.steps.iter().rev().find(|(at, _)| *at <= as_of);
        let read_at = seen.map_or(0, |(_, step)| *step);
        if self.rng.random_bool(0.15) {
            let denial = Denial::new(DenialReason::InactiveToken, read_at.to_string());
            return Err(Failure::Denied(denial));
        }
        let nothing = self.rng.random_bool(0.15);
        let rooms = if nothing {
            Vec::new()
        } else {
            (0..ROOMS).filter(|_| self.rng.random_bool(0.5)).collect()
        };
        Ok(Reading {
            read_at,
            rooms,
            nothing,
        })
    }
}

#[derive(Clone)]
struct WorldSource {
    world: Arc<Mutex<World>>,
    lag: Duration,
}

#[async_trait]
impl Source for WorldSource {
    type Query = u32;
    type Fact = Reading;

    fn name(&self) -> &str {
        "world"
    }

    fn key(&self, query: &u32) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(query.to_be_bytes().to_vec())
    }

    fn concerns(&self, query: &u32) -> Vec<Concern> {
        vec![number(*query)]
    }

    fn lag(&self) -> Duration {
        self.lag
    }

    async fn fetch(&self, _query: &u32, _deadline: Deadline) -> Result<Reading, Failure> {
        let (then, released) = {
            let mut world = self.world.lock().unwrap();
            let then = world.read(self.lag);
            let (release, released) = oneshot::channel();
            world.held.push(release);
            (then, released)
        };
        match released.await {
            Ok(Release::Then) => then,
            Ok(Release::Now) => self.world.lock().unwrap().read(self.lag),
            Ok(Release::Fail) => Err(Failure::unavailable("as the schedule wants it")),
            Ok(Release::Panic) => panic!("as the schedule wants it"),
            Err(_) => std::future::pending().await,
        }
    }
}

/// An entry of the log, and at which step it was made: what was read before it is older.
#[derive(Clone, Copy)]
struct LogEntry {
    concern: Concern,
    made_at: u64,
}

struct Log {
    epoch: u8,
    /// How many entries the log had when the epoch began, and at which step that was.
    began: (u64, u64),
    entries: Vec<LogEntry>,
}

struct Instance {
    freshness: Arc<HandFreshness>,
    lookup: Cached<WorldSource>,
    /// How much of the log it has applied, in which epoch.
    applied: usize,
    epoch: u8,
    /// Everything it ever applied.
    required: Vec<LogEntry>,
    /// What was read before this step does not count in its epoch.
    not_before: u64,
    /// What caches of before a restart counted.
    counts: Vec<LookupCounts>,
}

struct Asked {
    instance: usize,
    number: u32,
    at: u64,
    required: Vec<LogEntry>,
    not_before: u64,
    task: JoinHandle<Result<Reading, Failure>>,
}

impl Asked {
    /// Judges the answer; whether there was one.
    async fn judge(self, seed: u64) -> bool {
        let (read_at, rooms) = match soon(self.task).await.unwrap() {
            Ok(reading) => (reading.read_at, reading.rooms),
            Err(Failure::Denied(denial)) => (denial.detail.parse().unwrap(), Vec::new()),
            Err(Failure::Unavailable(_)) => return false,
        };
        let mut concerns = vec![number(self.number)];
        concerns.extend(rooms.iter().map(|one| room(&one.to_string())));
        let newest = self
            .required
            .iter()
            .filter(|entry| concerns.contains(&entry.concern));
        let newest = newest.map(|entry| entry.made_at).max().unwrap_or(0);
        let bound = newest.max(self.not_before);
        assert!(
            read_at >= bound,
            "seed {seed}: instance {} was asked for {} at step {} and gave what was read at step {read_at}, \
             older than what it had applied, made at step {bound}",
            self.instance,
            self.number,
            self.at,
        );
        true
    }
}

struct Schedule {
    rng: StdRng,
    lag: Duration,
    clock: MockClock,
    world: Arc<Mutex<World>>,
    shared: Arc<HandCache>,
    reading_paused: bool,
    log: Log,
    instances: Vec<Instance>,
    asked: Vec<Asked>,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let lag = if rng.random_bool(0.3) {
            SECOND
        } else {
            Duration::ZERO
        };
        let world = World {
            rng: StdRng::seed_from_u64(rng.random()),
            steps: vec![(Instant::now(), 0)],
            held: Vec::new(),
        };
        let mut schedule = Self {
            rng,
            lag,
            clock: MockClock::from_now(),
            world: Arc::new(Mutex::new(world)),
            shared: Arc::new(HandCache::new()),
            reading_paused: false,
            log: Log {
                epoch: 1,
                began: (0, 0),
                entries: Vec::new(),
            },
            instances: Vec::new(),
            asked: Vec::new(),
        };
        for _ in 0..2 {
            let freshness = Arc::new(HandFreshness::new());
            freshness.enter_epoch(1, 0);
            let instance = Instance {
                lookup: schedule.caches(&freshness),
                freshness,
                applied: 0,
                epoch: 1,
                required: Vec::new(),
                not_before: 0,
                counts: Vec::new(),
            };
            schedule.instances.push(instance);
        }
        schedule
    }

    fn caches(&self, freshness: &Arc<HandFreshness>) -> Cached<WorldSource> {
        let shared: Arc<dyn Cache> = self.shared.clone();
        let tiers = LookupTiers::new(
            &LookupSettings::default(),
            Some(shared),
            digests(),
            freshness.clone(),
            Arc::new(self.clock.clone()),
        )
        .unwrap();
        let settings = SourceCacheSettings {
            fresh: SECOND * 20,
            stale_if_error: SECOND * 60,
            negative: SECOND * 10,
            fetch_timeout: SECOND * 10,
            refresh_ahead: true,
        };
        let source = WorldSource {
            world: self.world.clone(),
            lag: self.lag,
        };
        tiers.cached(source, &settings).unwrap()
    }

    fn look_up(&mut self) {
        let index = self.rng.random_range(0..self.instances.len());
        let number = self.rng.random_range(0..NUMBERS);
        let deadline = Deadline::after(SECOND * self.rng.random_range(1..30));
        let instance = &self.instances[index];
        let lookup = instance.lookup.clone();
        // Begun in this step, as far as it goes without waiting.
        let mut looking = Box::pin(async move { lookup.look_up(&number, deadline).await });
        let asked = (instance.required.clone(), instance.not_before);
        let first = futures::FutureExt::now_or_never(&mut looking);
        self.asked.push(Asked {
            instance: index,
            number,
            at: self.world.lock().unwrap().step(),
            required: asked.0,
            not_before: asked.1,
            task: tokio::spawn(async move {
                match first {
                    Some(outcome) => outcome,
                    None => looking.await,
                }
            }),
        });
    }

    fn append(&mut self) {
        let concern = if self.rng.random_bool(0.5) {
            number(self.rng.random_range(0..NUMBERS))
        } else {
            room(&self.rng.random_range(0..ROOMS).to_string())
        };
        let made_at = self.world.lock().unwrap().step();
        self.log.entries.push(LogEntry { concern, made_at });
        if self.rng.random_bool(0.3) {
            let index = self.rng.random_range(0..self.instances.len());
            while self.apply(index) {}
        }
    }

    /// Applies what is next in the log; whether there was anything.
    fn apply(&mut self, index: usize) -> bool {
        let log = &self.log;
        let instance = &mut self.instances[index];
        if instance.epoch != log.epoch {
            instance.epoch = log.epoch;
            instance.not_before = log.began.1;
            instance.applied = usize::try_from(log.began.0).unwrap();
            instance.freshness.enter_epoch(log.epoch, log.began.0);
            return true;
        }
        let Some(entry) = log.entries.get(instance.applied) else {
            return false;
        };
        instance.freshness.apply(&[entry.concern]);
        instance.applied += 1;
        instance.required.push(*entry);
        true
    }

    fn begin_epoch(&mut self) {
        // Some of the end is lost.
        let lost = self.rng.random_range(0..3);
        let kept = self.log.entries.len().saturating_sub(lost);
        self.log.entries.truncate(kept);
        self.log.epoch += 1;
        self.log.began = (kept as u64, self.world.lock().unwrap().step());
    }

    fn release(&mut self) {
        let mut world = self.world.lock().unwrap();
        if world.held.is_empty() {
            return;
        }
        let index = self.rng.random_range(0..world.held.len());
        let held = world.held.swap_remove(index);
        let release = match self.rng.random_range(0..20) {
            0..12 => Release::Then,
            12..16 => Release::Now,
            16..19 => Release::Fail,
            _ => Release::Panic,
        };
        let _ = held.send(release);
    }

    fn restart(&mut self) {
        let index = self.rng.random_range(0..self.instances.len());
        let lookup = self.caches(&self.instances[index].freshness);
        let old = std::mem::replace(&mut self.instances[index].lookup, lookup);
        self.instances[index].counts.push(old.counts());
    }

    async fn pass(&mut self) {
        let time = match self.rng.random_range(0..3) {
            0 => Duration::from_millis(self.rng.random_range(1..100)),
            1 => Duration::from_millis(self.rng.random_range(100..2000)),
            _ => SECOND * self.rng.random_range(2..15),
        };
        self.clock.advance(time);
        tokio::time::advance(time).await;
    }

    fn disturb(&mut self) {
        let mode = match self.rng.random_range(0..6) {
            0 => Mode::Fails,
            1 => Mode::Hangs,
            _ => Mode::Works,
        };
        match self.rng.random_range(0..3) {
            0 => self.shared.reading(mode),
            1 => self.shared.writing(mode),
            _ => {
                self.reading_paused = !self.reading_paused;
                if self.reading_paused {
                    self.shared.pause_reading();
                } else {
                    self.shared.go_on_reading();
                }
            }
        }
    }

    async fn step(&mut self) {
        {
            let mut world = self.world.lock().unwrap();
            let next = world.step() + 1;
            world.steps.push((Instant::now(), next));
        }
        let index = self.rng.random_range(0..self.instances.len());
        match self.rng.random_range(0..100) {
            0..36 => self.look_up(),
            36..46 => self.append(),
            46..58 => {
                self.apply(index);
            }
            58..60 => self.instances[index].freshness.degrade(),
            60 => self.instances[index].freshness.void(),
            61..66 => self.instances[index].freshness.confirm(),
            66..86 => self.release(),
            86..94 => self.pass().await,
            94..98 => self.disturb(),
            98 => self.restart(),
            _ => self.begin_epoch(),
        }
        for _ in 0..self.rng.random_range(0..12) {
            tokio::task::yield_now().await;
        }
    }

    /// Runs to the end. How many look-ups were answered, and what the caches did.
    async fn run(mut self, seed: u64) -> (u64, Vec<LookupCounts>) {
        for _ in 0..STEPS {
            self.step().await;
        }
        let mut answered = 0;
        for asked in self.asked {
            answered += u64::from(asked.judge(seed).await);
        }
        let counts = self.instances.into_iter().flat_map(|instance| {
            let last = instance.lookup.counts();
            instance.counts.into_iter().chain(std::iter::once(last))
        });
        (answered, counts.collect())
    }
}

#[test]
fn no_answer_is_older_than_a_revocation_that_was_applied_when_the_look_up_began() {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // The schedules make fetches panic.
        let wanted = info
            .payload()
            .downcast_ref::<&str>()
            .is_some_and(|text| text.starts_with("as the"));
        if !wanted {
            quiet(info);
        }
    }));
    let mut answered = 0;
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..SCHEDULES {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let (more, counts) = runtime.block_on(async { Schedule::new(seed).run(seed).await });
        answered += more;
        for (name, count) in counts.iter().flat_map(LookupCounts::named) {
            *totals.entry(name).or_default() += count;
        }
    }
    println!("{answered} look-ups answered; {totals:?}");
    // Nothing is shown by schedules in which nothing happens.
    assert!(answered > SCHEDULES * 20, "{answered}");
    for name in [
        "in_process_hits",
        "shared_hits",
        "joins",
        "in_background",
        "stale_served",
        "voided",
        "unconfirmed",
        "backed_off",
        "waited_for_lag",
        "shared_errors",
    ] {
        assert!(totals[name] > SCHEDULES / 10, "{name}: {totals:?}");
    }
}
