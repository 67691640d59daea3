//! The ways of verifying a token, one after the other, and what else the provider is asked about a verified one.
//!
//! Three things must not happen here: that a token which one way refuses comes in by a weaker one (unless the settings say
//! so), that an outage reads as a refusal, and that another's claims are taken for the token's owner's.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use natsgate_core::{Deadline, Denial, DenialReason, Evidence, Failure, Identity, Unavailable};
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::{OidcProvider, Presented};
use crate::claims;
use crate::online::{TokenLookup, TokenQuery};
use crate::settings::userinfo::{ClaimsFrom, Enrich};
use crate::settings::verify::{AfterRefusal, VerifyBy};

/// Claims that are about the token, not about its owner: nobody but the token itself can make them.
const OF_THE_TOKEN: [&str; 8] = ["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "sid"];

/// More of them, which only the provider's word about the token itself can replace: what userinfo has under these names is
/// some attribute of the person.
const OF_THE_TOKEN_TOO: [&str; 9] = [
    "client_id",
    "azp",
    "scope",
    "scp",
    "cnf",
    "act",
    "acr",
    "amr",
    "auth_time",
];

impl OidcProvider {
    /// Verifies a token in the first configured way that can, and completes the identity as configured.
    ///
    /// # Errors
    /// The first refusal, if one is final or all ways refuse; otherwise that there is no answer.
    pub(crate) async fn accept(
        &self,
        mut presented: Presented<'_>,
        deadline: Deadline,
    ) -> Result<Identity, Failure> {
        let is_jwt = presented.jwt.is_some();
        let strict = self.settings.after_refusal == AfterRefusal::Stop;
        let by_keys = is_jwt && self.settings.verify.contains(&VerifyBy::Jwt);
        let ways = self.settings.verify.iter().filter(|way| match way {
            VerifyBy::Jwt => is_jwt,
            // It would not say whom the token is for, which its claims do: an outage of the keys must not pass over that.
            VerifyBy::Userinfo => !(by_keys && strict),
            VerifyBy::Introspection => true,
        });
        let ways: Vec<VerifyBy> = ways.copied().collect();
        let mut refused: Option<Denial> = None;
        let mut unavailable: Option<Unavailable> = None;
        for (position, way) in ways.iter().enumerate() {
            // Each has its share of the time, so that one which hangs leaves something for the next.
            let left = u32::try_from(ways.len() - position).unwrap_or(1);
            let share = deadline.or_sooner(deadline.remaining() / left.max(1));
            match self.by(*way, &mut presented, share).await {
                Ok(identity) if *way == VerifyBy::Userinfo => return Ok(identity),
                Ok(identity) => return self.enrich(identity, presented.secret, deadline).await,
                Err(Failure::Denied(denial)) if self.settings.after_refusal == AfterRefusal::Stop => {
                    return Err(denial.into());
                }
                Err(Failure::Denied(denial)) => {
                    refused.get_or_insert(denial);
                }
                Err(Failure::Unavailable(why)) => {
                    unavailable.get_or_insert(why);
                }
            }
        }
        Err(match (unavailable, refused) {
            (Some(why), _) => why.into(),
            (None, Some(denial)) => denial.into(),
            (None, None) => Failure::denied(
                DenialReason::MalformedToken,
                format!(
                    "the token is not a JWT, and provider `{}` has no other way to verify one (`verify`)",
                    self.settings.name
                ),
            ),
        })
    }

    async fn by(
        &self,
        way: VerifyBy,
        presented: &mut Presented<'_>,
        deadline: Deadline,
    ) -> Result<Identity, Failure> {
        let query = || TokenQuery::opaque(presented.secret.clone());
        match way {
            VerifyBy::Jwt => match presented.jwt.take() {
                Some(token) => self.verify(token, deadline).await,
                None => Err(self.not_configured(way)),
            },
            VerifyBy::Introspection => {
                let claims = self
                    .ask(way, self.introspection.as_ref(), query(), deadline)
                    .await?;
                Ok(claims::check_introspected(
                    &self.settings,
                    claims,
                    self.clock.now(),
                )?)
            }
            VerifyBy::Userinfo => {
                let claims = self.ask(way, self.userinfo.as_ref(), query(), deadline).await?;
                Ok(claims::check_userinfo(&self.settings, claims, self.clock.now())?)
            }
        }
    }

    /// Asks about a token again that `identity` was found by, and puts the answer in the place of what the token says.
    ///
    /// # Errors
    /// As for [`Self::accept`].
    pub(crate) async fn confirm_token(
        &self,
        secret: &SecretString,
        identity: &Identity,
        deadline: Deadline,
    ) -> Result<Option<Identity>, Failure> {
        let (way, lookup) = match (&self.introspection, &self.userinfo) {
            (Some(lookup), _) => (VerifyBy::Introspection, lookup),
            (None, Some(lookup)) => (VerifyBy::Userinfo, lookup),
            (None, None) => return Ok(None),
        };
        let query = TokenQuery::of(secret.clone(), identity);
        let answer = self.ask(way, Some(lookup), query, deadline).await?;
        if way == VerifyBy::Introspection {
            claims::check_answer(&self.settings, &answer)?;
        }
        let now = self.clock.now();
        let ends = claims::check_same(&self.settings, identity, &answer, now)?;
        if claims::subject(&self.settings, &answer)? != identity.principal.subject {
            return Err(Failure::denied(
                DenialReason::BadClaim,
                format!(
                    "provider `{}` knows the token's owner by another `{}` now",
                    self.settings.name, self.settings.subject_claim
                ),
            ));
        }
        let mut confirmed = identity.clone();
        confirmed
            .claims
            .retain(|claim, _| OF_THE_TOKEN.contains(&claim.as_str()));
        add(&mut confirmed.claims, answer, ClaimsFrom::Userinfo);
        confirmed.expires_at = earliest(identity.expires_at, ends);
        confirmed.evidence = Evidence::Online;
        if way == VerifyBy::Introspection {
            confirmed = self.enrich(confirmed, secret, deadline).await?;
        }
        claims::check_required(&self.settings, &confirmed.claims)?;
        Ok(Some(confirmed))
    }

    /// Completes `identity` by userinfo, as configured.
    async fn enrich(
        &self,
        identity: Identity,
        secret: &SecretString,
        deadline: Deadline,
    ) -> Result<Identity, Failure> {
        let Some(settings) = &self.settings.userinfo else {
            return Ok(identity);
        };
        let bound = match settings.enrich {
            Enrich::None => return Ok(identity),
            // What can be done without must leave time for the rest.
            Enrich::Optional => deadline.or_sooner(deadline.remaining() / 2),
            Enrich::Required => deadline,
        };
        let query = TokenQuery::of(secret.clone(), &identity);
        match self
            .ask(VerifyBy::Userinfo, self.userinfo.as_ref(), query, bound)
            .await
        {
            Ok(answer) => {
                self.without_userinfo.store(false, Ordering::Relaxed);
                let ends = claims::check_same(&self.settings, &identity, &answer, self.clock.now())?;
                let mut identity = identity;
                add(&mut identity.claims, answer, settings.claims_from);
                identity.expires_at = earliest(identity.expires_at, ends);
                Ok(identity)
            }
            Err(Failure::Unavailable(why)) if settings.enrich == Enrich::Optional => {
                if !self.without_userinfo.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        provider = self.settings.name,
                        %why,
                        "going on without userinfo (`userinfo.enrich: optional`) until it answers again"
                    );
                }
                Ok(identity)
            }
            Err(failure) => Err(failure),
        }
    }

    /// What the provider says of a token; a denial if it is not in force.
    async fn ask(
        &self,
        way: VerifyBy,
        lookup: Option<&TokenLookup>,
        query: TokenQuery,
        deadline: Deadline,
    ) -> Result<Map<String, Value>, Failure> {
        let lookup = lookup.ok_or_else(|| self.not_configured(way))?;
        // Whatever stands behind it, nobody waits past his deadline.
        let answer = deadline
            .bound(lookup.look_up(&query, deadline))
            .await
            .map_err(|_| {
                Unavailable::new(format!(
                    "the {} of provider `{}` did not answer before the request's deadline",
                    way.name(),
                    self.settings.name
                ))
            })??;
        answer.into_claims().ok_or_else(|| {
            Failure::denied(
                DenialReason::InactiveToken,
                format!(
                    "provider `{}` says, asked by {}, that the token is not in force",
                    self.settings.name,
                    way.name()
                ),
            )
        })
    }

    /// The settings were checked, so this does not happen; and if it did, nobody would get in.
    fn not_configured(&self, way: VerifyBy) -> Failure {
        Failure::unavailable(format!(
            "provider `{}` has no settings for {}",
            self.settings.name,
            way.name()
        ))
    }
}

/// Adds what the provider says to what the token says.
fn add(claims: &mut Map<String, Value>, answer: Map<String, Value>, word_of: ClaimsFrom) {
    for (claim, value) in answer {
        let taken = word_of == ClaimsFrom::Token && claims.contains_key(&claim);
        let of_the_token =
            OF_THE_TOKEN.contains(&claim.as_str()) || OF_THE_TOKEN_TOO.contains(&claim.as_str());
        if !taken && !of_the_token {
            claims.insert(claim, value);
        }
    }
}

fn earliest(one: SystemTime, other: Option<SystemTime>) -> SystemTime {
    other.map_or(one, |other| one.min(other))
}

#[cfg(test)]
mod tests;
