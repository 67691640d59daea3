//! `bare-responder FILE`: [`natsgate_benches::bare`] as a process of its own. `FILE` holds what it is told, as JSON.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "it belongs to a bench")]

#[tokio::main]
async fn main() {
    let told = std::env::args_os().nth(1).expect("bare-responder FILE");
    natsgate_benches::bare::run(told.as_ref(), || println!("ready")).await;
}
