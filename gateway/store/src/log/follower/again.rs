//! Appends again what an earlier epoch of the log held and the present one does not.
//!
//! Every instance that knows of a lost entry tries; the log takes it once.

use std::sync::atomic::Ordering;

use natsgate_core::{Change, Deadline, EntryId, Idempotency, LogError, NewEntry, PolicyGeneration, Revision};
use sha2::{Digest, Sha256};

use super::Shared;

/// How many entries are appended before the log's end is asked for again.
const AT_ONCE: usize = 128;

/// Appends what is missing, until a tick is due. False if the log cannot be reached.
pub(super) async fn append_again(shared: &Shared) -> bool {
    if !shared.log.takes_appends() {
        // Others do. What they have appended is not missing any more.
        if let Some(view) = shared.write().as_mut() {
            let _still_missing = view.next_lost();
        }
        return true;
    }
    let policy = shared
        .read()
        .as_ref()
        .and_then(|view| view.policy_to_tell().map(|policy| (policy, view.applied)));
    if let Some((policy, applied)) = policy {
        let entry = policy_entry(shared, policy.clone(), applied);
        if !append(shared, entry).await {
            return false;
        }
        if let Some(view) = shared.write().as_mut() {
            view.told(policy);
        }
    }
    for done in 0..AT_ONCE {
        let next = shared
            .write()
            .as_mut()
            .and_then(|view| view.next_lost().map(|entry| (entry, view.applied)));
        let Some((mut entry, applied)) = next else {
            say(done);
            if shared
                .read()
                .as_ref()
                .is_some_and(super::view::View::has_more_to_tell)
            {
                look_again(shared);
            }
            return true;
        };
        let id = entry.id;
        entry.idempotency = Some(entry.idempotency.unwrap_or_else(|| again(&id, &applied)));
        if !append(shared, entry).await {
            say(done);
            return false;
        }
        if let Some(view) = shared.write().as_mut() {
            view.found(id);
        }
    }
    say(AT_ONCE);
    look_again(shared);
    true
}

fn say(entries: usize) {
    if entries > 0 {
        tracing::warn!(entries, "the revocation log was given again what it had lost");
    }
}

/// Has the log's end asked for at once: there is more to append, or all was, which the log is to hear.
fn look_again(shared: &Shared) {
    shared.confirmation_wanted.store(true, Ordering::SeqCst);
    shared.ring.notify_one();
}

async fn append(shared: &Shared, entry: NewEntry) -> bool {
    let deadline = Deadline::after(shared.settings.timeout);
    let id = entry.id;
    let mut done = deadline.bound(shared.log.append(&entry, deadline)).await;
    if matches!(done, Ok(Err(LogError::KeyReused))) {
        // Its caller has used the key for something else since. The entry stands in the log nevertheless.
        let entry = NewEntry {
            idempotency: Some(super::once(&id)),
            ..entry.clone()
        };
        done = deadline.bound(shared.log.append(&entry, deadline)).await;
    }
    match done {
        Ok(Ok(appended)) => {
            // Also what somebody else appended: until it is read here, the log may lose it again.
            if let Some(view) = shared.write().as_mut() {
                view.appended(entry, &appended.revision);
            }
            true
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "an entry that the revocation log lost could not be appended again yet");
            false
        }
        Err(_passed) => false,
    }
}

/// What makes appending again happen once in one epoch, whoever does it.
fn again(id: &EntryId, applied: &Revision) -> Idempotency {
    let mut digest = Sha256::new();
    digest.update(b"natsgate: appended again");
    digest.update(applied.epoch.as_bytes());
    digest.update(id.0);
    let key = digest.finalize().into();
    Idempotency { key, body: key }
}

/// The policy in force, said anew in the present epoch.
fn policy_entry(shared: &Shared, policy: PolicyGeneration, applied: Revision) -> NewEntry {
    let mut digest = Sha256::new();
    digest.update(b"natsgate: policy in force");
    digest.update(policy.generation.to_be_bytes());
    digest.update(policy.digest.as_bytes());
    let digest: [u8; 32] = digest.finalize().into();
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(digest) {
        *to = from;
    }
    let id = EntryId(id);
    NewEntry {
        id,
        at: shared.clock.now(),
        change: Change::PolicyChanged { policy },
        idempotency: Some(again(&id, &applied)),
    }
}
