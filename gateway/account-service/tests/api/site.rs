//! A writer with its API, and clusters of pretended servers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use natsgate_account_service::link::{ClusterLinks, LinkParts, LinkedCluster, Links};
use natsgate_account_service::{Accounts, AccountsLimits, AccountsParts, Cluster, Clusters, Keeper, Tending};
use natsgate_accounts::writer::{WriterParts, WriterSettings};
use natsgate_accounts::{ManagedAccount, OperatorSigner, RootSecret, ScopedKeys, Writer};
use natsgate_api::listener::Served;
use natsgate_api::{CallerAuthenticator, CallerSettings, Listener};
use natsgate_claims::{KeyPair, Role};
use natsgate_core::{
    AccountAtServer, AccountServers, AccountServersError, AccountSessions, Clock, CloseUntil, ClosedSessions,
    Credential, Deadline, Evidence, Failure, Identity, IdentityProvider, Principal, PushAnswer,
    ServerIdentity, SessionCounts, SystemClock,
};
use natsgate_proto::v1;
use natsgate_proto::v1::account_service_client::AccountServiceClient;
use natsgate_proto::v1::cluster_link_service_client::ClusterLinkServiceClient;
use natsgate_proto::v1::cluster_link_service_server::ClusterLinkServiceServer;
use natsgate_store::FileAccountStore;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::service::{Interceptor, RoutesBuilder};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt;

pub const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster of one server, as it pretends to be.
pub struct Pretended {
    name: String,
    pub state: Mutex<State>,
}

#[derive(Default)]
pub struct State {
    pub kept: Option<String>,
    pub in_force: Option<String>,
    pub away: bool,
    pub sessions: BTreeMap<String, u64>,
    pub pushes: usize,
}

impl Pretended {
    pub fn new(name: &str, jwt: Option<&str>) -> Arc<Self> {
        let state = State {
            kept: jwt.map(str::to_owned),
            in_force: jwt.map(str::to_owned),
            ..State::default()
        };
        Arc::new(Self {
            name: name.to_owned(),
            state: Mutex::new(state),
        })
    }

    fn there<T>(&self, read: impl FnOnce(&mut State) -> T) -> Result<T, AccountServersError> {
        let mut state = self.state.lock().unwrap();
        if state.away {
            return Err(AccountServersError {
                doing: "asking".to_owned(),
                cause: "the cluster is away".to_owned(),
            });
        }
        Ok(read(&mut state))
    }

    fn id(&self) -> String {
        format!("ID-{}", self.name)
    }
}

#[async_trait]
impl AccountServers for Pretended {
    async fn roster(&self, _: Deadline) -> Result<Vec<ServerIdentity>, AccountServersError> {
        self.there(|_| {
            vec![ServerIdentity {
                id: self.id(),
                name: format!("{}-1", self.name),
                version: "2.14.6".to_owned(),
            }]
        })
    }

    async fn look_up(&self, _: &str, _: Deadline) -> Result<Vec<String>, AccountServersError> {
        self.there(|state| state.kept.iter().cloned().collect())
    }

    async fn in_force(&self, _: &str, _: &str, _: Deadline) -> Result<AccountAtServer, AccountServersError> {
        self.there(|state| match &state.in_force {
            Some(jwt) => AccountAtServer::InForce(jwt.clone()),
            None => AccountAtServer::NotLoaded,
        })
    }

    async fn push(&self, jwt: &str, _: usize, _: Deadline) -> Result<Vec<PushAnswer>, AccountServersError> {
        self.there(|state| {
            state.pushes += 1;
            state.kept = Some(jwt.to_owned());
            state.in_force = state.in_force.as_ref().map(|_| jwt.to_owned());
            vec![PushAnswer {
                server_id: self.id(),
                taken: Ok(()),
            }]
        })
    }
}

#[async_trait]
impl AccountSessions for Pretended {
    async fn count(&self, _: &str, _: Deadline) -> Result<SessionCounts, AccountServersError> {
        self.there(|state| SessionCounts {
            by_issuer: state.sessions.clone(),
            max_payload: Some(1 << 20),
        })
    }

