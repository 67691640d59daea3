//! `decision`: whom the decision service listens to, whom it believes, and by which rules it decides.

mod apis;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use natsgate_api::caller::Refusals;
use natsgate_api::{CallerAuthenticator, CallerSettings, Scope, TlsMaterial};
use natsgate_core::{Announcer, Clock, MembershipSource, MergedMemberships, PolicyGeneration};
use natsgate_decision::revocations::RevocationCounts;
use natsgate_decision::security_events::Counts;
use natsgate_decision::{
    CredentialSource, Decider, DeciderLimits, Pipeline, Server, Services, WebhookSettings, generation,
};
use natsgate_identity::{
    CertificateProvider, CertificateSettings, Identities, LogoutSettings, MembershipSettings, OidcSettings,
};
use natsgate_policy::{Policy, PolicyDocument};
use natsgate_store::{CachedMemberships, PushedMemberships, SourceCacheSettings};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use self::apis::Apis;
use super::callers::{ApiAccess, ListenTlsConfig, kept_for, provider};
use super::load::{typed, yaml};
use super::nats::content;
use super::problem::{Problem, Problems};
use super::security_events::{EventsListener, EventsServing, HttpConfig, SecurityEventsConfig};
use super::store::Stores;
use super::value::{OrText, list, scalar};
use crate::monitor::Measure;

/// No client certificate is taken to live longer, where it has to be known how long bans must last.
const LONGEST_CERTIFICATE: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// The longest that asking a source of memberships may take; a source's own bound may be shorter.
const MEMBERSHIP_FETCH_TIMEOUT: Duration = Duration::from_secs(5);

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
    #[serde(default)]
    pub providers: Vec<OidcSettings>,
    /// The client certificates that are accepted as identities, if `credentials` names `certificate`.
    #[serde(default)]
    pub certificates: Vec<CertificateSettings>,
    /// Who may call the gRPC API, what, and whom they may speak for. Without any, whoever reaches it may ask for decisions
    /// (that is then this machine, or whoever has a certificate of `tls.client_ca_file`), and nobody may change anything.
    #[serde(default)]
    pub callers: Vec<CallerSettings>,
    /// The OpenID providers of the access tokens that callers come with. Give the API an audience of its own: a token for
    /// NATS must not open it.
    #[serde(default)]
    pub caller_providers: Vec<OidcSettings>,
    /// Where events from outside are taken that revoke.
    pub http: Option<HttpConfig>,
    /// The providers whose logout tokens are accepted (OpenID Connect Back-Channel Logout 1.0), at `/backchannel-logout`.
    #[serde(default)]
    pub backchannel_logout: Vec<LogoutSettings>,
    /// Other systems that say, signed with a shared secret, what revokes something, at `/webhooks/NAME`.
    #[serde(default)]
    pub webhooks: Vec<WebhookSettings>,
    /// Where memberships are known; what the sources say is put together.
    #[serde(default)]
    pub memberships: Vec<MembershipSettings>,
    /// The policy: a YAML file.
    pub policy_file: PathBuf,
    /// Where credentials are looked for, in order: in the client's CONNECT, or its TLS connection.
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
    /// The longest life of a grant while it cannot be known what was revoked: Redis is out of reach, or the token is older
    /// than what the revocation log remembers. The client then comes again.
    #[serde(
        default = "DecisionConfig::default_degraded_grant_life",
        with = "humantime_serde"
    )]
    #[schemars(with = "String")]
    pub degraded_grant_life: Duration,
}

/// What the configuration makes.
pub struct DecisionParts {
    /// Decides.
    pub decider: Decider,
    /// Takes pushed memberships and revocations, and tells of sessions.
    apis: Apis,
    /// Know who calls.
    callers: Arc<CallerAuthenticator>,
    /// Takes events from outside, if that is configured.
    pub events: Option<EventsListener>,
    /// The policy's generation, if it has one.
    generation: Option<PolicyGeneration>,
    /// Tells the time.
    clock: Arc<dyn Clock>,
    /// Where to listen, if that is configured.
    pub listen: Option<SocketAddr>,
    /// With what TLS.
    pub tls: Option<TlsMaterial>,
    /// What somebody who relies on the configuration should know, though it can work.
    pub notes: Vec<String>,
}

