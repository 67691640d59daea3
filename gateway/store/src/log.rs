//! The revocation log, in this process and in Redis, and the follower that reads it and judges facts by it.
//!
//! What is here: two implementations of [`natsgate_core::RevocationLog`], and [`Follower`], the one of
//! [`natsgate_core::Freshness`]. What is not: who may revoke, what a revocation does to sessions, caches of facts.

mod announcer;
mod follower;
mod in_process;
mod redis;
mod settings;

pub use follower::Follower;
pub use in_process::InProcessLog;
pub use redis::RedisLog;
pub use settings::{FollowerSettings, LogSettings};
