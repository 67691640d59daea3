//! What can be configured of a database: where it is, who we are there, and how much it may be asked.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::error::PostgresSettingsError;

/// The longest time that can be configured for one call.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// The largest pool that can be configured.
const MAX_CONNECTIONS: usize = 1000;

/// A PostgreSQL database. It need not be there at the start.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresSettings {
    /// The server's host name or address, or the folder of its Unix socket (an absolute path).
    pub host: String,
    /// The server's port.
    #[serde(default = "default_port")]
    pub port: u16,
    /// The database.
    pub database: String,
    /// Who natsgate is there: a role that may do no more than it must.
    pub user: String,
    /// The role's password, if it needs one.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: PostgresTlsSettings,
    /// The most connections that one natsgate opens. Behind a pooler that hands out connections per transaction, the
    /// pooler must know prepared statements (PgBouncer 1.21: `max_prepared_statements`).
    #[serde(default = "default_max_connections")]
    pub max_connections: usize,
    /// The longest the server may work on one statement. A request's deadline may be sooner.
    #[serde(default = "default_statement_timeout", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub statement_timeout: Duration,
    /// The longest that opening a connection may take, TLS and login included.
    #[serde(default = "default_connect_timeout", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub connect_timeout: Duration,
}

/// How a connection to PostgreSQL is protected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresTlsSettings {
    /// Whether TLS is spoken. Default: `require`; over a Unix socket `disable`.
    #[serde(default)]
    pub mode: Option<PostgresTlsMode>,
    /// A PEM file of the only certificate authorities to trust. Default: the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// A PEM file with the certificate to show to the server, and those that vouch for it.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// A PEM file with that certificate's private key.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

/// Whether TLS is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PostgresTlsMode {
    /// In the clear. Whoever is on the way can read and change everything, the answers included.
    Disable,
    /// Over TLS, by a server whose certificate is trusted and names its host (libpq's `verify-full`).
    Require,
}

fn default_port() -> u16 {
    5432
}

fn default_max_connections() -> usize {
    8
}

fn default_statement_timeout() -> Duration {
    Duration::from_secs(5)
}

fn default_connect_timeout() -> Duration {
    Duration::from_secs(3)
}

impl PostgresSettings {
    /// Settings with nothing but defaults beside what has none.
    pub fn new(host: impl Into<String>, database: impl Into<String>, user: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port: default_port(),
            database: database.into(),
            user: user.into(),
            password: None,
            tls: PostgresTlsSettings::default(),
            max_connections: default_max_connections(),
            statement_timeout: default_statement_timeout(),
            connect_timeout: default_connect_timeout(),
        }
    }

    /// Whether TLS is spoken, defaults considered.
    pub fn tls_mode(&self) -> PostgresTlsMode {
        match self.tls.mode {
            Some(mode) => mode,
            None if self.by_socket() => PostgresTlsMode::Disable,
            None => PostgresTlsMode::Require,
        }
    }

    pub(crate) fn by_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// Checks what types alone do not. The files of `tls` are read when a pool is made.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self) -> Result<(), PostgresSettingsError> {
        let wrong = |field: &'static str, problem: &str| Err(PostgresSettingsError::new(field, problem));
        for (field, value) in [
            ("host", &self.host),
            ("database", &self.database),
            ("user", &self.user),
        ] {
            if value.trim().is_empty() {
                return wrong(field, "must not be empty");
            }
        }
        if self.host.contains("://") || self.host.contains([',', '@', ' ']) {
            return wrong(
                "host",
                "must be one host name, address or absolute path: port, database, user and password have keys of their own",
            );
        }
        if self.port == 0 {
            return wrong("port", "must not be 0");
        }
        if !(1..=MAX_CONNECTIONS).contains(&self.max_connections) {
            return wrong("max_connections", "must be between 1 and 1000");
        }
        for (field, time) in [
            ("statement_timeout", self.statement_timeout),
            ("connect_timeout", self.connect_timeout),
        ] {
            if time < Duration::from_millis(1) || time > LONGEST {
                return wrong(field, "must be between 1ms and 5m");
            }
        }
        if self.by_socket() && self.tls_mode() == PostgresTlsMode::Require {
            return wrong(
                "tls.mode",
                "must be `disable` over a Unix socket: PostgreSQL speaks no TLS there",
            );
        }
        if self.tls.cert_file.is_some() != self.tls.key_file.is_some() {
            return wrong("tls.cert_file", "and `key_file` go together: set both or none");
        }
        let files = self.tls.ca_file.is_some() || self.tls.cert_file.is_some();
        if files && self.tls_mode() == PostgresTlsMode::Disable {
            return wrong(
                "tls.mode",
                "is `disable`, so the files beside it are of no use: remove them, or set `require`",
            );
        }
        Ok(())
    }
}

