//! What natsgate does for one connection, step by step, without a network.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a bench ends loudly; criterion's macros write no documentation"
)]

mod claims;
mod decision;
mod identity;
mod mint;
mod policy;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

/// Short enough for all of them to be run after a change, in a minute or two.
fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = hot_path;
    config = short();
    targets = claims::benches, identity::benches, policy::benches, decision::benches, mint::benches
}
criterion_main!(hot_path);
