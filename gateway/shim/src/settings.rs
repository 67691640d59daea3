//! What a shim is told: its keys, its ceilings, its bounds. Read and checked by whoever builds it; nothing here reads
//! a file or the environment.

use std::sync::Arc;
use std::time::Duration;

use natsgate_accounts::ScopedKeys;
use natsgate_claims::{KeyPair, XKeyPair};

use crate::enforce::EnforcementSettings;
use crate::nats::NatsSettings;

/// A shim's settings.
pub struct ShimSettings {
    /// The cluster's name, told to the decision service and in logs.
    pub cluster: String,
    /// Whose keys sign what.
    pub issuing: Issuing,
    /// Opens sealed requests; with it, requests that are not sealed are refused.
    pub xkey: Option<XKeyPair>,
    /// The accounts a grant may lead into, and no others.
    pub accounts: Vec<TargetAccount>,
    /// The operator's public key and its signing keys: whose word an account JWT is. Without any, grants that name what is
    /// written in one are refused.
    pub operators: Vec<String>,
    /// The system account, by name or public key, where no connection into it says so.
    pub system_account: Option<String>,
    /// The longest a session may live, whatever the grant says.
    pub max_session: Duration,
    /// How much is taken on at once, and how early it is given up.
    pub bounds: Bounds,
    /// The connection into the callout account.
    pub callout: NatsSettings,
    /// The connection into the system account that watches; without it servers are not verified.
    pub system: Option<NatsSettings>,
    /// The connection into the system account that kicks, if not the one that watches.
    pub eviction: Option<NatsSettings>,
    /// How revocations are carried out.
    pub enforcement: EnforcementSettings,
}

/// Whose keys sign user JWTs and responses (see NATS' "auth callout", ADR-26).
pub enum Issuing {
    /// A server configured without an operator: one issuer, an account key, signs everything.
    Config {
        /// The key of the server configuration's `auth_callout.issuer`.
        issuer: KeyPair,
    },
    /// A server with an operator: responses are signed for the callout account, user JWTs for their own account.
    Operator {
        /// The callout account's public key.
        callout_account: String,
        /// Its key, or one of its signing keys.
        signer: KeyPair,
    },
}

/// An account that grants may lead into.
pub struct TargetAccount {
    /// The name grants call it by; in config mode also the server's name for it.
    pub name: String,
    /// In operator mode, what signs its user JWTs.
    pub signer: Option<TargetSigner>,
}

/// What signs an account's user JWTs in operator mode.
pub struct TargetSigner {
    /// The account's public key.
    pub account: String,
    /// The account's own key, or one of its plain (not scoped) signing keys.
    pub key: KeyPair,
    /// The keys of the account's templates; none where it has no root secret.
    pub scoped: Arc<ScopedKeys>,
}

/// How much a shim takes on.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Requests being decided at once.
    pub max_in_flight: usize,
    /// Requests waiting for one of those places; beyond this they are kicked at once.
    pub max_waiting: usize,
    /// How long before the request's expiry it is given up and kicked, so that the kick still arrives in time.
    pub answer_margin: Duration,
}
