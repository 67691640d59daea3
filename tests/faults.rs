//! Schedules of faults, drawn from seeds: in the end no session holds what was revoked.
//!
//! Thirty here; `make test-faults` plays as many as are asked for, from any seed on. The bound, and what is held against what, is
//! in `faults/src/play.rs`.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test, told what to do by the environment"
)]

use std::path::Path;
use std::time::Duration;

use natsgate_faults::Program;
use natsgate_faults::play::{Report, play_all};

/// How many sites there are at once: most of the time they wait.
const SITES: usize = 3;

async fn play(first: u64, count: u64, sites: usize) -> Report {
    let keep = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults");
    let program = Program::at(told("FAULTS_PROGRAM", env!("CARGO_BIN_EXE_natsgate").to_owned()));
    let report = play_all(&program, (first, count), sites, &keep, |line| eprintln!("{line}")).await;
    let at = |percent: usize| {
        let index = report.settled.len() * percent / 100;
        report
            .settled
            .get(index.min(report.settled.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    };
    eprintln!(
        "{count} schedules in {:.0?}: {} failed; {} connections looked at; settled after {:.1?} (median), {:.1?} (99 %), {:.1?} (longest)",
        report.took,
        report.failed.len(),
        report.judged,
        at(50),
        at(99),
        report.settled.last().copied().unwrap_or(Duration::ZERO)
    );
    report
}

fn assert_held(report: &Report) {
    let failed: Vec<&str> = report.failed.iter().map(|(_, text)| text.as_str()).collect();
    assert!(
        failed.is_empty(),
        "{} schedules failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

fn told<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) => otherwise,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_schedules() {
    assert_held(&play(1, 30, SITES).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "as many as FAULTS_SEEDS says, from FAULTS_FIRST on: make test-faults"]
async fn as_many_as_are_asked_for() {
    let (first, count) = (told("FAULTS_FIRST", 1), told("FAULTS_SEEDS", 500));
    assert_held(&play(first, count, told("FAULTS_SITES", SITES)).await);
}
