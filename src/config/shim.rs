//! `shim`: the callout shim's keys, ceilings and connections.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use natsgate_accounts::{RootSecret, ScopedKeys};
use natsgate_claims::{KeyPair, Role, XKeyPair, check_public_key};
use natsgate_shim::decision_point::EndpointTls;
use natsgate_shim::settings::TargetSigner;
use natsgate_shim::{
    Bounds, DecisionPoint, Endpoint, EnforcementSettings, Issuing, Remote, RemoteSettings, ShimSettings,
    TargetAccount,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::link::AccountsServiceConfig;
use super::nats::NatsConfig;
use super::problem::{Problem, Problems};
use super::tls;
use super::value::{OrText, Secret, list, scalar};

/// More requests at once than any process handles.
const MOST_REQUESTS: usize = 1_000_000;

/// The callout shim. Exactly one of `config_mode` and `operator_mode` is set.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShimConfig {
    /// The cluster's name: in logs, and as `connection.cluster` in policies.
    pub cluster: String,
    /// The connection into the callout account, by which requests come.
    pub nats: NatsConfig,
    /// A connection into the system account: by it the shim knows which servers there are, and closes what it cannot
    /// answer. Without it any key may sign requests, and an outage reads as "Authorization Violation".
    pub system: Option<NatsConfig>,
    /// The system account's name (or, in operator mode, public key). Needed without `system`, to make sure that no grant
    /// leads into it.
    pub system_account: Option<String>,
    /// Another connection into the system account, for closing alone, where the one above may only watch.
    pub eviction: Option<NatsConfig>,
    /// The keys for servers without an operator.
    pub config_mode: Option<ConfigModeConfig>,
    /// The keys for servers with an operator.
    pub operator_mode: Option<OperatorModeConfig>,
    /// The seed (`SX…`) of the callout's xkey. If set, requests that are not sealed are refused.
    pub xkey_seed: Option<Secret>,
    /// The accounts grants may lead into: never the system account, never the callout account.
    pub accounts: Vec<AccountConfig>,
    /// The longest a session may live before its client has to authenticate again.
    #[serde(default = "ShimConfig::default_max_session", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub max_session: Duration,
    /// Requests decided at once.
    #[serde(default = "ShimConfig::default_max_in_flight", deserialize_with = "scalar")]
    #[schemars(with = "OrText<usize>")]
    pub max_in_flight: usize,
    /// Requests waiting for their turn; more are kicked at once.
    #[serde(default = "ShimConfig::default_max_waiting", deserialize_with = "scalar")]
    #[schemars(with = "OrText<usize>")]
    pub max_waiting: usize,
    /// How long before a request's expiry it is given up and its connection kicked.
    #[serde(default = "ShimConfig::default_answer_margin", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub answer_margin: Duration,
    /// How sessions are closed when what they rest on is revoked. `natsgate shim` hears of revocations through
    /// `store.redis`, which it only reads, beside what it says of itself.
    #[serde(default)]
    pub enforcement: EnforcementConfig,
    /// Where decisions come from. Needed by `natsgate shim`; `natsgate all` decides itself.
    pub decision: Option<DecisionEndpointsConfig>,
    /// The account writer to which this shim lends its connection into the system account: `natsgate accounts`. Not needed in
    /// `natsgate all`, which has its own.
    pub accounts_service: Option<AccountsServiceConfig>,
}

/// How sessions are closed when what they rest on is revoked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EnforcementConfig {
    /// Over which time sessions are closed that nobody asked to be closed at once, so that their clients do not all come back at
    /// once: those that a changed policy gives less, and those that cannot be judged after the revocation log was lost
    /// or could not be read for long.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub spread: Duration,
    /// Whether sessions that would get more than they have (a new membership, a wider policy) are closed too, over
    /// `spread`, so that their clients come back and have it. Otherwise they have it when they next connect.
    #[serde(deserialize_with = "scalar")]
    #[schemars(with = "OrText<bool>")]
    pub reconnect_widened: bool,
    /// How long decision services are asked what a session would get now, before it counts as one that loses something.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub recheck_within: Duration,
    /// How long the shim that let a session in is waited for before others of the cluster close it.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub take_over_after: Duration,
    /// How often the servers' lists of connections are read though nothing seems to be missing.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub reconcile_every: Duration,
}