    async fn close(
        &self,
        _: &str,
        issuers: &BTreeSet<String>,
        _: CloseUntil,
        _: Deadline,
    ) -> Result<ClosedSessions, AccountServersError> {
        self.there(|state| {
            let closed = issuers.iter().filter_map(|key| state.sessions.remove(key)).sum();
            ClosedSessions { closed, left: 0 }
        })
    }
}

/// Tokens are what they say: `NAME`, with all scopes.
struct Plain;

#[async_trait]
impl IdentityProvider for Plain {
    async fn identify(&self, credential: &Credential, _: Deadline) -> Result<Identity, Failure> {
        let Credential::Token(token) = credential else {
            unreachable!()
        };
        let claims = json!({
            "client_id": token.expose_secret(),
            "scope": "natsgate.accounts.read natsgate.accounts.write natsgate.accounts.link",
        });
        Ok(Identity {
            principal: Principal::new("https://idp.example", token.expose_secret()),
            provider: "corp".into(),
            claims: claims.as_object().unwrap().clone(),
            issued_at: Some(SystemClock.now()),
            expires_at: SystemClock.now() + Duration::from_secs(3600),
            evidence: Evidence::SignedToken { key_id: None },
        })
    }
}

fn callers() -> Vec<CallerSettings> {
    let caller = |name: &str, scopes: &[&str], more: serde_json::Value| {
        let mut one = json!({"name": name, "token": {"client_id": name}, "scopes": scopes});
        one.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        one
    };
    let both = ["natsgate.accounts.read", "natsgate.accounts.write"];
    serde_json::from_value(json!([
        caller("ops", &both, json!({"accounts": ["*"]})),
        caller("night", &both, json!({"accounts": ["*"]})),
        caller(
            "viewer",
            &["natsgate.accounts.read"],
            json!({"accounts": ["APP"]})
        ),
        caller("other", &both, json!({"accounts": ["OTHER"]})),
        caller(
            "shim",
            &["natsgate.accounts.link"],
            json!({"clusters": ["eu", "us", "mars"]})
        ),
        caller(
            "eu-shim",
            &["natsgate.accounts.link"],
            json!({"clusters": ["eu"]})
        ),
    ]))
    .unwrap()
}

