//! What a session that was granted before would get now, without its client's credential.
//!
//! Who it is for is known from its basis. That stands only as far as nothing was revoked since that concerns it: a token's
//! claims, as for a new connection, since they were issued; what a provider said, since it was asked. Beyond that only the
//! client's credential could tell, and it is not here: the session is in doubt, and the client has to come again.
//! Memberships, bans and rules are looked at anew.

use futures::{StreamExt, TryStreamExt};
use natsgate_core::{
    ClaimsStanding, Concern, Connection, Deadline, Denial, DenialReason, Evidence, Failure, Grant, Revision,
    Unavailable,
};

use super::basis::Basis;
use super::{Known, MAX_ROUNDS, Pipeline, overtaken_too_often};

/// How many sessions of one call are looked at at once, so that one call does not take all there is of every source.
const AT_ONCE: usize = 16;

/// What a session would get.
#[derive(Debug)]
pub enum Rechecked {
    /// This.
    Granted {
        /// The grant.
        grant: Box<Grant>,
        /// What it is valid as of.
        as_of: Revision,
        /// What it rests on and is about, each once, in order.
        concerns: Vec<Concern>,
        /// Its basis from now on.
        basis: Vec<u8>,
    },
    /// Nothing.
    Denied(Denial),
    /// That cannot be told without the client's credential: why.
    InDoubt(&'static str),
}

/// Why there is no grant.
enum Stopped {
    Failed(Failure),
    InDoubt(&'static str),
}

/// A session that is looked at.
struct Session {
    known: Known,
    connection: Connection,
    /// What it was granted as of.
    granted_as_of: Revision,
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Pipeline {
    /// What the sessions of `bases` would get now, in their order, by everything that is applied up to `min_revision` at
    /// least.
    ///
    /// # Errors
    /// [`Unavailable`] if that cannot be told of one of them: a source gave no answer, or the revocation log is out of reach.
    /// Who asks then asks again, and in the end closes the sessions.
    pub async fn recheck(
        &self,
        bases: Vec<Vec<u8>>,
        min_revision: Option<Revision>,
        deadline: Deadline,
    ) -> Result<Vec<Rechecked>, Unavailable> {
        if let Some(revision) = min_revision {
            self.catch_up(revision, deadline).await.map_err(no_answer)?;
        }
        // Known beforehand even if none of the bases opens.
        self.begin_confirmed().map_err(no_answer)?;
        let each = bases.into_iter().map(|sealed| self.recheck_one(sealed, deadline));
        futures::stream::iter(each).buffered(AT_ONCE).try_collect().await
    }

    async fn recheck_one(&self, sealed: Vec<u8>, deadline: Deadline) -> Result<Rechecked, Unavailable> {
        // With everything at hand nothing here ever waits, and others want to go on too.
        tokio::task::coop::consume_budget().await;
        let Some(Basis {
            identity,
            about,
            connection,
            as_of,
        }) = self.open_basis(&sealed)
        else {
            return Ok(Rechecked::InDoubt(
                "what is known of the session was sealed elsewhere, with another secret, or by another release",
            ));
        };
        let mut session = Session {
            known: Known {
                identity,
                about,
                memberships: Vec::new(),
                of_memberships: Vec::new(),
                unproven: false,
            },
            connection,
            granted_as_of: as_of,
        };
        for _ in 0..MAX_ROUNDS {
            match self.recheck_round(&mut session, deadline).await {
                Ok(Some(rechecked)) => return Ok(rechecked),
                Ok(None) => {}
                Err(Stopped::InDoubt(why)) => return Ok(Rechecked::InDoubt(why)),
                Err(Stopped::Failed(Failure::Denied(denial))) => return Ok(Rechecked::Denied(denial)),
                Err(Stopped::Failed(Failure::Unavailable(unavailable))) => return Err(unavailable),
            }
        }
        Err(overtaken_too_often())
    }

    /// One answer, as of the position the log is applied to when it begins; none if something it rests on was revoked
    /// meanwhile.
    async fn recheck_round(
        &self,
        session: &mut Session,
        deadline: Deadline,
    ) -> Result<Option<Rechecked>, Stopped> {
        let as_of = self.begin_confirmed()?;
        let identity = &session.known.identity;
        if identity.expires_at <= self.clock.now() {
            return Err(Failure::denied(DenialReason::Expired, "the credential has expired").into());
        }
        if !self.identity_holds(session) {
            return Err(Stopped::InDoubt(
                "something that concerns the credential was revoked since, and it is not here to ask its provider with",
            ));
        }
        let found = self.memberships_of(identity, deadline).await?;
        if !found.of_claims.is_empty() && !self.claims_hold(session, &found.of_claims) {
            return Err(Stopped::InDoubt(
                "a membership among the claims was revoked since, and the credential is not here to ask its provider with",
            ));
        }
        session.known.memberships = found.memberships;
        session.known.of_memberships = found.concerns;
        let judged = self
            .judge(&session.known, &session.connection, false, deadline)
            .await?;
        if self.overtaken(&as_of, &judged) {
            return Ok(None);
        }
        Ok(Some(Rechecked::Granted {
            basis: self.basis(&session.known, &session.connection, as_of),
            grant: Box::new(judged.grant),
            as_of,
            concerns: judged.concerns,
        }))
    }

    fn identity_holds(&self, session: &Session) -> bool {
        let Known { identity, about, .. } = &session.known;
        if identity.evidence != Evidence::Online {
            return self.claims_hold(session, about);
        }
        let of_claims = [Concern::claims_of(&identity.principal)];
        self.claims_hold(session, about) && self.claims_hold(session, &of_claims)
    }

    /// Whether what is known of whom the session is for holds still, in what is about `concerns`.
    fn claims_hold(&self, session: &Session, concerns: &[Concern]) -> bool {
        let identity = &session.known.identity;
        match identity.evidence {
            Evidence::SignedToken { .. } => {
                self.freshness.claims(identity.issued_at, concerns) == ClaimsStanding::Current
            }
            Evidence::Online => !self.freshness.superseded(&session.granted_as_of, concerns),
            Evidence::Certificate => true,
        }
    }

    /// As for a decision; but nobody is told that a session loses nothing while it cannot be known what was revoked.
    fn begin_confirmed(&self) -> Result<Revision, Failure> {
        let as_of = self.begin()?;
        if as_of.degraded {
            return Err(Failure::unavailable(
                "the revocation log is out of reach, so what sessions would get cannot be told: is Redis up and reachable from \
                 here?",
            ));
        }
        Ok(as_of.revision)
    }
}

/// Nothing denies a whole call.
fn no_answer(failure: Failure) -> Unavailable {
    match failure {
        Failure::Unavailable(unavailable) => unavailable,
        Failure::Denied(denial) => Unavailable::new(denial.to_string()),
    }
}
