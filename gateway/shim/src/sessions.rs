//! The sessions this shim knows, and what of the revocation log was held against them.
//!
//! A connection is registered before it is asked about, so that a revocation that arrives at any moment finds it: in flight (its
//! grant is held against the log when it arrives, and asked for again if need be), or answered (it is closed). What is in
//! here is a view: the registry of record is nats-server, whose events and lists [`crate::watching`] brings in.
//!
//! Plain state under one lock; nothing here waits or speaks to anybody. What is done about a session is
//! [`crate::enforce`]'s side.

mod index;
mod log;
mod registry;
mod session;

pub use log::Touch;
pub use registry::{Answer, Asked, Found, Jumped, Registry, Struck};
pub use session::{Facts, Owner, Phase, Session, Target};
