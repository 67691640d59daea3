//! The decision service: turns an authorization request into a grant or a denial.
//!
//! [`pipeline`] decides (credential → identity → memberships → policy), [`service`] is its gRPC face and [`server`]
//! listens. Stateless: any number of instances, started and stopped at will. Not here: how a token is verified
//! (`natsgate-identity`), what a rule means (`natsgate-policy`), and anything that knows a NATS key.

pub mod audit;
pub mod convert;
pub mod credential;
pub mod pipeline;
pub mod server;
pub mod service;

pub use credential::CredentialSource;
pub use pipeline::{Decision, Pipeline};
pub use server::{Listener, Server, ServerError, TlsMaterial};
pub use service::{Decider, DeciderLimits};
