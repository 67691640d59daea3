//! The sessions' model: every promise holds in every state within bounds, and what makes the search worth something happens in some.
//!
//! The short searches run with all tests. The long ones take minutes and gigabytes:
//! `cargo test --release -p natsgate-model --test sessions_hold -- --ignored --nocapture --test-threads=1`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "all of this file is a test"
)]

use natsgate_model::sessions::{Bounds, Protocol, trace};
use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// Searches all of it. `states` is what README.md says how many there are.
fn holds(protocol: Protocol, states: usize) {
    let started = std::time::Instant::now();
    let checker = protocol
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!(
        "{:?}: {} states, {} steps tried, {} deep, {:?}",
        protocol.bounds,
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        started.elapsed()
    );
    for property in protocol.properties() {
        match (property.expectation, checker.discovery(property.name)) {
            (Expectation::Always, Some(path)) => {
                panic!("not so that {}:\n{}", property.name, trace::tell(&protocol, path))
            }
            (Expectation::Sometimes, None) => panic!("never: {}", property.name),
            _ => {}
        }
    }
    assert_eq!(
        checker.unique_state_count(),
        states,
        "README.md says how many states there are"
    );
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

macro_rules! holds {
    ($($(#[$long:meta])? $name:ident: $bounds:expr, $states:literal;)*) => {
        $(#[test] $(#[$long])? fn $name() { holds(Protocol::right($bounds), $states); })*
    };
}

holds! {
    a_one: ONE, 0;
    b_recheck: Bounds { rechecks: true, ..ONE }, 0;
    c_leaf: Bounds { leaves: true, ..ONE }, 0;
    d_fail: Bounds { failovers: 1, ..ONE }, 0;
    e_fail_recheck: Bounds { failovers: 1, rechecks: true, ..ONE }, 0;
    f_trim: Bounds { trims: 1, others: 1, ..ONE }, 0;
    g_twice: Bounds { twice: true, ..ONE }, 0;
    h_crash: Bounds { crashes: 1, ..ONE }, 0;
    j_versions: Bounds { versions: 2, ..ONE }, 0;
    k_trim_recheck: Bounds { trims: 1, others: 1, rechecks: true, ..ONE }, 0;
    l_twice_crash: Bounds { twice: true, crashes: 1, ..ONE }, 0;
    m_crash2: Bounds { crashes: 2, ..ONE }, 0;
    z_two: Bounds { connections: 2, ..ONE }, 0;
}
