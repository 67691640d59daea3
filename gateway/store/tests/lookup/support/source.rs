//! A source of truth that answers when, and what, the test says.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use natsgate_core::{Concern, Deadline, DenialReason, Fact, Failure, Source};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

/// What the source knows of one number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    pub(crate) text: String,
    /// What else it is about, which shows only in the answer.
    pub(crate) rooms: Vec<String>,
    pub(crate) expires_at: Option<SystemTime>,
}

pub(crate) fn page(text: &str) -> Page {
    Page {
        text: text.to_owned(),
        rooms: Vec::new(),
        expires_at: None,
    }
}

pub(crate) fn number(number: u32) -> Concern {
    Concern::resource("number", &number.to_string())
}

pub(crate) fn room(room: &str) -> Concern {
    Concern::resource("room", room)
}

pub(crate) fn denied() -> Failure {
    Failure::denied(DenialReason::InactiveToken, "the provider says no")
}

pub(crate) fn down() -> Failure {
    Failure::unavailable("the source is down")
}

impl Fact for Page {
    const KIND: &'static str = "page.1";

    fn concerns(&self) -> Vec<Concern> {
        self.rooms.iter().map(|name| room(name)).collect()
    }

    fn is_negative(&self) -> bool {
        self.text.is_empty()
    }

    fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }
}

/// A fetch that waits for its answer.
pub(crate) struct Call {
    pub(crate) number: u32,
    pub(crate) time_left: Duration,
    answer: oneshot::Sender<Answer>,
}

enum Answer {
    Result(Result<Page, Failure>),
    Panic,
}

impl Call {
    pub(crate) fn answer(self, answer: Result<Page, Failure>) {
        let _ = self.answer.send(Answer::Result(answer));
    }

    pub(crate) fn panic(self) {
        let _ = self.answer.send(Answer::Panic);
    }

    /// Whether the fetch was given up.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }
}

/// Decides an answer at once.
type Answering = Box<dyn Fn(u32) -> Result<Page, Failure> + Send + Sync>;

pub(crate) struct HandSource {
    name: String,
    lag: Duration,
    asked: AtomicU64,
    calls: mpsc::UnboundedSender<Call>,
    answering: Mutex<Option<Answering>>,
}

/// The fetches a source is asked for, as they come.
pub(crate) struct Calls(mpsc::UnboundedReceiver<Call>);

impl Calls {
    pub(crate) async fn next(&mut self) -> Call {
        super::rig::soon(self.0.recv()).await.unwrap()
    }

    pub(crate) fn waiting(&mut self) -> Vec<Call> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

impl HandSource {
    /// A source of this `name` and `lag`, and the fetches that wait for an answer.
    pub(crate) fn new(name: &str, lag: Duration) -> (Arc<Self>, Calls) {
        let (calls, receiver) = mpsc::unbounded_channel();
        let source = Self {
            name: name.to_owned(),
            lag,
            asked: AtomicU64::new(0),
            calls,
            answering: Mutex::new(None),
        };
        (Arc::new(source), Calls(receiver))
    }

    /// From now on fetches are answered at once.
    pub(crate) fn answer_with(
        &self,
        answering: impl Fn(u32) -> Result<Page, Failure> + Send + Sync + 'static,
    ) {
        *self.answering.lock().unwrap() = Some(Box::new(answering));
    }

    /// From now on fetches wait for an answer by hand.
    pub(crate) fn hold(&self) {
        *self.answering.lock().unwrap() = None;
    }

    /// How many fetches there were.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The source as the caches have it.
#[derive(Clone)]
pub(crate) struct Handle(pub(crate) Arc<HandSource>);

#[async_trait]
impl Source for Handle {
    type Query = u32;
    type Fact = Page;

    fn name(&self) -> &str {
        &self.0.name
    }

    fn key(&self, query: &u32) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(query.to_be_bytes().to_vec())
    }

    fn concerns(&self, query: &u32) -> Vec<Concern> {
        vec![number(*query)]
    }

    fn lag(&self) -> Duration {
        self.0.lag
    }

    async fn fetch(&self, query: &u32, deadline: Deadline) -> Result<Page, Failure> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let at_once = self
            .0
            .answering
            .lock()
            .unwrap()
            .as_ref()
            .map(|answer| answer(*query));
        if let Some(answer) = at_once {
            return answer;
        }
        let (answer, answered) = oneshot::channel();
        let call = Call {
            number: *query,
            time_left: deadline.remaining(),
            answer,
        };
        self.0.calls.send(call).unwrap();
        match answered.await {
            Ok(Answer::Result(result)) => result,
            Ok(Answer::Panic) => panic!("as the test wants it"),
            // The test forgot about this call: it hangs.
            Err(_) => std::future::pending().await,
        }
    }
}
