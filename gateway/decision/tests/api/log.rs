//! A revocation log in memory that does as it is told.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use natsgate_core::{Announcer, Appended, Deadline, Epoch, LogError, NewEntry, Revision};
use tokio::sync::watch;

/// What the log does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It appends.
    Well,
    /// It cannot be reached.
    Away,
    /// It appends, and says that it could not be reached.
    LosesAnswers,
    /// It appends so many, then cannot be reached.
    Only(usize),
    /// It takes what is to be appended and does nothing until its mood changes.
    Holds,
}

pub(crate) struct TestLog {
    entries: Mutex<Vec<NewEntry>>,
    mood: watch::Sender<Mood>,
    calls: watch::Sender<usize>,
}

impl TestLog {
    pub(crate) fn new() -> Self {
        Self {
            entries: Mutex::default(),
            mood: watch::Sender::new(Mood::Well),
            calls: watch::Sender::new(0),
        }
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// The entries there are.
    pub(crate) fn entries(&self) -> Vec<NewEntry> {
        self.entries.lock().unwrap().clone()
    }

    /// Waits until so many appends were asked for.
    pub(crate) async fn called(&self, times: usize) {
        self.calls
            .subscribe()
            .wait_for(|calls| *calls >= times)
            .await
            .unwrap();
    }

    pub(crate) fn revision(sequence: usize) -> String {
        Revision::new(Epoch::from_bytes([3; 16]), sequence as u64).to_string()
    }
}

#[async_trait]
impl Announcer for TestLog {
    async fn append(&self, entry: NewEntry, _deadline: Deadline) -> Result<Appended, LogError> {
        self.calls.send_modify(|calls| *calls += 1);
        let mut mood = self.mood.subscribe();
        let mood = *mood.wait_for(|mood| *mood != Mood::Holds).await.unwrap();
        let away = || LogError::Unavailable {
            doing: "appending".into(),
            cause: "a test".into(),
        };
        match mood {
            Mood::Away | Mood::Only(0) => return Err(away()),
            Mood::Only(left) => self.set(Mood::Only(left - 1)),
            _ => {}
        }
        let mut entries = self.entries.lock().unwrap();
        let known: HashMap<_, _> = entries
            .iter()
            .enumerate()
            .map(|(place, one)| (one.idempotency.clone().unwrap().key, place + 1))
            .collect();
        let found = known.get(&entry.idempotency.clone().unwrap().key).copied();
        let sequence = found.unwrap_or_else(|| {
            entries.push(entry);
            entries.len()
        });
        if mood == Mood::LosesAnswers {
            return Err(away());
        }
        Ok(Appended {
            revision: TestLog::revision(sequence).parse().unwrap(),
            repeated: found.is_some(),
            confirmed: true,
        })
    }
}
