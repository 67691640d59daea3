//! The port to what shims tell of themselves: that they are there, what they have carried out, which sessions they see.
//!
//! Decision services read it, to answer who has carried out a revocation and who is connected. Nothing is enforced by it: a
//! shim that cannot write here closes sessions all the same, and only the answer is missing.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};

use crate::deadline::Deadline;
use crate::revision::Revision;
use crate::revocation::EntryId;

/// A shim that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimPresence {
    /// Its name, new at every start.
    pub shim: String,
    /// The cluster it serves, by its configured name.
    pub cluster: String,
    /// Since when it runs.
    pub started_at: SystemTime,
    /// When it said so.
    pub seen_at: SystemTime,
    /// How far it has read the log.
    pub applied: Option<Revision>,
    /// Whether it knows that this was the end lately.
    pub confirmed: bool,
    /// How many live sessions it knows.
    pub sessions: u64,
    /// How many kicks are still to be carried out.
    pub pending: u64,
    /// The ids of servers that it cannot reach.
    pub unreachable: Vec<String>,
}

/// A shim has carried out one entry of the log, or is at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// The shim.
    pub shim: String,
    /// Its cluster.
    pub cluster: String,
    /// The entry.
    pub entry: EntryId,
    /// Where it stood when the shim read it.
    pub revision: Revision,
    /// Sessions that it closed for it.
    pub closed: u64,
    /// Sessions concerned that went by themselves, or by another shim's hand.
    pub gone: u64,
    /// Sessions that lose nothing by it and were left alone.
    pub spared: u64,
    /// Whether it has carried it out for all sessions that it looks after itself; what is pending then are others', which
    /// it closes if their shims do not.
    #[serde(default)]
    pub own_done: bool,
    /// Sessions that are still to be looked at or closed, by it or by whoever looks after them; 0 when all is done.
    pub pending: u64,
    /// How long it took from reading the entry.
    #[serde(with = "crate::revocation::millis")]
    pub took: Duration,
    /// The ids of servers that it could not reach and that may have sessions concerned.
    pub unreachable: Vec<String>,
}

impl Acknowledgement {
    /// Whether nothing is left to do.
    pub fn is_complete(&self) -> bool {
        self.pending == 0 && self.unreachable.is_empty()
    }
}

/// What names a session: its connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionKey {
    /// The nats-server's id, new at every start of it.
    pub server_id: String,
    /// The client's id on that server.
    pub client_id: u64,
}

/// A live session, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Its connection.
    pub key: SessionKey,
    /// The cluster, by the shims' configured name.
    pub cluster: String,
    /// The server's configured name.
    pub server_name: String,
    /// The NATS account, by the name policies have for it.
    pub account: String,
    /// Whom it is for; `None` where the shim that knew is gone.
    pub principal: Option<crate::principal::Principal>,
    /// The readable part of the user JWT's name.
    pub name: String,
    /// [`Principal::digest`](crate::Principal::digest) of whom it is for.
    pub principal_digest: String,
    /// The shim that answered it, if known.
    pub shim: String,
    /// What it is valid as of, if known.
    pub as_of: Option<Revision>,
    /// The policy's generation; 0 if unknown.
    pub policy_generation: u64,
    /// When it connected, as far as it is known.
    pub connected_at: Option<SystemTime>,
    /// When it ends at the latest, if known.
    pub expires_at: Option<SystemTime>,
    /// The host it came from.
    pub client_host: String,
    /// The name it gave itself.
    pub client_name: String,
    /// `Client` or `Leafnode`.
    pub client_kind: String,
    /// `nats`, `mqtt`, `websocket`; empty if unknown.
    pub client_type: String,
    /// What another shim has to know to look after it, should this one be gone. Opaque to all but shims; empty if
    /// there is nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

