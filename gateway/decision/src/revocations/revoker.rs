//! Revokes: one entry of the log, whatever happens on the way.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use natsgate_core::clock::whole_micros;
use natsgate_core::{
    Announced, Announcement, Announcer, Ban, BanScope, BanStore, BanStoreError, BanWritten, Change, Clock,
    Deadline, EntryId, Idempotency, Lifted, LogError, NewEntry, Pace, Revision, Selector,
};
use tracing::warn;

use crate::memberships::Relay;
use natsgate_api::idempotency::entry_id;

/// How much longer than must be bans are kept, for all that is not exact about times.
const MARGIN: Duration = Duration::from_secs(10 * 60);

/// What to revoke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Whom or what.
    pub selector: Selector,
    /// Why, in words.
    pub reason: String,
    /// Who revokes: a caller's name.
    pub actor: String,
    /// How fast live sessions are closed.
    pub pace: Pace,
    /// Whom to refuse from now on.
    pub ban: Option<Banned>,
    /// What makes it happen once. The key names the log entry, so no other may have it: with and without a ban, too, are two
    /// requests and need two keys.
    pub idempotency: Idempotency,
}

/// Whom a ban refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Banned {
    /// Whoever comes with a credential issued until now, plus what clocks may differ, or with one that does not say when.
    IssuedUntilNow,
    /// Everybody, until this time.
    EveryoneUntil(SystemTime),
}

/// What was revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The log entry's name; the ban's, too.
    pub id: EntryId,
    /// Where the entry stands. `None` if that was longer ago than is remembered.
    pub revision: Option<Revision>,
    /// Whether it was done before, with the same key.
    pub repeated: bool,
    /// Whether as many replicas have the entry as the configuration asks for.
    pub confirmed: bool,
    /// The ban, if there is one.
    pub ban: Option<Ban>,
}

/// Nothing was revoked, or whether it was is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// There is no place to keep bans in. Nothing was done.
    #[error("bans are kept where pushed memberships are (`store.pushed`), and that is not configured")]
    NoBanStore,
    /// The log could not do it.
    #[error("the revocation log: {0}")]
    Log(LogError),
    /// The store of bans could not do it.
    #[error("the store of bans: {0}")]
    Store(BanStoreError),
    /// The ban is written, and will be announced as soon as the log can be reached.
    #[error("the ban is written and not announced yet: {0}")]
    NotAnnounced(LogError),
}

/// Where bans are kept.
pub struct BanKeeping {
    /// The store.
    pub store: Arc<dyn BanStore>,
    /// Announces what it has pending. Over the same store.
    pub relay: Arc<Relay>,
    /// How long bans have to be kept.
    pub times: BanTimes,
}

/// What decides how long bans have to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BanTimes {
    /// How far clocks may differ between the providers and the instances that revoke.
    pub clock_skew: Duration,
    /// The longest life of any credential that is accepted.
    pub longest_life: Duration,
}

/// Revokes, for whoever may.
pub struct Revoker {
    log: Arc<dyn Announcer>,
    bans: Option<BanKeeping>,
    clock: Arc<dyn Clock>,
}

impl Revoker {
    /// A revoker that appends to `log`; with `bans`, one that bans.
    pub fn new(log: Arc<dyn Announcer>, bans: Option<BanKeeping>, clock: Arc<dyn Clock>) -> Self {
        Self { log, bans, clock }
    }

    /// Revokes before `deadline`. Once this has returned a revision, no decision that includes it rests on anything older.
    ///
    /// May be stopped at any point: then it is done or not, and asked for again with the same key it is done once.
    ///
    /// # Errors
    /// [`RevokeError`].
    pub async fn revoke(&self, revocation: &Revocation, deadline: Deadline) -> Result<Revoked, RevokeError> {
        match revocation.ban {
            None => self.append(revocation, deadline).await,
            Some(banned) => self.ban(revocation, banned, deadline).await,
        }
    }

    async fn append(&self, revocation: &Revocation, deadline: Deadline) -> Result<Revoked, RevokeError> {
        let id = entry_id(&revocation.idempotency.key);
        let entry = NewEntry {
            id,
            at: self.clock.now(),
            change: Change::Revoked {
                selector: revocation.selector.clone(),
                reason: revocation.reason.clone(),
                actor: revocation.actor.clone(),
                pace: revocation.pace,
                ban: None,
            },
            idempotency: Some(revocation.idempotency.clone()),
        };
        let appended = deadline.bound(self.log.append(entry, deadline)).await;
        let appended = appended
            .unwrap_or_else(|passed| {
                Err(LogError::Unavailable {
                    doing: "revoking".to_owned(),
                    cause: passed.to_string(),
                })
            })
            .map_err(RevokeError::Log)?;
        Ok(Revoked {
            id,
            revision: Some(appended.revision),
            repeated: appended.repeated,
            confirmed: appended.confirmed,
            ban: None,
        })
    }

