//! The callout shim: answers nats-server's auth callout with what a decision service decided.
//!
//! One authorization request goes through [`request`] (opened, verified, known server), a [`decision_point`] (asked
//! over gRPC or in process), [`mint`] (grant → user JWT, under the shim's own [`ceilings`]) and [`response`] (signed,
//! sealed); what cannot be answered goes to [`evict`]. [`callout`] drives that for many requests at once, and
//! [`shim`] puts it all together. Not here: who somebody is and what they may do; no identity code is linked.

pub mod callout;
pub mod ceilings;
pub mod decision_point;
pub mod evict;
pub mod grant;
pub mod mint;
pub mod nats;
pub mod request;
pub mod response;
pub mod servers;
pub mod settings;
pub mod shim;

pub use decision_point::{DecisionPoint, Endpoint, Local, Remote, RemoteSettings};
pub use nats::{NatsCredentials, NatsSettings};
pub use settings::{Bounds, Issuing, ShimSettings, TargetAccount};
pub use shim::{Shim, ShimError};
