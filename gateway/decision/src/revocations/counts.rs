//! How often what was done.

use std::sync::atomic::{AtomicU64, Ordering};

use natsgate_core::Selector;

use super::revoker::Revoked;

/// A number that counts up.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The kinds of selectors there are counters for, as [`Selector::kind`] names them.
const KINDS: [&str; 11] = [
    "principal",
    "membership",
    "resource",
    "role",
    "rule",
    "session",
    "account",
    "provider",
    "signing_key",
    "token",
    "provider_session",
];

#[derive(Debug, Default)]
pub(crate) struct Counters {
    by_kind: [Counter; KINDS.len()],
    repeated: Counter,
    bans: Counter,
    pub(super) lifted: Counter,
    pub(super) invalid: Counter,
    pub(super) out_of_reach: Counter,
    pub(super) unavailable: Counter,
}

/// What was revoked through this instance since it started, and what was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationCounts {
    /// Revocations, by the kind of their selector ([`Selector::kind`]); repetitions are not among them.
    pub revoked: Vec<(&'static str, u64)>,
    /// Calls that repeated an earlier one.
    pub repeated: u64,
    /// Bans imposed.
    pub bans: u64,
    /// Bans lifted.
    pub lifted: u64,
    /// Calls that asked for nothing that could be done.
    pub invalid: u64,
    /// Calls that asked for what is not the caller's.
    pub out_of_reach: u64,
    /// Calls that were not answered because the log or the store was out of reach.
    pub unavailable: u64,
}

impl Counters {
    pub(super) fn revoked(&self, selector: &Selector, revoked: &Revoked) {
        if revoked.repeated {
            self.repeated.add();
            return;
        }
        let place = KINDS.iter().position(|kind| *kind == selector.kind());
        if let Some(counter) = place.and_then(|place| self.by_kind.get(place)) {
            counter.add();
        }
        if revoked.ban.is_some() {
            self.bans.add();
        }
    }

    pub(super) fn read(&self) -> RevocationCounts {
        let by_kind = self.by_kind.iter().map(Counter::read);
        RevocationCounts {
            revoked: KINDS.into_iter().zip(by_kind).collect(),
            repeated: self.repeated.read(),
            bans: self.bans.read(),
            lifted: self.lifted.read(),
            invalid: self.invalid.read(),
            out_of_reach: self.out_of_reach.read(),
            unavailable: self.unavailable.read(),
        }
    }
}