impl Default for EnforcementConfig {
    fn default() -> Self {
        let EnforcementSettings {
            spread,
            reconnect_widened,
            recheck_within,
            take_over_after,
            reconcile_every,
        } = EnforcementSettings::default();
        Self {
            spread,
            reconnect_widened,
            recheck_within,
            take_over_after,
            reconcile_every,
        }
    }
}

impl EnforcementConfig {
    fn settings(&self) -> EnforcementSettings {
        EnforcementSettings {
            spread: self.spread,
            reconnect_widened: self.reconnect_widened,
            recheck_within: self.recheck_within,
            take_over_after: self.take_over_after,
            reconcile_every: self.reconcile_every,
        }
    }

    fn check(&self, problems: &mut Problems) {
        let hour = Duration::from_secs(3600);
        for (key, value, least, most) in [
            ("spread", self.spread, Duration::ZERO, hour),
            (
                "recheck_within",
                self.recheck_within,
                Duration::from_millis(100),
                Duration::from_secs(60),
            ),
            (
                "take_over_after",
                self.take_over_after,
                Duration::from_millis(50),
                Duration::from_secs(10),
            ),
            (
                "reconcile_every",
                self.reconcile_every,
                Duration::from_secs(1),
                hour,
            ),
        ] {
            if value < least || value > most {
                let (least, most) = (humantime(least), humantime(most));
                problems.push(Problem::new(
                    format!("shim.enforcement.{key}"),
                    format!("is not between {least} and {most}"),
                ));
            }
        }
    }
}

/// A time as it is written in the configuration.
fn humantime(time: Duration) -> String {
    if time < Duration::from_secs(1) && !time.is_zero() {
        format!("{}ms", time.as_millis())
    } else {
        format!("{}s", time.as_secs())
    }
}

/// The keys for servers without an operator.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigModeConfig {
    /// The seed (`SA…`) of the account key that the server's `auth_callout.issuer` names.
    pub issuer_seed: Secret,
}

/// The keys for servers with an operator.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatorModeConfig {
    /// The callout account's public key (`A…`).
    pub callout_account: String,
    /// The seed (`SA…`) of that account, or of one of its signing keys.
    pub signing_seed: Secret,
    /// The operator's public key (`O…`) and those of its signing keys: whose word an account JWT is. Needed where policies name
    /// templates or an account's default permissions; the shim then reads the accounts' JWTs from the servers, by `shim.system`.
    #[serde(default, deserialize_with = "list")]
    #[schemars(with = "OrText<Vec<String>>")]
    pub operators: Vec<String>,
}

/// An account grants may lead into.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountConfig {
    /// The name policies call it by; in config mode also the server's name for it.
    pub name: String,
    /// In operator mode: its public key (`A…`).
    pub account: Option<String>,
    /// In operator mode: its seed (`SA…`), or that of one of its plain signing keys.
    pub signing_seed: Option<Secret>,
    /// What the keys of its templates are derived from, the newest first: 32 bytes or more each (`openssl rand -base64 32`), the
    /// same for every shim and for the account writer. None where no policy names a template of the account.
    #[serde(default)]
    pub root_secrets: Vec<Secret>,
}

/// Decision services over gRPC.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionEndpointsConfig {
    /// Their URLs: `https://host:7222`, or `http://` on this machine. Asked in turn; one that fails is asked last for a
    /// while.
    #[serde(deserialize_with = "list")]
    #[schemars(with = "OrText<Vec<String>>")]
    pub endpoints: Vec<String>,
    /// How long one may take while there is another to ask.
    #[serde(
        default = "DecisionEndpointsConfig::default_attempt_timeout",
        with = "humantime_serde"
    )]
    #[schemars(with = "String")]
    pub attempt_timeout: Duration,
    /// TLS, for `https://` endpoints.
    pub tls: Option<EndpointTlsConfig>,
}

/// TLS with decision services, or the account writer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointTlsConfig {
    /// The authority of their certificates: a PEM file. No other is trusted.
    pub ca_file: PathBuf,
    /// The shim's own certificate: a PEM file; `key_file` goes with it.
    pub cert_file: Option<PathBuf>,
    /// The own certificate's key: a PEM file.
    pub key_file: Option<PathBuf>,
    /// The name in their certificates, if it is not the URL's host.
    pub server_name: Option<String>,
}

