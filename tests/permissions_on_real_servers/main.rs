//! What a policy grants is what real nats-servers enforce: from the policy document over the grant and the user JWT to
//! what a client is let do.
//!
//! Every test runs on 2.10.25, 2.12.8, 2.14.6 and 2.15.1, in config mode and in operator mode. The callout is answered in the
//! test, by the very functions the decision service and the shim use; the client speaks the protocol itself, because
//! only so is it certain that nothing more comes before the answer to a PING.

#![cfg(feature = "devkit")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests end loudly"
)]

mod gate;
mod limits;
mod responses;
mod subjects;
mod times;
mod wire;
