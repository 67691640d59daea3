//! The decision service: pipeline and gRPC server.
