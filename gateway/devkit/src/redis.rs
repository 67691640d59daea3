//! Real Redis (or valkey) as child processes: one server, a replica of it, a primary watched by sentinels, a Cluster.
//!
//! Redis cannot choose a port by itself, so a free one is picked and the start is tried again if somebody else takes it
//! in between; the server counts as ours only when it answers with our child's process id.

mod cluster;
mod dump;
mod launch;
mod raw;
mod sentinels;
mod server;

pub use cluster::RedisCluster;
pub use dump::{RedisDump, assert_nothing_in_the_clear, in_the_clear};
pub use sentinels::RedisSentinels;
pub use server::{RedisOptions, RedisServer, RedisTls};
