//! A whole operator: keys and JWTs made at random, and the nats-server configuration that trusts them.
//!
//! Operator, callout account and system account are written with natsgate-claims; target accounts and users, which say
//! nothing out of the ordinary, with the `nats-jwt` crate, so that the servers in tests also meet JWTs natsgate did not
//! write.

use std::time::Duration;

use nats_jwt::Token;
use natsgate_claims::{
    AccountBody, ClaimsToSign, Credentials, ExternalAuthorization, KeyPair, OperatorBody, Role, XKeyPair,
    encode,
};
use natsgate_core::{Clock, SystemClock};
use secrecy::{ExposeSecret, SecretString};

use crate::error::DevkitError;
use crate::nats::key_error;

/// What to make.
#[derive(Debug, Clone)]
pub struct OperatorModeOptions {
    /// Whether authorization requests and responses are sealed.
    pub xkey: bool,
    /// Whether clients may come without any credentials of NATS' own (`default_sentinel`, 2.11.2 and later).
    pub default_sentinel: bool,
    /// Names of the accounts that the callout may put users into; at least one.
    pub accounts: Vec<String>,
    /// How long the server waits for the callout (`authorization.timeout`).
    pub auth_timeout: Duration,
    /// Whether account JWTs can be pushed (a `full` resolver); otherwise they are fixed (`MEMORY`).
    pub full_resolver: bool,
}

impl Default for OperatorModeOptions {
    fn default() -> Self {
        Self {
            xkey: false,
            default_sentinel: false,
            accounts: vec!["APP".to_owned()],
            auth_timeout: Duration::from_secs(2),
            full_resolver: false,
        }
    }
}

/// An account that the callout may put users into.
#[derive(Debug, Clone)]
pub struct TargetAccount {
    /// Its name.
    pub name: String,
    /// Its own key, whose public half names it everywhere.
    pub key: KeyPair,
    /// A plain (not scoped) signing key of it.
    pub signing_key: KeyPair,
    /// Its JWT.
    pub jwt: String,
}

/// A user made beforehand.
#[derive(Debug, Clone)]
pub struct PreparedUser {
    /// The public user nkey.
    pub public_key: String,
    /// Its JWT and seed; `format()` gives a creds file.
    pub credentials: Credentials,
}

/// An operator with a system account (SYS), a callout account (AUTH) and target accounts.
#[derive(Debug)]
pub struct OperatorMode {
    /// The operator's key.
    pub operator: KeyPair,
    /// The operator's JWT.
    pub operator_jwt: String,
    /// The key of the system account, SYS.
    pub system_account: KeyPair,
    /// The key of the callout account, AUTH: it signs authorization responses.
    pub callout_account: KeyPair,
    /// The xkey of the callout account, if it has one.
    pub xkey: Option<XKeyPair>,
    /// The accounts that the callout may put users into, in the order asked for.
    pub accounts: Vec<TargetAccount>,
    /// The shim's user in AUTH, listed in `auth_users`.
    pub callout_user: PreparedUser,
    /// The shim's user in SYS.
    pub system_user: PreparedUser,
    /// A user of the first target account that no callout is asked about: for the day the callout is down.
    pub break_glass_user: PreparedUser,
    /// A user of AUTH that may do nothing: what a client presents beside its token.
    pub sentinel: PreparedUser,
    /// The bearer JWT of `default_sentinel`, if asked for.
    pub default_sentinel: Option<String>,
    system_jwt: String,
    callout_jwt: String,
    auth_timeout: Duration,
    full_resolver: bool,
}

