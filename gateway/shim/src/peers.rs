//! The other shims: who is there, and that this one is.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use natsgate_core::{SessionKey, ShimPresence};

/// How often a shim has to be found without a new word to count as silent.
const SILENT_AFTER: u32 = 3;

/// The shims that are there, as the board had it last.
#[derive(Debug, Default)]
pub struct Peers {
    present: Mutex<Option<Vec<ShimPresence>>>,
    heard: Mutex<HashMap<String, Heard>>,
}

/// What a shim said last.
#[derive(Debug)]
struct Heard {
    seen_at: SystemTime,
    /// How often it was looked since whether it had said anything new.
    misses: u32,
}

impl Peers {
    /// Those that are there; `None` if that was never learned, or could not be lately.
    pub fn present(&self) -> Option<Vec<ShimPresence>> {
        self.present
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes in what the board says; `None` if it could not be asked.
    pub fn learn(&self, present: Option<Vec<ShimPresence>>) {
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) = present;
    }

    /// Looks who of the other shims of `cluster` among `present` has said something since this was called last. Whether one of them has
    /// just fallen silent, or left: what it did last may be known to nobody.
    pub fn has_lost_one(&self, present: &[ShimPresence], cluster: &str, me: &str) -> bool {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lost = false;
        heard.retain(|shim, heard| {
            let there = present.iter().any(|one| one.shim == *shim);
            // Of one that fell silent it is known already.
            lost |= !there && heard.misses < SILENT_AFTER;
            there
        });
        let others = present
            .iter()
            .filter(|one| one.cluster == cluster && one.shim != me);
        for one in others {
            let last = heard.entry(one.shim.clone()).or_insert(Heard {
                seen_at: one.seen_at,
                misses: 0,
            });
            if last.seen_at == one.seen_at {
                last.misses = last.misses.saturating_add(1);
                lost |= last.misses == SILENT_AFTER;
            } else {
                *last = Heard {
                    seen_at: one.seen_at,
                    misses: 0,
                };
            }
        }
        lost
    }

    /// Who of the shims of `cluster` looks after the session `key` when its own shim is gone: the same one, whoever of
    /// them asks.
    pub fn heir<'a>(&self, present: &'a [ShimPresence], cluster: &str, key: &SessionKey) -> Option<&'a str> {
        let weight = |shim: &str| {
            // Every shim must come to the same answer: this hasher has no key.
            let mut hash = DefaultHasher::new();
            (shim, &key.server_id, key.client_id).hash(&mut hash);
            hash.finish()
        };
        present
            .iter()
            .filter(|one| one.cluster == cluster)
            .map(|one| one.shim.as_str())
            .max_by_key(|shim| weight(shim))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn said(shim: &str, cluster: &str, second: u64) -> ShimPresence {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        ShimPresence {
            shim: shim.into(),
            cluster: cluster.into(),
            started_at: SystemTime::UNIX_EPOCH,
            seen_at: at,
            applied: None,
            confirmed: true,
            sessions: 0,
            pending: 0,
            unreachable: Vec::new(),
        }
    }

    #[test]
    fn one_that_falls_silent_or_leaves_is_lost_once() {
        let peers = Peers::default();
        let round = |second: u64, others: &[(&str, &str, u64)]| {
            let mut present = vec![said("me", "here", second)];
            present.extend(
                others
                    .iter()
                    .map(|(shim, cluster, second)| said(shim, cluster, *second)),
            );
            peers.has_lost_one(&present, "here", "me")
        };
        for second in 1..10 {
            assert!(!round(
                second,
                &[("a", "here", second), ("b", "here", second), ("far", "there", 1)]
            ));
        }
        // One beat may be late, or two.
        assert!(!round(10, &[("a", "here", 9), ("b", "here", 10)]));
        assert!(!round(11, &[("a", "here", 9), ("b", "here", 11)]));
        assert!(round(12, &[("a", "here", 9), ("b", "here", 12)]));
        assert!(
            !round(13, &[("a", "here", 9), ("b", "here", 13)]),
            "it is known by now"
        );
        assert!(
            !round(14, &[("b", "here", 14)]),
            "and that it is not there any more is no news"
        );
        assert!(round(15, &[]), "one that leaves");
        assert!(!round(16, &[]));
        // Whatever it was that kept it from saying so.
        assert!(!round(17, &[("a", "here", 17)]));
        assert!(!round(18, &[("a", "here", 18)]));
    }
}
