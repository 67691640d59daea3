//! Alice, what she belongs to, and a log that says what a test wants it to say.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use natsgate_core::{
    Ban, BanStore, BanStoreError, BanWritten, ClaimsStanding, Clock, Concern, Connection, Credential,
    Deadline, EntryId, Epoch, Evidence, Failure, Freshness, Grant, Idempotency, Identity, IdentityProvider,
    Lifted, Lookup, Membership, MembershipSource, MergedMemberships, Pace, PolicyGeneration, Position,
    Principal, Revision, Sealing, Unavailable,
};
use natsgate_policy::Policy;
use natsgate_proto::v1::ConnectOptions;
use serde_json::json;

use super::super::bans::{BanQuery, BansKnown};
use super::super::{BanSource, Decision, Pipeline, Question, Rechecked};
use crate::credential::CredentialSource;

pub(super) const NOW: SystemTime = SystemTime::UNIX_EPOCH;

struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> SystemTime {
        NOW
    }
}

struct StoppedAt(SystemTime);

impl Clock for StoppedAt {
    fn now(&self) -> SystemTime {
        self.0
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

    pub(super) fn revoke(&self, concern: Concern) {
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
    pub(super) issued_at: Option<SystemTime>,
    pub(super) life: Duration,
    confirmed: Arc<AtomicUsize>,
}

impl Alice {
    fn identity(&self, subject: &str, evidence: Evidence) -> Identity {
        Identity {
            principal: Principal::new(alice().issuer, subject),
            provider: "corp".into(),
            claims: json!({"jti": "t1", "sid": "s1"}).as_object().unwrap().clone(),
            issued_at: self.issued_at,
            expires_at: NOW + self.life,
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

/// Bans by hand, as they are looked up without caches.
#[derive(Clone, Default)]
pub(super) struct Bans(Arc<Mutex<Vec<Ban>>>, Arc<AtomicUsize>);

impl Bans {
    pub(super) fn set(&self, bans: Vec<Ban>) {
        *self.0.lock().unwrap() = bans;
    }

    /// From now on they cannot be asked for.
    pub(super) fn go_away(&self) {
        self.1.store(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl BanStore for Bans {
    async fn impose(
        &self,
        _: &Ban,
        _: Pace,
        _: &Idempotency,
        _: Deadline,
    ) -> Result<BanWritten, BanStoreError> {
        Err(BanStoreError::NotFound)
    }

    async fn lift(
        &self,
        _: EntryId,
        _: EntryId,
        _: &Lifted,
        _: &Idempotency,
        _: Deadline,
    ) -> Result<BanWritten, BanStoreError> {
        Err(BanStoreError::NotFound)
    }

    async fn in_force(
        &self,
        concerns: &[Concern],
        now: SystemTime,
        _: Deadline,
    ) -> Result<Vec<Ban>, BanStoreError> {
        if self.1.load(Ordering::SeqCst) > 0 {
            return Err(BanStoreError::Unavailable {
                doing: "asking".into(),
                cause: "a test".into(),
            });
        }
        let all = self.0.lock().unwrap().clone();
        let asked_for = |ban: &Ban| concerns.contains(&ban.selector.ban_concern().unwrap());
        Ok(all
            .into_iter()
            .filter(|ban| asked_for(ban) && ban.is_in_force(now))
            .collect())
    }

    async fn list(
        &self,
        _: bool,
        _: Option<EntryId>,
        _: usize,
        _: SystemTime,
        _: Deadline,
    ) -> Result<Vec<Ban>, BanStoreError> {
        Ok(Vec::new())
    }

    async fn purge_bans(&self, _: SystemTime, _: Deadline) -> Result<u64, BanStoreError> {
        Ok(0)
    }
}

struct Uncached(BanSource);

#[async_trait]
impl Lookup<BanQuery, BansKnown> for Uncached {
    async fn look_up(&self, query: &BanQuery, deadline: Deadline) -> Result<BansKnown, Failure> {
        natsgate_core::Source::fetch(&self.0, query, deadline).await
    }
}

pub(super) enum Source {
    /// Knows a membership in this project.
    Member(&'static str),
    /// Reads it from a token's claims; what the provider says when asked has none.
    Claims(&'static str),
    /// Reads it from the claims, whoever makes them.
    ClaimsAlways(&'static str),
    Down,
    Stuck,
    /// Knows a membership in `a`; the first so many times it is asked, alice's are revoked before it answers.
    Revoking(usize, Mutex<Option<Log>>, Arc<AtomicUsize>),
    /// Knows a membership in `a`; the first time it is asked, this is revoked before it answers.
    Interrupting(Concern, Mutex<Option<Log>>),
}

impl Source {
    pub(super) fn member(id: &'static str) -> Self {
        Self::Member(id)
    }

    pub(super) fn claims(id: &'static str) -> Self {
        Self::Claims(id)
    }

    pub(super) fn claims_always(id: &'static str) -> Self {
        Self::ClaimsAlways(id)
    }

    pub(super) fn interrupting(concern: Concern, log: &Log) -> Self {
        Self::Interrupting(concern, Mutex::new(Some(log.clone())))
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
        matches!(self, Self::Claims(_) | Self::ClaimsAlways(_))
    }

    async fn memberships(&self, identity: &Identity, _: Deadline) -> Result<Vec<Membership>, Failure> {
        match self {
            Self::Member(id) => Ok(in_project(id)),
            Self::Claims(_) if identity.evidence == Evidence::Online => Ok(Vec::new()),
            Self::Claims(id) | Self::ClaimsAlways(id) => Ok(in_project(id)),
            Self::Down => Err(Failure::unavailable("the test source is down")),
            Self::Stuck => std::future::pending().await,
            Self::Revoking(times, log, asked) => {
                if asked.fetch_add(1, Ordering::SeqCst) < *times {
                    let log = log.lock().unwrap().clone().unwrap();
                    log.revoke(Concern::memberships_of(&identity.principal));
                }
                Ok(in_project("a"))
            }
            Self::Interrupting(concern, log) => {
                if let Some(log) = log.lock().unwrap().take() {
                    log.revoke(*concern);
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

pub(super) fn sealing(secret: &str) -> Arc<dyn Sealing> {
    let secrets = natsgate_store::Secrets::new(secret.to_owned().into(), Vec::new()).unwrap();
    Arc::new(secrets.sealer("recheck basis").unwrap())
}

pub(super) struct Scene {
    pub(super) pipeline: Pipeline,
    pub(super) log: Log,
    pub(super) bans: Bans,
    pub(super) min_revision: Option<Revision>,
    provider: Alice,
    asked: Arc<AtomicUsize>,
}

impl Scene {
    pub(super) fn new(sources: Vec<Source>) -> Self {
        Self::with_generation(sources, None)
    }

    /// Where only who comes from 10.0.0.0/8 is let in.
    pub(super) fn limited(sources: Vec<Source>) -> Self {
        Self::with_policy(sources, None, json!({"source_networks": ["10.0.0.0/8"]}))
    }

    pub(super) fn with_generation(sources: Vec<Source>, generation: Option<u64>) -> Self {
        Self::with_policy(sources, generation, json!({}))
    }

    fn with_policy(sources: Vec<Source>, generation: Option<u64>, limits: serde_json::Value) -> Self {
        let policy = serde_json::from_value(json!({
            "version": 1,
            "generation": generation,
            "account": "APP",
            "rules": [{
                "name": "members",
                "for_each": { "membership": { "kind": "project", "role": "member" } },
                "publish": { "allow": ["projects.{membership.id}.in.>"] },
                "limits": limits.as_object().is_some_and(|limits| !limits.is_empty()).then_some(limits),
            }, {
                "name": "nobody",
                "when": "false",
                "publish": { "allow": ["nobody"] },
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
        let bans = Bans::default();
        let ban_source = BanSource::new(Arc::new(bans.clone()), Arc::new(StoppedClock));
        let provider = Alice {
            evidence: Evidence::SignedToken {
                key_id: Some("k1".into()),
            },
            online: None,
            online_subject: "alice",
            issued_at: None,
            life: Duration::from_secs(3600),
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
                bans: Some(Arc::new(Uncached(ban_source))),
                sealing: sealing("a secret of thirty-two bytes, or more"),
                degraded_grant_life: Duration::from_secs(60),
                clock: Arc::new(StoppedClock),
            },
            log,
            bans,
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

    /// From now on it is `now`.
    pub(super) fn clock_to(&mut self, now: SystemTime) {
        self.pipeline.clock = Arc::new(StoppedAt(now));
    }

    pub(super) async fn decide(&self) -> Decision {
        self.decide_for(&Connection::default()).await
    }

    pub(super) async fn decide_for(&self, connection: &Connection) -> Decision {
        let mut connect = ConnectOptions::default();
        connect.auth_token.push('t');
        let question = Question {
            connect: &connect,
            certificates: &[],
            connection,
            min_revision: self.min_revision,
        };
        self.pipeline.decide(&question, deadline()).await
    }

    /// What a session granted on `basis` would get.
    pub(super) async fn recheck(&self, basis: &[u8]) -> Result<Rechecked, Unavailable> {
        let bases = vec![basis.to_vec()];
        let mut all = self
            .pipeline
            .recheck(bases, self.min_revision, deadline())
            .await?;
        assert_eq!(all.len(), 1);
        Ok(all.remove(0))
    }

    pub(super) async fn allowed(&self) -> Vec<String> {
        let grant: Grant = self.decide().await.outcome.unwrap();
        grant
            .rights
            .own()
            .unwrap()
            .publish
            .allow
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}