impl OperatorMode {
    /// Makes everything anew.
    ///
    /// # Errors
    /// No account was asked for, or the system gives no randomness.
    pub fn generate(options: OperatorModeOptions) -> Result<Self, DevkitError> {
        let now = SystemClock.unix_seconds();
        let generate = |role| KeyPair::generate(role).map_err(key_error("make a key"));
        let (operator, system_account, callout_account) = (
            generate(Role::Operator)?,
            generate(Role::Account)?,
            generate(Role::Account)?,
        );
        let xkey = options
            .xkey
            .then(XKeyPair::generate)
            .transpose()
            .map_err(key_error("make an xkey"))?;

        let accounts = options
            .accounts
            .iter()
            .map(|name| target_account(name, &operator))
            .collect::<Result<Vec<_>, _>>()?;
        let Some(first) = accounts.first() else {
            return Err(DevkitError::Unreadable {
                what: "the options for operator mode".to_owned(),
                detail: "there must be at least one target account".to_owned(),
            });
        };

        let callout_user = user(&callout_account, |token| token.name("natsgate shim"))?;
        let system_user = user(&system_account, |token| token.name("natsgate shim, system"))?;
        // With permissions of its own: without any it would get the account's default permissions.
        let allow_all = |token: Token<_>| token.allow_publish(">").allow_subscribe(">");
        let break_glass_user = user(&first.key, |token| allow_all(token.name("break-glass")))?;
        let deny_all = |token: Token<_>| token.deny_publish(">").deny_subscribe(">");
        let sentinel = user(&callout_account, |token| deny_all(token.name("sentinel")))?;
        let bearer = || {
            user(&callout_account, |token| {
                deny_all(token.name("default sentinel")).bearer_token(true)
            })
        };
        let default_sentinel = options
            .default_sentinel
            .then(bearer)
            .transpose()?
            .map(|user| user.credentials.jwt);

        let operator_body = OperatorBody {
            system_account: Some(system_account.public_key().to_owned()),
            ..OperatorBody::default()
        };
        let operator_jwt = encode(
            ClaimsToSign::new(operator.public_key(), operator_body).name("natsgate devkit"),
            &operator,
            now,
        )
        .map_err(key_error("sign the operator JWT"))?;
        let account = |name: &str, key: &KeyPair, body| {
            encode(
                ClaimsToSign::new(key.public_key(), body).name(name),
                &operator,
                now,
            )
            .map_err(key_error("sign an account JWT"))
        };
        let system_jwt = account("SYS", &system_account, AccountBody::default())?;
        let authorization = ExternalAuthorization {
            auth_users: vec![callout_user.public_key.clone()],
            allowed_accounts: accounts
                .iter()
                .map(|target| target.key.public_key().to_owned())
                .collect(),
            xkey: xkey.as_ref().map(|xkey| xkey.public_key().to_owned()),
            ..ExternalAuthorization::default()
        };
        let callout_jwt = account(
            "AUTH",
            &callout_account,
            AccountBody {
                authorization,
                ..AccountBody::default()
            },
        )?;

        Ok(Self {
            operator,
            operator_jwt,
            system_account,
            callout_account,
            xkey,
            accounts,
            callout_user,
            system_user,
            break_glass_user,
            sentinel,
            default_sentinel,
            system_jwt,
            callout_jwt,
            auth_timeout: options.auth_timeout,
            full_resolver: options.full_resolver,
        })
    }

    /// The target account `name`.
    pub fn account(&self, name: &str) -> Option<&TargetAccount> {
        self.accounts.iter().find(|account| account.name == name)
    }

    /// As [`Self::server_config`], but with a resolver that only caches what the others keep.
    pub fn caching_server_config(&self) -> String {
        self.config_with("resolver: { type: cache, dir: \"{{store_dir}}/accounts\", ttl: \"1h\" }")
    }

    /// The configuration text for [`NatsServerOptions`](crate::NatsServerOptions).
    pub fn server_config(&self) -> String {
        self.config_with(if self.full_resolver {
            "resolver: { type: full, dir: \"{{store_dir}}/accounts\", allow_delete: true }"
        } else {
            "resolver: MEMORY"
        })
    }

    fn config_with(&self, resolver: &str) -> String {
        let mut preload = vec![
            (self.system_account.public_key(), &self.system_jwt),
            (self.callout_account.public_key(), &self.callout_jwt),
        ];
        preload.extend(
            self.accounts
                .iter()
                .map(|account| (account.key.public_key(), &account.jwt)),
        );
        let preload: String = preload
            .iter()
            .map(|(key, jwt)| format!("  {key}: {jwt}\n"))
            .collect();
        let mut lines = vec![
            format!("operator: {}", self.operator_jwt),
            format!("system_account: {}", self.system_account.public_key()),
            resolver.to_owned(),
            format!("resolver_preload {{\n{preload}}}"),
            format!("authorization {{ timeout: {} }}", self.auth_timeout.as_secs_f64()),
        ];
        lines.extend(
            self.default_sentinel
                .as_ref()
                .map(|jwt| format!("default_sentinel: {jwt}")),
        );
        lines.push(String::new());
        lines.join("\n")
    }
}

fn target_account(name: &str, operator: &KeyPair) -> Result<TargetAccount, DevkitError> {
    let generate = || KeyPair::generate(Role::Account).map_err(key_error("make an account's key"));
    let (key, signing_key) = (generate()?, generate()?);
    let jwt = Token::new_account(key.public_key())
        .name(name)
        .add_signing_key(signing_key.public_key())
        .sign(&signer(operator)?);
    Ok(TargetAccount {
        name: name.to_owned(),
        key,
        signing_key,
        jwt,
    })
}

/// A user of `account`, signed by the account's own key.
fn user(
    account: &KeyPair,
    shape: impl FnOnce(Token<nats_jwt::User>) -> Token<nats_jwt::User>,
) -> Result<PreparedUser, DevkitError> {
    let key = KeyPair::generate(Role::User).map_err(key_error("make a user's key"))?;
    let jwt = shape(Token::new_user(account.public_key(), key.public_key())).sign(&signer(account)?);
    let seed: SecretString = key.seed().map_err(key_error("write a user's seed"))?;
    Ok(PreparedUser {
        public_key: key.public_key().to_owned(),
        credentials: Credentials { jwt, seed },
    })
}

/// `key` as the `nats-jwt` crate takes it.
fn signer(key: &KeyPair) -> Result<nats_jwt::KeyPair, DevkitError> {
    let seed = key.seed().map_err(key_error("write a key's seed"))?;
    nats_jwt::KeyPair::from_seed(seed.expose_secret()).map_err(key_error("read a key's seed"))
}
