//! `bare-revoker serve|kick FILE`: the halves of [`natsgate_benches::bare_revoker`], each as a process of its own. `FILE` holds
//! what it is told, as JSON.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "it belongs to a bench"
)]

use natsgate_benches::bare_revoker;

#[tokio::main]
async fn main() {
    // Nobody has installed another before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut arguments = std::env::args().skip(1);
    let (half, file) = arguments
        .next()
        .zip(arguments.next())
        .expect("bare-revoker serve|kick FILE");
    let told = std::fs::read(file).expect("the file can be read");
    let told = serde_json::from_slice(&told).expect("the file says what to do");
    let ready = || println!("ready");
    match half.as_str() {
        "serve" => bare_revoker::serve(told, ready).await,
        "kick" => bare_revoker::kick(told, ready).await,
        other => panic!("neither serve nor kick: {other}"),
    }
}
