//! Which other shims are seen to be at work on an entry: those are left to it, however long it takes them.

use std::collections::HashMap;
use std::time::Duration;

use natsgate_core::{Acknowledgement, SessionKey};
use tokio::time::Instant;

use super::TOLD_EVERY;
use crate::sessions::Owner;

/// A shim that has not said anything new for so long is not at work.
const SILENT: Duration = TOLD_EVERY.saturating_mul(3);

/// What they said last of one entry, and when that was heard.
#[derive(Debug, Default)]
pub(super) struct PeersAtWork(HashMap<String, Said>);

#[derive(Debug)]
struct Said {
    took: Duration,
    heard: Instant,
    unreachable: Vec<String>,
}

impl PeersAtWork {
    /// Takes in what shims have said so far.
    pub(super) fn hear(&mut self, said: &[Acknowledgement]) {
        let now = Instant::now();
        for one in said {
            let known = self.0.get(&one.shim);
            // Every word of it tells how long it has been at it, so what is new differs in that.
            if known.is_some_and(|known| known.took == one.took) {
                continue;
            }
            let said = Said {
                took: one.took,
                heard: now,
                unreachable: one.unreachable.clone(),
            };
            self.0.insert(one.shim.clone(), said);
        }
    }

    /// Whether the session `key` of `owner` is left to it: it is at work, and reaches the session's server.
    pub(super) fn includes(&self, key: &SessionKey, owner: &Owner) -> bool {
        let Owner::Other(shim) = owner else {
            return false;
        };
        self.0
            .get(&**shim)
            .is_some_and(|said| said.heard.elapsed() < SILENT && !said.unreachable.contains(&key.server_id))
    }
}

#[cfg(test)]
mod tests {
    use natsgate_core::{EntryId, Epoch, Revision};

    use super::*;

    fn said(shim: &str, took: u64, unreachable: &[&str]) -> Acknowledgement {
        Acknowledgement {
            shim: shim.into(),
            cluster: "c".into(),
            entry: EntryId([1; 16]),
            revision: Revision::new(Epoch::from_bytes([1; 16]), 1),
            closed: 0,
            gone: 0,
            spared: 0,
            own_done: true,
            pending: 1,
            took: Duration::from_millis(took),
            unreachable: unreachable.iter().map(|server| (*server).to_owned()).collect(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_at_it_is_left_to_it_until_it_falls_silent() {
        let key = |server: &str| SessionKey {
            server_id: server.into(),
            client_id: 1,
        };
        let owner = Owner::Other("a".into());
        let mut peers = PeersAtWork::default();
        assert!(!peers.includes(&key("N1"), &owner));
        for took in [200, 1200, 2200] {
            peers.hear(&[said("a", took, &["N2"])]);
            tokio::time::advance(SILENT / 2).await;
            assert!(peers.includes(&key("N1"), &owner));
        }
        assert!(
            !peers.includes(&key("N2"), &owner),
            "a server that it cannot reach"
        );
        assert!(!peers.includes(&key("N1"), &Owner::Other("b".into())));
        assert!(!peers.includes(&key("N1"), &Owner::Nobody));
        // The same word again is no news.
        peers.hear(&[said("a", 2200, &["N2"])]);
        tokio::time::advance(SILENT / 2).await;
        assert!(!peers.includes(&key("N1"), &owner));
    }
}