impl DecisionParts {
    /// What is served over gRPC, and where the log stands, for its health.
    pub fn server(&self, stores: &Stores) -> Server {
        let services = Services {
            decider: self.decider.clone(),
            memberships: self.apis.memberships.clone(),
            revocations: Some(self.apis.revocations.clone()),
            sessions: Some(self.apis.sessions.clone()),
        };
        Server::new(services, self.tls.clone(), stores.follower.positions())
    }

    /// Who may call.
    pub fn callers(&self) -> Arc<CallerAuthenticator> {
        Arc::clone(&self.callers)
    }

    /// What this instance counts.
    pub fn measures(&self) -> Vec<Measure> {
        let callers = |pick: fn(Refusals) -> u64| {
            let callers = Arc::clone(&self.callers);
            move || pick(callers.refusals())
        };
        let revocations = |pick: fn(RevocationCounts) -> u64| {
            let revocations = self.apis.revocations.clone();
            move || pick(revocations.counts())
        };
        let events = |pick: fn(&Counts) -> u64| {
            let events = self.events.as_ref().map(|events| events.server.events().clone());
            move || events.iter().flat_map(|events| events.counts()).map(pick).sum()
        };
        let unauthenticated =
            "Calls of the API without credentials, or with such as are not known or not good.";
        let revoked = "Revocations through this instance; repetitions are not among them.";
        vec![
            Measure::counter(
                "callers_unauthenticated_total",
                unauthenticated,
                callers(|refusals| refusals.unauthenticated),
            ),
            Measure::counter(
                "callers_denied_total",
                "Calls of the API by callers who may not.",
                callers(|refusals| refusals.denied),
            ),
            Measure::counter(
                "revocations_total",
                revoked,
                revocations(|counts| counts.revoked.iter().map(|(_, count)| count).sum()),
            ),
            Measure::counter(
                "revocations_repeated_total",
                "Revocations that repeated an earlier call.",
                revocations(|counts| counts.repeated),
            ),
            Measure::counter(
                "security_events_accepted_total",
                "Logout tokens and webhook calls that revoked something.",
                events(Counts::accepted),
            ),
            Measure::counter(
                "security_events_refused_total",
                "Logout tokens and webhook calls that were refused.",
                events(Counts::all_refused),
            ),
            Measure::counter(
                "security_events_replayed_total",
                "Logout tokens and webhook calls that came before, among those refused.",
                events(Counts::replayed),
            ),
            Measure::counter(
                "bans_total",
                "Bans imposed through this instance.",
                revocations(|counts| counts.bans),
            ),
        ]
    }

    /// Takes events from outside in the background until `stop`, if that is configured.
    ///
    /// # Errors
    /// An address that is taken.
    pub async fn serve_events(&self, stop: &CancellationToken) -> anyhow::Result<EventsServing> {
        match &self.events {
            Some(events) => events.serve(stop).await,
            None => Ok(EventsServing::none()),
        }
    }

    /// Writes into the log what it has to know of this instance, in the background, until `stop`: the generation of its
    /// policy, and pushed memberships and bans that were not announced yet.
    pub fn announce(&self, stores: &Stores, retention: Duration, stop: &CancellationToken) {
        if let Some(policy) = &self.generation {
            let log = Arc::clone(&stores.follower) as Arc<dyn Announcer>;
            let positions = stores.follower.positions();
            let clock = Arc::clone(&self.clock);
            tokio::spawn(generation::keep_announced(
                policy.clone(),
                stores.settle,
                stores.freshness(),
                log,
                positions,
                clock,
                stop.clone(),
            ));
        }
        if let Some(relay) = &self.apis.relay {
            let (relay, stop) = (Arc::clone(relay), stop.clone());
            tokio::spawn(async move { relay.run(retention, stop).await });
        }
    }
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

    fn default_degraded_grant_life() -> Duration {
        Duration::from_secs(5 * 60)
    }

