//! An authorization request as a nats-server makes it, and a shim's keys.

use std::time::Duration;

use natsgate_claims::{AuthorizationRequest, ClaimsToSign, KeyPair, Role, XKeyPair, encode};
use natsgate_core::{Clock, SystemClock};
use natsgate_shim::{Bounds, Issuing, NatsCredentials, NatsSettings, ShimSettings, TargetAccount};
use serde_json::json;

/// Both sides of a callout in config mode.
pub struct Callout {
    /// The server's key, which signs requests.
    pub server: KeyPair,
    /// The server's xkey.
    pub server_xkey: XKeyPair,
    /// The public nkey that the server made for the connection.
    pub user_nkey: String,
    /// The shim's settings, its issuer and its xkey among them.
    pub settings: ShimSettings,
}

impl Callout {
    /// Everything anew. The shim has an xkey.
    pub fn new() -> Self {
        let key = |role| KeyPair::generate(role).unwrap();
        Self {
            server: key(Role::Server),
            server_xkey: XKeyPair::generate().unwrap(),
            user_nkey: key(Role::User).public_key().to_owned(),
            settings: settings(key(Role::Account)),
        }
    }

    /// The shim's xkey.
    pub fn xkey(&self) -> &XKeyPair {
        self.settings.xkey.as_ref().unwrap()
    }

    /// The issuer's key.
    pub fn issuer(&self) -> &KeyPair {
        match &self.settings.issuing {
            Issuing::Config { issuer } => issuer,
            Issuing::Operator { signer, .. } => signer,
        }
    }

    /// A request, valid for an hour, of a client that brings `token`; from a server that seals.
    pub fn request(&self, token: &str) -> String {
        self.request_of(token, Some(self.server_xkey.public_key()))
    }

    /// The same, from a server that does not seal.
    pub fn unsealed_request(&self, token: &str) -> String {
        self.request_of(token, None)
    }

    fn request_of(&self, token: &str, xkey: Option<&str>) -> String {
        let body: AuthorizationRequest = serde_json::from_value(json!({
            "type": "authorization_request",
            "version": 2,
            "server_id": {
                "name": "n1",
                "host": "127.0.0.1",
                "id": self.server.public_key(),
                "version": "2.15.1",
                "xkey": xkey,
            },
            "user_nkey": self.user_nkey,
            "client_info": { "host": "127.0.0.1", "id": 7, "name": "bench", "kind": "Client", "type": "nats" },
            "connect_opts": { "auth_token": token, "name": "bench", "lang": "rust", "version": "0.51.0", "protocol": 1 },
        }))
        .unwrap();
        let claims = ClaimsToSign::new(self.issuer().public_key(), body)
            .audience("nats-authorization-request")
            .expires_at(SystemClock.unix_seconds() + 3600);
        encode(claims, &self.server, SystemClock.unix_seconds()).unwrap()
    }
}

impl Default for Callout {
    fn default() -> Self {
        Self::new()
    }
}

fn settings(issuer: KeyPair) -> ShimSettings {
    ShimSettings {
        cluster: "bench".into(),
        issuing: Issuing::Config { issuer },
        xkey: Some(XKeyPair::generate().unwrap()),
        accounts: vec![TargetAccount {
            name: "APP".into(),
            signer: None,
        }],
        max_session: Duration::from_secs(24 * 3600),
        bounds: Bounds {
            max_in_flight: 256,
            max_waiting: 8192,
            answer_margin: Duration::from_millis(300),
        },
        callout: NatsSettings {
            servers: Vec::new(),
            credentials: NatsCredentials::None,
            require_tls: false,
            ca_file: None,
            client_certificate: None,
        },
        operators: Vec::new(),
        system_account: None,
        system: None,
        eviction: None,
        enforcement: natsgate_shim::EnforcementSettings::default(),
    }
}
