//! Shims and sessions to tell of.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use natsgate_core::{
    Acknowledgement, Board, Deadline, EntryId, Epoch, Principal, Revision, SessionEvent, SessionKey,
    SessionRecord, ShimPresence,
};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Much longer than it takes from a subscription to the word that it is made.
const SETTLED: Duration = Duration::from_millis(300);

/// As long as anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}

pub(crate) fn revision(sequence: u64) -> Revision {
    Revision::new(Epoch::from_bytes([7; 16]), sequence)
}

pub(crate) fn presence(shim: &str, cluster: &str) -> ShimPresence {
    ShimPresence {
        shim: shim.to_owned(),
        cluster: cluster.to_owned(),
        started_at: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        seen_at: UNIX_EPOCH + Duration::from_secs(1_800_000_002),
        applied: Some(revision(3)),
        confirmed: true,
        sessions: 12,
        pending: 1,
        unreachable: vec!["NUNREACHABLE".to_owned()],
    }
}

pub(crate) fn done(shim: &str, entry: u8, pending: u64) -> Acknowledgement {
    Acknowledgement {
        shim: shim.to_owned(),
        cluster: "east".to_owned(),
        entry: EntryId([entry; 16]),
        revision: revision(u64::from(entry)),
        closed: 5,
        gone: 1,
        spared: 2,
        own_done: true,
        pending,
        took: Duration::from_millis(17),
        unreachable: Vec::new(),
    }
}

pub(crate) fn key(client_id: u64) -> SessionKey {
    SessionKey {
        server_id: "NSERVER".to_owned(),
        client_id,
    }
}

pub(crate) fn record(client_id: u64, who: Option<&str>) -> SessionRecord {
    SessionRecord {
        key: key(client_id),
        cluster: "east".to_owned(),
        server_name: "nats-1".to_owned(),
        account: "APP".to_owned(),
        principal: who.map(|who| Principal::new("https://idp.example", who)),
        name: "alice@example.com".to_owned(),
        principal_digest: "digest".to_owned(),
        shim: "shim-1".to_owned(),
        as_of: Some(revision(2)),
        policy_generation: 4,
        connected_at: Some(UNIX_EPOCH + Duration::from_micros(1_800_000_000_123_456)),
        expires_at: None,
        client_host: "192.0.2.17".to_owned(),
        client_name: "dashboard".to_owned(),
        client_kind: "Client".to_owned(),
        client_type: "websocket".to_owned(),
        details: "what a shim has to know".to_owned(),
    }
}

pub(crate) fn there(client_id: u64, who: Option<&str>) -> SessionEvent {
    SessionEvent::Connected(Box::new(record(client_id, who)))
}

pub(crate) fn over(client_id: u64) -> SessionEvent {
    SessionEvent::Disconnected {
        cluster: "east".to_owned(),
        key: key(client_id),
        reason: "Kicked".to_owned(),
    }
}

/// All sessions of a cluster, page by page, by their keys.
pub(crate) async fn all(
    board: &dyn Board,
    cluster: &str,
    limit: usize,
) -> BTreeMap<SessionKey, SessionRecord> {
    let mut found = BTreeMap::new();
    let mut from = None;
    loop {
        let page = board
            .sessions(cluster, from.as_deref(), limit, soon())
            .await
            .unwrap();
        found.extend(page.sessions.into_iter().map(|one| (one.key.clone(), one)));
        from = page.next;
        if from.is_none() {
            return found;
        }
    }
}

/// Whoever listens to events, and really does.
pub(crate) struct Listener<'a> {
    board: &'a dyn Board,
    events: broadcast::Receiver<SessionEvent>,
}

impl<'a> Listener<'a> {
    /// One who hears what `board` is told from now on: an event of his own has come through.
    pub(crate) async fn begin(board: &'a dyn Board) -> Self {
        let mut listener = Self {
            board,
            events: board.session_events(),
        };
        for attempt in 0_u64.. {
            let mark = over(1_000_000 + attempt);
            board
                .tell("marks", std::slice::from_ref(&mark), soon())
                .await
                .unwrap();
            let heard = async { while listener.next().await.as_ref() != Some(&mark) {} };
            let heard = tokio::time::timeout(Duration::from_millis(200), heard).await;
            // What comes in while the subscription is being made may be heard before the word that something was missed.
            if heard.is_ok() && listener.is_quiet().await {
                break;
            }
        }
        listener
    }

    /// Whether nothing comes for a while, and nothing was missed meanwhile.
    async fn is_quiet(&mut self) -> bool {
        tokio::time::timeout(SETTLED, self.next()).await.is_err()
    }

    /// The next event; `None` if some may have been missed.
    pub(crate) async fn next(&mut self) -> Option<SessionEvent> {
        match self.events.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(_)) => None,
            Err(RecvError::Closed) => {
                self.events = self.board.session_events();
                None
            }
        }
    }

    /// The next event, which must come.
    pub(crate) async fn hears(&mut self) -> SessionEvent {
        let heard = tokio::time::timeout(PATIENCE, self.next()).await;
        heard.expect("no event came").expect("some were missed")
    }
}