    /// What is configured of events from outside.
    pub fn security_events(&self) -> SecurityEventsConfig<'_> {
        SecurityEventsConfig {
            http: self.http.as_ref(),
            backchannel_logout: &self.backchannel_logout,
            webhooks: &self.webhooks,
            issuers: self.issuers(),
        }
    }

    /// The parts of a decision service; paths start from `base`. Asks no provider yet.
    ///
    /// # Errors
    /// All that is wrong.
    pub async fn parts(
        &self,
        base: &Path,
        stores: &Stores,
        clock: Arc<dyn Clock>,
    ) -> Result<DecisionParts, Problems> {
        let mut problems = Problems::default();
        let tls = problems.take(self.access().tls_material(base));
        for (list, provider) in (self.providers.iter().map(|one| ("providers", one)))
            .chain(self.caller_providers.iter().map(|one| ("caller_providers", one)))
        {
            if provider.leeway > stores.clock_skew {
                problems.push(Problem::new(
                    format!("decision.{list}[{}].leeway", provider.name),
                    "is longer than store.follow.clock_skew: a token of a provider whose clock is so far ahead would seem newer \
                     than a revocation that it is older than; raise the one or lower the other",
                ));
            }
        }
        if let Some(address) = self.listen {
            problems.take(self.access().check_exposure(address));
        }
        let identities = problems.take(self.identities(base, stores, &clock));
        let events = identities.as_ref().and_then(|identities| {
            let listener = self.security_events().listener(base, identities, stores, &clock);
            listener.map_err(|more| problems.extend(more)).ok()
        });
        let callers = problems.take(self.access().authenticator(base, stores, &clock));
        let bans = problems.take(apis::bans(stores, &clock)).flatten();
        let memberships = self.memberships(base, stores, &mut problems).await;
        let memberships = MergedMemberships::new(memberships, self.issuers(), Arc::clone(&clock));
        let memberships = Arc::new(memberships);
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
        for (key, time, what) in [
            (
                "max_decision_time",
                self.max_decision_time,
                "nothing could be decided in time",
            ),
            (
                "degraded_grant_life",
                self.degraded_grant_life,
                "without Redis nobody could be let in",
            ),
        ] {
            if time.is_zero() {
                problems.push(Problem::new(format!("decision.{key}"), format!("is 0; {what}")));
            }
        }
        let certificate_counts = self.credentials.contains(&CredentialSource::Certificate);
        if certificate_counts == self.certificates.is_empty() {
            let (key, problem) = match certificate_counts {
                true => (
                    "certificates",
                    "is missing: decision.credentials names `certificate`",
                ),
                false => (
                    "credentials",
                    "does not name `certificate`, without which decision.certificates count for nothing",
                ),
            };
            problems.push(Problem::new(format!("decision.{key}"), problem));
        }
        let loopback = self.listen.is_some_and(|address| address.ip().is_loopback());
        if loopback && self.callers.is_empty() {
            notes.push(
                "decision.listen: no `callers` are configured, so whoever is on this machine may ask for decisions, and \
                 nobody may change anything"
                    .to_owned(),
            );
        }
        if stores.pushed.is_some() && self.callers.is_empty() {
            notes.push(
                "store.pushed: no `decision.callers` are configured, so nobody can push memberships"
                    .to_owned(),
            );
        }
        let parts =
            tls.zip(identities)
                .zip(policy)
                .zip(callers)
                .map(|(((tls, identities), policy), callers)| {
                    let apis = Apis::new(stores, &memberships, &callers, &clock, self.longest_life());
                    let generation = policy.generation().map(|generation| PolicyGeneration {
                        generation,
                        digest: policy.digest().to_owned(),
                    });
                    let pipeline = Pipeline {
                        identities: Arc::new(identities),
                        memberships,
                        policy,
                        credentials: self.credentials.clone(),
                        max_token_bytes: self.max_token_bytes,
                        freshness: stores.freshness(),
                        degraded_grant_life: self.degraded_grant_life,
                        clock: Arc::clone(&clock),
                        bans,
                        sealing: Arc::clone(&stores.sealing),
                    };
                    let limits = DeciderLimits {
                        max_in_flight: self.max_in_flight,
                        max_decision_time: self.max_decision_time,
                    };
                    DecisionParts {
                        decider: Decider::new(Arc::new(pipeline), limits, Arc::clone(&callers)),
                        callers,
                        apis,
                        events: events.flatten(),
                        generation,
                        clock,
                        listen: self.listen,
                        tls,
                        notes,
                    }
                });
        problems.or(parts)
    }

    /// Whether anybody may see or change accounts through this instance.
    pub fn can_write_accounts(&self) -> bool {
        let scopes = [Scope::AccountsRead, Scope::AccountsWrite];
        let may = |caller: &CallerSettings| scopes.iter().any(|scope| caller.scopes.contains(scope));
        self.listen.is_some() && self.callers.iter().any(may)
    }

    /// Whether anybody can revoke through this instance.
    pub fn can_revoke(&self) -> bool {
        let may = |caller: &CallerSettings| caller.scopes.contains(&Scope::Revoke);
        self.callers.iter().any(may) || self.security_events().can_revoke()
    }

    /// The longest that any credential lives which is accepted here. A certificate lives as long as its authority says.
    fn longest_life(&self) -> Duration {
        if !self.certificates.is_empty() {
            return LONGEST_CERTIFICATE;
        }
        let lives = self
            .providers
            .iter()
            .map(|one| one.max_token_life.saturating_add(one.leeway));
        lives.max().unwrap_or_default()
    }

    /// Who may call.
    fn access(&self) -> ApiAccess<'_> {
        ApiAccess {
            section: "decision",
            callers: &self.callers,
            providers: &self.caller_providers,
            tls: self.tls.as_ref(),
        }
    }

    fn identities(
        &self,
        base: &Path,
        stores: &Stores,
        clock: &Arc<dyn Clock>,
    ) -> Result<Identities, Problem> {
        let mut providers = Vec::new();
        for settings in &self.providers {
            providers.push(provider(
                ("decision", "providers"),
                settings,
                base,
                stores,
                clock,
            )?);
        }
        let certificates = self
            .certificates
            .iter()
            .map(|settings| CertificateProvider::new(settings.clone(), Arc::clone(clock)).map_err(prefixed));
        Identities::new(providers, certificates.collect::<Result<_, _>>()?).map_err(prefixed)
    }

    /// The names of the providers, by issuer.
    fn issuers(&self) -> HashMap<String, String> {
        let providers = self.providers.iter().map(|one| (&one.issuer, &one.name));
        let certificates = self.certificates.iter().map(|one| (&one.issuer, &one.name));
        providers
            .chain(certificates)
            .map(|(issuer, name)| (issuer.clone(), name.clone()))
            .collect()
    }

    async fn memberships(
        &self,
        base: &Path,
        stores: &Stores,
        problems: &mut Problems,
    ) -> Vec<Arc<dyn MembershipSource>> {
        problems.take(MembershipSettings::validate_names(&self.memberships).map_err(prefixed));
        let mut sources: Vec<Arc<dyn MembershipSource>> = Vec::new();
        let known = self.issuers();
        for settings in &self.memberships {
            for name in settings.providers() {
                if !known.values().any(|known| known == name) {
                    problems.push(Problem::new(
                        "decision.memberships",
                        format!(
                            "a source names the provider `{}`, and there is none of this name",
                            name.escape_debug()
                        ),
                    ));
                }
            }
            let mut settings = settings.clone();
            settings.start_paths_from(base);
            let source = match settings.open().await {
                Ok(source) => source,
                Err(error) => {
                    problems.push(prefixed(error));
                    continue;
                }
            };
            let Some(times) = settings.cache_times() else {
                sources.push(source);
                continue;
            };
            let cached =
                CachedMemberships::new(&stores.tiers, source, &kept_for(times, MEMBERSHIP_FETCH_TIMEOUT));
            let cached = cached
                .map_err(|error| Problem::new(format!("decision.memberships.{}", error.key), error.problem));
            sources.extend(
                problems
                    .take(cached)
                    .map(|cached| Arc::new(cached) as Arc<dyn MembershipSource>),
            );
        }
        if let Some(store) = &stores.pushed {
            let source = Arc::new(PushedMemberships::new(Arc::clone(store)));
            // Every change of it is a log entry, so that it is kept for long does not make it old.
            let settings = SourceCacheSettings {
                stale_if_error: Duration::ZERO,
                ..SourceCacheSettings::default()
            };
            match CachedMemberships::new(&stores.tiers, source, &settings) {
                Ok(cached) => sources.push(Arc::new(cached)),
                Err(error) => problems.push(Problem::new(error.key, error.problem)),
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
