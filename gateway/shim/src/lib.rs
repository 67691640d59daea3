//! The callout shim: answers nats-server's auth callout with what a decision service decided, and closes the sessions it
//! let in when what they rest on is revoked.
//!
//! One authorization request goes through [`request`] (opened, verified, known server), a [`decision_point`] (asked
//! over gRPC or in process), [`mint`] (grant → user JWT, under the shim's own [`ceilings`]) and [`response`] (signed,
//! sealed); what cannot be answered goes to [`evict`]. [`callout`] drives that for many requests at once, and
//! [`shim`] puts it all together.
//!
//! What was let in is in [`sessions`], kept true by [`watching`] (the servers' events and lists); [`enforce`] holds the revocation
//! log against it, and [`telling`](self) what came of it goes to the board. [`direct`] closes sessions where all of that is down.
//! [`account_servers`] is how account JWTs get to the servers and back, [`account_views`] what of them each server has in force, and
//! [`written`] what a grant that names a template of one, or its default permissions, is minted from; [`draining`]
//! moves sessions off a template's older generations; [`lending`] and [`link`] let the account writer do all that from elsewhere. Not here: who somebody is and what they may do; no identity code is linked.

pub mod account_servers;
pub mod account_views;
pub mod callout;
pub mod ceilings;
pub mod decision_point;
pub mod direct;
pub mod draining;
pub mod enforce;
pub mod entitlement;
pub mod evict;
pub mod grant;
pub mod lending;
pub mod link;
pub mod mint;
pub mod name;
pub mod nats;
pub mod peers;
pub mod request;
pub mod response;
pub mod servers;
pub mod sessions;
pub mod settings;
pub mod shim;
mod telling;
pub mod watching;
pub mod written;

pub use account_servers::SystemAccountServers;
pub use decision_point::{DecisionPoint, Endpoint, Local, Remote, RemoteSettings};
pub use enforce::{Counters, EnforcementSettings};
pub use lending::{Lending, LentCluster};
pub use link::{Link, LinkSettings};
pub use nats::{NatsCredentials, NatsSettings};
pub use settings::{Bounds, Issuing, ShimSettings, TargetAccount};
pub use shim::{Revocations, Shim, ShimError};
