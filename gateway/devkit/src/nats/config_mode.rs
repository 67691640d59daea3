//! A nats-server without an operator: accounts, users and the auth callout stand in its configuration file.

use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use natsgate_claims::{KeyPair, Role, XKeyPair};
use rand::RngCore;
use secrecy::{ExposeSecret, SecretString};

use crate::error::DevkitError;
use crate::nats::key_error;

/// What to make.
#[derive(Debug, Clone)]
pub struct ConfigModeOptions {
    /// Whether authorization requests and responses are sealed.
    pub xkey: bool,
    /// Names of the accounts that users may be put into, beside SYS and AUTH; at least one.
    pub accounts: Vec<String>,
    /// How long the server waits for the callout (`authorization.timeout`).
    pub auth_timeout: Duration,
}

impl Default for ConfigModeOptions {
    fn default() -> Self {
        Self {
            xkey: false,
            accounts: vec!["APP".to_owned()],
            auth_timeout: Duration::from_secs(2),
        }
    }
}

/// A user of the configuration file.
#[derive(Debug, Clone)]
pub struct ConfiguredUser {
    /// Its name.
    pub user: String,
    /// Its password, random.
    pub password: SecretString,
}

/// Keys and users of a server in config mode. All users here are in `auth_users`, so no callout is asked about them.
#[derive(Debug)]
pub struct ConfigMode {
    /// Signs user JWTs and authorization responses.
    pub issuer: KeyPair,
    /// The callout's xkey, if it has one.
    pub xkey: Option<XKeyPair>,
    /// Names of the accounts that users may be put into; a user JWT's `aud` is one of them.
    pub accounts: Vec<String>,
    /// The shim's user in AUTH.
    pub callout_user: ConfiguredUser,
    /// Another user in AUTH for the shim, which logs in with a bare nkey.
    pub callout_nkey: KeyPair,
    /// The shim's user in SYS.
    pub system_user: ConfiguredUser,
    /// A user of the first account, for the day the callout is down.
    pub break_glass_user: ConfiguredUser,
    auth_timeout: Duration,
}

impl ConfigMode {
    /// Makes everything anew.
    ///
    /// # Errors
    /// No account was asked for, or the system gives no randomness.
    pub fn generate(options: ConfigModeOptions) -> Result<Self, DevkitError> {
        if options.accounts.is_empty() {
            return Err(DevkitError::Unreadable {
                what: "the options for config mode".to_owned(),
                detail: "there must be at least one account".to_owned(),
            });
        }
        Ok(Self {
            issuer: KeyPair::generate(Role::Account).map_err(key_error("make the issuer's key"))?,
            xkey: options
                .xkey
                .then(XKeyPair::generate)
                .transpose()
                .map_err(key_error("make an xkey"))?,
            accounts: options.accounts,
            callout_user: user("callout"),
            callout_nkey: KeyPair::generate(Role::User).map_err(key_error("make the callout user's key"))?,
            system_user: user("system"),
            break_glass_user: user("break-glass"),
            auth_timeout: options.auth_timeout,
        })
    }

    /// The configuration text for [`NatsServerOptions`](crate::NatsServerOptions).
    pub fn server_config(&self) -> String {
        let entry = |user: &ConfiguredUser| {
            format!(
                "{{ user: \"{}\", password: \"{}\" }}",
                user.user,
                user.password.expose_secret()
            )
        };
        let nkey = self.callout_nkey.public_key();
        let accounts: String = self
            .accounts
            .iter()
            .enumerate()
            .map(|(index, name)| match index {
                0 => format!("  {name} {{ users: [ {} ] }}\n", entry(&self.break_glass_user)),
                _ => format!("  {name} {{}}\n"),
            })
            .collect();
        let xkey = self
            .xkey
            .as_ref()
            .map(|xkey| format!("    xkey: {}\n", xkey.public_key()))
            .unwrap_or_default();
        [
            "accounts {\n".to_owned(),
            format!("  SYS {{ users: [ {} ] }}\n", entry(&self.system_user)),
            format!(
                "  AUTH {{ users: [ {}, {{ nkey: {nkey} }} ] }}\n",
                entry(&self.callout_user)
            ),
            accounts,
            "}\nsystem_account: SYS\nauthorization {\n".to_owned(),
            format!(
                "  timeout: {}\n  auth_callout {{\n",
                self.auth_timeout.as_secs_f64()
            ),
            format!("    issuer: {}\n    account: AUTH\n", self.issuer.public_key()),
            format!("    auth_users: [ callout, {nkey}, system, break-glass ]\n"),
            xkey,
            "  }\n}\n".to_owned(),
        ]
        .concat()
    }
}

fn user(name: &str) -> ConfiguredUser {
    let mut bytes = [0_u8; 20];
    rand::rng().fill_bytes(&mut bytes);
    ConfiguredUser {
        user: name.to_owned(),
        password: BASE32_NOPAD.encode(&bytes).into(),
    }
}
