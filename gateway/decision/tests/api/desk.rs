//! The whole server with a log, a board and a store of bans of its own; callers come with tokens that say who they are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use natsgate_api::{CallerAuthenticator, CallerSettings, Listener};
use natsgate_core::{
    Ban, Board, Clock, Credential, Deadline, Evidence, Failure, Freshness, Identity, IdentityProvider,
    LogEntry, Membership, MembershipSource, MergedMemberships, Position, Principal, Revision, RevocationFeed,
    Selector, ShimPresence,
};
use natsgate_decision::revocations::{
    BanKeeping, BanTimes, Revocations, RevocationsLimits, RevocationsParts, Revoker,
};
use natsgate_decision::{
    BanSource, CredentialSource, Decider, DeciderLimits, Pipeline, Relay, Server, Services, Sessions,
};
use natsgate_devkit::MockClock;
use natsgate_policy::Policy;
use natsgate_proto::v1;
use natsgate_proto::v1::decision_service_client::DecisionServiceClient;
use natsgate_proto::v1::revocation_service_client::RevocationServiceClient;
use natsgate_proto::v1::session_service_client::SessionServiceClient;
use natsgate_store::{
    Follower, FollowerSettings, InProcessBoard, InProcessLog, LogSettings, LookupSettings, LookupTiers,
    Secrets, SourceCacheSettings,
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::faults::{FaultyBans, FaultyLog};

/// The issuer whose people there are.
pub(crate) const ISSUER: &str = "https://idp.example";

/// How far clocks may differ, and how long a token lives at most.
pub(crate) const SKEW: Duration = Duration::from_secs(30);
pub(crate) const LIFE: Duration = Duration::from_secs(3600);

pub(crate) struct Desk {
    pub(crate) log: Arc<FaultyLog>,
    pub(crate) board: Arc<InProcessBoard>,
    pub(crate) bans: Arc<FaultyBans>,
    pub(crate) relay: Arc<Relay>,
    pub(crate) revoker: Arc<Revoker>,
    pub(crate) revocations: Revocations,
    pub(crate) clock: Arc<MockClock>,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) stopped: Option<tokio::task::JoinHandle<()>>,
}

/// What a desk is started with.
pub(crate) struct Options {
    pub(crate) bans: bool,
    pub(crate) limits: RevocationsLimits,
    pub(crate) log: LogSettings,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bans: true,
            limits: RevocationsLimits::default(),
            log: LogSettings::default(),
        }
    }
}

