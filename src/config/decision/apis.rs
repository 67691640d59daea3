//! What is served beside decisions: pushed memberships, revocations, sessions; and bans, which decisions look at too.

use std::sync::Arc;
use std::time::Duration;

use natsgate_api::CallerAuthenticator;
use natsgate_core::{Announcer, Clock, MergedMemberships, OtherSources};
use natsgate_decision::revocations::{BanKeeping, BanTimes};
use natsgate_decision::{
    BanLookup, BanSource, Memberships, MembershipsLimits, MembershipsParts, Relay, Revocations,
    RevocationsLimits, RevocationsParts, Revoker, Sessions,
};
use natsgate_store::SourceCacheSettings;

use crate::config::problem::Problem;
use crate::config::store::Stores;

/// The longest that asking for bans may take.
const BANS_WITHIN: Duration = Duration::from_secs(5);

/// The services.
pub(super) struct Apis {
    /// Takes pushed memberships, where they are kept.
    pub(super) memberships: Option<Memberships>,
    /// Announces what was written and not announced yet.
    pub(super) relay: Option<Arc<Relay>>,
    pub(super) revocations: Revocations,
    pub(super) sessions: Sessions,
}

impl Apis {
    /// The services over `stores`, where no credential is accepted that lives longer than `longest_life`.
    pub(super) fn new(
        stores: &Stores,
        sources: &Arc<MergedMemberships>,
        callers: &Arc<CallerAuthenticator>,
        clock: &Arc<dyn Clock>,
        longest_life: Duration,
    ) -> Self {
        let announcer = || Arc::clone(&stores.follower) as Arc<dyn Announcer>;
        let relay = stores.pushed.as_ref().map(|store| {
            let bans = stores.bans.clone();
            Relay::with_bans(Arc::clone(store), bans, announcer(), Arc::clone(clock))
        });
        let memberships = stores.pushed.as_ref().zip(relay.as_ref()).map(|(store, relay)| {
            Memberships::new(MembershipsParts {
                store: Arc::clone(store),
                relay: Arc::clone(relay),
                callers: Arc::clone(callers),
                others: Some(Arc::clone(sources) as Arc<dyn OtherSources>),
                clock: Arc::clone(clock),
                limits: MembershipsLimits::default(),
            })
        });
        let keeping = stores
            .bans
            .as_ref()
            .zip(relay.as_ref())
            .map(|(store, relay)| BanKeeping {
                store: Arc::clone(store),
                relay: Arc::clone(relay),
                times: BanTimes {
                    clock_skew: stores.clock_skew,
                    longest_life,
                },
            });
        let revoker = Arc::new(Revoker::new(announcer(), keeping, Arc::clone(clock)));
        let revocations = Revocations::new(RevocationsParts {
            revoker,
            feed: stores.feed(),
            board: Arc::clone(&stores.board),
            callers: Arc::clone(callers),
            clock: Arc::clone(clock),
            limits: RevocationsLimits::default(),
        });
        Self {
            memberships,
            relay,
            sessions: Sessions::new(revocations.clone()),
            revocations,
        }
    }
}

/// Looks bans up through the caches, where they are kept.
pub(super) fn bans(stores: &Stores, clock: &Arc<dyn Clock>) -> Result<Option<Arc<BanLookup>>, Problem> {
    let Some(store) = &stores.bans else {
        return Ok(None);
    };
    // Every change of them is a log entry, so that they are kept for long does not make them old.
    let settings = SourceCacheSettings {
        stale_if_error: Duration::ZERO,
        fetch_timeout: BANS_WITHIN,
        ..SourceCacheSettings::default()
    };
    let source = BanSource::new(Arc::clone(store), Arc::clone(clock));
    let cached = stores.tiers.cached(source, &settings);
    let cached = cached.map_err(|error| Problem::new(error.key, error.problem))?;
    Ok(Some(Arc::new(cached)))
}
