//! How Redis is reached.

use std::path::PathBuf;
use std::time::Duration;

use redis::{ConnectionAddr, IntoConnectionInfo};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::address::Address;
use crate::settings::SettingsError;

/// Where Redis is and how it is spoken to. Exactly one of `url`, `sentinel` and `cluster` must be given.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// A single server: `redis://host:6379`, `rediss://host:6379` for TLS, with `/1` behind it for database 1. Never
    /// with a password in it: that has a setting of its own.
    #[serde(default)]
    pub url: Option<String>,
    /// A primary that Sentinel names.
    #[serde(default)]
    pub sentinel: Option<SentinelSettings>,
    /// A Redis Cluster.
    #[serde(default)]
    pub cluster: Option<ClusterSettings>,
    /// The user (ACL) to be. Default: Redis' own default user.
    #[serde(default)]
    pub username: Option<String>,
    /// The password, of `username` or of the default user.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
    /// TLS, if it is spoken: to the servers, and to sentinels unless they say otherwise.
    #[serde(default)]
    pub tls: Option<RedisTlsSettings>,
    /// What all keys and channels begin with. Deployments that share a Redis need different ones.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The longest any call may take.
    #[serde(default = "default_command_timeout", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub command_timeout: Duration,
    /// The longest making a connection may take.
    #[serde(default = "default_connect_timeout", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub connect_timeout: Duration,
    /// How many calls may wait for answers at once, per server. More wait for their turn within their own time.
    #[serde(default = "default_max_in_flight")]
    pub max_in_flight: usize,
    /// The largest value that is kept in Redis as a cache, in bytes.
    #[serde(default = "default_max_value_bytes")]
    pub max_value_bytes: usize,
}

/// A primary that is found through Sentinel.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SentinelSettings {
    /// The name the sentinels know the primary by (`sentinel monitor <name> …`).
    pub master: String,
    /// The sentinels, as `host:port`. All are asked at once.
    pub nodes: Vec<String>,
    /// The user to be with the sentinels.
    #[serde(default)]
    pub username: Option<String>,
    /// The password for the sentinels, which is not that for Redis.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
    /// Whether the sentinels are spoken to over TLS. Default: as the servers are.
    #[serde(default)]
    pub tls: Option<bool>,
}

/// A Redis Cluster.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterSettings {
    /// Some of its nodes, as `host:port`; the others are found through them.
    pub nodes: Vec<String>,
}

/// TLS to Redis. Names are always verified.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisTlsSettings {
    /// A PEM file of the certificate authorities to trust. Default: the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// A PEM file with the certificate to show, where Redis asks for one.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// A PEM file with the key of `cert_file`.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

fn default_namespace() -> String {
    "natsgate".to_owned()
}

fn default_command_timeout() -> Duration {
    Duration::from_millis(250)
}

fn default_connect_timeout() -> Duration {
    Duration::from_secs(1)
}

fn default_max_in_flight() -> usize {
    1024
}

fn default_max_value_bytes() -> usize {
    256 * 1024
}

/// The settings' place in the configuration, for errors.
const SECTION: &str = "redis";

/// The most bytes a namespace may have: every key begins with it.
const MAX_NAMESPACE: usize = 64;

/// What the settings say is to be reached.
#[derive(Debug)]
pub(super) enum Target<'a> {
    Server {
        address: Address,
        database: i64,
        tls: bool,
    },
    Sentinel {
        nodes: Vec<Address>,
        tls: bool,
        sentinels: &'a SentinelSettings,
    },
    Cluster {
        nodes: Vec<Address>,
        tls: bool,
    },
}

impl RedisSettings {
    /// A single server, and nothing but defaults.
    pub fn url(url: impl Into<String>) -> Self {
        Self {
            url: Some(url.into()),
            ..Self::nowhere()
        }
    }

    /// The primary that the sentinels at `nodes` know as `master`, and nothing but defaults.
    pub fn sentinel(master: impl Into<String>, nodes: Vec<String>) -> Self {
        Self {
            sentinel: Some(SentinelSettings {
                master: master.into(),
                nodes,
                username: None,
                password: None,
                tls: None,
            }),
            ..Self::nowhere()
        }
    }

    /// The Cluster that `nodes` are of, and nothing but defaults.
    pub fn cluster(nodes: Vec<String>) -> Self {
        Self {
            cluster: Some(ClusterSettings { nodes }),
            ..Self::nowhere()
        }
    }

    fn nowhere() -> Self {
        Self {
            url: None,
            sentinel: None,
            cluster: None,
            username: None,
            password: None,
            tls: None,
            namespace: default_namespace(),
            command_timeout: default_command_timeout(),
            connect_timeout: default_connect_timeout(),
            max_in_flight: default_max_in_flight(),
            max_value_bytes: default_max_value_bytes(),
        }
    }

