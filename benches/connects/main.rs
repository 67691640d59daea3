//! Connections per second through a real nats-server: natsgate beside a responder that decides nothing.
//!
//! Each has a nats-server and a process of its own; the clients are the same, bring the same token, and take turns. What
//! a number here says of the machine cancels out of their ratio, which is the last line. `natsgate` itself comes from
//! the same profile's folder: `make bench` builds it first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench ends loudly"
)]

mod contender;
mod round;

use clap::Parser;
use contender::Contender;
use natsgate_devkit::{DevProvider, DevProviderOptions, TokenSpec};
use round::Round;

/// Connections per second through a real nats-server.
#[derive(Parser)]
struct Arguments {
    /// Connections of one round.
    #[arg(long, default_value_t = 400)]
    connects: usize,
    /// Of these, how many at once.
    #[arg(long, default_value_t = 16)]
    at_once: usize,
    /// Rounds of each.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Requests and responses are sealed in natsgate's (the bare responder does not know how).
    #[arg(long)]
    xkey: bool,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let provider = DevProvider::start(DevProviderOptions::default()).await.unwrap();
    let token = provider
        .issue(TokenSpec::new("alice").claim("projects", vec!["apollo", "gemini"]))
        .unwrap();
    let bare = Contender::bare().await;
    let natsgate = Contender::natsgate(provider.issuer(), arguments.xkey).await;

    let round = Round {
        connects: arguments.connects,
        at_once: arguments.at_once,
        token,
    };
    // Once without counting: keys are fetched, servers are looked up, code is paged in.
    for contender in [&bare, &natsgate] {
        round.run(contender).await;
    }
    let (mut by_bare, mut by_natsgate) = (Vec::new(), Vec::new());
    for number in 0..arguments.rounds {
        // Who goes first takes turns too.
        if number.is_multiple_of(2) {
            by_bare.push(round.run(&bare).await);
            by_natsgate.push(round.run(&natsgate).await);
        } else {
            by_natsgate.push(round.run(&natsgate).await);
            by_bare.push(round.run(&bare).await);
        }
    }
    println!(
        "{} connects a round, {} at once, {} rounds",
        round.connects, round.at_once, arguments.rounds
    );
    let bare = round::report("bare responder", by_bare);
    let natsgate = round::report("natsgate all", by_natsgate);
    println!("natsgate / bare responder: {:.3}", natsgate / bare);
}
