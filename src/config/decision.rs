//! `decision`: whom the decision service listens to, whom it believes, and by which rules it decides.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{Cache, Clock};
use natsgate_decision::{CredentialSource, Decider, DeciderLimits, Pipeline, TlsMaterial};
use natsgate_identity::{MembershipSettings, OidcProvider, OidcSettings, Providers};
use natsgate_policy::{Policy, PolicyDocument};
use schemars::JsonSchema;
use serde::Deserialize;

use super::load::{typed, yaml};
use super::nats::content;
use super::problem::{Problem, Problems};
use super::value::{OrText, list, scalar};

/// The decision service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionConfig {
    /// The address the gRPC API listens on. `natsgate decision` listens on 127.0.0.1:7222 unless told otherwise;
    /// `natsgate all` does not listen unless told to.
    pub listen: Option<SocketAddr>,
    /// TLS of the gRPC API. Needed to listen on anything but this machine's own addresses.
    pub tls: Option<ListenTlsConfig>,
    /// The OpenID providers whose tokens are accepted, chosen by a token's issuer.
    pub providers: Vec<OidcSettings>,
    /// Where memberships are known; what the sources say is put together.
    #[serde(default)]
    pub memberships: Vec<MembershipSettings>,
    /// The policy: a YAML file.
    pub policy_file: PathBuf,
    /// Where in the client's CONNECT tokens are looked for, in order.
    #[serde(default = "DecisionConfig::default_credentials", deserialize_with = "list")]
    #[schemars(with = "OrText<Vec<CredentialSource>>")]
    pub credentials: Vec<CredentialSource>,
    /// The largest credential looked at, in bytes.
    #[serde(
        default = "DecisionConfig::default_max_token_bytes",
        deserialize_with = "scalar"
    )]
    #[schemars(with = "OrText<usize>")]
    pub max_token_bytes: usize,
    /// Decisions made at once; more are sent to another instance.
    #[serde(
        default = "DecisionConfig::default_max_in_flight",
        deserialize_with = "scalar"
    )]
    #[schemars(with = "OrText<usize>")]
    pub max_in_flight: usize,
    /// The longest a decision may take, whatever the caller allows.
    #[serde(
        default = "DecisionConfig::default_max_decision_time",
        with = "humantime_serde"
    )]
    #[schemars(with = "String")]
    pub max_decision_time: Duration,
}

/// TLS of the gRPC API.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenTlsConfig {
    /// The server's certificate chain: a PEM file.
    pub cert_file: PathBuf,
    /// Its key: a PEM file.
    pub key_file: PathBuf,
    /// The authority of the callers' certificates: a PEM file. Callers without one are refused.
    pub client_ca_file: Option<PathBuf>,
}

/// What the configuration makes.
pub struct DecisionParts {
    /// Decides.
    pub decider: Decider,
    /// Where to listen, if that is configured.
    pub listen: Option<SocketAddr>,
    /// With what TLS.
    pub tls: Option<TlsMaterial>,
    /// What somebody who relies on the configuration should know, though it can work.
    pub notes: Vec<String>,
}

impl DecisionConfig {
    fn default_credentials() -> Vec<CredentialSource> {
        CredentialSource::DEFAULT.to_vec()
    }

    fn default_max_token_bytes() -> usize {
        16 * 1024
    }

    fn default_max_in_flight() -> usize {
        1024
    }

    fn default_max_decision_time() -> Duration {
        Duration::from_secs(5)
    }

    /// The parts of a decision service; paths start from `base`. Asks no provider yet.
    ///
    /// # Errors
    /// All that is wrong.
    pub async fn parts(
        &self,
        base: &Path,
        cache: Arc<dyn Cache>,
        clock: Arc<dyn Clock>,
    ) -> Result<DecisionParts, Problems> {
        let mut problems = Problems::default();
        let tls = problems.take(self.tls_material(base));
        if let Some(address) = self.listen {
            problems.take(self.check_exposure(address));
        }
        let providers = problems.take(self.providers(base, &cache, &clock));
        let memberships = self.memberships(base, &mut problems).await;
        let mut notes = Vec::new();
        let policy = match self.policy(base, &mut notes) {
            Ok(policy) => Some(policy),
            Err(more) => {
                problems.extend(more);
                None
            }
        };
        if self.credentials.is_empty() {
            problems.push(Problem::new(
                "decision.credentials",
                "is empty; no token could be found",
            ));
        }
        for (key, value) in [
            ("max_in_flight", self.max_in_flight),
            ("max_token_bytes", self.max_token_bytes),
        ] {
            if value == 0 {
                problems.push(Problem::new(
                    format!("decision.{key}"),
                    "is 0; nobody could be let in",
                ));
            }
        }
        if self.max_decision_time.is_zero() {
            problems.push(Problem::new(
                "decision.max_decision_time",
                "is 0; nothing could be decided in time",
            ));
        }
        let parts = tls.zip(providers).zip(policy).map(|((tls, providers), policy)| {
            let pipeline = Pipeline {
                identities: Arc::new(providers),
                memberships,
                policy,
                credentials: self.credentials.clone(),
                max_token_bytes: self.max_token_bytes,
                clock,
            };
            let limits = DeciderLimits {
                max_in_flight: self.max_in_flight,
                max_decision_time: self.max_decision_time,
            };
            DecisionParts {
                decider: Decider::new(Arc::new(pipeline), limits),
                listen: self.listen,
                tls,
                notes,
            }
        });
        problems.or(parts)
    }

