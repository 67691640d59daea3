//! Every flaw leads to a counterexample: what the flaw takes away is needed, and the check would notice.
//!
//! Each is told in words: `cargo test -p natsgate-model --test flaws -- --nocapture --test-threads=1`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "all of this file is a test"
)]

mod caches;
mod sessions;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model, Path};

/// Tells a counterexample in words.
type Tell<M> = fn(&M, Path<<M as Model>::State, <M as Model>::Action>) -> String;

/// A shortest way to break `promise` in no more than `most` steps: how many, and which.
fn counterexample<M>(
    protocol: &M,
    tell: Tell<M>,
    promise: &'static str,
    most: usize,
) -> Option<(usize, String)>
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let mut found = None;
    // The checker counts the first state as depth 1, and looks at what is above the depth it is told.
    let mut depth = most + 2;
    loop {
        // The search goes breadth first, but in blocks: once it has found something, look whether there is something shorter.
        let checker = protocol
            .clone()
            .checker()
            .finish_when(HasDiscoveries::AllOf(BTreeSet::from([promise])))
            .target_max_depth(depth)
            .spawn_bfs()
            .join();
        let Some(path) = checker.discovery(promise) else {
            return found;
        };
        depth = path.clone().into_actions().len() + 1;
        found = Some((depth - 1, tell(protocol, path)));
    }
}

/// `flaw` breaks `promise` in that many steps, and no fewer.
fn breaks<M>(protocol: M, flaw: impl Debug, tell: Tell<M>, promise: &'static str, steps: usize)
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let started = std::time::Instant::now();
    let (length, told) =
        counterexample(&protocol, tell, promise, steps).expect("a counterexample in that many steps");
    println!(
        "{flaw:?} in {length} steps, {:?}: not so that {promise}\n{told}",
        started.elapsed()
    );
    assert!(told.contains("=>"), "the trace says what is wrong: {told}");
    assert_eq!(length, steps, "README.md says how many steps it takes");
}
