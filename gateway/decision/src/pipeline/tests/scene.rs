//! Alice, what she belongs to, and a log that says what a test wants it to say.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use natsgate_core::{
    ClaimsStanding, Clock, Concern, Connection, Credential, Deadline, Epoch, Evidence, Failure, Freshness,
    Grant, Identity, IdentityProvider, Membership, MembershipSource, MergedMemberships, PolicyGeneration,
    Position, Principal, Revision, Unavailable,
};
use natsgate_policy::Policy;
use natsgate_proto::v1::ConnectOptions;
use serde_json::json;

use super::super::{Decision, Pipeline, Question};
use crate::credential::CredentialSource;

pub(super) const NOW: SystemTime = SystemTime::UNIX_EPOCH;

struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> SystemTime {
        NOW
    }
}

pub(super) fn epoch(byte: u8) -> Epoch {
    Epoch::from_bytes([byte; 16])
}

pub(super) fn revision(sequence: u64) -> Revision {
    Revision::new(epoch(1), sequence)
}

pub(super) fn alice() -> Principal {
    Principal::new("https://login.example", "alice")
}

pub(super) fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(1))
}

/// A log by hand.
#[derive(Clone)]
pub(super) struct Log(Arc<Mutex<State>>);

pub(super) struct State {
    pub(super) position: Position,
    pub(super) policy: Option<PolicyGeneration>,
    pub(super) superseded_claims: Vec<Concern>,
    pub(super) unknown_claims: bool,
    pub(super) stuck: bool,
    /// Each concern's newest sequence.
    revoked: Vec<(Concern, u64)>,
    caught_up: Vec<Revision>,
}

impl Default for Log {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            position: Position::Confirmed(revision(4)),
            policy: None,
            superseded_claims: Vec::new(),
            unknown_claims: false,
            stuck: false,
            revoked: Vec::new(),
            caught_up: Vec::new(),
        })))
    }
}

impl Log {
    pub(super) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap());
    }

    pub(super) fn caught_up(&self) -> Vec<Revision> {
        self.0.lock().unwrap().caught_up.clone()
    }

    fn revoke(&self, concern: Concern) {
        let mut state = self.0.lock().unwrap();
        let Some(at) = state.position.revision() else {
            panic!()
        };
        let next = Revision::new(at.epoch, at.sequence + 1);
        state.position = Position::Confirmed(next);
        state.revoked.push((concern, next.sequence));
    }
}

#[async_trait]
impl Freshness for Log {
    fn position(&self) -> Position {
        self.0.lock().unwrap().position
    }

    fn stamp(&self, _: Duration) -> Option<Revision> {
        None
    }

    fn superseded(&self, stamp: &Revision, concerns: &[Concern]) -> bool {
        let state = self.0.lock().unwrap();
        state
            .revoked
            .iter()
            .any(|(concern, sequence)| *sequence > stamp.sequence && concerns.contains(concern))
    }

    fn claims(&self, _: Option<SystemTime>, concerns: &[Concern]) -> ClaimsStanding {
        let state = self.0.lock().unwrap();
        if state
            .superseded_claims
            .iter()
            .any(|concern| concerns.contains(concern))
        {
            ClaimsStanding::Superseded
        } else if state.unknown_claims {
            ClaimsStanding::Unknown
        } else {
            ClaimsStanding::Current
        }
    }

    fn policy(&self) -> Option<PolicyGeneration> {
        self.0.lock().unwrap().policy.clone()
    }

    async fn catch_up(&self, revision: Revision, _: Deadline) -> Result<(), Unavailable> {
        if self.0.lock().unwrap().stuck {
            std::future::pending::<()>().await;
        }
        let mut state = self.0.lock().unwrap();
        state.caught_up.push(revision);
        state.position = Position::Confirmed(revision);
        Ok(())
    }
}

/// Whoever asks is alice, for an hour.
#[derive(Clone)]
pub(super) struct Alice {
    pub(super) evidence: Evidence,
    /// What asking the provider brings.
    pub(super) online: Option<Result<Evidence, Failure>>,
    pub(super) online_subject: &'static str,
    confirmed: Arc<AtomicUsize>,
}

impl Alice {
    fn identity(&self, subject: &str, evidence: Evidence) -> Identity {
        Identity {
            principal: Principal::new(alice().issuer, subject),
            provider: "corp".into(),
            claims: serde_json::Map::new(),
            issued_at: None,
            expires_at: NOW + Duration::from_secs(3600),
            evidence,
        }
    }
}

#[async_trait]
impl IdentityProvider for Alice {
    async fn identify(&self, _: &Credential, _: Deadline) -> Result<Identity, Failure> {
        Ok(self.identity("alice", self.evidence.clone()))
    }

    async fn confirm(&self, _: &Credential, _: &Identity, _: Deadline) -> Result<Option<Identity>, Failure> {
        let Some(online) = self.online.clone() else {
            return Ok(None);
        };
        self.confirmed.fetch_add(1, Ordering::SeqCst);
        Ok(Some(self.identity(self.online_subject, online?)))
    }
}

