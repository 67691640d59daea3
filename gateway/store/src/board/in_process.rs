//! What shims tell of themselves, in this process's memory: for a natsgate that is one process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use natsgate_core::board::{ACKNOWLEDGED_FOR, PRESENT_FOR};
use natsgate_core::{
    Acknowledgement, Board, BoardError, Deadline, EntryId, SessionEvent, SessionKey, SessionPage,
    SessionRecord, ShimPresence,
};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::{EVENTS_BEHIND, GONE_FOR, MAX_PAGE, knows_whom};
use crate::redis::channel::Channel;

/// A [`Board`] in memory.
pub struct InProcessBoard {
    held: Mutex<Held>,
    acknowledged: watch::Sender<u64>,
    events: Channel<SessionEvent>,
}

#[derive(Default)]
struct Held {
    shims: BTreeMap<String, (Instant, ShimPresence)>,
    entries: HashMap<EntryId, Done>,
    /// When to see whether what was done for an entry is to be forgotten, the soonest first.
    entries_since: VecDeque<(Instant, EntryId)>,
    clusters: BTreeMap<String, Cluster>,
}

/// What shims have done for one entry.
struct Done {
    last: Instant,
    by_shim: BTreeMap<String, Acknowledgement>,
}

#[derive(Default)]
struct Cluster {
    sessions: BTreeMap<SessionKey, SessionRecord>,
    gone: HashMap<SessionKey, Instant>,
    /// The keys of `gone`, the oldest first.
    gone_since: VecDeque<(Instant, SessionKey)>,
}

impl InProcessBoard {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            held: Mutex::default(),
            acknowledged: watch::Sender::new(0),
            events: Channel::new(EVENTS_BEHIND),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Whoever panicked while holding it left nothing half done that matters: every part stands for itself.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for InProcessBoard {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for InProcessBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcessBoard")
            .field("shims", &self.lock().shims.len())
            .finish_non_exhaustive()
    }
}

impl Held {
    fn forget_entries(&mut self, now: Instant) {
        while let Some((since, id)) = self.entries_since.front().copied()
            && now.saturating_duration_since(since) > ACKNOWLEDGED_FOR
        {
            self.entries_since.pop_front();
            let Some(last) = self.entries.get(&id).map(|done| done.last) else {
                continue;
            };
            if now.saturating_duration_since(last) > ACKNOWLEDGED_FOR {
                self.entries.remove(&id);
            } else {
                // Somebody has said more of it since.
                self.entries_since.push_back((last, id));
            }
        }
    }
}

impl Cluster {
    fn forget_gone(&mut self, now: Instant) {
        while let Some((since, _)) = self.gone_since.front()
            && now.saturating_duration_since(*since) > GONE_FOR
        {
            if let Some((_, key)) = self.gone_since.pop_front() {
                self.gone.remove(&key);
            }
        }
    }

    /// Whether the event is news.
    fn take(&mut self, event: &SessionEvent, now: Instant) -> bool {
        match event {
            SessionEvent::Connected(record) => {
                let known_better = |known: &SessionRecord| knows_whom(known) && !knows_whom(record);
                if self.gone.contains_key(&record.key)
                    || self.sessions.get(&record.key).is_some_and(known_better)
                {
                    return false;
                }
                self.sessions.insert(record.key.clone(), (**record).clone());
                true
            }
            SessionEvent::Disconnected { key, .. } => {
                self.sessions.remove(key);
                let news = self.gone.insert(key.clone(), now).is_none();
                if news {
                    self.gone_since.push_back((now, key.clone()));
                }
                news
            }
        }
    }
}

/// Where a page ends: the last session's key.
fn place(key: &SessionKey) -> String {
    format!("{}.{}", key.client_id, key.server_id)
}

fn key(place: &str) -> Option<SessionKey> {
    let (client_id, server_id) = place.split_once('.')?;
    Some(SessionKey {
        server_id: server_id.to_owned(),
        client_id: client_id.parse().ok()?,
    })
}

#[async_trait]
impl Board for InProcessBoard {
    async fn present(&self, presence: &ShimPresence, _deadline: Deadline) -> Result<(), BoardError> {
        let mut held = self.lock();
        let now = Instant::now();
        held.shims
            .retain(|_shim, (said, _)| now.saturating_duration_since(*said) <= PRESENT_FOR);
        held.shims.insert(presence.shim.clone(), (now, presence.clone()));
        held.clusters.entry(presence.cluster.clone()).or_default();
        Ok(())
    }

    async fn leave(&self, shim: &str, _deadline: Deadline) -> Result<(), BoardError> {
        self.lock().shims.remove(shim);
        Ok(())
    }

    async fn acknowledge(&self, done: &Acknowledgement, _deadline: Deadline) -> Result<(), BoardError> {
        {
            let mut held = self.lock();
            let now = Instant::now();
            held.forget_entries(now);
            if !held.entries.contains_key(&done.entry) {
                held.entries_since.push_back((now, done.entry));
            }
            let of_entry = held.entries.entry(done.entry).or_insert_with(|| Done {
                last: now,
                by_shim: BTreeMap::new(),
            });
            of_entry.last = now;
            of_entry.by_shim.insert(done.shim.clone(), done.clone());
        }
        self.acknowledged
            .send_modify(|count| *count = count.wrapping_add(1));
        Ok(())
    }

