//! The vocabulary of natsgate and the traits (ports) its parts meet at.
//!
//! Here live the words of the design (principal, membership, grant, denial, deadline, clock) as plain types without
//! behaviour of their own, and the traits that have, or will have, more than one implementation. What does not live
//! here: anything that speaks to a network, reads a file, knows NATS' JWTs or evaluates a rule. This crate depends on
//! no sibling; every sibling may depend on it.

pub mod account_servers;
pub mod account_store;
pub mod ban;
pub mod board;
pub mod cache;
pub mod clock;
pub mod concern;
pub mod connection;
pub mod credential;
pub mod deadline;
pub mod effect;
pub mod feed;
pub mod freshness;
pub mod grant;
pub mod identity;
pub mod limits;
pub mod logout;
pub mod lookup;
pub mod membership;
pub mod merged;
pub mod outcome;
pub mod permissions;
pub mod principal;
pub mod pushed;
pub mod reach;
pub mod revision;
pub mod revocation;
pub mod revocation_log;
pub mod rights;
pub mod sealing;
pub mod subject;

pub use account_servers::{
    AccountAtServer, AccountServers, AccountServersError, AccountSessions, CloseUntil, ClosedSessions,
    PushAnswer, ServerIdentity, SessionCounts,
};
pub use account_store::{AccountStore, AccountStoreError, Fence, Stored};
pub use ban::{Ban, BanScope, BanStore, BanStoreError, BanWritten, Lifted};
pub use board::{
    Acknowledgement, Board, BoardError, SessionEvent, SessionKey, SessionPage, SessionRecord, ShimPresence,
};
pub use cache::{Cache, CacheError, CacheKey};
pub use clock::{Clock, SystemClock};
pub use concern::Concern;
pub use connection::Connection;
pub use credential::{CertificateChain, Credential};
pub use deadline::{Deadline, DeadlinePassed};
pub use effect::{Effect, Measure, Touches};
pub use feed::{Held, Missed, RevocationFeed};
pub use freshness::{ClaimsStanding, Freshness, Position};
pub use grant::Grant;
pub use identity::{Evidence, Identity, IdentityProvider};
pub use limits::{ConnectionType, Limits, NotAdmitted, TimeOfDay, TimeWindow, TimeWindows};
pub use logout::{Logout, LogoutVerifier};
pub use lookup::{CacheTimes, Fact, Lookup, Source};
pub use membership::{Membership, MembershipSource};
pub use merged::{GrantedBy, MergedMembership, MergedMemberships};
pub use outcome::{Denial, DenialReason, Failure, Unavailable};
pub use permissions::{
    Permissions, PublishPermissions, ResponsePermission, SubscribePermissions, SubscribeSubject,
};
pub use principal::Principal;
pub use pushed::{
    Announced, Announcement, Announcer, Conflict, InvalidWrite, ItemOutcome, MembershipFilter, MembershipKey,
    MembershipPage, MembershipRecord, MembershipStore, MembershipStoreError, MembershipWrite, OtherGrants,
    OtherSources, Purged, Violation, WriteAct, WriteItem, Written,
};
pub use reach::{Names, Reach};
pub use revision::{Epoch, NotARevision, Revision};
pub use revocation::{Change, EntryId, LogEntry, Pace, PolicyGeneration, Selector};
pub use revocation_log::{Appended, Head, Idempotency, LogError, LogPage, NewEntry, RevocationLog, Witness};
pub use rights::{NotATemplateName, Rights, TagName, TagValues, TemplateName, TemplateUse};
pub use sealing::{NotSealed, Sealing};
pub use subject::{QueueGroup, Subject, SubjectError, UnsafeToken};
