//! How long it takes from `Revoke` to closed sockets: natsgate beside the least that could do it, on the same cluster, in turns.
//!
//! First one session at a time, among others: natsgate revokes a principal, which it has to be asked for by somebody it
//! knows, writes down, and looks up; the bare revoker ([`natsgate_benches::bare_revoker`]) is told the connection. Then all
//! sessions of a project: natsgate is told the project's name; a bare client has the list of connections and kicks them,
//! pipelined. What the machine is like cancels out of the ratios. `natsgate` itself comes from the same profile's
//! folder: `make bench-revoke` builds it first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench ends loudly"
)]

mod bare;
mod many;
mod one;

use clap::Parser;
use natsgate_faults::{Program, Site, SiteOptions};

/// From `Revoke` to closed sockets.
#[derive(Parser)]
struct Arguments {
    /// Sessions closed one at a time, by each.
    #[arg(long, default_value_t = 200)]
    runs: usize,
    /// Sessions of others meanwhile.
    #[arg(long, default_value_t = 1980)]
    others: usize,
    /// Sessions closed all together.
    #[arg(long, default_value_t = 5000)]
    sessions: usize,
    /// How often, by each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How much natsgate logs.
    #[arg(long, default_value = "info")]
    log: String,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let options = SiteOptions {
        log: arguments.log.clone(),
        ..SiteOptions::default()
    };
    let site = Site::start(&Program::beside_this_bench(), options).await;
    let one = if arguments.runs > 0 {
        Some(one::measure(&site, arguments.runs, arguments.others).await)
    } else {
        None
    };
    let many = if arguments.rounds > 0 {
        Some(many::measure(&site, arguments.sessions, arguments.rounds).await)
    } else {
        None
    };
    // The ratios last, so that they are found.
    if let Some(many) = many {
        println!("all sessions of a project, natsgate / raw kicks: {many:.2}");
    }
    if let Some(one) = one {
        println!("one session, p99, natsgate / bare: {one:.2}");
    }
}

/// The `percent`th percentile of `sorted`.
fn percentile<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}
