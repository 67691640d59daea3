//! Every promise holds in every state within bounds, and what makes the search worth something happens in some.
//!
//! The short searches run with all tests. The long ones take minutes and gigabytes:
//! `cargo test --release -p natsgate-model --test holds -- --ignored --nocapture --test-threads=1`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "all of this file is a test"
)]

mod caches;
mod sessions;

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};

/// Tells a counterexample in words.
type Tell<M> = fn(&M, Path<<M as Model>::State, <M as Model>::Action>) -> String;

/// Searches all of it. `states` is what README.md says how many there are.
fn holds<M>(protocol: M, bounds: impl Debug, tell: Tell<M>, states: usize)
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let started = std::time::Instant::now();
    let checker = protocol
        .clone()
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!(
        "{bounds:?}: {} states, {} steps tried, {} deep, {:?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        started.elapsed()
    );
    for property in protocol.properties() {
        match (property.expectation, checker.discovery(property.name)) {
            (Expectation::Sometimes, None) => panic!("never: {}", property.name),
            (Expectation::Always, Some(path)) => {
                panic!("not so that {}:\n{}", property.name, tell(&protocol, path))
            }
            _ => {}
        }
    }
    assert_eq!(
        checker.unique_state_count(),
        states,
        "README.md says how many states there are"
    );
}
