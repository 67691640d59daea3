//! The gRPC API `natsgate.v1` and its generated bindings: messages, client and server.
//!
//! The `.proto` files beside this crate's sources are the interface; nothing is added to them here but care for the
//! one message that holds credentials, and [`rights`] to and from the vocabulary, which both ends need.

mod credentials;
pub mod rights;

/// Package `natsgate.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated; the documentation is the .proto file's"
)]
pub mod v1 {
    tonic::include_proto!("natsgate.v1");

    /// The package's file descriptor set, encoded, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/natsgate.v1.bin"));
}
