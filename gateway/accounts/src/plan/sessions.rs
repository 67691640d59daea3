//! Which sessions a change concerns, told by the key that signed their user JWTs (`issuer_key` in CONNZ and events).

use std::collections::BTreeMap;

use crate::account::{ManagedAccount, TemplateState};
use crate::naming::ScopeRole;

/// An account's sessions, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sessions {
    /// How many there are of each key that signed them.
    pub by_issuer: BTreeMap<String, u64>,
    /// How many have the account's default permissions, if that is known; else it may be all that plain keys signed.
    pub on_defaults: Option<u64>,
}

impl Sessions {
    /// How many there are.
    pub fn all(&self) -> u64 {
        self.by_issuer
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How many may have `account`'s default permissions.
    pub(super) fn on_defaults(&self, account: &ManagedAccount) -> u64 {
        self.on_defaults.unwrap_or_else(|| {
            let plain = self.by_issuer.iter().filter(|(key, _)| account.is_plain_key(key));
            plain.fold(0, |sum, (_, count)| sum.saturating_add(*count))
        })
    }

    fn of(&self, key: &str) -> u64 {
        self.by_issuer.get(key).copied().unwrap_or_default()
    }
}

/// How the sessions of a key end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// They are moved to the newest generation at a pace, at once if they lose something; the key still holds.
    Drained,
    /// The server closes them when the key is gone.
    Closed,
}

/// The sessions of one key that cannot stay on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// The key's role.
    pub role: ScopeRole,
    /// The key.
    pub public_key: String,
    /// How many sessions it has.
    pub sessions: u64,
    /// Whether they lose something, or it cannot be told that they do not.
    pub loses: bool,
    /// How they end.
    pub fate: Fate,
}

/// The sessions that a change from `before` to `after` takes from their keys.
pub(super) fn drains(before: &ManagedAccount, after: &ManagedAccount, sessions: &Sessions) -> Vec<Drain> {
    let mut drains = Vec::new();
    for state in before.templates() {
        let now = after.template(state.name());
        let newest = now.map(TemplateState::newest);
        for generation in state.generations() {
            let kept = now.and_then(|now| now.generation(generation.generation()));
            let fate = match (kept, newest) {
                (None, _) => Fate::Closed,
                // What was being drained before goes on being drained, and is none of this change's.
                (Some(_), Some(newest)) if newest == state.newest() => continue,
                (Some(kept), Some(newest)) if kept == newest => continue,
                _ => Fate::Drained,
            };
            let loses =
                newest.is_none_or(|newest| generation.content().difference(newest.content()).narrows());
            drains.push(Drain {
                role: ScopeRole {
                    template: state.name().clone(),
                    generation: generation.generation(),
                },
                public_key: generation.public_key().to_owned(),
                sessions: sessions.of(generation.public_key()),
                loses,
                fate,
            });
        }
    }
    drains
}