/// Sends who calls along.
#[derive(Clone)]
pub struct As(&'static str);

impl Interceptor for As {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if !self.0.is_empty() {
            let value: MetadataValue<_> = format!("Bearer {}", self.0).parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

pub type Caller = InterceptedService<Channel, As>;

/// The writer of the account APP, on the clusters `eu` and `us`.
pub struct Site {
    pub keys: Arc<ScopedKeys>,
    pub links: Arc<Links>,
    pub store: Arc<FileAccountStore>,
    address: SocketAddr,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

/// Something that signs APP, and APP as it was before natsgate.
pub struct Beginning {
    pub operator: KeyPair,
    pub keys: Arc<ScopedKeys>,
    pub jwt: String,
}

impl Beginning {
    pub async fn new() -> Self {
        let account = KeyPair::generate(Role::Account).unwrap();
        let secret = RootSecret::new(SecretString::from("only for these tests, 32 bytes at least")).unwrap();
        let keys = Arc::new(ScopedKeys::new(account.public_key(), secret, vec![]).unwrap());
        let operator = KeyPair::generate(Role::Operator).unwrap();
        let signer = OperatorSigner::from_seed(&operator.seed().unwrap()).unwrap();
        let account = ManagedAccount::create("APP", Arc::clone(&keys));
        let jwt = signer
            .sign(account.claims(), SystemClock.unix_seconds() - 60)
            .await
            .unwrap();
        Self { operator, keys, jwt }
    }
}

impl Site {
    /// With these clusters.
    pub async fn of(beginning: &Beginning, clusters: Vec<Arc<Pretended>>) -> Self {
        let clusters = clusters.into_iter().map(|one| Cluster {
            name: one.name.clone(),
            servers: one.clone(),
            sessions: one,
        });
        Self::start(beginning, Arc::new(Links::default()), clusters.collect()).await
    }

    /// With clusters that shims lend.
    pub async fn linked(beginning: &Beginning, names: &[&str]) -> Self {
        let links = Arc::new(Links::new(names.iter().map(|name| (*name).to_owned())));
        let clusters = names.iter().map(|name| LinkedCluster::cluster(&links, name));
        let clusters = clusters.collect();
        Self::start(beginning, links, clusters).await
    }

    async fn start(beginning: &Beginning, links: Arc<Links>, clusters: Vec<Cluster>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = FileAccountStore::open(folder.path().join("accounts.redb"))
            .await
            .unwrap();
        let store = Arc::new(store);
        let clusters = Arc::new(Clusters::new(clusters.into()));
        let writer = Writer::new(
            WriterParts {
                servers: clusters.clone(),
                store: store.clone(),
                clock: Arc::new(SystemClock),
                keys: Arc::clone(&beginning.keys),
                signer: OperatorSigner::from_seed(&beginning.operator.seed().unwrap()).unwrap(),
                operators: Vec::new(),
            },
            WriterSettings {
                give_back: Some(PATIENCE),
                ..WriterSettings::new("test")
            },
        );
        let keeper = Arc::new(Keeper::new("APP".to_owned(), writer, clusters));
        let provider = Arc::new(Plain) as Arc<dyn IdentityProvider>;
        let clock = Arc::new(SystemClock);
        let named = Some((provider, vec!["corp".to_owned()]));
        let callers = Arc::new(CallerAuthenticator::new(&callers(), named, clock.clone()).unwrap());
        let stop = CancellationToken::new();
        let accounts = Accounts::new(AccountsParts {
            keepers: vec![Arc::clone(&keeper)],
            callers: Arc::clone(&callers),
            clock: clock.clone(),
            limits: AccountsLimits::default(),
        });
        let link = ClusterLinks::new(LinkParts {
            links: Arc::clone(&links),
            callers,
            clock,
            stop: stop.clone(),
        });
        let mut routes = RoutesBuilder::default();
        routes.add_service(accounts.server());
        routes.add_service(ClusterLinkServiceServer::new(link));
        let listener = Listener::bind("accounts", "127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let address = listener.address();
        let served = Served {
            name: "the account writer",
            routes,
            longest_call: PATIENCE,
            tls: None,
        };
        let stopping = stop.clone();
        let report = |_| async move { stopping.cancelled().await };
        tokio::spawn(listener.serve(served, report, stop.clone()));
        tokio::spawn(Tending::new(vec![keeper], links.attached()).run(stop.clone()));
        Self {
            keys: Arc::clone(&beginning.keys),
            links,
            store,
            address,
            stop,
            _folder: folder,
        }
    }

    fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address))
            .unwrap()
            .connect_lazy()
    }

    pub fn api(&self, caller: &'static str) -> AccountServiceClient<Caller> {
        AccountServiceClient::with_interceptor(self.channel(), As(caller))
    }

    pub fn link(&self, caller: &'static str) -> ClusterLinkServiceClient<Caller> {
        ClusterLinkServiceClient::with_interceptor(self.channel(), As(caller))
    }

    /// The public key of the generation of the template `member`.
    pub fn key(&self, generation: u32) -> String {
        let generation = natsgate_accounts::Generation::new(generation).unwrap();
        let key = self.keys.derive(&"member".parse().unwrap(), generation);
        key.unwrap().public_key().to_owned()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The template `member`, which lets publish to `subjects`.
pub fn member(subjects: &[&str]) -> v1::Template {
    v1::Template {
        name: "member".to_owned(),
        permissions: Some(v1::Permissions {
            publish_allow: subjects.iter().map(|one| (*one).to_owned()).collect(),
            ..v1::Permissions::default()
        }),
        limits: None,
    }
}

/// A request to put it.
pub fn put(key: &str, subjects: &[&str]) -> v1::PutTemplateRequest {
    v1::PutTemplateRequest {
        account: "APP".to_owned(),
        idempotency_key: key.to_owned(),
        template: Some(member(subjects)),
        reason: "a test".to_owned(),
    }
}

/// The reason in the details of `status`.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

/// The fields that it names.
pub fn fields(status: &Status) -> Vec<String> {
    let bad = status.get_details_bad_request().unwrap();
    bad.field_violations.into_iter().map(|one| one.field).collect()
}
