//! A shared cache that works, fails or hangs, and can be written to by hand.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use natsgate_core::{Cache, CacheError, CacheKey};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Works,
    Fails,
    Hangs,
    Panics,
}

pub(crate) struct HandCache {
    reading: Mutex<Mode>,
    writing: Mutex<Mode>,
    entries: Mutex<HashMap<String, (Bytes, Duration)>>,
    gets: AtomicU64,
    puts: AtomicU64,
    /// One permit, or none while reading pauses.
    turn: tokio::sync::Semaphore,
}

impl HandCache {
    pub(crate) fn new() -> Self {
        Self {
            reading: Mutex::new(Mode::Works),
            writing: Mutex::new(Mode::Works),
            entries: Mutex::default(),
            gets: AtomicU64::new(0),
            puts: AtomicU64::new(0),
            turn: tokio::sync::Semaphore::new(1),
        }
    }

    pub(crate) fn reading(&self, mode: Mode) {
        *self.reading.lock().unwrap() = mode;
    }

    pub(crate) fn writing(&self, mode: Mode) {
        *self.writing.lock().unwrap() = mode;
    }

    /// Answers to reads are held back from now on.
    pub(crate) fn pause_reading(&self) {
        self.turn.forget_permits(1);
    }

    pub(crate) fn go_on_reading(&self) {
        self.turn.add_permits(1);
    }

    pub(crate) fn gets(&self) -> u64 {
        self.gets.load(Ordering::SeqCst)
    }

    pub(crate) fn puts(&self) -> u64 {
        self.puts.load(Ordering::SeqCst)
    }

    /// The one entry there is: its key, its text and its time.
    pub(crate) fn only(&self) -> (String, String, Duration) {
        let entries = self.entries.lock().unwrap();
        assert_eq!(entries.len(), 1);
        let (key, (value, ttl)) = entries.iter().next().unwrap();
        (key.clone(), String::from_utf8(value.to_vec()).unwrap(), *ttl)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.lock().unwrap().len()
    }

    /// Puts `value` in place of the one entry there is.
    pub(crate) fn forge(&self, value: impl Into<Vec<u8>>) {
        let (key, _, ttl) = self.only();
        let value = Bytes::from(value.into());
        self.entries.lock().unwrap().insert(key, (value, ttl));
    }

    pub(crate) fn empty(&self) {
        self.entries.lock().unwrap().clear();
    }
}

async fn behave(mode: Mode) -> Result<(), CacheError> {
    match mode {
        Mode::Works => Ok(()),
        Mode::Hangs => std::future::pending().await,
        Mode::Panics => panic!("as the test wants it"),
        Mode::Fails => Err(CacheError {
            doing: "testing".to_owned(),
            cause: "as the test wants it".to_owned(),
        }),
    }
}

#[async_trait]
impl Cache for HandCache {
    async fn get(&self, key: &CacheKey) -> Result<Option<Bytes>, CacheError> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        let mode = *self.reading.lock().unwrap();
        behave(mode).await?;
        let _turn = self.turn.acquire().await.unwrap();
        let entries = self.entries.lock().unwrap();
        Ok(entries.get(key.as_str()).map(|(value, _)| value.clone()))
    }

    async fn put(&self, key: &CacheKey, value: Bytes, ttl: Duration) -> Result<(), CacheError> {
        self.puts.fetch_add(1, Ordering::SeqCst);
        let mode = *self.writing.lock().unwrap();
        behave(mode).await?;
        self.entries
            .lock()
            .unwrap()
            .insert(key.as_str().to_owned(), (value, ttl));
        Ok(())
    }
}
