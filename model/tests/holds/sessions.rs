//! How a revocation reaches live sessions.

use natsgate_model::sessions::{Bounds, Protocol, trace};

fn holds(protocol: Protocol, states: usize) {
    crate::holds(protocol, protocol.bounds, trace::tell, states);
}

const SESSIONS: Bounds = Bounds {
    shims: 2,
    connections: 1,
    leaves: false,
    versions: 1,
    others: 0,
    rechecks: false,
    kicks: false,
    failovers: 0,
    trims: 0,
    crashes: 0,
    twice: false,
};

const RECHECKS: Bounds = Bounds {
    rechecks: true,
    ..SESSIONS
};

const KICKS: Bounds = Bounds {
    kicks: true,
    others: 1,
    ..RECHECKS
};

macro_rules! holds {
    ($($(#[$long:meta])? $name:ident: $bounds:expr, $states:literal;)*) => {
        $(#[test] $(#[$long])? fn $name() { holds(Protocol::right($bounds), $states); })*
    };
}

holds! {
    one_shim_that_crashes_and_two_clients: Bounds { shims: 1, connections: 2, crashes: 1, ..SESSIONS }, 18234;
    two_shims_and_two_clients: Bounds { connections: 2, ..SESSIONS }, 99285;
    leaf_nodes_and_a_crash: Bounds { leaves: true, crashes: 1, ..SESSIONS }, 27487;
    both_shims_crash: Bounds { crashes: 2, ..SESSIONS }, 114634;
    a_request_at_both_shims_and_a_crash: Bounds { twice: true, crashes: 1, ..SESSIONS }, 78627;
    another_epoch: Bounds { failovers: 1, ..SESSIONS }, 75453;
    another_epoch_and_rechecks: Bounds { failovers: 1, ..RECHECKS }, 106322;
    a_gap_and_rechecks: Bounds { trims: 1, others: 1, ..RECHECKS }, 125197;

    kicks_beside_rechecks: KICKS, 19176;
    kicks_beside_rechecks_and_a_gap: Bounds { trims: 1, ..KICKS }, 61383;
    kicks_beside_rechecks_in_another_epoch: Bounds { shims: 1, failovers: 1, ..KICKS }, 29516;
    two_shims_and_kicks_in_another_epoch: Bounds { others: 0, failovers: 1, ..KICKS }, 63368;

    #[ignore = "minutes"] long_two_revocations_rechecks_and_a_crash: Bounds { versions: 2, crashes: 1, ..RECHECKS }, 565083;
    #[ignore = "minutes"] long_others_entries_rechecks_and_a_crash: Bounds { others: 1, crashes: 1, ..RECHECKS }, 753486;
    #[ignore = "minutes"] long_another_epoch_and_a_crash: Bounds { failovers: 1, crashes: 1, ..SESSIONS }, 2069294;
    #[ignore = "minutes"] long_two_clients_and_a_crash: Bounds { connections: 2, crashes: 1, ..SESSIONS }, 2326628;
    #[ignore = "minutes"] long_a_gap_rechecks_and_a_crash: Bounds { trims: 1, others: 1, crashes: 1, ..RECHECKS }, 3605755;
    #[ignore = "minutes"] long_one_shim_two_clients_another_epoch_and_a_crash: Bounds { shims: 1, connections: 2, failovers: 1, crashes: 1, ..RECHECKS }, 815825;
    #[ignore = "minutes"] long_leaf_nodes_at_both_shims_in_another_epoch: Bounds { leaves: true, twice: true, failovers: 1, ..RECHECKS }, 610526;
    #[ignore = "minutes"] long_kicks_beside_rechecks_and_a_crash: Bounds { crashes: 1, ..KICKS }, 509655;
    #[ignore = "minutes"] long_two_kicks_beside_rechecks: Bounds { versions: 2, ..KICKS }, 163761;
    #[ignore = "minutes"] long_one_shim_kicks_beside_rechecks_another_epoch_and_a_crash: Bounds { shims: 1, failovers: 1, crashes: 1, ..KICKS }, 267011;
    #[ignore = "minutes"] long_leaf_nodes_and_kicks_beside_rechecks_in_another_epoch: Bounds { shims: 1, connections: 2, leaves: true, failovers: 1, ..KICKS }, 1397400;
    #[ignore = "minutes"] long_kicks_beside_rechecks_in_another_epoch: Bounds { failovers: 1, ..KICKS }, 2435715;
    #[ignore = "minutes"] long_two_clients_and_kicks_beside_rechecks: Bounds { connections: 2, ..KICKS }, 3406650;
    #[ignore = "minutes"] long_kicks_in_another_epoch_and_a_crash: Bounds { others: 0, failovers: 1, crashes: 1, ..KICKS }, 1815925;
}

#[test]
fn the_search_finds_nothing_without_folding_either() {
    holds(
        Protocol {
            forgets: false,
            ..Protocol::right(RECHECKS)
        },
        48082,
    );
}