pub(super) enum Source {
    /// Knows a membership in this project.
    Member(&'static str),
    /// Reads it from a token's claims; what the provider says when asked has none.
    Claims(&'static str),
    Down,
    Stuck,
    /// Knows a membership in `a`; the first so many times it is asked, alice's are revoked before it answers.
    Revoking(usize, Mutex<Option<Log>>, Arc<AtomicUsize>),
}

impl Source {
    pub(super) fn member(id: &'static str) -> Self {
        Self::Member(id)
    }

    pub(super) fn claims(id: &'static str) -> Self {
        Self::Claims(id)
    }

    pub(super) fn revoking(times: usize) -> Self {
        Self::Revoking(times, Mutex::default(), Arc::default())
    }
}

fn in_project(id: &str) -> Vec<Membership> {
    vec![Membership {
        kind: "project".into(),
        id: id.into(),
        role: "member".into(),
    }]
}

#[async_trait]
impl MembershipSource for Source {
    fn name(&self) -> &str {
        "test"
    }

    fn reads_claims(&self) -> bool {
        matches!(self, Self::Claims(_))
    }

    async fn memberships(&self, identity: &Identity, _: Deadline) -> Result<Vec<Membership>, Failure> {
        match self {
            Self::Member(id) => Ok(in_project(id)),
            Self::Claims(_) if identity.evidence == Evidence::Online => Ok(Vec::new()),
            Self::Claims(id) => Ok(in_project(id)),
            Self::Down => Err(Failure::unavailable("the test source is down")),
            Self::Stuck => std::future::pending().await,
            Self::Revoking(times, log, asked) => {
                if asked.fetch_add(1, Ordering::SeqCst) < *times {
                    let log = log.lock().unwrap().clone().unwrap();
                    log.revoke(Concern::memberships_of(&identity.principal));
                }
                Ok(in_project("a"))
            }
        }
    }
}

pub(super) fn merged(sources: Vec<Source>) -> Arc<MergedMemberships> {
    let sources = sources
        .into_iter()
        .map(|source| Arc::new(source) as Arc<dyn MembershipSource>)
        .collect();
    Arc::new(MergedMemberships::new(
        sources,
        HashMap::new(),
        Arc::new(StoppedClock),
    ))
}

pub(super) struct Scene {
    pub(super) pipeline: Pipeline,
    pub(super) log: Log,
    pub(super) min_revision: Option<Revision>,
    provider: Alice,
    asked: Arc<AtomicUsize>,
}

impl Scene {
    pub(super) fn new(sources: Vec<Source>) -> Self {
        Self::with_generation(sources, None)
    }

    pub(super) fn with_generation(sources: Vec<Source>, generation: Option<u64>) -> Self {
        let policy = serde_json::from_value(json!({
            "version": 1,
            "generation": generation,
            "account": "APP",
            "rules": [{
                "name": "members",
                "for_each": { "membership": { "kind": "project", "role": "member" } },
                "publish": { "allow": ["projects.{membership.id}.in.>"] },
            }],
        }))
        .unwrap();
        let log = Log::default();
        let mut asked = Arc::default();
        for source in &sources {
            if let Source::Revoking(_, slot, counter) = source {
                *slot.lock().unwrap() = Some(log.clone());
                asked = Arc::clone(counter);
            }
        }
        let provider = Alice {
            evidence: Evidence::SignedToken { key_id: None },
            online: None,
            online_subject: "alice",
            confirmed: Arc::default(),
        };
        Self {
            pipeline: Pipeline {
                identities: Arc::new(provider.clone()),
                memberships: merged(sources),
                policy: Policy::compile(&policy).unwrap(),
                credentials: CredentialSource::DEFAULT.to_vec(),
                max_token_bytes: 16_384,
                freshness: Arc::new(log.clone()),
                degraded_grant_life: Duration::from_secs(60),
                clock: Arc::new(StoppedClock),
            },
            log,
            min_revision: None,
            provider,
            asked,
        }
    }

    /// Changes what the provider does.
    pub(super) fn identities(&mut self, change: impl FnOnce(&mut Alice)) {
        change(&mut self.provider);
        self.pipeline.identities = Arc::new(self.provider.clone());
    }

    pub(super) fn confirmed(&self) -> usize {
        self.provider.confirmed.load(Ordering::SeqCst)
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(super) async fn decide(&self) -> Decision {
        let mut connect = ConnectOptions::default();
        connect.auth_token.push('t');
        let question = Question {
            connect: &connect,
            certificates: &[],
            connection: &Connection::default(),
            min_revision: self.min_revision,
        };
        self.pipeline.decide(&question, deadline()).await
    }

    pub(super) async fn allowed(&self) -> Vec<String> {
        let grant: Grant = self.decide().await.outcome.unwrap();
        grant
            .permissions
            .publish
            .allow
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}
