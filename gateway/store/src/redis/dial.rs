//! Making one connection: whom to speak to, how to introduce oneself, and that it is a primary.
//!
//! Keeping a connection is [`super::link`]'s business, and naming a primary behind Sentinel [`super::sentinel`]'s.

use std::path::Path;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, PushInfo, RedisConnectionInfo, TlsCertificates, Value,
};
use secrecy::{ExposeSecret, SecretString};

use super::address::Address;
use super::error::{clean, refused};
use super::settings::{RedisSettings, RedisTlsSettings};
use crate::settings::SettingsError;

/// What a PEM file of certificates has at least one of.
const PEM_CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// How servers are spoken to: all that dialling needs beside an address.
#[derive(Debug)]
pub(super) struct How {
    username: Option<String>,
    password: Option<SecretString>,
    database: i64,
    tls: Option<RedisTlsSettings>,
    pub(super) connect_timeout: Duration,
    pub(super) command_timeout: Duration,
}

/// What a server says of itself (HELLO).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It says that it is one, or does not say (a proxy, say).
    Primary,
    /// Something else: a replica, a sentinel.
    Replica,
}

impl How {
    /// How the servers of `settings` are spoken to, database `database` of theirs.
    ///
    /// # Errors
    /// A TLS file cannot be used.
    pub(super) fn new(settings: &RedisSettings, database: i64, tls: bool) -> Result<Self, SettingsError> {
        let how = Self {
            username: settings.username.clone(),
            password: settings.password.clone(),
            database,
            tls: tls.then(|| settings.tls.clone().unwrap_or_default()),
            connect_timeout: settings.connect_timeout,
            command_timeout: settings.command_timeout,
        };
        if let Some(tls) = &how.tls {
            how.check_tls(tls)?;
        }
        Ok(how)
    }

    /// The same for sentinels, which have users of their own, and no databases.
    pub(super) fn with_user(self, username: Option<String>, password: Option<SecretString>) -> Self {
        Self {
            username,
            password,
            database: 0,
            ..self
        }
    }

    /// Connects to `address` and logs in; `pushed` is told what the server sends unasked, and when the connection ends.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub(super) async fn dial(
        &self,
        address: &Address,
        pushed: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, String> {
        let client = self.client(address).await?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(None)
            .set_push_sender(move |info| {
                pushed(info);
                Ok::<(), ()>(())
            });
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| {
                if error.is_timeout() {
                    format!("{address} did not answer within {:?}", self.connect_timeout)
                } else {
                    clean(format!("{address}: {error}"))
                }
            })
    }

    /// Asks a server what it is, which also tells that it lives. HELLO is the one command that no ACL can refuse.
    ///
    /// # Errors
    /// What went wrong, in words; `None` if there was no answer in time.
    pub(super) async fn role(
        &self,
        connection: &mut MultiplexedConnection,
        within: Duration,
    ) -> Result<Role, Option<String>> {
        let hello = redis::cmd("HELLO");
        let answer = tokio::time::timeout(within, connection.send_packed_command(&hello))
            .await
            .map_err(|_elapsed| None)?
            .map_err(|error| Some(clean(error.to_string())))?;
        match answer {
            Value::Map(fields) => {
                let says_replica = fields
                    .iter()
                    .any(|(name, value)| is_text(name, b"role") && !is_text(value, b"master"));
                Ok(if says_replica {
                    Role::Replica
                } else {
                    Role::Primary
                })
            }
            Value::ServerError(error) => Err(Some(refused(&error).to_string())),
            _ => Err(Some(
                "HELLO was answered with something unexpected: is this a Redis of 6.0 or later?".to_owned(),
            )),
        }
    }

    /// The files are read anew each time, so that a certificate that was renewed counts from the next connection on.
    async fn client(&self, address: &Address) -> Result<Client, String> {
        let Address { host, port } = address.clone();
        let Some(tls) = &self.tls else {
            let info = self.connection_info(ConnectionAddr::Tcp(host, port))?;
            return Client::open(info).map_err(|error| clean(error.to_string()));
        };
        let files = read_files(tls).await?;
        let addr = ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        };
        tls_client(self.connection_info(addr)?, &files)
    }

    fn connection_info(&self, addr: ConnectionAddr) -> Result<ConnectionInfo, String> {
        let mut user = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(self.database)
            .set_skip_set_lib_name();
        if let Some(username) = &self.username {
            user = user.set_username(username);
        }
        if let Some(password) = &self.password {
            user = user.set_password(password.expose_secret());
        }
        let info = addr
            .into_connection_info()
            .map_err(|error| clean(error.to_string()))?;
        Ok(info
            .set_tcp_settings(TcpSettings::default().set_nodelay(true))
            .set_redis_settings(user))
    }

    fn check_tls(&self, tls: &RedisTlsSettings) -> Result<(), SettingsError> {
        // The whole process speaks TLS through one provider; where nobody has chosen one yet, this is the one.
        let _already_chosen = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let read = |key: &str, path: &Option<std::path::PathBuf>| match path {
            None => Ok(None),
            Some(path) => std::fs::read(path).map(Some).map_err(|error| {
                SettingsError::new(
                    format!("redis.tls.{key}"),
                    format!("{} cannot be read: {error}", path.display()),
                )
            }),
        };
        let files = Files {
            ca: read("ca_file", &tls.ca_file)?,
            cert: read("cert_file", &tls.cert_file)?,
            key: read("key_file", &tls.key_file)?,
        };
        if files.cert.is_some() != files.key.is_some() {
            return Err(SettingsError::new(
                "redis.tls",
                "cert_file and key_file belong together: give both, or neither",
            ));
        }
        tls_client("rediss://localhost:6379", &files)
            .map(drop)
            .map_err(|problem| SettingsError::new("redis.tls", problem))
    }
}