    async fn tell(
        &self,
        cluster: &str,
        events: &[SessionEvent],
        _deadline: Deadline,
    ) -> Result<(), BoardError> {
        if events.is_empty() {
            return Ok(());
        }
        let mut held = self.lock();
        let now = Instant::now();
        let cluster = held.clusters.entry(cluster.to_owned()).or_default();
        cluster.forget_gone(now);
        for event in events {
            // Told with the lock held, so that nobody hears of a session's end before its beginning.
            if cluster.take(event, now) {
                self.events.tell(event.clone());
            }
        }
        Ok(())
    }

    async fn shims(&self, _deadline: Deadline) -> Result<Vec<ShimPresence>, BoardError> {
        let held = self.lock();
        let now = Instant::now();
        let there = held
            .shims
            .values()
            .filter(|(said, _)| now.saturating_duration_since(*said) <= PRESENT_FOR);
        Ok(there.map(|(_, presence)| presence.clone()).collect())
    }

    async fn acknowledgements(
        &self,
        entry: EntryId,
        _deadline: Deadline,
    ) -> Result<Vec<Acknowledgement>, BoardError> {
        let mut held = self.lock();
        held.forget_entries(Instant::now());
        let done = held.entries.get(&entry);
        Ok(done.map_or_else(Vec::new, |done| done.by_shim.values().cloned().collect()))
    }

    async fn sessions(
        &self,
        cluster: &str,
        from: Option<&str>,
        limit: usize,
        _deadline: Deadline,
    ) -> Result<SessionPage, BoardError> {
        let from = match from.map(|from| key(from).ok_or_else(super::redis::no_such_place)) {
            Some(from) => Bound::Excluded(from?),
            None => Bound::Unbounded,
        };
        let held = self.lock();
        let Some(cluster) = held.clusters.get(cluster) else {
            return Ok(SessionPage::default());
        };
        let mut rest = cluster.sessions.range((from, Bound::Unbounded));
        let limit = limit.clamp(1, MAX_PAGE);
        let sessions: Vec<SessionRecord> = rest
            .by_ref()
            .take(limit)
            .map(|(_, record)| record.clone())
            .collect();
        let more = rest.next().is_some();
        let next = sessions.last().filter(|_| more).map(|last| place(&last.key));
        Ok(SessionPage { sessions, next })
    }

    async fn look_up(
        &self,
        cluster: &str,
        keys: &[SessionKey],
        _deadline: Deadline,
    ) -> Result<Vec<SessionRecord>, BoardError> {
        let held = self.lock();
        let Some(cluster) = held.clusters.get(cluster) else {
            return Ok(Vec::new());
        };
        let there = keys.iter().filter_map(|key| cluster.sessions.get(key));
        Ok(there.cloned().collect())
    }

    async fn clusters(&self, _deadline: Deadline) -> Result<Vec<String>, BoardError> {
        Ok(self.lock().clusters.keys().cloned().collect())
    }

    fn acknowledged(&self) -> watch::Receiver<u64> {
        self.acknowledged.subscribe()
    }

    fn session_events(&self) -> broadcast::Receiver<SessionEvent> {
        self.events.listen()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use natsgate_core::{Epoch, Revision};

    use super::*;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(10))
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_not_said_so_for_a_while_is_not_there() {
        let board = InProcessBoard::new();
        let presence = ShimPresence {
            shim: "one".to_owned(),
            cluster: "east".to_owned(),
            started_at: UNIX_EPOCH,
            seen_at: UNIX_EPOCH,
            applied: None,
            confirmed: false,
            sessions: 0,
            pending: 0,
            unreachable: Vec::new(),
        };
        board.present(&presence, soon()).await.unwrap();
        tokio::time::advance(PRESENT_FOR).await;
        assert_eq!(board.shims(soon()).await.unwrap(), [presence]);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(board.shims(soon()).await.unwrap(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_done_is_forgotten_an_hour_after_the_last_word() {
        let board = InProcessBoard::new();
        let done = |entry| Acknowledgement {
            shim: "one".to_owned(),
            cluster: "east".to_owned(),
            entry: EntryId([entry; 16]),
            revision: Revision::new(Epoch::from_bytes([7; 16]), 1),
            closed: 0,
            gone: 0,
            spared: 0,
            own_done: true,
            pending: 0,
            took: Duration::ZERO,
            unreachable: Vec::new(),
        };
        let known = async |entry| {
            !board
                .acknowledgements(EntryId([entry; 16]), soon())
                .await
                .unwrap()
                .is_empty()
        };
        for entry in [1, 2] {
            board.acknowledge(&done(entry), soon()).await.unwrap();
        }
        tokio::time::advance(ACKNOWLEDGED_FOR / 2).await;
        board.acknowledge(&done(1), soon()).await.unwrap();
        tokio::time::advance(ACKNOWLEDGED_FOR / 2 + Duration::from_secs(1)).await;
        assert!(known(1).await && !known(2).await);
        tokio::time::advance(ACKNOWLEDGED_FOR / 2).await;
        assert!(!known(1).await);
        assert!(board.lock().entries_since.is_empty());
    }

    #[test]
    fn a_place_in_the_list_is_read_as_it_was_written() {
        let one = SessionKey {
            server_id: "N.A.B".to_owned(),
            client_id: u64::MAX,
        };
        assert_eq!(key(&place(&one)), Some(one));
        for bad in ["", "x", "x.N", "-1.N", "1"] {
            assert_eq!(key(bad), None, "{bad}");
        }
    }
}
