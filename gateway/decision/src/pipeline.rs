//! The decision itself: credential → identity → memberships → policy.
//!
//! Every step may deny, or find that it has no answer; nothing here turns the one into the other, and nothing turns
//! either into a grant. That no fact older than a revocation counts is seen to in `pipeline/standing.rs` for what a
//! credential says of itself, and by whoever looks facts up for the rest. What a session granted before would get now is
//! in `pipeline/recheck.rs`; bans are in `pipeline/bans.rs`.

mod bans;
mod basis;
mod recheck;
mod standing;

use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{
    CertificateChain, Clock, Concern, Connection, Credential, Deadline, Denial, DenialReason, Failure,
    Freshness, Grant, Identity, IdentityProvider, MergedMemberships, NotAdmitted, Position, Principal,
    Revision, Sealing,
};
use natsgate_policy::{Facts, Policy};
use natsgate_proto::v1::ConnectOptions;

use crate::credential::{self, CredentialSource};

pub use bans::{BanLookup, BanQuery, BanSource, BansKnown};
pub use recheck::Rechecked;

/// How often a decision is begun again because something it rests on was revoked meanwhile.
const MAX_ROUNDS: usize = 3;

/// Everything a decision needs. Cheap to share behind an `Arc`.
pub struct Pipeline {
    /// Verifies credentials.
    pub identities: Arc<dyn IdentityProvider>,
    /// Know what somebody belongs to; what they say is put together.
    pub memberships: Arc<MergedMemberships>,
    /// The rules.
    pub policy: Policy,
    /// Where credentials are looked for, in order.
    pub credentials: Vec<CredentialSource>,
    /// The largest credential looked at, in bytes.
    pub max_token_bytes: usize,
    /// Knows what was revoked.
    pub freshness: Arc<dyn Freshness>,
    /// Knows who is banned, where bans are kept.
    pub bans: Option<Arc<BanLookup>>,
    /// Seals what shims keep of sessions for us.
    pub sealing: Arc<dyn Sealing>,
    /// The longest life of a grant while it cannot be known what was revoked.
    pub degraded_grant_life: Duration,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// What is asked: may this connection be opened, and what may it do?
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// What the client sent. Holds credentials.
    pub connect: &'a ConnectOptions,
    /// The certificate chains of the client that its server verified.
    pub certificates: &'a [CertificateChain],
    /// The connection, as its server describes it.
    pub connection: &'a Connection,
    /// What the caller has applied of the revocation log: the decision must not rest on less.
    pub min_revision: Option<Revision>,
}

/// What came out, and for whom.
#[derive(Debug)]
pub struct Decision {
    /// Who asked, once that was known.
    pub principal: Option<Principal>,
    /// The revision of the log that everything was valid at.
    pub as_of: Option<Revision>,
    /// Whether what was revoked could not be known in full, so that a grant is short.
    pub degraded: bool,
    /// A grant, a denial, or no answer.
    pub outcome: Result<Grant, Failure>,
    /// What a grant rests on and is about, each once, in order.
    pub concerns: Vec<Concern>,
    /// What [`Pipeline::recheck`] needs to know of a session granted so: sealed. Empty if it cannot be rechecked.
    pub basis: Vec<u8>,
}

impl Decision {
    fn failed(failure: impl Into<Failure>) -> Self {
        Self {
            principal: None,
            as_of: None,
            degraded: false,
            outcome: Err(failure.into()),
            concerns: Vec::new(),
            basis: Vec::new(),
        }
    }
}

impl Pipeline {
    /// Decides before `deadline`.
    pub async fn decide(&self, question: &Question<'_>, deadline: Deadline) -> Decision {
        if let Some(revision) = question.min_revision
            && let Err(unavailable) = self.catch_up(revision, deadline).await
        {
            return Decision::failed(unavailable);
        }
        let credential = credential::find(
            question.connect,
            question.certificates,
            &self.credentials,
            self.max_token_bytes,
        );
        let credential = match credential {
            Ok(credential) => credential,
            Err(denial) => return Decision::failed(denial),
        };
        for _ in 0..MAX_ROUNDS {
            if let Some(decision) = self.round(&credential, question, deadline).await {
                return decision;
            }
        }
        Decision::failed(overtaken_too_often())
    }

    /// One decision, as of the position the log is applied to when it begins; none if something it rests on was revoked
    /// meanwhile.
    async fn round(
        &self,
        credential: &Credential,
        question: &Question<'_>,
        deadline: Deadline,
    ) -> Option<Decision> {
        let as_of = match self.begin() {
            Ok(as_of) => as_of,
            Err(failure) => return Some(Decision::failed(failure)),
        };
        let mut decision = Decision::failed(Failure::unavailable("the decision was not made"));
        decision.as_of = Some(as_of.revision);
        decision.degraded = as_of.degraded;
        let known = match self.known(credential, deadline, &mut decision.principal).await {
            Ok(known) => known,
            Err(failure) => {
                decision.outcome = Err(failure);
                return Some(decision);
            }
        };
        decision.degraded |= known.unproven;
        match self
            .judge(&known, question.connection, decision.degraded, deadline)
            .await
        {
            Ok(judged) if self.overtaken(&as_of.revision, &judged) => return None,
            Ok(judged) => {
                decision.basis = self.basis(&known, question.connection, as_of.revision);
                decision.outcome = Ok(judged.grant);
                decision.concerns = judged.concerns;
            }
            Err(failure) => decision.outcome = Err(failure),
        }
        Some(decision)
    }

