//! The account API and the cluster link over real gRPC, with clusters of pretended servers: what the API takes, refuses and tells.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests end loudly"
)]

mod changing;
mod linking;
mod refusing;
mod shim;
mod site;