    /// Checks what types alone do not. The files of `tls` are read when a connection is made.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self) -> Result<(), SettingsError> {
        self.target().map(drop)
    }

    /// What is to be reached, with everything checked.
    pub(super) fn target(&self) -> Result<Target<'_>, SettingsError> {
        let namespace_is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.namespace.is_empty()
            || self.namespace.len() > MAX_NAMESPACE
            || !self.namespace.chars().all(namespace_is_plain)
        {
            return wrong(
                "namespace",
                "must be 1 to 64 letters, digits, dots, dashes and underscores",
            );
        }
        within(
            "command_timeout",
            self.command_timeout,
            Duration::from_millis(1),
            Duration::from_secs(10),
        )?;
        within(
            "connect_timeout",
            self.connect_timeout,
            Duration::from_millis(10),
            Duration::from_secs(30),
        )?;
        if !(1..=1_048_576).contains(&self.max_in_flight) {
            return wrong("max_in_flight", "must be between 1 and 1048576");
        }
        if !(1..=16_777_216).contains(&self.max_value_bytes) {
            return wrong("max_value_bytes", "must be between 1 and 16777216 (16 MiB)");
        }
        check_user("", self.username.as_deref(), self.password.as_ref())?;
        match (&self.url, &self.sentinel, &self.cluster) {
            (Some(url), None, None) => self.server(url),
            (None, Some(sentinels), None) => {
                if sentinels.master.trim().is_empty() {
                    return wrong("sentinel.master", "must be the name that the sentinels monitor");
                }
                check_user(
                    "sentinel.",
                    sentinels.username.as_deref(),
                    sentinels.password.as_ref(),
                )?;
                Ok(Target::Sentinel {
                    nodes: addresses("sentinel.nodes", &sentinels.nodes)?,
                    tls: self.tls.is_some(),
                    sentinels,
                })
            }
            (None, None, Some(cluster)) => Ok(Target::Cluster {
                nodes: addresses("cluster.nodes", &cluster.nodes)?,
                tls: self.tls.is_some(),
            }),
            (None, None, None) => Err(SettingsError::new(
                SECTION,
                "says nowhere to go: give one of url, sentinel and cluster",
            )),
            _ => Err(SettingsError::new(
                SECTION,
                "says several places to go: give only one of url, sentinel and cluster",
            )),
        }
    }

    fn server(&self, url: &str) -> Result<Target<'_>, SettingsError> {
        // The library's own words might repeat a password from the URL.
        let Ok(info) = url.into_connection_info() else {
            return wrong(
                "url",
                "is not a Redis URL: write redis://host:6379, or rediss://host:6379 for TLS",
            );
        };
        let user = info.redis_settings();
        if user.username().is_some() || user.password().is_some() {
            return wrong(
                "url",
                "holds a user or password, which would show up in logs: put them into username and password",
            );
        }
        let (address, tls) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (Address::new(host, *port), false),
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                return wrong(
                    "url",
                    "asks for TLS without verification: remove #insecure, and set tls.ca_file",
                );
            }
            ConnectionAddr::TcpTls { host, port, .. } => (Address::new(host, *port), true),
            _ => return wrong("url", "must be redis:// or rediss://: nothing else is spoken"),
        };
        if !tls && self.tls.is_some() {
            return wrong(
                "url",
                "is without TLS, but there are tls settings: write rediss://, or remove them",
            );
        }
        Ok(Target::Server {
            address,
            database: user.db(),
            tls,
        })
    }
}

fn wrong<T>(field: &str, problem: &str) -> Result<T, SettingsError> {
    Err(SettingsError::new(format!("{SECTION}.{field}"), problem))
}

fn within(field: &str, value: Duration, least: Duration, most: Duration) -> Result<(), SettingsError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    wrong(field, &format!("must be between {least:?} and {most:?}"))
}

/// A user without a password is nobody: Redis is told both or neither.
fn check_user(
    prefix: &str,
    username: Option<&str>,
    password: Option<&SecretString>,
) -> Result<(), SettingsError> {
    if password.is_some_and(|password| password.expose_secret().is_empty()) {
        return wrong(&format!("{prefix}password"), "must not be empty: leave it out");
    }
    if username.is_some_and(|username| username.trim().is_empty()) {
        return wrong(&format!("{prefix}username"), "must not be empty: leave it out");
    }
    if username.is_some() && password.is_none() {
        return wrong(
            &format!("{prefix}password"),
            "is missing: Redis takes a username only together with its password",
        );
    }
    Ok(())
}

