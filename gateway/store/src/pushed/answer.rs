//! What is kept of a write so that it happens once: the answer to give to whoever asks again.

use natsgate_core::{EntryId, ItemOutcome, MembershipStoreError};
use serde::{Deserialize, Serialize};

/// The answer to a write.
#[derive(Serialize, Deserialize)]
pub(super) struct Answer {
    /// What became of the items.
    pub(super) outcomes: Vec<ItemOutcome>,
    /// The announcements after which everybody sees it: this write's own, or those it rests on.
    pub(super) announcements: Vec<EntryId>,
}

/// `value` as the stores keep it.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, MembershipStoreError> {
    serde_json::to_vec(value)
        .map_err(|error| MembershipStoreError::Damaged(format!("a value cannot be written: {error}")))
}

/// What was kept as `bytes`. `what` names it in an error, without a value.
pub(super) fn decode<T: for<'de> Deserialize<'de>>(
    what: &str,
    bytes: &[u8],
) -> Result<T, MembershipStoreError> {
    // The parser's own message may quote what it read.
    serde_json::from_slice(bytes).map_err(|_| {
        MembershipStoreError::Damaged(format!(
            "{what} cannot be read: was it written by a later release of natsgate, or by hand?"
        ))
    })
}