impl ShimConfig {
    fn default_max_session() -> Duration {
        Duration::from_secs(24 * 3600)
    }

    fn default_max_in_flight() -> usize {
        256
    }

    fn default_max_waiting() -> usize {
        8192
    }

    fn default_answer_margin() -> Duration {
        Duration::from_millis(300)
    }

    /// The shim's settings; paths start from `base`.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn settings(&self, base: &Path) -> Result<ShimSettings, Problems> {
        let mut problems = Problems::default();
        let all = |problems: &mut Problems, result: Result<_, Problems>| match result {
            Ok(value) => Some(value),
            Err(more) => {
                problems.extend(more);
                None
            }
        };
        let callout = all(&mut problems, self.nats.settings("shim.nats", base));
        let system = self
            .system
            .as_ref()
            .and_then(|nats| all(&mut problems, nats.settings("shim.system", base)));
        let eviction = self
            .eviction
            .as_ref()
            .and_then(|nats| all(&mut problems, nats.settings("shim.eviction", base)));
        let issuing = problems.take(self.issuing());
        let xkey = self.xkey_seed.as_ref().and_then(|Secret(seed)| {
            problems.take(XKeyPair::from_seed(seed).map_err(|error| Problem::new("shim.xkey_seed", error)))
        });
        let accounts = self.accounts(&mut problems);
        self.check_bounds(&mut problems);
        self.enforcement.check(&mut problems);
        if self.system.is_none() && self.system_account.is_none() {
            let what = "is missing, and so is shim.system, which would tell; without one of them nothing makes sure that no \
                        grant leads into the system account";
            problems.push(Problem::new("shim.system_account", what));
        }
        if self.system.is_none() && self.eviction.is_some() {
            problems.push(Problem::new(
                "shim.eviction",
                "is set without shim.system; set shim.system, which is enough",
            ));
        }
        let built = callout.zip(issuing).map(|(callout, issuing)| ShimSettings {
            cluster: self.cluster.clone(),
            issuing,
            xkey,
            accounts,
            operators: self
                .operator_mode
                .as_ref()
                .map(|mode| mode.operators.clone())
                .unwrap_or_default(),
            system_account: self.system_account.clone(),
            max_session: self.max_session,
            bounds: Bounds {
                max_in_flight: self.max_in_flight,
                max_waiting: self.max_waiting,
                answer_margin: self.answer_margin,
            },
            callout,
            system,
            eviction,
            enforcement: self.enforcement.settings(),
        });
        problems.or(built)
    }

    fn issuing(&self) -> Result<Issuing, Problem> {
        match (&self.config_mode, &self.operator_mode) {
            (Some(mode), None) => {
                let Secret(seed) = &mode.issuer_seed;
                let issuer = KeyPair::from_seed(seed, Role::Account)
                    .map_err(|error| Problem::new("shim.config_mode.issuer_seed", error))?;
                Ok(Issuing::Config { issuer })
            }
            (None, Some(mode)) => {
                check_public_key(&mode.callout_account, Role::Account)
                    .map_err(|error| Problem::new("shim.operator_mode.callout_account", error))?;
                for (index, operator) in mode.operators.iter().enumerate() {
                    check_public_key(operator, Role::Operator).map_err(|error| {
                        Problem::new(format!("shim.operator_mode.operators[{index}]"), error)
                    })?;
                }
                if self.system.is_none() && !mode.operators.is_empty() {
                    return Err(Problem::new(
                        "shim.operator_mode.operators",
                        "is set without shim.system, by which account JWTs are read from the servers; set shim.system",
                    ));
                }
                let Secret(seed) = &mode.signing_seed;
                let signer = KeyPair::from_seed(seed, Role::Account)
                    .map_err(|error| Problem::new("shim.operator_mode.signing_seed", error))?;
                Ok(Issuing::Operator {
                    callout_account: mode.callout_account.clone(),
                    signer,
                })
            }
            (None, None) => Err(Problem::new(
                "shim",
                "has neither config_mode nor operator_mode; set the one your nats-server runs in",
            )),
            (Some(_), Some(_)) => Err(Problem::new(
                "shim",
                "has both config_mode and operator_mode; a nats-server runs in one of them",
            )),
        }
    }

    fn accounts(&self, problems: &mut Problems) -> Vec<TargetAccount> {
        if self.accounts.is_empty() {
            problems.push(Problem::new(
                "shim.accounts",
                "is empty; name at least one account grants may lead into",
            ));
        }
        let mut accounts: Vec<TargetAccount> = Vec::new();
        for (index, config) in self.accounts.iter().enumerate() {
            let key = format!("shim.accounts[{index}]");
            if accounts.iter().any(|other| other.name == config.name) {
                problems.push(Problem::new(format!("{key}.name"), "is there twice; remove one"));
                continue;
            }
            if let Some(account) = problems.take(self.account(config, &key)) {
                accounts.push(account);
            }
        }
        accounts
    }

    fn account(&self, config: &AccountConfig, key: &str) -> Result<TargetAccount, Problem> {
        let name = config.name.clone();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(Problem::new(
                format!("{key}.name"),
                "is empty or has white space in it",
            ));
        }
        // `$SYS` is what a server calls its system account where nothing else is configured.
        if name == "$SYS" || self.system_account.as_ref() == Some(&name) {
            return Err(Problem::new(
                format!("{key}.name"),
                "is the system account, into which no grant may lead; remove it",
            ));
        }
        let signer = match (&self.operator_mode, &config.account, &config.signing_seed) {
            (None, None, None) if config.root_secrets.is_empty() => None,
            (None, _, _) => {
                return Err(Problem::new(
                    key,
                    "account, signing_seed and root_secrets belong to operator_mode; in config mode the issuer signs",
                ));
            }
            (Some(mode), Some(account), Some(Secret(seed))) => {
                check_public_key(account, Role::Account)
                    .map_err(|error| Problem::new(format!("{key}.account"), error))?;
                if *account == mode.callout_account {
                    return Err(Problem::new(
                        format!("{key}.account"),
                        "is the callout account, into which no grant may lead; remove it",
                    ));
                }
                let signing = KeyPair::from_seed(seed, Role::Account)
                    .map_err(|error| Problem::new(format!("{key}.signing_seed"), error))?;
                if mode.operators.is_empty() && !config.root_secrets.is_empty() {
                    return Err(Problem::new(
                        format!("{key}.root_secrets"),
                        "is set without shim.operator_mode.operators, whose word the account's templates are; set them",
                    ));
                }
                Some(TargetSigner {
                    account: account.clone(),
                    key: signing,
                    scoped: Arc::new(scoped_keys(account, &config.root_secrets, key)?),
                })
            }
            (Some(_), _, _) => {
                return Err(Problem::new(
                    key,
                    "needs account and signing_seed: in operator mode each account signs its own users",
                ));
            }
        };
        Ok(TargetAccount { name, signer })
    }

    fn check_bounds(&self, problems: &mut Problems) {
        if !(1..=MOST_REQUESTS).contains(&self.max_in_flight) {
            problems.push(Problem::new("shim.max_in_flight", "is not between 1 and 1000000"));
        }
        if self.max_waiting > MOST_REQUESTS {
            problems.push(Problem::new("shim.max_waiting", "is not between 0 and 1000000"));
        }
        if self.max_session < Duration::from_secs(1) {
            problems.push(Problem::new(
                "shim.max_session",
                "is below 1s, the resolution of a user JWT's expiry",
            ));
        }
        if self.answer_margin < Duration::from_millis(20) || self.answer_margin > Duration::from_secs(1) {
            problems.push(Problem::new("shim.answer_margin", "is not between 20ms and 1s"));
        }
    }

    /// The decision services this shim asks.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn decision_point(&self, base: &Path) -> Result<Arc<dyn DecisionPoint>, Problems> {
        let config = self.decision.as_ref().ok_or_else(|| {
            Problem::new(
                "shim.decision",
                "is missing; name the decision services, or run `natsgate all`",
            )
        })?;
        config.connect(base)
    }
}

