//! Redis (or valkey): standalone, behind Sentinel, or as a Cluster.
//!
//! [`RedisConnection`] is what everything else here is built on: it starts without Redis being there, comes back by itself
//! however long Redis was away, and ends every call in time. [`RedisCache`] keeps sealed bytes for a time.
//!
//! How the parts hang together: a `link` keeps one connection to one server alive; `dial` knows how the server to
//! speak to is found (an address, or whom the sentinels name); `cluster` spreads keys over one link a node; a
//! doorbell, or whoever listens to what is published, is a link that subscribes to a channel.
//!
//! redis' own `ConnectionManager` and cluster connection are not used: the first knows no Sentinel, and neither replaces a
//! connection to a server that is frozen. The cluster connection moreover sends what timed out again on the same
//! connection, and holds back every call while it asks a frozen node for the topology.

mod address;
mod backoff;
mod cache;
pub(crate) mod channel;
mod cluster;
mod connection;
mod dial;
mod error;
mod link;
mod script;
mod sentinel;
mod settings;
mod topology;

pub use cache::RedisCache;
pub use connection::{Counters, RedisConnection};
pub use error::RedisError;
pub use link::LinkState;
pub use script::Script;
pub use settings::{ClusterSettings, RedisSettings, RedisTlsSettings, SentinelSettings};
