//! The revocation log, in this process and in Redis, and the follower that reads it and judges facts by it.
//!
//! What is here: the implementations of [`natsgate_core::RevocationLog`] (for shims one that only reads), and [`Follower`],
//! the one of [`natsgate_core::Freshness`] and [`natsgate_core::RevocationFeed`]. What is not: who may revoke, what a revocation does to sessions, caches of facts.

mod announcer;
mod follower;
mod in_process;
mod redis;
mod settings;

pub use follower::Follower;
pub use in_process::InProcessLog;
pub use redis::{RedisLog, WatchedLog};
pub use settings::{FollowerSettings, LogSettings};
