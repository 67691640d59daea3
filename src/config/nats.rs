//! A connection to NATS: where, as whom, with what TLS.

use std::path::{Path, PathBuf};

use natsgate_claims::{Credentials, KeyPair, Role};
use natsgate_shim::{NatsCredentials, NatsSettings};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::problem::{Problem, Problems};
use super::tls;
use super::value::{OrText, Secret, list, scalar};

/// A connection to a nats-server. At most one of `creds`, `nkey_seed`, `user` and `token` is set.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NatsConfig {
    /// URLs of one cluster's servers: `nats://host:4222`, `tls://…`, `ws://…`, `wss://…`.
    #[serde(deserialize_with = "list")]
    #[schemars(with = "OrText<Vec<String>>")]
    pub servers: Vec<String>,
    /// A credentials file's content (user JWT and seed): `${file:callout.creds}`.
    pub creds: Option<Secret>,
    /// A user's nkey seed (`SU…`).
    pub nkey_seed: Option<Secret>,
    /// A user name; `password` goes with it.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// A token.
    pub token: Option<Secret>,
    /// TLS.
    #[serde(default)]
    pub tls: NatsTlsConfig,
}

/// TLS of a connection to a nats-server.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NatsTlsConfig {
    /// Demand TLS even if the server does not.
    #[serde(deserialize_with = "scalar")]
    #[schemars(with = "OrText<bool>")]
    pub required: bool,
    /// An authority to trust beside the system's: a PEM file.
    pub ca_file: Option<PathBuf>,
    /// The client certificate: a PEM file; `key_file` goes with it.
    pub cert_file: Option<PathBuf>,
    /// The client certificate's key: a PEM file.
    pub key_file: Option<PathBuf>,
}

impl NatsConfig {
    /// The settings of this connection, which stands at `key`; paths start from `base`.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn settings(&self, key: &str, base: &Path) -> Result<NatsSettings, Problems> {
        let mut problems = Problems::default();
        if self.servers.iter().all(|url| url.is_empty()) {
            problems.push(Problem::new(
                format!("{key}.servers"),
                "is empty; name at least one server, nats://host:4222",
            ));
        }
        for (index, url) in self.servers.iter().enumerate() {
            if let Err(error) = url.parse::<async_nats::ServerAddr>() {
                let what = format!("is not a NATS URL ({error}); write nats://host:4222");
                problems.push(Problem::new(format!("{key}.servers[{index}]"), what));
            } else if url.contains('@') {
                let what =
                    "holds a user or password, which would end up in logs; use user and password beside it";
                problems.push(Problem::new(format!("{key}.servers[{index}]"), what));
            }
        }
        let credentials = problems.take(self.credentials(key));
        let ca_file = self.tls.ca_file.as_ref().map(|path| base.join(path));
        if let Some(path) = &ca_file {
            problems.take(tls::authorities(&format!("{key}.tls.ca_file"), path));
        }
        let client_certificate = problems.take(self.tls.client_certificate(key, base)).flatten();
        problems.or(credentials.map(|credentials| NatsSettings {
            servers: self.servers.clone(),
            credentials,
            require_tls: self.tls.required,
            ca_file,
            client_certificate,
        }))
    }

    fn credentials(&self, key: &str) -> Result<NatsCredentials, Problem> {
        let set = [
            self.creds.is_some(),
            self.nkey_seed.is_some(),
            self.user.is_some(),
            self.token.is_some(),
        ];
        if set.into_iter().filter(|is_set| *is_set).count() > 1 {
            return Err(Problem::new(
                key,
                "more than one of creds, nkey_seed, user and token is set; keep one",
            ));
        }
        if let Some(Secret(creds)) = &self.creds {
            let key = format!("{key}.creds");
            Credentials::parse(creds.expose_secret()).map_err(|error| Problem::new(key, error))?;
            return Ok(NatsCredentials::Creds(creds.clone()));
        }
        if let Some(Secret(seed)) = &self.nkey_seed {
            let key = format!("{key}.nkey_seed");
            KeyPair::from_seed(seed, Role::User).map_err(|error| Problem::new(key, error))?;
            return Ok(NatsCredentials::Nkey(seed.clone()));
        }
        if let Some(Secret(token)) = &self.token {
            return Ok(NatsCredentials::Token(token.clone()));
        }
        match (&self.user, &self.password) {
            (Some(user), password) => Ok(NatsCredentials::Password {
                user: user.clone(),
                password: password
                    .as_ref()
                    .map_or_else(|| SecretString::from(""), |Secret(text)| text.clone()),
            }),
            (None, Some(_)) => Err(Problem::new(
                format!("{key}.password"),
                "is set without a user; set user too",
            )),
            (None, None) => Ok(NatsCredentials::None),
        }
    }
}

impl NatsTlsConfig {
    /// The files of the client certificate and its key, which belong together.
    fn client_certificate(&self, key: &str, base: &Path) -> Result<Option<(PathBuf, PathBuf)>, Problem> {
        match (&self.cert_file, &self.key_file) {
            (None, None) => Ok(None),
            (Some(cert), Some(cert_key)) => {
                let (cert, cert_key) = (base.join(cert), base.join(cert_key));
                let names = (format!("{key}.tls.cert_file"), format!("{key}.tls.key_file"));
                tls::identity((&names.0, &cert), (&names.1, &cert_key))?;
                Ok(Some((cert, cert_key)))
            }
            _ => Err(Problem::new(
                format!("{key}.tls"),
                "cert_file and key_file go together; set both or neither",
            )),
        }
    }
}

/// `path`, if it can be read.
///
/// # Errors
/// A [`Problem`] at `key`.
fn readable(key: &str, path: &Path) -> Result<PathBuf, Problem> {
    match std::fs::File::open(path).and_then(|file| file.metadata()) {
        Ok(found) if found.is_file() => Ok(path.to_owned()),
        Ok(_) => Err(Problem::new(key, format!("{} is not a file", path.display()))),
        Err(error) => Err(Problem::new(
            key,
            format!("the file {} cannot be read: {error}", path.display()),
        )),
    }
}

/// The content of the file at `path`.
///
/// # Errors
/// A [`Problem`] at `key`.
pub fn content(key: &str, path: &Path) -> Result<String, Problem> {
    readable(key, path)?;
    std::fs::read_to_string(path).map_err(|error| {
        Problem::new(
            key,
            format!("the file {} cannot be read: {error}", path.display()),
        )
    })
}
