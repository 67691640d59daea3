//! The token of a page: where to go on, and in which list. Holds a key the caller has just been given, nothing else.

use data_encoding::BASE64URL_NOPAD;
use natsgate_core::{MembershipFilter, MembershipKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

#[derive(Serialize, Deserialize)]
struct Place {
    list: [u8; 16],
    after: MembershipKey,
}

/// The token to go on after `after` in the list of `filter`.
pub(super) fn write(after: &MembershipKey, filter: &MembershipFilter) -> String {
    let place = Place {
        list: digest(filter),
        after: after.clone(),
    };
    // Texts and bytes always can be written.
    serde_json::to_vec(&place).map_or_else(|_| String::new(), |bytes| BASE64URL_NOPAD.encode(&bytes))
}

/// Where `token` says to go on; nowhere if it is empty.
pub(super) fn read(token: &str, filter: &MembershipFilter) -> Result<Option<MembershipKey>, &'static str> {
    if token.is_empty() {
        return Ok(None);
    }
    let place: Option<Place> = BASE64URL_NOPAD
        .decode(token.as_bytes())
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let place = place.ok_or("is not a `next_page_token` of an answer")?;
    if place.list != digest(filter) {
        return Err(
            "is of another list: go on with the same fields as for the page before, as the same caller",
        );
    }
    Ok(Some(place.after))
}

/// Tells one list from another. What a caller may speak for is part of it.
fn digest(filter: &MembershipFilter) -> [u8; 16] {
    let hash = Sha256::digest(format!("{filter:?}"));
    let mut short = [0; 16];
    for (to, from) in short.iter_mut().zip(hash) {
        *to = from;
    }
    short
}
