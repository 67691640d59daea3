//! natsgate: an authorization gateway for NATS.
fn main() {}
