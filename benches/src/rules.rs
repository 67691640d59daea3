//! A policy of everyday size and somebody with any number of memberships.

use std::time::Duration;

use natsgate_core::{Clock, Identity, Membership, Principal, SystemClock};
use natsgate_policy::{Policy, PolicyDocument};
use serde_json::json;

/// The policy's text, for those who read it from a file; JSON is YAML too.
pub fn document() -> String {
    json!({
        "version": 1,
        "account": "APP",
        "rules": [
            {
                "name": "project members",
                "for_each": { "membership": { "kind": "project", "role": ["member", "owner"] } },
                "publish": { "allow": ["projects.{membership.id}.in.>"] },
                "subscribe": { "allow": ["projects.{membership.id}.>"] },
            },
            {
                "name": "project owners",
                "for_each": { "membership": { "kind": "project", "role": "owner" } },
                "when": "has(claims.email_verified) && claims.email_verified",
                "publish": { "allow": ["projects.{membership.id}.admin.>"] },
            },
            {
                "name": "everybody",
                "subscribe": { "allow": ["_INBOX.{principal.digest}.>"], "deny": ["projects.*.audit"] },
                "responses": { "max_messages": 1, "ttl": "5s" },
                "limits": { "expires_in": "1h" },
            },
        ],
    })
    .to_string()
}

/// The policy, compiled.
pub fn policy() -> Policy {
    let document: PolicyDocument = serde_json::from_str(&document()).unwrap();
    Policy::compile(&document).unwrap()
}

/// Somebody.
pub fn identity() -> Identity {
    let claims = json!({ "email_verified": true, "email": "alice@example.com" });
    Identity {
        principal: Principal::new("https://login.example", "alice"),
        provider: "corp".into(),
        claims: claims.as_object().cloned().unwrap_or_default(),
        issued_at: Some(SystemClock.now()),
        expires_at: SystemClock.now() + Duration::from_secs(24 * 3600),
        evidence: natsgate_core::Evidence::SignedToken { key_id: None },
    }
}

/// `count` memberships, of which every tenth is an owner's.
pub fn memberships(count: usize) -> Vec<Membership> {
    let membership = |number: usize| Membership {
        kind: "project".into(),
        id: format!("project-{number}"),
        role: if number.is_multiple_of(10) {
            "owner"
        } else {
            "member"
        }
        .into(),
    };
    (0..count).map(membership).collect()
}
