//! Requests that were done, so that one that comes again is not done again: not even after others that undo it.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

/// For how long they are remembered, in seconds.
const REMEMBERED: i64 = 24 * 3600;

/// How many of an account.
const MOST: usize = 256;

/// What makes a request be done once, however often it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// A digest of whose it is, and of the name they gave it.
    pub key: [u8; 32],
    /// A digest of what is asked for.
    pub body: [u8; 32],
}

/// Whether a request was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Never,
    Before,
    /// Its key was, with another body.
    Otherwise,
}

/// The requests that were done, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Done(Vec<One>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    key: String,
    body: String,
    /// When, in seconds since the Unix epoch, by the clock of who did it.
    at: i64,
}

impl Done {
    /// Whether `once` is among them.
    pub(super) fn seen(&self, once: &Once) -> Seen {
        let key = BASE64URL_NOPAD.encode(&once.key);
        match self.0.iter().find(|one| one.key == key) {
            None => Seen::Never,
            Some(one) if one.body == BASE64URL_NOPAD.encode(&once.body) => Seen::Before,
            Some(_) => Seen::Otherwise,
        }
    }

    /// The same after `once`, which was done at `now`, without those that are forgotten.
    pub(super) fn after(&self, once: Option<&Once>, now: i64) -> Self {
        let new = once.map(|once| One {
            key: BASE64URL_NOPAD.encode(&once.key),
            body: BASE64URL_NOPAD.encode(&once.body),
            at: now,
        });
        let since = now.saturating_sub(REMEMBERED);
        let kept = self.0.iter().filter(|one| one.at > since).cloned();
        let all: Vec<One> = kept.chain(new).collect();
        let beyond = all.len().saturating_sub(MOST);
        Self(all.into_iter().skip(beyond).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_or_too_many_is_forgotten() {
        let once = |number: u8| Once {
            key: [number; 32],
            body: [number; 32],
        };
        let done = Done::default().after(Some(&once(1)), 100);
        assert_eq!(done.seen(&once(1)), Seen::Before);
        assert_eq!(done.seen(&once(2)), Seen::Never);
        let other = Once {
            body: [3; 32],
            ..once(1)
        };
        assert_eq!(done.seen(&other), Seen::Otherwise);
        assert_eq!(done.after(None, 100 + REMEMBERED).seen(&once(1)), Seen::Never);
        let full = (0..MOST).fold(done, |done, number| {
            let mut one = once(2);
            for (to, from) in one.key.iter_mut().zip(number.to_be_bytes()) {
                *to = from;
            }
            done.after(Some(&one), 101)
        });
        assert_eq!(full.0.len(), MOST);
        assert_eq!(full.seen(&once(1)), Seen::Never);
    }
}