    async fn ban(
        &self,
        revocation: &Revocation,
        banned: Banned,
        deadline: Deadline,
    ) -> Result<Revoked, RevokeError> {
        let keeping = self.bans.as_ref().ok_or(RevokeError::NoBanStore)?;
        let now = whole_micros(self.clock.now());
        let BanTimes {
            clock_skew,
            longest_life,
        } = keeping.times;
        let later = |time: SystemTime, by: Duration| time.checked_add(by).unwrap_or(time);
        let (scope, ends_at) = match banned {
            Banned::EveryoneUntil(until) => (
                BanScope::Everyone {
                    until: whole_micros(until),
                },
                whole_micros(until),
            ),
            Banned::IssuedUntilNow => {
                let until = later(now, clock_skew);
                (
                    BanScope::IssuedUntil(until),
                    later(later(until, longest_life), MARGIN),
                )
            }
        };
        let ban = Ban {
            id: entry_id(&revocation.idempotency.key),
            selector: revocation.selector.clone(),
            scope,
            reason: revocation.reason.clone(),
            actor: revocation.actor.clone(),
            imposed_at: now,
            ends_at,
            lifted: None,
        };
        let imposing = keeping
            .store
            .impose(&ban, revocation.pace, &revocation.idempotency, deadline);
        let written = keeping.written(deadline.bound(imposing).await)?;
        keeping.announce(written, deadline).await
    }

    /// The ban of this name, lifted or not.
    ///
    /// # Errors
    /// [`RevokeError`].
    pub async fn find_ban(&self, id: EntryId, deadline: Deadline) -> Result<Ban, RevokeError> {
        let keeping = self.bans.as_ref().ok_or(RevokeError::NoBanStore)?;
        // Lists begin after a name.
        let before = u128::from_be_bytes(id.0).checked_sub(1);
        let before = before.map(|number| EntryId(number.to_be_bytes()));
        let found = keeping
            .store
            .list(true, before, 1, self.clock.now(), deadline)
            .await;
        let found = found.map_err(RevokeError::Store)?;
        let found = found.into_iter().next().filter(|ban| ban.id == id);
        found.ok_or(RevokeError::Store(BanStoreError::NotFound))
    }

    /// Bans in the order of their names; see [`BanStore::list`].
    ///
    /// # Errors
    /// [`RevokeError`].
    pub async fn list_bans(
        &self,
        all: bool,
        after: Option<EntryId>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Ban>, RevokeError> {
        let keeping = self.bans.as_ref().ok_or(RevokeError::NoBanStore)?;
        let listed = keeping.store.list(all, after, limit, self.clock.now(), deadline);
        listed.await.map_err(RevokeError::Store)
    }

    /// Lifts the ban `id`, as `actor` for `reason`, once for `idempotency`.
    ///
    /// # Errors
    /// [`RevokeError`].
    pub async fn lift_ban(
        &self,
        id: EntryId,
        actor: &str,
        reason: &str,
        idempotency: &Idempotency,
        deadline: Deadline,
    ) -> Result<Revoked, RevokeError> {
        let keeping = self.bans.as_ref().ok_or(RevokeError::NoBanStore)?;
        let lifted = Lifted {
            at: whole_micros(self.clock.now()),
            actor: actor.to_owned(),
            reason: reason.to_owned(),
        };
        let entry = entry_id(&idempotency.key);
        let lifting = keeping.store.lift(id, entry, &lifted, idempotency, deadline);
        let written = keeping.written(deadline.bound(lifting).await)?;
        keeping.announce(written, deadline).await
    }
}

impl BanKeeping {
    fn written(
        &self,
        answer: Result<Result<BanWritten, BanStoreError>, natsgate_core::DeadlinePassed>,
    ) -> Result<BanWritten, RevokeError> {
        let answer = answer.unwrap_or_else(|passed| {
            Err(BanStoreError::Unavailable {
                doing: "writing a ban".to_owned(),
                cause: passed.to_string(),
            })
        });
        answer.map_err(|error| {
            // What was written without our knowing is announced without us.
            self.relay.look();
            RevokeError::Store(error)
        })
    }

    /// Announces what was written.
    async fn announce(&self, written: BanWritten, deadline: Deadline) -> Result<Revoked, RevokeError> {
        let BanWritten {
            ban,
            pending,
            announced,
            repeated,
        } = written;
        let pending: Vec<Announcement> = pending.into_iter().collect();
        // Time is left to say that it is written, should the log be out of reach.
        let announce_by = deadline.or_sooner(deadline.remaining() * 3 / 4);
        let mut all: Vec<Announced> = announced.into_iter().collect();
        match self.relay.announce(&pending, announce_by).await {
            Ok(now) => all.extend(now),
            Err(error) => {
                self.relay.look();
                warn!(%error, "a ban is written and not announced yet");
                return Err(RevokeError::NotAnnounced(error));
            }
        }
        let last = all.iter().max_by_key(|one| one.revision.sequence);
        Ok(Revoked {
            id: ban.id,
            revision: last.map(|one| one.revision),
            repeated,
            confirmed: all.iter().all(|one| one.confirmed),
            ban: Some(ban),
        })
    }
}