/// Something happened to a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionEvent {
    /// It is there, or more is known of it.
    Connected(Box<SessionRecord>),
    /// It is gone.
    Disconnected {
        /// Its cluster.
        cluster: String,
        /// Its connection.
        key: SessionKey,
        /// Why, in the server's words: `Kicked`, `Client Closed`; empty if unknown.
        reason: String,
    },
}

/// A part of the list of sessions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionPage {
    /// The sessions, in no particular order. What is there all the while is in some page at least once.
    pub sessions: Vec<SessionRecord>,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

/// The board could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{doing}: {cause}")]
pub struct BoardError {
    /// What was being done.
    pub doing: String,
    /// What went wrong, and what to look at.
    pub cause: String,
}

/// What shims tell of themselves.
#[async_trait]
pub trait Board: Send + Sync {
    /// A shim says that it is there. One that has not for [`PRESENT_FOR`] is not.
    ///
    /// # Errors
    /// [`BoardError`].
    async fn present(&self, presence: &ShimPresence, deadline: Deadline) -> Result<(), BoardError>;

    /// A shim says that it is not there any more.
    ///
    /// # Errors
    /// [`BoardError`].
    async fn leave(&self, shim: &str, deadline: Deadline) -> Result<(), BoardError>;

    /// A shim says what it has done for an entry; its last word about one counts. Kept for [`ACKNOWLEDGED_FOR`].
    ///
    /// # Errors
    /// [`BoardError`].
    async fn acknowledge(&self, done: &Acknowledgement, deadline: Deadline) -> Result<(), BoardError>;

    /// A shim of `cluster` says which sessions are there, or not any more. Of one that is there the last word counts of
    /// those who know whom it is for, or of all if nobody does. One that is gone never comes back: who says so later than
    /// somebody else that it is there says nothing new. Only what is news is an event.
    ///
    /// # Errors
    /// [`BoardError`].
    async fn tell(
        &self,
        cluster: &str,
        events: &[SessionEvent],
        deadline: Deadline,
    ) -> Result<(), BoardError>;

    /// The shims that are there.
    ///
    /// # Errors
    /// [`BoardError`].
    async fn shims(&self, deadline: Deadline) -> Result<Vec<ShimPresence>, BoardError>;

    /// What shims have done for `entry` so far.
    ///
    /// # Errors
    /// [`BoardError`].
    async fn acknowledgements(
        &self,
        entry: EntryId,
        deadline: Deadline,
    ) -> Result<Vec<Acknowledgement>, BoardError>;

    /// Sessions of `cluster`, from where an earlier page ended; about `limit` of them.
    ///
    /// # Errors
    /// [`BoardError`]; also if `from` is no place that an earlier page named.
    async fn sessions(
        &self,
        cluster: &str,
        from: Option<&str>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<SessionPage, BoardError>;

    /// The sessions of `cluster` among `keys` that are there.
    ///
    /// # Errors
    /// [`BoardError`].
    async fn look_up(
        &self,
        cluster: &str,
        keys: &[SessionKey],
        deadline: Deadline,
    ) -> Result<Vec<SessionRecord>, BoardError>;

    /// The clusters that sessions were told of, or that a shim said it serves, in order.
    ///
    /// # Errors
    /// [`BoardError`].
    async fn clusters(&self, deadline: Deadline) -> Result<Vec<String>, BoardError>;

    /// Changes whenever an acknowledgement came. A hint to look, which may get lost.
    fn acknowledged(&self) -> watch::Receiver<u64>;

    /// What happens to sessions from now on. Events may get lost; whoever
    /// may have missed some is told so by the channel: it says that he lagged, or it ends, and he calls this again and then
    /// reads the list anew. It may end for that reason right at the beginning. Must be called within a tokio runtime, as must
    /// [`Self::acknowledged`].
    fn session_events(&self) -> broadcast::Receiver<SessionEvent>;
}

/// How long a shim counts as there after it has last said so.
pub const PRESENT_FOR: Duration = Duration::from_secs(10);

/// How long acknowledgements are kept.
pub const ACKNOWLEDGED_FOR: Duration = Duration::from_secs(3600);
