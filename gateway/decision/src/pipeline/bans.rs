//! Bans in a decision: whoever is banned, or comes with what is, gets nothing, whatever the rules say.
//!
//! Bans are looked up by what they are on, through the caches like every other fact: a ban imposed or lifted is an entry of
//! the revocation log with [`Concern::ban_on`] what it is on, and voids what was looked up before.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use natsgate_core::{
    Ban, BanStore, Clock, Concern, Deadline, DenialReason, Fact, Failure, Identity, Lookup, Selector, Source,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Pipeline, bound};

/// Looks bans up.
pub type BanLookup = dyn Lookup<BanQuery, BansKnown>;

/// Which bans are there? Holds what bans are looked up by, in order, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BanQuery(Vec<Concern>);

impl BanQuery {
    /// Asks for bans on anything that is about one of `concerns`.
    pub fn on(concerns: &[Concern]) -> Self {
        let mut bans: Vec<Concern> = concerns.iter().map(Concern::ban_on).collect();
        bans.sort_unstable();
        bans.dedup();
        Self(bans)
    }
}

/// The bans that were in force when it was asked for them. None is an answer like any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BansKnown {
    bans: Vec<Ban>,
}

impl Fact for BansKnown {
    const KIND: &'static str = "bans.1";

    fn concerns(&self) -> Vec<Concern> {
        self.bans
            .iter()
            .filter_map(|ban| ban.selector.ban_concern())
            .collect()
    }

    fn is_negative(&self) -> bool {
        // That somebody is banned now is told by the log: nothing is gained by asking again.
        false
    }

    fn expires_at(&self) -> Option<SystemTime> {
        // Each ban's end is looked at whenever it is used.
        None
    }
}

/// The store of bans as a source of facts.
pub struct BanSource {
    store: Arc<dyn BanStore>,
    clock: Arc<dyn Clock>,
}

impl BanSource {
    /// The source over `store`.
    pub fn new(store: Arc<dyn BanStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }
}

#[async_trait]
impl Source for BanSource {
    type Query = BanQuery;
    type Fact = BansKnown;

    fn name(&self) -> &str {
        "bans"
    }

    fn key(&self, query: &BanQuery) -> Zeroizing<Vec<u8>> {
        let mut key = Zeroizing::new(Vec::with_capacity(query.0.len() * 16));
        for concern in &query.0 {
            key.extend_from_slice(concern.as_bytes());
        }
        key
    }

    fn concerns(&self, query: &BanQuery) -> Vec<Concern> {
        query.0.clone()
    }

    async fn fetch(&self, query: &BanQuery, deadline: Deadline) -> Result<BansKnown, Failure> {
        let bans = self.store.in_force(&query.0, self.clock.now(), deadline).await;
        let bans = bans.map_err(|error| Failure::unavailable(format!("bans: {error}")))?;
        Ok(BansKnown { bans })
    }
}

impl Pipeline {
    /// Denies if a ban on anything that is about one of `concerns` refuses `identity`. Returns what such bans are known by.
    pub(super) async fn check_bans(
        &self,
        concerns: &[Concern],
        identity: &Identity,
        deadline: Deadline,
    ) -> Result<Vec<Concern>, Failure> {
        let Some(lookup) = &self.bans else {
            return Ok(Vec::new());
        };
        let query = BanQuery::on(concerns);
        let known = bound(deadline, "asking for bans", lookup.look_up(&query, deadline)).await?;
        let now = self.clock.now();
        let refusing = known
            .bans
            .iter()
            .find(|ban| ban.is_in_force(now) && ban.scope.refuses(identity.issued_at, now));
        match refusing {
            None => Ok(query.0),
            Some(ban) => Err(Failure::denied(
                DenialReason::Banned,
                format!("the ban {} on the {} is in force", ban.id, what(&ban.selector)),
            )),
        }
    }
}

/// What a ban is on, without saying which.
fn what(selector: &Selector) -> &'static str {
    match selector {
        Selector::Principal { .. } => "principal",
        Selector::Provider { .. } => "provider",
        Selector::SigningKey { .. } => "signing key",
        Selector::Token { .. } => "token",
        Selector::ProviderSession { .. } => "session at the provider",
        Selector::Account { .. } => "account",
        _ => "session",
    }
}
