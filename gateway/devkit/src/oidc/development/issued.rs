//! The tokens that the development provider knows: those it issued honestly, by digest, with their claims.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// What was issued and is not revoked.
#[derive(Default)]
pub(super) struct Issued(RwLock<HashMap<[u8; 32], Map<String, Value>>>);

impl Issued {
    pub(super) fn add(&self, token: &SecretString, claims: Map<String, Value>) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest(token.expose_secret()), claims);
    }

    pub(super) fn revoke(&self, token: &SecretString) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&digest(token.expose_secret()));
    }

    /// The claims of `token`, if it is in force at `now` (seconds since the epoch).
    pub(super) fn find(&self, token: &str, now: i64) -> Option<Map<String, Value>> {
        let issued = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let expired = |claims: &&Map<String, Value>| {
            claims
                .get("exp")
                .and_then(Value::as_i64)
                .is_some_and(|expires| expires <= now)
        };
        issued
            .get(&digest(token))
            .filter(|claims| !expired(claims))
            .cloned()
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}
