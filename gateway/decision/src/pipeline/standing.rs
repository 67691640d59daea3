//! Who asks, and what they belong to: none of it older than a revocation that concerns it.
//!
//! What is looked up is as new as need be: whoever looks up sees to that. What a signed token says of itself is as old as
//! the token. Revoked since, it does not count: the provider is asked, or the client has to come with a newer token. If it
//! cannot be told whether it was (the log is out of reach, or does not go back so far), the provider is asked too, and
//! where it cannot be, the token counts for a short time.

use natsgate_core::{
    ClaimsStanding, Concern, Credential, Deadline, DenialReason, Evidence, Failure, Identity, Membership,
    Principal,
};

use super::{Known, Pipeline, bound};

impl Known {
    /// What it is about.
    pub(super) fn concerns(&self) -> Vec<Concern> {
        let principal = &self.identity.principal;
        // Room for the rules and the account, too.
        let mut concerns = Vec::with_capacity(self.about.len() + self.of_memberships.len() + 8);
        concerns.extend_from_slice(&self.about);
        concerns.extend([Concern::memberships_of(principal), Concern::claims_of(principal)]);
        concerns.extend_from_slice(&self.of_memberships);
        concerns
    }
}

/// What the sources say, told apart by what it was read from.
pub(super) struct Found {
    pub(super) memberships: Vec<Membership>,
    /// What they are about.
    pub(super) concerns: Vec<Concern>,
    /// What those are about that were read from the identity's claims.
    pub(super) of_claims: Vec<Concern>,
}

impl Pipeline {
    /// Finds out all that a decision needs to know. `principal` is set as soon as it is known who asks.
    pub(super) async fn known(
        &self,
        credential: &Credential,
        deadline: Deadline,
        principal: &mut Option<Principal>,
    ) -> Result<Known, Failure> {
        let mut identity = bound(
            deadline,
            "verifying the credential",
            self.identities.identify(credential, deadline),
        )
        .await?;
        *principal = Some(identity.principal.clone());
        let mut unproven = false;

        let mut about = identity.concerns();
        self.prove(credential, &mut identity, &about, &mut unproven, deadline)
            .await?;
        let mut found = self.memberships_of(&identity, deadline).await?;
        let asked = self
            .prove(
                credential,
                &mut identity,
                &found.of_claims,
                &mut unproven,
                deadline,
            )
            .await?;
        if asked {
            found = self.memberships_of(&identity, deadline).await?;
        }
        about.extend(identity.concerns());
        about.sort_unstable();
        about.dedup();
        Ok(Known {
            identity,
            about,
            memberships: found.memberships,
            of_memberships: found.concerns,
            unproven,
        })
    }

    /// Makes sure that a signed token's claims were not revoked in what they are about, `concerns`: by the log, or by
    /// asking the provider, whose answer then takes their place. Returns whether it did.
    async fn prove(
        &self,
        credential: &Credential,
        identity: &mut Identity,
        concerns: &[Concern],
        unproven: &mut bool,
        deadline: Deadline,
    ) -> Result<bool, Failure> {
        if !matches!(identity.evidence, Evidence::SignedToken { .. }) || concerns.is_empty() {
            return Ok(false);
        }
        let standing = self.freshness.claims(identity.issued_at, concerns);
        // Once the provider could not be asked, it cannot be asked again.
        if standing == ClaimsStanding::Current || (standing == ClaimsStanding::Unknown && *unproven) {
            return Ok(false);
        }
        let confirmed = bound(
            deadline,
            "asking the provider about the token",
            self.identities.confirm(credential, identity, deadline),
        )
        .await?;
        match (confirmed, standing) {
            (Some(confirmed), _) if confirmed.principal == identity.principal => {
                *identity = confirmed;
                Ok(true)
            }
            (Some(_), _) => Err(Failure::denied(
                DenialReason::BadClaim,
                "the provider says that the token is somebody else's than the token does",
            )),
            (None, ClaimsStanding::Superseded) => Err(Failure::denied(
                DenialReason::Superseded,
                "something that concerns the token's claims was revoked after it was issued, and its provider cannot be \
                 asked (neither introspection nor userinfo is configured): the client needs a newer token",
            )),
            (None, _) => {
                *unproven = true;
                Ok(false)
            }
        }
    }

    /// What every source says.
    pub(super) async fn memberships_of(
        &self,
        identity: &Identity,
        deadline: Deadline,
    ) -> Result<Found, Failure> {
        let merged = self.memberships.memberships(identity, deadline).await?;
        let mut found = Found {
            memberships: Vec::with_capacity(merged.len()),
            concerns: Vec::with_capacity(merged.len() * 3),
            of_claims: Vec::new(),
        };
        for merged in merged {
            let membership = merged.membership;
            let [resource, role] = Concern::membership(&membership);
            let member = Concern::member(&identity.principal, &membership.kind, &membership.id);
            let concerns = [resource, role, member];
            if merged.granted_by.iter().any(|by| by.from_claims) {
                found.of_claims.extend(concerns);
            }
            found.concerns.extend(concerns);
            found.memberships.push(membership);
        }
        Ok(found)
    }
}