    /// Whether something was revoked since `as_of` that concerns what `judged` rests on.
    fn overtaken(&self, as_of: &Revision, judged: &Judged) -> bool {
        self.freshness.superseded(as_of, &judged.concerns) || self.freshness.superseded(as_of, &judged.bans)
    }

    async fn catch_up(&self, revision: Revision, deadline: Deadline) -> Result<(), Failure> {
        if let Some(applied) = self.freshness.position().revision()
            && applied.includes(&revision)
        {
            return Ok(());
        }
        bound(deadline, "catching up with the revocation log", async {
            Ok(self.freshness.catch_up(revision, deadline).await?)
        })
        .await
    }

    /// Where the log stands; an instance that does not know, or has an older policy, decides nothing.
    fn begin(&self) -> Result<AsOf, Failure> {
        let (revision, degraded) = match self.freshness.position() {
            Position::Confirmed(revision) => (revision, false),
            Position::Degraded(revision) => (revision, true),
            Position::Unknown => {
                return Err(Failure::unavailable(
                    "this instance has not read the revocation log yet: is Redis up and reachable from here?",
                ));
            }
        };
        self.check_policy()?;
        Ok(AsOf { revision, degraded })
    }

    fn check_policy(&self) -> Result<(), Failure> {
        let wrong = |what: &str| {
            Err(Failure::unavailable(format!(
                "this instance decides nothing: {what}"
            )))
        };
        let Some(in_force) = self.freshness.policy() else {
            // A log that lost it may hear of it again from another instance: this one's may be an older one.
            return match self.policy.generation() {
                Some(_) => wrong(
                    "it is not known yet which policy is in force; that takes some seconds after the start",
                ),
                None => Ok(()),
            };
        };
        match self.policy.generation() {
            None => wrong(
                "the other instances' policies have a `generation` and this one's has none: give it one",
            ),
            Some(own) if own < in_force.generation => {
                wrong("a policy of a higher generation is in force: deploy it here too")
            }
            Some(own) if own == in_force.generation && self.policy.digest() != in_force.digest => wrong(
                "another policy of the same generation is in force: every change needs a higher `generation`",
            ),
            Some(_) => Ok(()),
        }
    }

    /// What the rules give to whom is `known`, unless there is a ban on them.
    async fn judge(
        &self,
        known: &Known,
        connection: &Connection,
        degraded: bool,
        deadline: Deadline,
    ) -> Result<Judged, Failure> {
        let mut bans = self.check_bans(&known.about, &known.identity, deadline).await?;
        let now = self.clock.now();
        let facts = Facts {
            identity: &known.identity,
            memberships: &known.memberships,
            connection,
            now,
        };
        let evaluation = self.policy.evaluate(&facts);
        let mut concerns = known.concerns();
        concerns.extend(evaluation.matched().map(Concern::rule));
        let mut grant = evaluation.outcome?;
        let account = Concern::account(&grant.account);
        concerns.push(account);
        bans.extend(self.check_bans(&[account], &known.identity, deadline).await?);
        admit(&grant, connection)?;
        if degraded {
            grant.expires_at = grant.expires_at.min(now + self.degraded_grant_life);
        }
        concerns.sort_unstable();
        concerns.dedup();
        Ok(Judged {
            grant,
            concerns,
            bans,
        })
    }
}

/// Where the log stood when a decision began.
struct AsOf {
    revision: Revision,
    degraded: bool,
}

/// All that is known of who asks.
struct Known {
    identity: Identity,
    /// What the identity is about, and the credential it was first known by: what a provider says later may name less.
    about: Vec<Concern>,
    memberships: Vec<natsgate_core::Membership>,
    /// What the memberships are about.
    of_memberships: Vec<Concern>,
    /// Whether some of it could not be held against the log.
    unproven: bool,
}

/// A grant, and what it rests on.
struct Judged {
    grant: Grant,
    /// What it rests on and is about, each once, in order.
    concerns: Vec<Concern>,
    /// The bans there might have been.
    bans: Vec<Concern>,
}

fn overtaken_too_often() -> natsgate_core::Unavailable {
    natsgate_core::Unavailable::new(
        "what the decision rests on was revoked again and again while it was made: try again",
    )
}

/// Holds against the connection what the server will not.
fn admit(grant: &Grant, connection: &Connection) -> Result<(), Denial> {
    let admitted = grant.limits.admit(
        &connection.client_host,
        &connection.client_kind,
        &connection.client_type,
    );
    admitted.map_err(|refused| {
        let reason = match refused {
            NotAdmitted::SourceNetwork => DenialReason::SourceNotAllowed,
            NotAdmitted::ConnectionType => DenialReason::ConnectionTypeNotAllowed,
        };
        Denial::new(reason, refused.to_string())
    })
}

async fn bound<T>(
    deadline: Deadline,
    doing: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    deadline.bound(work).await.unwrap_or_else(|_| {
        Err(Failure::unavailable(format!(
            "{doing}: the request's deadline passed"
        )))
    })
}

#[cfg(test)]
mod tests;
