//! One shim that is attached: questions go to it with a number, and answers come back with it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use natsgate_core::Deadline;
use natsgate_proto::v1;
use natsgate_proto::v1::attach_response::Message;
use natsgate_proto::v1::link_answer::Result as Answer;
use natsgate_proto::v1::link_question::Ask;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

/// Questions on their way to one shim at most.
pub(super) const WAITING: usize = 256;

/// How much earlier than it is given up here a question is given up there, as a part of the time.
const EARLIER: u32 = 10;

/// A shim.
pub(super) struct Attached {
    name: String,
    questions: mpsc::Sender<Result<v1::AttachResponse, Status>>,
    waiting: Mutex<Waiting>,
    next: AtomicU64,
}

/// Who waits for answers; `None` once there will be none.
type Waiting = Option<BTreeMap<u64, oneshot::Sender<Option<Answer>>>>;

impl Attached {
    pub(super) fn new(name: String, questions: mpsc::Sender<Result<v1::AttachResponse, Status>>) -> Self {
        Self {
            name,
            questions,
            waiting: Mutex::new(Some(BTreeMap::new())),
            next: AtomicU64::new(1),
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What it answers to `ask` by `deadline`.
    ///
    /// # Errors
    /// Why it did not: it is gone, or took too long.
    pub(super) async fn ask(&self, ask: Ask, deadline: Deadline) -> Result<Answer, String> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let gone = || format!("the shim {} is not attached any more", self.name);
        match self.waiting().as_mut() {
            Some(waiting) => waiting.insert(id, answer),
            None => return Err(gone()),
        };
        // Whoever does not wait any more is not to be answered either.
        let _forget = Forget { attached: self, id };
        let remaining = deadline.remaining();
        let within = remaining.saturating_sub(remaining / EARLIER);
        let question = v1::LinkQuestion {
            id,
            within: Some(duration(within)),
            ask: Some(ask),
        };
        let message = v1::AttachResponse {
            message: Some(Message::Question(question)),
        };
        let asked = async {
            self.questions.send(Ok(message)).await.map_err(|_| gone())?;
            let answer = answered.await.map_err(|_| gone())?;
            answer.ok_or_else(|| format!("the shim {} sent an answer without anything in it", self.name))
        };
        let late = |_| format!("the shim {} did not answer in time", self.name);
        deadline.bound(asked).await.map_err(late)?
    }

    /// Takes an answer.
    pub(super) fn answered(&self, answer: v1::LinkAnswer) {
        let waiting = self
            .waiting()
            .as_mut()
            .and_then(|waiting| waiting.remove(&answer.id));
        if let Some(waiting) = waiting {
            // Nobody waits any more: then nobody needs it.
            let _ = waiting.send(answer.result);
        }
    }

    /// It is gone: whoever waits learns of it.
    pub(super) fn gone(&self) {
        *self.waiting() = None;
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Forget<'a> {
    attached: &'a Attached,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.attached.waiting().as_mut() {
            waiting.remove(&self.id);
        }
    }
}

fn duration(duration: Duration) -> prost_types::Duration {
    // Longer than a message can say is longer than anybody waits.
    prost_types::Duration::try_from(duration).unwrap_or_default()
}