/// Sends who calls along.
#[derive(Clone)]
pub(crate) struct As(&'static str);

impl Interceptor for As {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, tonic::Status> {
        let value: MetadataValue<_> = format!("Bearer {}", self.0).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

type Caller = InterceptedService<Channel, As>;

/// Tokens are what they say: `NAME`, for callers with all scopes; as a client's credential, `NAME@SECONDS` after the start of
/// the desk.
struct Plain {
    clock: Arc<MockClock>,
}

#[async_trait]
impl IdentityProvider for Plain {
    async fn identify(&self, credential: &Credential, _: Deadline) -> Result<Identity, Failure> {
        let Credential::Token(token) = credential else {
            unreachable!()
        };
        let name = token.expose_secret();
        let claims = json!({
            "client_id": name,
            "scope": "natsgate.revoke natsgate.sessions.read natsgate.authorize",
        });
        Ok(Identity {
            principal: Principal::new(ISSUER, name),
            provider: "corp".into(),
            claims: claims.as_object().unwrap().clone(),
            issued_at: Some(self.clock.now()),
            expires_at: self.clock.now() + LIFE,
            evidence: Evidence::SignedToken { key_id: None },
        })
    }
}

/// Everybody is a member of `apollo`.
struct InApollo;

#[async_trait]
impl MembershipSource for InApollo {
    fn name(&self) -> &str {
        "test"
    }

    async fn memberships(&self, _: &Identity, _: Deadline) -> Result<Vec<Membership>, Failure> {
        Ok(vec![Membership {
            kind: "project".into(),
            id: "apollo".into(),
            role: "member".into(),
        }])
    }
}

fn caller(name: &str, scopes: &[&str], reach: Value) -> Value {
    let mut caller = json!({"name": name, "token": {"client_id": name}, "scopes": scopes});
    let settings = caller.as_object_mut().unwrap();
    settings.extend(reach.as_object().unwrap().clone());
    caller
}

/// `ops` may do everything, `bot` little, `viewer` may look only.
fn callers() -> Vec<CallerSettings> {
    let all = json!({"issuers": ["*"], "kinds": ["*"], "id_prefixes": ["*"], "roles": ["*"]});
    let some = json!({
        "issuers": [ISSUER], "kinds": ["project"], "id_prefixes": ["eu-"], "roles": ["member"],
    });
    let both = ["natsgate.revoke", "natsgate.sessions.read"];
    serde_json::from_value(json!([
        caller("ops", &both, all.clone()),
        caller("night", &both, all.clone()),
        caller("bot", &both, some),
        caller("viewer", &["natsgate.sessions.read"], json!({"issuers": ["*"]})),
        caller("shim", &["natsgate.authorize"], json!({})),
    ]))
    .unwrap()
}

impl Desk {
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub(crate) async fn start_with(options: Options) -> Self {
        let clock = Arc::new(MockClock::from_now());
        let log = InProcessLog::new(&options.log, None, clock.clone());
        let follower = Follower::start(Arc::new(log), FollowerSettings::default(), clock.clone());
        let mut positions = follower.positions();
        let confirmed = |position: &Position| matches!(position, Position::Confirmed(_));
        positions.wait_for(confirmed).await.unwrap();
        let log = Arc::new(FaultyLog {
            follower: Arc::clone(&follower),
            faulty: Default::default(),
        });
        let provider = Arc::new(Plain { clock: clock.clone() });
        let named = Some((provider.clone() as Arc<dyn IdentityProvider>, vec!["corp".into()]));
        let callers = Arc::new(CallerAuthenticator::new(&callers(), named, clock.clone()).unwrap());
        let bans = Arc::new(FaultyBans::new().await);
        let relay = Relay::with_bans(bans.clone(), Some(bans.clone()), log.clone(), clock.clone());
        let keeping = options.bans.then(|| BanKeeping {
            store: bans.clone(),
            relay: relay.clone(),
            times: BanTimes {
                clock_skew: SKEW,
                longest_life: LIFE,
            },
        });
        let revoker = Arc::new(Revoker::new(log.clone(), keeping, clock.clone()));
        let board = Arc::new(InProcessBoard::new());
        let revocations = Revocations::new(RevocationsParts {
            revoker: revoker.clone(),
            feed: follower.clone(),
            board: board.clone(),
            callers: callers.clone(),
            clock: clock.clone(),
            limits: options.limits,
        });

        let secrets = Secrets::new(
            "a secret of thirty-two bytes, or more".to_owned().into(),
            Vec::new(),
        )
        .unwrap();
        let freshness = follower.clone() as Arc<dyn Freshness>;
        let digests = secrets.key_digests("lookups").unwrap();
        let lookups = LookupSettings::default();
        let tiers = LookupTiers::new(&lookups, None, digests, freshness.clone(), clock.clone()).unwrap();
        let source = BanSource::new(bans.clone(), clock.clone());
        let cached = tiers.cached(source, &SourceCacheSettings::default()).unwrap();
        let policy = json!({
            "version": 1,
            "account": "APP",
            "rules": [{
                "name": "members",
                "for_each": {"membership": {"kind": "project", "role": "member"}},
                "publish": {"allow": ["projects.{membership.id}.>"]},
            }],
        });
        let pipeline = Pipeline {
            identities: provider,
            memberships: Arc::new(MergedMemberships::new(
                vec![Arc::new(InApollo)],
                HashMap::new(),
                clock.clone(),
            )),
            policy: Policy::compile(&serde_json::from_value(policy).unwrap()).unwrap(),
            credentials: CredentialSource::DEFAULT.to_vec(),
            max_token_bytes: 16_384,
            freshness,
            bans: Some(Arc::new(cached)),
            sealing: Arc::new(secrets.sealer("recheck basis").unwrap()),
            degraded_grant_life: Duration::from_secs(60),
            clock: clock.clone(),
        };
        let limits = DeciderLimits {
            max_in_flight: 64,
            max_decision_time: Duration::from_secs(20),
        };
        let services = Services {
            decider: Decider::new(Arc::new(pipeline), limits, callers),
            memberships: None,
            sessions: Some(Sessions::new(revocations.clone())),
            revocations: Some(revocations.clone()),
        };
        let listener = Listener::bind("decision", "127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let (address, stop) = (listener.address(), CancellationToken::new());
        let server = Server::new(services, None, positions);
        let serving = server.run(listener, stop.clone());
        let stopped = tokio::spawn(async move { serving.await.unwrap() });
        Self {
            log,
            board,
            bans,
            relay,
            revoker,
            revocations,
            clock,
            address,
            stop,
            stopped: Some(stopped),
        }
    }

    async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub(crate) async fn revoking(&self, name: &'static str) -> RevocationServiceClient<Caller> {
        RevocationServiceClient::with_interceptor(self.channel().await, As(name))
    }

    pub(crate) async fn sessions(&self, name: &'static str) -> SessionServiceClient<Caller> {
        SessionServiceClient::with_interceptor(self.channel().await, As(name))
    }

    pub(crate) async fn deciding(&self) -> DecisionServiceClient<Caller> {
        DecisionServiceClient::with_interceptor(self.channel().await, As("shim"))
    }

    /// All that was appended.
    pub(crate) fn entries(&self) -> Vec<LogEntry> {
        let position = self.log.follower.position();
        let beginning = Revision {
            sequence: 0,
            ..position.revision().unwrap()
        };
        self.log.follower.after(&beginning, 1000).unwrap()
    }

    pub(crate) async fn ban(&self) -> Ban {
        let bans = self.bans.bans().await;
        assert_eq!(bans.len(), 1, "{bans:?}");
        bans.into_iter().next().unwrap()
    }

    /// A shim says that it is there.
    pub(crate) async fn shim_is_there(&self, shim: &str, cluster: &str) {
        let now: SystemTime = self.clock.now();
        let presence = ShimPresence {
            shim: shim.into(),
            cluster: cluster.into(),
            started_at: now,
            seen_at: now,
            applied: self.log.follower.position().revision(),
            confirmed: true,
            sessions: 3,
            pending: 0,
            unreachable: Vec::new(),
        };
        self.board.present(&presence, soon()).await.unwrap();
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

/// What a client sends with this token.
pub(crate) fn with_token(token: &str) -> v1::ConnectOptions {
    let mut options = v1::ConnectOptions::default();
    options.auth_token.push_str(token);
    options
}

/// Alice, as a message.
pub(crate) fn alice() -> v1::selector::Selector {
    v1::selector::Selector::Principal(v1::Principal {
        issuer: ISSUER.into(),
        subject: "alice".into(),
    })
}

/// Alice, as she stands in the log.
pub(crate) fn selector_of_alice() -> Selector {
    Selector::Principal {
        principal: Principal::new(ISSUER, "alice"),
    }
}

/// A request to revoke.
pub(crate) fn revoke(key: &str, selector: v1::selector::Selector) -> v1::RevokeRequest {
    v1::RevokeRequest {
        idempotency_key: key.into(),
        selector: Some(v1::Selector {
            selector: Some(selector),
        }),
        reason: "a test".into(),
        ..Default::default()
    }
}

/// A request to revoke and ban, tokens of before.
pub(crate) fn ban(key: &str, selector: v1::selector::Selector) -> v1::RevokeRequest {
    v1::RevokeRequest {
        ban: Some(v1::BanRequest {
            scope: Some(v1::ban_request::Scope::TokensIssuedUntilNow(true)),
        }),
        ..revoke(key, selector)
    }
}