    /// Who may call is not asked yet beyond the certificate, so without one only this machine may.
    fn check_exposure(&self, address: SocketAddr) -> Result<(), Problem> {
        let callers_are_known = self.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
        if address.ip().is_loopback() || callers_are_known {
            return Ok(());
        }
        Err(Problem::new(
            "decision.listen",
            format!(
                "{address} is reachable from other machines, whose calls carry tokens and are not authenticated; set \
                 decision.tls with a client_ca_file, or listen on 127.0.0.1"
            ),
        ))
    }

    fn tls_material(&self, base: &Path) -> Result<Option<TlsMaterial>, Problem> {
        let Some(tls) = &self.tls else { return Ok(None) };
        let (cert, cert_key) = (base.join(&tls.cert_file), base.join(&tls.key_file));
        let (certificate, key) = super::tls::identity(
            ("decision.tls.cert_file", &cert),
            ("decision.tls.key_file", &cert_key),
        )?;
        let client_ca = tls.client_ca_file.as_ref().map(|path| base.join(path));
        let client_ca = client_ca
            .map(|path| super::tls::authorities("decision.tls.client_ca_file", &path))
            .transpose()?;
        Ok(Some(TlsMaterial {
            certificate,
            key: key.into(),
            client_ca,
        }))
    }

    fn providers(
        &self,
        base: &Path,
        cache: &Arc<dyn Cache>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Providers, Problem> {
        let mut providers = Vec::new();
        for settings in &self.providers {
            let mut settings = settings.clone();
            settings.ca_file = settings.ca_file.map(|path| base.join(path));
            providers
                .push(OidcProvider::new(settings, Arc::clone(clock), Arc::clone(cache)).map_err(prefixed)?);
        }
        Providers::new(providers).map_err(prefixed)
    }

    async fn memberships(
        &self,
        base: &Path,
        problems: &mut Problems,
    ) -> Vec<Arc<dyn natsgate_core::MembershipSource>> {
        let mut sources = Vec::new();
        for settings in &self.memberships {
            let mut settings = settings.clone();
            if let MembershipSettings::File(file) = &mut settings {
                file.path = base.join(&file.path);
            }
            match settings.open().await {
                Ok(source) => sources.push(source),
                Err(error) => problems.push(prefixed(error)),
            }
        }
        sources
    }

    fn policy(&self, base: &Path, notes: &mut Vec<String>) -> Result<Policy, Problems> {
        let path = base.join(&self.policy_file);
        let text = content("decision.policy_file", &path)?;
        let at = |key: &str| format!("decision.policy_file ({}): {key}", path.display());
        let value = yaml(&text).map_err(|error| Problem::new(at("the file"), error))?;
        let document: PolicyDocument =
            typed(&value).map_err(|problem| Problem::new(at(&problem.key), problem.problem))?;
        notes.extend(unenforced(&document).map(|what| at(&what)));
        Policy::compile(&document).map_err(|errors| {
            let mut problems = Problems::default();
            for error in errors {
                problems.push(Problem::new(at(&error.key), error.problem));
            }
            problems
        })
    }
}

fn prefixed(error: natsgate_identity::SettingsError) -> Problem {
    Problem::new(format!("decision.{}", error.key), error.problem)
}

/// Limits that a user JWT carries and no nats-server holds against a session that came through its callout (measured on
/// 2.10.25, 2.12.8 and 2.15.1).
fn unenforced(document: &PolicyDocument) -> impl Iterator<Item = String> {
    document.rules.iter().enumerate().flat_map(|(index, rule)| {
        let limits = rule.limits.clone().unwrap_or_default();
        [("subscriptions", limits.subscriptions), ("payload", limits.payload), ("data", limits.data)]
            .into_iter()
            .filter(|(_, limit)| limit.is_some())
            .map(move |(name, _)| {
                format!(
                    "rules[{index}].limits.{name}: nats-servers do not enforce it for sessions that come through the \
                     callout; what must hold belongs into the account's limits or the server's configuration"
                )
            })
    })
}
