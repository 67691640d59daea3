//! A source of memberships behind the caches.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use natsgate_core::{
    Concern, Deadline, Fact, Failure, Identity, Lookup, Membership, MembershipSource, Principal, Source,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::lookup::{Cached, LookupCounts, LookupTiers, SourceCacheSettings};
use crate::settings::SettingsError;

/// A [`MembershipSource`] whose answers are kept. Those it has at hand anyway, and those read from the identity's own
/// claims, are not.
#[derive(Clone)]
pub struct CachedMemberships {
    source: Arc<dyn MembershipSource>,
    cached: Cached<Asked>,
}

impl CachedMemberships {
    /// `tiers` in front of `source`. No two sources of memberships may have the same name.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn new(
        tiers: &Arc<LookupTiers>,
        source: Arc<dyn MembershipSource>,
        settings: &SourceCacheSettings,
    ) -> Result<Self, SettingsError> {
        let cached = tiers.cached(Asked(Arc::clone(&source)), settings)?;
        Ok(Self { source, cached })
    }

    /// What the caches did.
    pub fn counts(&self) -> LookupCounts {
        self.cached.counts()
    }
}

impl std::fmt::Debug for CachedMemberships {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CachedMemberships").field(&self.cached).finish()
    }
}

#[async_trait]
impl MembershipSource for CachedMemberships {
    fn name(&self) -> &str {
        self.source.name()
    }

    async fn memberships(&self, identity: &Identity, deadline: Deadline) -> Result<Vec<Membership>, Failure> {
        let key = if self.source.reads_claims() {
            None
        } else {
            self.source.cache_key(identity)
        };
        let Some(key) = key else {
            return self.source.memberships(identity, deadline).await;
        };
        let question = Question {
            identity: identity.clone(),
            key,
        };
        let fact = self.cached.look_up(&question, deadline).await?;
        Ok(fact.memberships)
    }

    fn lag(&self) -> Duration {
        self.source.lag()
    }

    fn reads_claims(&self) -> bool {
        self.source.reads_claims()
    }
}

/// A membership source as a [`Source`] of facts.
struct Asked(Arc<dyn MembershipSource>);

/// What does somebody belong to?
#[derive(Clone)]
struct Question {
    identity: Identity,
    /// All of the identity that the answer depends on.
    key: Zeroizing<Vec<u8>>,
}

/// Everything a source knows that one principal belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    principal: Principal,
    memberships: Vec<Membership>,
}

fn concerns_of(principal: &Principal) -> Vec<Concern> {
    vec![Concern::principal(principal), Concern::memberships_of(principal)]
}

impl Fact for Known {
    const KIND: &'static str = "memberships.1";

    fn concerns(&self) -> Vec<Concern> {
        let mut concerns = concerns_of(&self.principal);
        concerns.extend(self.memberships.iter().flat_map(Concern::membership));
        concerns
    }

    fn is_negative(&self) -> bool {
        self.memberships.is_empty()
    }

    fn expires_at(&self) -> Option<SystemTime> {
        None
    }
}

#[async_trait]
impl Source for Asked {
    type Query = Question;
    type Fact = Known;

    fn name(&self) -> &str {
        self.0.name()
    }

    fn key(&self, question: &Question) -> Zeroizing<Vec<u8>> {
        let principal = &question.identity.principal;
        let parts = [
            principal.issuer.as_bytes(),
            principal.subject.as_bytes(),
            question.key.as_slice(),
        ];
        // All the room at once: growing would leave copies behind that nobody wipes.
        let room = parts.iter().map(|part| part.len().saturating_add(8)).sum();
        let mut key = Zeroizing::new(Vec::with_capacity(room));
        for part in parts {
            // The length first, so that no two lists of parts read the same.
            key.extend_from_slice(&(part.len() as u64).to_be_bytes());
            key.extend_from_slice(part);
        }
        key
    }

    fn concerns(&self, question: &Question) -> Vec<Concern> {
        concerns_of(&question.identity.principal)
    }

    fn lag(&self) -> Duration {
        self.0.lag()
    }

    async fn fetch(&self, question: &Question, deadline: Deadline) -> Result<Known, Failure> {
        let memberships = self.0.memberships(&question.identity, deadline).await?;
        Ok(Known {
            principal: question.identity.principal.clone(),
            memberships,
        })
    }
}