impl PartialEq for PostgresSettings {
    fn eq(&self, other: &Self) -> bool {
        let password = |settings: &Self| settings.password.as_ref().map(|p| p.expose_secret().to_owned());
        let rest = |settings: &Self| {
            (
                (settings.host.clone(), settings.port),
                (settings.database.clone(), settings.user.clone()),
                settings.tls.clone(),
                (
                    settings.max_connections,
                    settings.statement_timeout,
                    settings.connect_timeout,
                ),
            )
        };
        rest(self) == rest(other) && password(self) == password(other)
    }
}

impl Eq for PostgresSettings {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<PostgresSettings, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
    }

    const LEAST: &str = "host: db.example.com\ndatabase: app\nuser: natsgate\n";

    #[test]
    fn the_least_settings_have_the_documented_defaults() {
        let settings = read(LEAST).unwrap();
        assert_eq!(
            settings,
            PostgresSettings::new("db.example.com", "app", "natsgate")
        );
        assert_eq!(settings.validate(), Ok(()));
        assert_eq!(settings.tls_mode(), PostgresTlsMode::Require);
        assert_eq!((settings.port, settings.max_connections), (5432, 8));
    }

    #[test]
    fn the_password_counts_but_is_never_shown() {
        let settings = read(&format!("{LEAST}password: hidden\n")).unwrap();
        assert!(!format!("{settings:?}").contains("hidden"));
        assert_ne!(settings, read(LEAST).unwrap());
        assert_eq!(settings, settings.clone());
    }

    #[test]
    fn unknown_keys_do_not_read() {
        for more in [
            "url: x\n",
            "tls: {mode: prefer}\n",
            "tls: {ca: x}\n",
            "statement_timeout: soon\n",
        ] {
            assert!(read(&format!("{LEAST}{more}")).is_err(), "{more}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        type Change = fn(&mut PostgresSettings);
        let cases: [(&str, Change); 14] = [
            ("host", |s| s.host = String::new()),
            ("host", |s| s.host = "postgres://db".to_owned()),
            ("host", |s| s.host = "a,b".to_owned()),
            ("database", |s| s.database = " ".to_owned()),
            ("user", |s| s.user.clear()),
            ("port", |s| s.port = 0),
            ("max_connections", |s| s.max_connections = 0),
            ("max_connections", |s| s.max_connections = 1001),
            ("statement_timeout", |s| s.statement_timeout = Duration::ZERO),
            ("connect_timeout", |s| {
                s.connect_timeout = Duration::from_secs(301)
            }),
            ("tls.mode", |s| {
                s.host = "/run/postgresql".to_owned();
                s.tls.mode = Some(PostgresTlsMode::Require);
            }),
            ("tls.cert_file", |s| s.tls.cert_file = Some("c".into())),
            ("tls.cert_file", |s| s.tls.key_file = Some("k".into())),
            ("tls.mode", |s| {
                s.tls.mode = Some(PostgresTlsMode::Disable);
                s.tls.ca_file = Some("ca".into());
            }),
        ];
        for (field, change) in cases {
            let mut settings = read(LEAST).unwrap();
            change(&mut settings);
            assert_eq!(settings.validate().unwrap_err().field, field);
        }
        let mut socket = read(LEAST).unwrap();
        socket.host = "/run/postgresql".to_owned();
        assert_eq!(socket.validate(), Ok(()));
        assert_eq!(socket.tls_mode(), PostgresTlsMode::Disable);
    }

    #[test]
    fn every_setting_is_described_in_the_schema() {
        let schema = serde_json::to_value(schemars::schema_for!(PostgresSettings)).unwrap();
        for (name, property) in schema["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{name} has no description");
        }
        assert_eq!(schema["additionalProperties"], false);
    }
}
