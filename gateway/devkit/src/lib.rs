//! Real servers as child processes, a development OpenID provider, a mock clock and a log capture: what natsgate's
//! whole-system tests, `natsgate demo` and `natsgate dev` run beside natsgate itself.
//!
//! Nothing here belongs in production: keys are made at start and thrown away, every listener is on the loopback
//! interface, and the providers issue whatever token they are asked for. The production commands do not link this
//! crate (the root package leaves it out without its default features).
//!
//! The binaries come from `.tools/`, filled by `make setup`; see [`tools`].

pub mod clock;
pub mod error;
pub mod log_capture;
pub mod nats;
pub mod oidc;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod tools;

pub use clock::MockClock;
pub use error::DevkitError;
pub use log_capture::LogCapture;
pub use nats::config_mode::{ConfigMode, ConfigModeOptions, ConfiguredUser};
pub use nats::operator_mode::{OperatorMode, OperatorModeOptions, PreparedUser, TargetAccount};
pub use nats::server::{ClusterOptions, NatsServer, NatsServerOptions};
pub use oidc::algorithm::SigningAlgorithm;
pub use oidc::certified::{
    IntrospectionClient, LOGOUT_CLIENT, OidcProvider, OidcProviderOptions, TokenFormat, TokenOptions,
};
pub use oidc::development::{DevProvider, DevProviderOptions, Fault, Fetches, INTROSPECTION_CLIENT, Person};
pub use oidc::spec::{Signature, TokenSpec};
pub use postgres::{PostgresOptions, PostgresServer, PostgresTls};
pub use redis::{
    RedisCluster, RedisDump, RedisOptions, RedisSentinels, RedisServer, RedisTls,
    assert_nothing_in_the_clear, in_the_clear,
};
pub use tools::NatsVersion;