fn addresses(field: &str, nodes: &[String]) -> Result<Vec<Address>, SettingsError> {
    if nodes.is_empty() {
        return wrong(field, "must name at least one, as host:port");
    }
    let mut addresses = Vec::with_capacity(nodes.len());
    for node in nodes {
        match Address::parse(node) {
            Some(address) => addresses.push(address),
            None => return wrong(field, "has an entry that is not host:port"),
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(settings: &RedisSettings) -> String {
        settings.validate().unwrap_err().to_string()
    }

    #[test]
    fn every_topology_can_be_configured_and_only_one_at_a_time() {
        for settings in [
            RedisSettings::url("redis://localhost"),
            RedisSettings::url("rediss://[::1]:6380/2"),
            RedisSettings::sentinel("natsgate", vec!["s1:26379".to_owned()]),
            RedisSettings::cluster(vec!["10.0.0.1:6379".to_owned()]),
        ] {
            settings.validate().unwrap();
        }
        let mut both = RedisSettings::url("redis://localhost");
        both.cluster = RedisSettings::cluster(vec!["c:1".to_owned()]).cluster;
        assert!(problem(&both).starts_with("redis: "));
        assert!(problem(&RedisSettings::nowhere()).starts_with("redis: "));
    }

    #[test]
    fn a_url_says_host_port_database_and_tls() {
        let plain = RedisSettings::url("redis://redis.internal:6390/3");
        assert!(matches!(
            plain.target().unwrap(),
            Target::Server { address, database: 3, tls: false } if address.to_string() == "redis.internal:6390"
        ));
        let tls = RedisSettings::url("rediss://redis.internal");
        assert!(matches!(
            tls.target().unwrap(),
            Target::Server { address, database: 0, tls: true } if address.to_string() == "redis.internal:6379"
        ));
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_not_repeated() {
        for url in [
            "redis://u:hunter2@localhost",
            "redis://:hunter2@localhost",
            "redis://u:hunter2@loc alhost:x",
        ] {
            let problem = problem(&RedisSettings::url(url));
            assert!(problem.starts_with("redis.url: "), "{problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn unusable_settings_are_named() {
        type Change = fn(&mut RedisSettings);
        let changes: [(&str, Change); 13] = [
            ("redis.namespace", |s| s.namespace = String::new()),
            ("redis.namespace", |s| s.namespace = "a{b}".to_owned()),
            ("redis.namespace", |s| s.namespace = "n".repeat(65)),
            ("redis.command_timeout", |s| s.command_timeout = Duration::ZERO),
            ("redis.connect_timeout", |s| {
                s.connect_timeout = Duration::from_secs(31)
            }),
            ("redis.max_in_flight", |s| s.max_in_flight = 0),
            ("redis.max_value_bytes", |s| s.max_value_bytes = 0),
            ("redis.password", |s| s.username = Some("natsgate".to_owned())),
            ("redis.password", |s| {
                s.password = Some(SecretString::from(String::new()))
            }),
            ("redis.url", |s| s.url = Some("http://localhost".to_owned())),
            ("redis.url", |s| s.url = Some("unix:///tmp/redis.sock".to_owned())),
            ("redis.url", |s| {
                s.url = Some("rediss://localhost/#insecure".to_owned())
            }),
            ("redis.url", |s| s.tls = Some(RedisTlsSettings::default())),
        ];
        for (key, change) in changes {
            let mut settings = RedisSettings::url("redis://localhost");
            change(&mut settings);
            let problem = problem(&settings);
            assert!(problem.starts_with(&format!("{key}: ")), "{key}: {problem}");
        }
        for (key, settings) in [
            ("redis.sentinel.nodes", RedisSettings::sentinel("m", vec![])),
            (
                "redis.sentinel.nodes",
                RedisSettings::sentinel("m", vec!["redis://s:1".to_owned()]),
            ),
            (
                "redis.sentinel.master",
                RedisSettings::sentinel(" ", vec!["s:1".to_owned()]),
            ),
            (
                "redis.cluster.nodes",
                RedisSettings::cluster(vec!["c".to_owned()]),
            ),
        ] {
            let problem = problem(&settings);
            assert!(problem.starts_with(&format!("{key}: ")), "{key}: {problem}");
        }
    }

    #[test]
    fn settings_are_read_with_their_defaults_and_show_no_password() {
        let settings: RedisSettings = serde_json::from_value(serde_json::json!({
            "url": "redis://localhost", "password": "hunter2", "command_timeout": "100ms"
        }))
        .unwrap();
        assert_eq!(settings.command_timeout, Duration::from_millis(100));
        assert_eq!(settings.namespace, "natsgate");
        assert!(!format!("{settings:?}").contains("hunter2"));
        let unknown = serde_json::json!({ "url": "redis://localhost", "timeout": "1s" });
        assert!(serde_json::from_value::<RedisSettings>(unknown).is_err());
    }
}
