//! Where shared state lives: in this process, in Redis, and (what natsgate itself holds as truth) in PostgreSQL or a file.
//!
//! - [`log`]: the revocation log, in process and in Redis, and the follower that reads it and judges by it whether a fact
//!   still counts;
//! - [`board`]: what shims tell of themselves, in process and in Redis;
//! - `lookup`: the caches in front of every source of facts, and `memberships`, which puts them in front of a source of
//!   memberships;
//! - [`redis`], [`seal`]: the connection to Redis, and how everything there is sealed;
//! - [`pushed`]: memberships that backends push;
//! - [`accounts`]: what account writers keep.
//!
//! What is in a cache may vanish at any moment; nothing is ever right only because it was found there. Not here: what the
//! facts are, and who may change them.

pub mod accounts;
pub mod board;
mod embedded;
mod in_process;
pub mod log;
mod lookup;
mod memberships;
pub mod pushed;
pub mod redis;
mod schema;
pub mod seal;
pub mod settings;

pub use self::accounts::{FileAccountStore, OpenAccountStoreError, PostgresAccountStore};
pub use self::redis::{RedisCache, RedisConnection, RedisError, RedisSettings};
pub use board::{InProcessBoard, RedisBoard};
pub use in_process::InProcessCache;
pub use log::{Follower, FollowerSettings, InProcessLog, LogSettings, RedisLog, WatchedLog};
pub use lookup::{Cached, LookupCounts, LookupSettings, LookupTiers, SourceCacheSettings};
pub use memberships::CachedMemberships;
pub use pushed::{FileMembershipStore, PostgresMembershipStore, PushedMemberships};
pub use seal::{KeyDigests, SealError, Sealer, Secrets};
pub use settings::SettingsError;
