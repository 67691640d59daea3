//! The caches in front of lookups, with everything round them in the tests' hands: the clock, the revocation log as one
//! instance sees it, the source, the shared cache.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may panic; clippy.toml's leave for tests does not reach helpers in tests/"
)]

mod degraded;
mod in_process;
mod lagging;
mod memberships;
mod races;
mod real;
mod schedules;
mod shared;
mod stale;
mod support;