/// What the files of the TLS settings hold.
struct Files {
    ca: Option<Vec<u8>>,
    cert: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

async fn read_files(tls: &RedisTlsSettings) -> Result<Files, String> {
    async fn read(path: Option<&Path>) -> Result<Option<Vec<u8>>, String> {
        match path {
            None => Ok(None),
            Some(path) => tokio::fs::read(path)
                .await
                .map(Some)
                .map_err(|error| format!("{} cannot be read: {error}", path.display())),
        }
    }
    Ok(Files {
        ca: read(tls.ca_file.as_deref()).await?,
        cert: read(tls.cert_file.as_deref()).await?,
        key: read(tls.key_file.as_deref()).await?,
    })
}

/// A client that trusts and shows what is in `files`.
fn tls_client(info: impl IntoConnectionInfo, files: &Files) -> Result<Client, String> {
    let holds_a_certificate = |pem: &[u8]| {
        pem.windows(PEM_CERTIFICATE.len())
            .any(|part| part == PEM_CERTIFICATE)
    };
    // The library takes a file without any for one that is as it should be.
    for (name, file) in [("ca_file", &files.ca), ("cert_file", &files.cert)] {
        if !file.as_deref().is_none_or(holds_a_certificate) {
            return Err(format!(
                "{name} holds no certificate: it must be a PEM file with at least one"
            ));
        }
    }
    let shown = files.cert.clone().zip(files.key.clone());
    let certificates = TlsCertificates {
        client_tls: shown.map(|(client_cert, client_key)| ClientTlsConfig {
            client_cert,
            client_key,
        }),
        root_cert: files.ca.clone(),
    };
    Client::build_with_tls(info, certificates).map_err(|error| clean(error.to_string()))
}

fn is_text(value: &Value, text: &[u8]) -> bool {
    match value {
        Value::BulkString(bytes) => bytes == text,
        Value::SimpleString(string) => string.as_bytes() == text,
        Value::VerbatimString { text: string, .. } => string.as_bytes() == text,
        _ => false,
    }
}
