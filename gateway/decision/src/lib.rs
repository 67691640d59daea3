//! The decision service: turns an authorization request into a grant or a denial.
//!
//! [`pipeline`] decides (credential → identity → memberships → policy), [`service`] is its gRPC face and [`server`]
//! listens. Beside it the APIs that change something: [`memberships`], [`revocations`], [`sessions`]. Stateless: any number of instances, started and stopped at will. Not here: how a token is verified
//! (`natsgate-identity`), what a rule means (`natsgate-policy`), and anything that knows a NATS key.

pub mod audit;
pub mod convert;
pub mod credential;
pub mod generation;
pub mod memberships;
pub mod pipeline;
pub mod revocations;
pub mod security_events;
pub mod server;
pub mod service;
pub mod sessions;

pub use credential::CredentialSource;
pub use memberships::{Memberships, MembershipsLimits, MembershipsParts, Relay};
pub use pipeline::{BanLookup, BanSource, Decision, Pipeline, Question, Rechecked};
pub use revocations::{Revocations, RevocationsLimits, RevocationsParts, Revoker};
pub use security_events::{
    HttpError, HttpListener, HttpServer, HttpTls, SecurityEvents, SecurityEventsLimits, SecurityEventsParts,
    WebhookSettings,
};
pub use server::{LOG_HEALTH, Server, Services};
pub use service::{Decider, DeciderLimits, InProcess, MAX_BASES};
pub use sessions::Sessions;
