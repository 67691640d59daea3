//! Bans beside the pushed memberships: what the stores keep of them, and what they announce. The same for every store.

use std::time::SystemTime;

use natsgate_core::{
    Announced, Announcement, Ban, BanStoreError, BanWritten, Change, Concern, EntryId, Lifted,
    MembershipStoreError, Pace, Principal,
};
use serde::{Deserialize, Serialize};

/// A ban as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct KeptBan {
    /// The ban.
    pub(super) ban: Ban,
    /// The entry that says that it was lifted, if it was.
    pub(super) lifted_by: Option<EntryId>,
}

/// What is kept of a call so that it happens once.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptCall {
    /// The digest of what was asked.
    pub(super) body: [u8; 32],
    /// When.
    pub(super) at: SystemTime,
    /// The ban it was about.
    pub(super) ban: EntryId,
    /// The entry after which everybody knows.
    pub(super) entry: EntryId,
}

/// How far an entry's announcement has come; neither is known of one that was purged, which everybody has seen long since.
#[derive(Default)]
pub(super) struct Standing {
    /// What is still to be appended.
    pub(super) pending: Option<Announcement>,
    /// What was.
    pub(super) announced: Option<Announced>,
}

/// The answer to a call about `ban`.
pub(super) fn written(ban: KeptBan, standing: Standing, repeated: bool) -> BanWritten {
    BanWritten {
        ban: ban.ban,
        pending: standing.pending,
        announced: standing.announced,
        repeated,
    }
}

/// What `ban` is looked up by.
pub(super) fn concern(ban: &Ban) -> Result<Concern, MembershipStoreError> {
    ban.selector.ban_concern().ok_or_else(|| {
        MembershipStoreError::Damaged("a ban on what cannot be banned was to be written".to_owned())
    })
}

/// The entry that says that `ban` was imposed, and that sessions are closed at `pace`.
pub(super) fn imposed(ban: &Ban, pace: Pace) -> Announcement {
    Announcement {
        id: ban.id,
        at: ban.imposed_at,
        change: Change::Revoked {
            selector: ban.selector.clone(),
            reason: ban.reason.clone(),
            actor: ban.actor.clone(),
            pace,
            ban: Some(ban.scope),
        },
    }
}

/// The entry named `entry`, which says that `ban` was lifted.
pub(super) fn lifted(ban: &Ban, entry: EntryId, lifted: &Lifted) -> Announcement {
    Announcement {
        id: entry,
        at: lifted.at,
        change: Change::BanLifted {
            ban: ban.id,
            selector: ban.selector.clone(),
            reason: lifted.reason.clone(),
            actor: lifted.actor.clone(),
        },
    }
}

/// Whom announcements of bans are kept under in the outbox: nobody, since no issuer is empty. What a write of memberships
/// rests on is only what was announced of memberships.
pub(super) fn nobody(ban: EntryId) -> Principal {
    Principal::new("", format!("ban {ban}"))
}

/// Whether somebody who imposes `asked` means `there`, which has the same name: the name comes from the caller's key.
pub(super) fn is_the_same(asked: &Ban, there: &Ban) -> bool {
    asked.selector == there.selector && asked.scope == there.scope
}

/// What went wrong, in the port's words.
pub(super) fn failed(doing: &str) -> impl Fn(MembershipStoreError) -> BanStoreError {
    move |error| match error {
        MembershipStoreError::Unavailable { cause, .. } => BanStoreError::Unavailable {
            doing: doing.to_owned(),
            cause,
        },
        MembershipStoreError::KeyReused => BanStoreError::KeyReused,
        MembershipStoreError::Damaged(what) => BanStoreError::Damaged(what),
        MembershipStoreError::Conflict(_) => BanStoreError::Damaged("bans have no versions".to_owned()),
    }
}
