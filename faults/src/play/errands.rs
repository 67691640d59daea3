//! Calls of the API that are made until they succeed, in order for each person, and what became of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use natsgate_proto::v1;
use natsgate_proto::v1::ban_request::Scope;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tonic::{Code, Status};

use super::revoke;
use crate::api::Api;
use crate::schedule::PEOPLE;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_millis(1500);

/// Pause before another.
const PAUSE: Duration = Duration::from_millis(50);

/// Something to have done.
#[derive(Debug, Clone)]
pub(crate) enum Errand {
    Revoke(v1::Selector),
    Put(Vec<v1::MembershipItem>),
    Delete(Vec<v1::MembershipItem>),
    BanTokens(v1::Principal),
    Ban(v1::Principal),
    LiftAll,
}

/// What happened, with times from the beginning.
#[derive(Clone)]
pub(crate) struct Diary {
    begun: Instant,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Diary {
    pub(crate) fn begin() -> Self {
        Self {
            begun: Instant::now(),
            lines: Arc::default(),
        }
    }

    pub(crate) fn note(&self, what: impl AsRef<str>) {
        let line = format!("{:>6} ms  {}", self.begun.elapsed().as_millis(), what.as_ref());
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One queue a person, and one for what concerns all.
pub(crate) struct Errands {
    queues: Vec<mpsc::UnboundedSender<(usize, Errand)>>,
    open: watch::Sender<usize>,
    left: Arc<Mutex<Vec<String>>>,
    refused: Arc<Mutex<Vec<String>>>,
    tasks: Vec<AbortHandle>,
}

/// Whoever runs one queue.
struct Runner {
    api: Api,
    diary: Diary,
    /// The bans in force.
    bans: Vec<String>,
    refused: Arc<Mutex<Vec<String>>>,
}

/// So that every call has a key of its own.
static KEYS: AtomicUsize = AtomicUsize::new(0);

impl Errands {
    pub(crate) fn begin(api: Api, diary: Diary) -> Self {
        let open = watch::Sender::new(0);
        let left: Arc<Mutex<Vec<String>>> = Arc::default();
        let refused: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut queues = Vec::new();
        let mut tasks = Vec::new();
        for _ in 0..=PEOPLE {
            let (queue, mut taken) = mpsc::unbounded_channel::<(usize, Errand)>();
            let mut runner = Runner {
                api: api.clone(),
                diary: diary.clone(),
                bans: Vec::new(),
                refused: Arc::clone(&refused),
            };
            let (open, left) = (open.clone(), Arc::clone(&left));
            let task = tokio::spawn(async move {
                while let Some((at, errand)) = taken.recv().await {
                    let name = format!("{errand:?}");
                    lock(&left).push(name.clone());
                    runner.run(at, errand).await;
                    lock(&left).retain(|other| *other != name);
                    open.send_modify(|open| *open -= 1);
                }
            });
            queues.push(queue);
            tasks.push(task.abort_handle());
        }
        Self {
            queues,
            open,
            left,
            refused,
            tasks,
        }
    }

    /// Has `errand` done after all earlier ones of the same queue, at the decision service of index `at` first.
    pub(crate) fn run(&self, queue: usize, at: usize, errand: Errand) {
        self.open.send_modify(|open| *open += 1);
        // The runner lives as long as the queue.
        let _ = self.queues[queue].send((at, errand));
    }

    /// Waits until nothing is left to do; false if that takes longer than `patience`.
    pub(crate) async fn all_done(&self, patience: Duration) -> bool {
        let mut open = self.open.subscribe();
        tokio::time::timeout(patience, open.wait_for(|open| *open == 0))
            .await
            .is_ok()
    }

    /// What is being tried.
    pub(crate) fn left(&self) -> Vec<String> {
        lock(&self.left).clone()
    }

    /// What was refused for good.
    pub(crate) fn refused(&self) -> Vec<String> {
        lock(&self.refused).clone()
    }
}

impl Drop for Errands {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One call.
#[derive(Debug)]
enum Ask {
    Revoke(v1::Selector, Option<Scope>),
    Put(Vec<v1::MembershipItem>),
    Delete(Vec<v1::MembershipItem>),
    Lift(String),
}

/// What it was answered.
struct Answered {
    revision: String,
    /// The name of what was revoked.
    id: String,
}

impl Runner {
    async fn run(&mut self, at: usize, errand: Errand) {
        let by = crate::api::selector::principal;
        match errand {
            Errand::Put(items) if items.is_empty() => {}
            Errand::Put(items) => drop(self.until_done(at, &Ask::Put(items)).await),
            Errand::Delete(items) => drop(self.until_done(at, &Ask::Delete(items)).await),
            Errand::Revoke(selector) => drop(self.until_done(at, &Ask::Revoke(selector, None)).await),
            Errand::Ban(principal) => {
                // Long after the schedule.
                let scope = Scope::EveryoneUntil(in_an_hour().into());
                let done = self
                    .until_done(at, &Ask::Revoke(by(principal), Some(scope)))
                    .await;
                self.bans.extend(done.map(|done| done.id));
            }
            Errand::BanTokens(principal) => {
                let scope = Scope::TokensIssuedUntilNow(true);
                let done = self
                    .until_done(at, &Ask::Revoke(by(principal), Some(scope)))
                    .await;
                self.bans.extend(done.map(|done| done.id));
            }
            Errand::LiftAll => {
                for ban in std::mem::take(&mut self.bans) {
                    self.until_done(at, &Ask::Lift(ban)).await;
                }
            }
        }
    }

    /// Calls, at one decision service and the other, until it is done (`Some`) or refused for good.
    async fn until_done(&self, first: usize, ask: &Ask) -> Option<Answered> {
        let number = KEYS.fetch_add(1, Ordering::Relaxed);
        let key = format!("call {number}");
        self.diary.note(format!("{key}: {ask:?}"));
        let mut at = first;
        loop {
            let begun = Instant::now();
            // A frozen service does not even see the deadline.
            let called = tokio::time::timeout(ATTEMPT + PAUSE, self.ask(at, &key, ask)).await;
            let took = begun.elapsed().as_millis();
            match called {
                Ok(Ok(answered)) => {
                    self.diary
                        .note(format!("{key} at {at}: {} after {took} ms", answered.revision));
                    return Some(answered);
                }
                Ok(Err(status)) if is_final(&status) => {
                    let refused = format!("{key} ({ask:?}) at {at} was refused: {status}");
                    self.diary.note(&refused);
                    lock(&self.refused).push(refused);
                    return None;
                }
                Ok(Err(status)) => self.diary.note(format!(
                    "{key} at {at} after {took} ms: {:?}: {}",
                    status.code(),
                    status.message()
                )),
                Err(_elapsed) => self.diary.note(format!("{key} at {at}: no answer")),
            }
            at += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask(&self, at: usize, key: &str, ask: &Ask) -> Result<Answered, Status> {
        let (revision, id) = match ask {
            Ask::Revoke(selector, scope) => {
                let request = v1::RevokeRequest {
                    ban: scope.map(|scope| v1::BanRequest { scope: Some(scope) }),
                    ..revoke(key, selector.clone())
                };
                let done = self.api.revoke(at, request, ATTEMPT).await?;
                (done.revision, done.id)
            }
            Ask::Put(items) => {
                let done = self.api.put(at, key, items.clone(), ATTEMPT).await?;
                (done.revision, String::new())
            }
            Ask::Delete(items) => {
                let done = self.api.delete(at, key, items.clone(), ATTEMPT).await?;
                (done.revision, String::new())
            }
            Ask::Lift(ban) => {
                let request = v1::LiftBanRequest {
                    idempotency_key: key.to_owned(),
                    ban: ban.clone(),
                    reason: "a schedule".to_owned(),
                };
                let call = self.api.call(request, ATTEMPT);
                let done = self.api.revocations(at).lift_ban(call).await?.into_inner();
                (done.revision, ban.clone())
            }
        };
        Ok(Answered { revision, id })
    }
}

/// Whether there is no use in calling again.
fn is_final(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument
            | Code::PermissionDenied
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::DataLoss
            | Code::AlreadyExists
    )
}

fn in_an_hour() -> std::time::SystemTime {
    use natsgate_core::{Clock, SystemClock};
    SystemClock.now() + Duration::from_secs(3600)
}
