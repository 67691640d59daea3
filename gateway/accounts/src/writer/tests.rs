mod oracle;
mod play;
mod requests;
mod world;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use natsgate_claims::encode;
use natsgate_core::Deadline;
use serde_json::json;

use super::*;
use crate::account::ManagedAccount;
use crate::testing::{NOW, keys, operator};
use oracle::Counted;
use play::play;
use world::{Reach, World, WorldClock};

/// An account as somebody made it before natsgate came, signed a minute ago.
fn first_jwt() -> String {
    let account = ManagedAccount::create("APP", Arc::new(keys()));
    let mut claims = account.claims().clone();
    claims
        .body
        .imports
        .push(json!({"name": "import-0", "subject": "y", "type": "stream"}));
    claims.body.tags.push("region:eu".to_owned());
    encode(claims, &operator(), NOW - 60).unwrap()
}

/// Process `number`: a writer with a name of its own.
fn process(world: &Arc<World>, number: usize) -> Writer {
    let reach = || Reach {
        world: Arc::clone(world),
        process: number,
    };
    let parts = WriterParts {
        servers: Arc::new(reach()),
        store: Arc::new(reach()),
        clock: Arc::new(WorldClock(world.start)),
        keys: Arc::new(keys()),
        signer: OperatorSigner::Key(operator()),
        operators: Vec::new(),
    };
    Writer::new(parts, WriterSettings::new(format!("writer-{number}")))
}

fn hour() -> Deadline {
    Deadline::after(Duration::from_secs(3600))
}

/// What `future` comes to when nobody else does anything.
fn after_a_while<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    for _ in 0..10_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
    panic!("it comes to no end");
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test, told what to do by the environment"
)]
fn told(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// 200 schedules; WRITER_SEEDS says how many, WRITER_FIRST from which seed on.
#[tokio::test(start_paused = true)]
async fn whatever_happens_in_between_nothing_wanted_is_lost() {
    let (first, count) = (told("WRITER_FIRST", 1), told("WRITER_SEEDS", 200));
    let mut failed = Vec::new();
    let mut all = Counted::new();
    for seed in first..first + count {
        match play(seed).await {
            Ok(counted) => counted
                .into_iter()
                .for_each(|(what, times)| *all.entry(what).or_default() += times),
            Err(broken) => failed.push(broken),
        }
    }
    println!("{all:?}");
    assert!(
        failed.is_empty(),
        "{} of {count} failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
    // A play in which none of that happens shows nothing.
    for what in [
        "pushes",
        "edits merged",
        "edits overwritten in the window, at a server",
        "requests that succeeded",
        "late pushes of a frozen writer, at a server",
        "writes of a frozen writer, refused",
    ] {
        assert!(
            all.get(what).copied().unwrap_or(0) >= count / 40,
            "{what}: {all:?}"
        );
    }
}
