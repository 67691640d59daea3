//! The decision itself: credential → identity → memberships → policy.
//!
//! Every step may deny, or find that it has no answer; nothing here turns the one into the other, and nothing turns
//! either into a grant. That no fact older than a revocation counts is seen to in `pipeline/standing.rs` for what a
//! credential says of itself, and by whoever looks facts up for the rest.

mod standing;

use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{
    CertificateChain, Clock, Concern, Connection, Credential, Deadline, Denial, DenialReason, Failure,
    Freshness, Grant, Identity, IdentityProvider, MergedMemberships, NotAdmitted, Position, Principal,
    Revision,
};
use natsgate_policy::{Facts, Policy};
use natsgate_proto::v1::ConnectOptions;

use crate::credential::{self, CredentialSource};

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
}

impl Decision {
    fn failed(failure: impl Into<Failure>) -> Self {
        Self {
            principal: None,
            as_of: None,
            degraded: false,
            outcome: Err(failure.into()),
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
            let (decision, rests_on) = self.round(&credential, question, deadline).await;
            if !self.overtaken(&decision, &rests_on) {
                return decision;
            }
        }
        Decision::failed(Failure::unavailable(
            "what the decision rests on was revoked again and again while it was made: try again",
        ))
    }

    /// One decision, as of the position the log is applied to when it begins, and what it rests on.
    async fn round(
        &self,
        credential: &Credential,
        question: &Question<'_>,
        deadline: Deadline,
    ) -> (Decision, Vec<Concern>) {
        let mut rests_on = Vec::new();
        let as_of = match self.begin() {
            Ok(as_of) => as_of,
            Err(failure) => return (Decision::failed(failure), rests_on),
        };
        let mut decision = Decision {
            principal: None,
            as_of: Some(as_of.revision),
            degraded: as_of.degraded,
            outcome: Err(Failure::unavailable("the decision was not made")),
        };
        let known = self.known(credential, deadline, &mut decision.principal).await;
        decision.outcome = match known {
            Ok(known) => {
                decision.degraded |= known.unproven;
                rests_on = known.concerns();
                self.evaluate(&known, question.connection, decision.degraded)
            }
            Err(failure) => Err(failure),
        };
        (decision, rests_on)
    }

    /// Whether something was revoked since the decision began that concerns what it rests on.
    fn overtaken(&self, decision: &Decision, rests_on: &[Concern]) -> bool {
        let revoked_since = |as_of| self.freshness.superseded(as_of, rests_on);
        decision.outcome.is_ok() && decision.as_of.as_ref().is_some_and(revoked_since)
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

    fn evaluate(&self, known: &Known, connection: &Connection, degraded: bool) -> Result<Grant, Failure> {
        let now = self.clock.now();
        let facts = Facts {
            identity: &known.identity,
            memberships: &known.memberships,
            connection,
            now,
        };
        let mut grant = self.policy.evaluate(&facts).outcome?;
        admit(&grant, connection)?;
        if degraded {
            grant.expires_at = grant.expires_at.min(now + self.degraded_grant_life);
        }
        Ok(grant)
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
    memberships: Vec<natsgate_core::Membership>,
    /// Whether some of it could not be held against the log.
    unproven: bool,
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
