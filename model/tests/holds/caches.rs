//! The revocation log and the caches.

use natsgate_model::{Bounds, Protocol, trace};

fn holds(protocol: Protocol, states: usize) {
    crate::holds(protocol, protocol.bounds, trace::tell, states);
}

const CACHES: Bounds = Bounds {
    versions: 1,
    others: 0,
    failovers: 0,
    restores: 0,
    trims: 0,
    silences: true,
    lag: false,
    tokens: true,
    crashes: true,
};

const QUICK: Bounds = Bounds {
    silences: false,
    crashes: false,
    ..CACHES
};

macro_rules! holds {
    ($($(#[$long:meta])? $name:ident: $bounds:expr, $states:literal;)*) => {
        $(#[test] $(#[$long])? fn $name() { holds(Protocol::right($bounds), $states); })*
    };
}

holds! {
    caches_with_a_lagging_source_and_a_trimmed_log: Bounds { lag: true, trims: 1, ..CACHES }, 471283;
    two_revocations_after_each_other: Bounds { versions: 2, crashes: false, ..CACHES }, 853041;
    a_failover_and_silences: Bounds { failovers: 1, tokens: false, crashes: false, ..CACHES }, 2109840;
    a_failover_a_lagging_source_and_crashes: Bounds { failovers: 1, lag: true, crashes: true, ..QUICK }, 712313;
    an_old_snapshot_or_nothing_and_crashes: Bounds { restores: 1, crashes: true, ..QUICK }, 370414;

    #[ignore = "minutes"] long_two_revocations_a_lagging_source_and_crashes: Bounds { versions: 2, lag: true, ..CACHES }, 1754565;
    #[ignore = "minutes"] long_a_failover: Bounds { failovers: 1, crashes: false, ..CACHES }, 4584250;
    #[ignore = "minutes"] long_an_old_snapshot_or_nothing: Bounds { restores: 1, crashes: false, ..CACHES }, 3476370;
    #[ignore = "minutes"] long_two_failovers: Bounds { failovers: 2, ..QUICK }, 11130611;
    #[ignore = "minutes"] long_a_failover_with_others_entries: Bounds { failovers: 1, others: 1, ..QUICK }, 8544113;
}

#[test]
fn the_search_finds_nothing_without_folding_either() {
    holds(
        Protocol {
            forgets: false,
            ..Protocol::right(Bounds {
                crashes: false,
                ..CACHES
            })
        },
        497472,
    );
}
