//! The other shims: who is there, and that this one is.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use natsgate_core::{SessionKey, ShimPresence};

/// The shims that are there, as the board had it last.
#[derive(Debug, Default)]
pub struct Peers {
    present: Mutex<Option<Vec<ShimPresence>>>,
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