/// The keys of the templates of `account`, which stands at `key`, from its root secrets.
///
/// # Errors
/// A [`Problem`] for a secret that cannot be used.
pub fn scoped_keys(account: &str, secrets: &[Secret], key: &str) -> Result<ScopedKeys, Problem> {
    let mut read = Vec::new();
    for (index, Secret(text)) in secrets.iter().enumerate() {
        let secret = RootSecret::new(text.clone());
        read.push(secret.map_err(|error| Problem::new(format!("{key}.root_secrets[{index}]"), error))?);
    }
    let mut read = read.into_iter();
    let keys = match read.next() {
        Some(current) => ScopedKeys::new(account, current, read.collect()),
        None => ScopedKeys::without_secrets(account),
    };
    keys.map_err(|error| Problem::new(format!("{key}.root_secrets"), error))
}

impl DecisionEndpointsConfig {
    fn default_attempt_timeout() -> Duration {
        Duration::from_millis(500)
    }

    fn connect(&self, base: &Path) -> Result<Arc<dyn DecisionPoint>, Problems> {
        let mut problems = Problems::default();
        let tls = match &self.tls {
            Some(tls) => Some(tls.material("shim.decision.tls", base)?),
            None => None,
        };
        if self.endpoints.iter().all(|url| url.is_empty()) {
            problems.push(Problem::new(
                "shim.decision.endpoints",
                "is empty; name at least one, https://host:7222",
            ));
        }
        if self.attempt_timeout.is_zero() {
            problems.push(Problem::new(
                "shim.decision.attempt_timeout",
                "is 0; no endpoint could answer in time",
            ));
        }
        let mut endpoints = Vec::new();
        for (index, url) in self.endpoints.iter().enumerate() {
            let key = format!("shim.decision.endpoints[{index}]");
            endpoints.extend(problems.take(endpoint(&key, url, tls.as_ref())));
        }
        let remote = Remote::new(
            endpoints,
            RemoteSettings {
                attempt_timeout: self.attempt_timeout,
            },
        );
        problems.or(Some(Arc::new(remote)))
    }
}

