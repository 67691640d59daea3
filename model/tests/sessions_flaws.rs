//! The sessions' model: every flaw leads to a counterexample: what the flaw takes away is needed, and the check would notice.
//!
//! Each is told in words: `cargo test -p natsgate-model --test sessions_flaws -- --nocapture --test-threads=1`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "all of this file is a test"
)]

use std::collections::BTreeSet;

use natsgate_model::sessions::promises::{ACKNOWLEDGED, ASKED, ONCE, REACHED, SPARED};
use natsgate_model::sessions::{Bounds, Flaw, Protocol, trace};
use stateright::{Checker, HasDiscoveries, Model};

/// A shortest way to break `promise` in no more than `most` steps: how many, and which.
fn counterexample(protocol: Protocol, promise: &'static str, most: usize) -> Option<(usize, String)> {
    let mut found = None;
    // The checker counts the first state as depth 1, and looks at what is above the depth it is told.
    let mut depth = most + 2;
    loop {
        // The search goes breadth first, but in blocks: once it has found something, look whether there is something shorter.
        let checker = protocol
            .checker()
            .finish_when(HasDiscoveries::AllOf(BTreeSet::from([promise])))
            .target_max_depth(depth)
            .spawn_bfs()
            .join();
        let Some(path) = checker.discovery(promise) else {
            return found;
        };
        depth = path.clone().into_actions().len() + 1;
        found = Some((depth - 1, trace::tell(&protocol, path)));
    }
}

const ONE: Bounds = Bounds {
    connections: 1,
    leaves: false,
    versions: 1,
    others: 0,
    rechecks: false,
    failovers: 0,
    trims: 0,
    crashes: 0,
    twice: false,
};

#[test]
fn explore() {
    use Flaw::*;
    let list: &[(Flaw, Bounds)] = &[
        (RegisteredOnceConnected, ONE),
        (NoMinRevision, ONE),
        (NotAskedAgain, ONE),
        (RecheckNotAskedAgain, Bounds { rechecks: true, others: 1, ..ONE }),
        (LookedUpBeforeApplied, ONE),
        (OwnerOnly, ONE),
        (TakeoverBlind, Bounds { rechecks: true, others: 1, versions: 0, ..ONE }),
        (GivenUp, ONE),
        (LeafLikeClient, Bounds { leaves: true, ..ONE }),
        (AbsenceBelievedEarly, Bounds { leaves: true, ..ONE }),
        (AbsenceBelievedEarly, ONE),
        (SilenceIsGone, ONE),
        (SilenceIsReconciled, Bounds { crashes: 1, ..ONE }),
        (GapIgnored, Bounds { others: 1, ..ONE }),
        (TrimmedGapIgnored, Bounds { trims: 1, ..ONE }),
        (EpochIgnored, Bounds { failovers: 1, others: 1, ..ONE }),
        (LogReadFromEnd, Bounds { crashes: 1, ..ONE }),
        (ClosedUnasked, Bounds { failovers: 1, versions: 0, ..ONE }),
        (UnknownEpochClosed, Bounds { failovers: 1, versions: 0, ..ONE }),
        (AsOfNotInName, ONE),
        (FoundNotJudged, ONE),
        (FoundConcernsUnknown, ONE),
        (OwnAnswerBelieved, Bounds { twice: true, ..ONE }),
        (EventsOnly, Bounds { crashes: 1, ..ONE }),
        (ClientIdAlone, Bounds { connections: 2, ..ONE }),
        (AcknowledgedEarly, ONE),
        (OthersNotPending, Bounds { crashes: 1, ..ONE }),
        (AcknowledgedUnreconciled, Bounds { crashes: 1, ..ONE }),
        (NotWithdrawn, Bounds { crashes: 1, ..ONE }),
        (PresenceTooShort, Bounds { crashes: 1, ..ONE }),
        (VanishedForgiven, Bounds { crashes: 2, ..ONE }),
        (NobodyIsEverybody, Bounds { crashes: 2, ..ONE }),
        (GoneCountsAsClosed, ONE),
        (StampedLate, ONE),
    ];
    for (flaw, bounds) in list {
        let mut any = false;
        let mut all = Vec::new();
        for promise in [REACHED, ACKNOWLEDGED, ONCE, SPARED, ASKED] {
            let started = std::time::Instant::now();
            let protocol = Protocol::with(*flaw, *bounds);
            if let Some((length, told)) = counterexample(protocol, promise, 12) {
                any = true;
                all.push((length, promise, told, started.elapsed()));
            }
        }
        all.sort_by_key(|x| x.0);
        println!("#### {flaw:?}: any {any}: {:?}", all.iter().map(|x| (x.0, &x.1[..30.min(x.1.len())], x.3)).collect::<Vec<_>>());
        if let Some(x) = all.first() {
            println!("not so that {}\n{}", x.1, x.2);
        }
    }
}
