//! A revocation log in memory that is out of reach when it is told to be.

use std::sync::Arc;

use async_trait::async_trait;
use natsgate_core::{
    Announcer, Appended, Change, Clock, Deadline, LogEntry, LogError, NewEntry, RevocationLog,
};
use natsgate_store::{InProcessLog, LogSettings};
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
    inner: InProcessLog,
    mood: watch::Sender<Mood>,
    calls: watch::Sender<usize>,
}

impl TestLog {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            inner: InProcessLog::new(&LogSettings::default(), None, clock),
            mood: watch::Sender::new(Mood::Well),
            calls: watch::Sender::new(0),
        })
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Waits until so many appends were asked for.
    pub(crate) async fn called(&self, times: usize) {
        let mut calls = self.calls.subscribe();
        calls.wait_for(|calls| *calls >= times).await.unwrap();
    }

    /// The entries there are.
    pub(crate) async fn entries(&self) -> Vec<LogEntry> {
        let page = self.inner.read(0, 1000, crate::scene::soon()).await.unwrap();
        page.entries
    }

    /// What they say.
    pub(crate) async fn changes(&self) -> Vec<Change> {
        self.entries()
            .await
            .into_iter()
            .map(|entry| entry.change)
            .collect()
    }
}

#[async_trait]
impl Announcer for TestLog {
    async fn append(&self, entry: NewEntry, deadline: Deadline) -> Result<Appended, LogError> {
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
        let appended = self.inner.append(&entry, deadline).await?;
        match mood {
            Mood::LosesAnswers => Err(away()),
            _ => Ok(appended),
        }
    }
}