fn endpoint(key: &str, url: &str, tls: Option<&EndpointTls>) -> Result<Endpoint, Problem> {
    let is_tls = is_tls(key, url)?;
    if is_tls && tls.is_none() {
        return Err(Problem::new(
            key,
            "is https, but shim.decision.tls is missing; set its ca_file",
        ));
    }
    let tls = tls.filter(|_| is_tls);
    Endpoint::new(url, tls).map_err(|error| Problem::new(key, error))
}

/// Whether the gRPC endpoint at `url` is spoken to with TLS. Tokens travel to it, so they go in the clear to this machine only.
///
/// # Errors
/// A [`Problem`] at `key` for a URL that cannot be used.
pub fn is_tls(key: &str, url: &str) -> Result<bool, Problem> {
    let parsed = url::Url::parse(url).map_err(|error| Problem::new(key, format!("is not a URL: {error}")))?;
    if !parsed.username().is_empty() || parsed.password().is_some() || parsed.query().is_some() {
        return Err(Problem::new(
            key,
            "holds a user, password or query, which would end up in logs; remove them",
        ));
    }
    let loopback = match parsed.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match parsed.scheme() {
        "https" => Ok(true),
        "http" if loopback => Ok(false),
        "http" => Err(Problem::new(
            key,
            "would send tokens in the clear to another machine; use https",
        )),
        _ => Err(Problem::new(key, "is neither http:// nor https://")),
    }
}

impl EndpointTlsConfig {
    /// What it holds; it stands at `key`, and paths start from `base`.
    ///
    /// # Errors
    /// A [`Problem`] for a file that cannot be used.
    pub fn material(&self, key: &str, base: &Path) -> Result<EndpointTls, Problem> {
        let named = |name: &str| format!("{key}.{name}");
        let identity = match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(cert_key)) => {
                let (cert, cert_key) = (base.join(cert), base.join(cert_key));
                let (names, keys) = (named("cert_file"), named("key_file"));
                let (cert, cert_key) = tls::identity((&names, &cert), (&keys, &cert_key))?;
                Some((cert, cert_key.into()))
            }
            (None, None) => None,
            _ => {
                return Err(Problem::new(
                    key,
                    "cert_file and key_file go together; set both or neither",
                ));
            }
        };
        let ca = tls::authorities(&named("ca_file"), &base.join(&self.ca_file))?;
        Ok(EndpointTls {
            ca,
            server_name: self.server_name.clone(),
            identity,
        })
    }
}
