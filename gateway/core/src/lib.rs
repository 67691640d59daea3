//! The vocabulary of natsgate and the traits (ports) its parts meet at.
//!
//! Here live the words of the design (principal, membership, grant, denial, deadline, clock) as plain types without
//! behaviour of their own, and the traits that have, or will have, more than one implementation. What does not live
//! here: anything that speaks to a network, reads a file, knows NATS' JWTs or evaluates a rule. This crate depends on
//! no sibling; every sibling may depend on it.

pub mod cache;
pub mod clock;
pub mod connection;
pub mod deadline;
pub mod grant;
pub mod identity;
pub mod limits;
pub mod membership;
pub mod outcome;
pub mod permissions;
pub mod principal;
pub mod subject;

pub use cache::{Cache, CacheError, CacheKey};
pub use clock::{Clock, SystemClock};
pub use connection::Connection;
pub use deadline::{Deadline, DeadlinePassed};
pub use grant::Grant;
pub use identity::{Identity, IdentityProvider};
pub use limits::{ConnectionType, Limits, NotAdmitted, TimeOfDay, TimeWindow, TimeWindows};
pub use membership::{Membership, MembershipSource};
pub use outcome::{Denial, DenialReason, Failure, Unavailable};
pub use permissions::{
    Permissions, PublishPermissions, ResponsePermission, SubscribePermissions, SubscribeSubject,
};
pub use principal::Principal;
pub use subject::{QueueGroup, Subject, SubjectError, UnsafeToken};
