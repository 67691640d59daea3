//! A membership source behind the caches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use natsgate_core::{
    Change, Deadline, DenialReason, Evidence, Failure, Identity, Membership, MembershipSource, Principal,
    Selector,
};
use natsgate_store::CachedMemberships;
use serde_json::{Map, json};
use zeroize::Zeroizing;

use crate::support::rig::{Rig, ample, settle, soon, times};

/// Answers the same to everybody.
struct Known {
    answer: Mutex<Result<Vec<Membership>, Failure>>,
    asked: AtomicU64,
    keeps: bool,
    reads_claims: bool,
}

impl Known {
    fn new(answer: Result<Vec<Membership>, Failure>) -> Self {
        Self {
            answer: Mutex::new(answer),
            asked: AtomicU64::new(0),
            keeps: true,
            reads_claims: false,
        }
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    fn says(&self, answer: Result<Vec<Membership>, Failure>) {
        *self.answer.lock().unwrap() = answer;
    }
}

#[async_trait]
impl MembershipSource for Known {
    fn name(&self) -> &str {
        "crm"
    }

    async fn memberships(
        &self,
        _identity: &Identity,
        _deadline: Deadline,
    ) -> Result<Vec<Membership>, Failure> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.answer.lock().unwrap().clone()
    }

    fn cache_key(&self, identity: &Identity) -> Option<Zeroizing<Vec<u8>>> {
        let tenant = identity.claims.get("tenant").map(ToString::to_string);
        self.keeps
            .then(|| Zeroizing::new(tenant.unwrap_or_default().into_bytes()))
    }

    fn reads_claims(&self) -> bool {
        self.reads_claims
    }
}

fn identity(subject: &str, tenant: &str) -> Identity {
    let mut claims = Map::new();
    claims.insert("tenant".to_owned(), json!(tenant));
    Identity {
        principal: Principal::new("https://id.example", subject),
        provider: "corp".to_owned(),
        claims,
        issued_at: None,
        expires_at: std::time::SystemTime::UNIX_EPOCH,
        evidence: Evidence::Online,
    }
}

fn member(id: &str, role: &str) -> Membership {
    Membership {
        kind: "project".to_owned(),
        id: id.to_owned(),
        role: role.to_owned(),
    }
}

async fn ask(source: &CachedMemberships, identity: &Identity) -> Result<Vec<Membership>, Failure> {
    let found = soon(source.memberships(identity, ample())).await;
    settle().await;
    found
}

fn revoked(selector: Selector) -> Change {
    Change::revoked(selector, "", "")
}

#[tokio::test(start_paused = true)]
async fn answers_are_kept_for_each_principal_and_all_else_they_depend_on() {
    let rig = Rig::new();
    let known = Arc::new(Known::new(Ok(vec![member("apollo", "owner")])));
    let cached = CachedMemberships::new(&rig.tiers, known.clone(), &times()).unwrap();
    assert_eq!(cached.name(), "crm");
    for (asked, identity) in [
        (1, identity("alice", "a")),
        (2, identity("alice", "b")),
        (3, identity("bob", "a")),
    ] {
        for _ in 0..3 {
            assert_eq!(ask(&cached, &identity).await, Ok(vec![member("apollo", "owner")]));
            assert_eq!(known.asked(), asked);
        }
    }
    assert_eq!(cached.counts().in_process_hits, 6);
}

#[tokio::test(start_paused = true)]
async fn every_change_that_concerns_an_answer_ends_it_and_no_other() {
    let alice = Principal::new("https://id.example", "alice");
    let ends = [
        revoked(Selector::Principal {
            principal: alice.clone(),
        }),
        revoked(Selector::Membership {
            principal: alice.clone(),
            kind: "project".to_owned(),
            id: "apollo".to_owned(),
        }),
        revoked(Selector::Resource {
            kind: "project".to_owned(),
            id: "apollo".to_owned(),
        }),
        revoked(Selector::Role {
            kind: "project".to_owned(),
            role: "owner".to_owned(),
        }),
        Change::MembershipsChanged {
            principal: alice,
            given: Vec::new(),
            taken: vec![member("other", "member")],
            actor: String::new(),
        },
    ];
    let rig = Rig::new();
    let known = Arc::new(Known::new(Ok(vec![member("apollo", "owner")])));
    let cached = CachedMemberships::new(&rig.tiers, known.clone(), &times()).unwrap();
    let alice = identity("alice", "a");
    for (round, change) in (1..).zip(ends) {
        ask(&cached, &alice).await.unwrap();
        assert_eq!(known.asked(), round, "{change:?}");
        rig.freshness.apply(&change.concerns());
    }
    ask(&cached, &alice).await.unwrap();
    let before = known.asked();
    for change in [
        revoked(Selector::Principal {
            principal: Principal::new("https://id.example", "bob"),
        }),
        revoked(Selector::Resource {
            kind: "project".to_owned(),
            id: "gemini".to_owned(),
        }),
        revoked(Selector::Role {
            kind: "project".to_owned(),
            role: "member".to_owned(),
        }),
    ] {
        rig.freshness.apply(&change.concerns());
        ask(&cached, &alice).await.unwrap();
        assert_eq!(known.asked(), before, "{change:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobodys_memberships_end_when_a_push_gives_one() {
    for nothing in [Ok(Vec::new()), Err(Failure::denied(DenialReason::BadClaim, "no"))] {
        let rig = Rig::new();
        let known = Arc::new(Known::new(nothing.clone()));
        let cached = CachedMemberships::new(&rig.tiers, known.clone(), &times()).unwrap();
        let alice = identity("alice", "a");
        for _ in 0..2 {
            assert_eq!(ask(&cached, &alice).await, nothing);
        }
        assert_eq!(known.asked(), 1);
        known.says(Ok(vec![member("apollo", "owner")]));
        let given = Change::MembershipsChanged {
            principal: alice.principal.clone(),
            given: vec![member("apollo", "owner")],
            taken: Vec::new(),
            actor: String::new(),
        };
        rig.freshness.apply(&given.concerns());
        assert_eq!(ask(&cached, &alice).await, Ok(vec![member("apollo", "owner")]));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_at_hand_or_read_from_claims_is_not_kept() {
    for (keeps, reads_claims) in [(false, false), (true, true)] {
        let rig = Rig::new();
        let known = Arc::new(Known {
            keeps,
            reads_claims,
            ..Known::new(Ok(Vec::new()))
        });
        let cached = CachedMemberships::new(&rig.tiers, known.clone(), &times()).unwrap();
        assert_eq!(cached.reads_claims(), reads_claims);
        for asked in 1..4 {
            ask(&cached, &identity("alice", "a")).await.unwrap();
            assert_eq!(known.asked(), asked);
        }
        assert_eq!(rig.shared.gets(), 0);
    }
}
