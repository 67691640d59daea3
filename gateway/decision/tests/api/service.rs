//! The service under test: TLS with an authority of its own, a provider, a file store, a log that does as it is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use natsgate_api::caller::{CallerAuthenticator, CallerSettings};
use natsgate_core::{
    Clock, Deadline, Freshness, IdentityProvider, Membership, MembershipStore, OtherGrants, OtherSources,
    Principal,
};
use natsgate_decision::memberships::{Memberships, MembershipsLimits, MembershipsParts, Relay};
use natsgate_devkit::{DevProvider, DevProviderOptions, MockClock, TokenSpec};
use natsgate_identity::{OidcProvider, OidcSettings};
use natsgate_proto::v1;
use natsgate_proto::v1::membership_service_client::MembershipServiceClient;
use natsgate_proto::v1::membership_service_server::MembershipServiceServer;
use natsgate_store::InProcessCache;
use natsgate_store::pushed::FileMembershipStore;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity, Server, ServerTlsConfig};
use tonic::{Request, Status};
use tonic_types::StatusExt;

use crate::log::TestLog;

pub(crate) type Client = MembershipServiceClient<Channel>;

/// The audience of the API's own tokens.
pub(crate) const AUDIENCE: &str = "natsgate";

pub(crate) struct Service {
    pub(crate) store: Arc<FileMembershipStore>,
    pub(crate) log: Arc<TestLog>,
    pub(crate) relay: Arc<Relay>,
    pub(crate) callers: Arc<CallerAuthenticator>,
    pub(crate) provider: DevProvider,
    pub(crate) clock: Arc<MockClock>,
    pub(crate) others: Arc<TestOthers>,
    authority: CertifiedIssuer<'static, KeyPair>,
    port: u16,
    stop: CancellationToken,
    _folder: TempDir,
}

/// Other sources, that grant what they are told to.
#[derive(Default)]
pub(crate) struct TestOthers(Mutex<Vec<(String, OtherGrants)>>);

impl TestOthers {
    /// From now on `grants` are said of resource `id`.
    pub(crate) fn say(&self, id: &str, granted_by: &[&str], not_checked: &[&str]) {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let grants = OtherGrants {
            granted_by: texts(granted_by),
            not_checked: texts(not_checked),
        };
        self.0.lock().unwrap().push((id.to_owned(), grants));
    }
}

#[async_trait]
impl OtherSources for TestOthers {
    async fn granting(&self, _who: &Principal, membership: &Membership, _deadline: Deadline) -> OtherGrants {
        let said = self.0.lock().unwrap();
        let found = said.iter().find(|(id, _)| *id == membership.id);
        found.map(|(_, grants)| grants.clone()).unwrap_or_default()
    }
}

/// What a service is started with.
pub(crate) struct Options {
    pub(crate) callers: Value,
    pub(crate) limits: MembershipsLimits,
    pub(crate) freshness: Option<Arc<dyn Freshness>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            callers: json!([crm(), bot()]),
            limits: MembershipsLimits::default(),
            freshness: None,
        }
    }
}

/// A backend that calls with a certificate, and may speak for much.
pub(crate) fn crm() -> Value {
    json!({
        "name": "crm",
        "certificate": {"san_uri": "spiffe://example.com/crm"},
        "scopes": ["natsgate.memberships.write", "natsgate.memberships.read"],
        "issuers": ["https://idp.example"],
        "kinds": ["project", "device"],
        "id_prefixes": ["*"],
        "roles": ["member", "owner"],
    })
}

/// A backend that calls with a token, and may speak for little.
pub(crate) fn bot() -> Value {
    json!({
        "name": "bot",
        "token": {"client_id": "bot"},
        "scopes": ["natsgate.memberships.write", "natsgate.memberships.read"],
        "issuers": ["https://idp.example"],
        "kinds": ["project"],
        "id_prefixes": ["eu-"],
        "roles": ["member"],
    })
}

/// A name in a client certificate.
#[derive(Clone, Copy)]
pub(crate) enum Name<'a> {
    Uri(&'a str),
    Dns(&'a str),
    Common(&'a str),
}

impl Service {
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub(crate) async fn start_with(options: Options) -> Self {
        // Another test of this process may have done so.
        let _done = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memberships.redb");
        let store = Arc::new(FileMembershipStore::open(path).await.unwrap());
        let clock = Arc::new(MockClock::from_now());
        let provider = DevProvider::start(DevProviderOptions {
            audience: AUDIENCE.into(),
            clock: clock.clone(),
            ..Default::default()
        })
        .await
        .unwrap();
        let settings = OidcSettings::new("corp", provider.issuer(), vec![AUDIENCE.into()]);
        let cache = Arc::new(InProcessCache::new(1 << 20, clock.clone()));
        let oidc = OidcProvider::new(settings, clock.clone(), cache).unwrap();
        let oidc: Arc<dyn IdentityProvider> = Arc::new(oidc);

        let callers: Vec<CallerSettings> = serde_json::from_value(options.callers).unwrap();
        let authenticator =
            CallerAuthenticator::new(&callers, Some((oidc, vec!["corp".into()])), clock.clone()).unwrap();
        let authenticator = match options.freshness {
            Some(freshness) => authenticator.with_freshness(freshness),
            None => authenticator,
        };
        let callers = Arc::new(authenticator);
        let log = Arc::new(TestLog::new());
        let others = Arc::new(TestOthers::default());
        let truth: Arc<dyn MembershipStore> = store.clone();
        let relay = Relay::new(truth.clone(), log.clone(), clock.clone());
        let service = Memberships::new(MembershipsParts {
            store: truth,
            relay: relay.clone(),
            callers: callers.clone(),
            others: Some(others.clone()),
            clock: clock.clone(),
            limits: options.limits,
        });

        let authority = authority();
        let (certificate, key) = signed(&authority, Name::Dns("localhost"));
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(certificate, key))
            .client_ca_root(Certificate::from_pem(authority.pem()))
            .client_auth_optional(true);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let serving = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(MembershipServiceServer::new(service))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.clone().cancelled_owned());
        tokio::spawn(serving);
        Self {
            store,
            log,
            relay,
            callers,
            provider,
            clock,
            others,
            authority,
            port,
            stop,
            _folder: folder,
        }
    }

    /// A client without a certificate.
    pub(crate) async fn stranger(&self) -> Client {
        self.connect(None, &self.authority).await.unwrap()
    }

    /// A client with a certificate of ours.
    pub(crate) async fn named(&self, name: Name<'_>) -> Client {
        self.connect(Some(name), &self.authority).await.unwrap()
    }

    /// The caller `crm`.
    pub(crate) async fn crm(&self) -> Client {
        self.named(Name::Uri("spiffe://example.com/crm")).await
    }

    /// A client with a certificate of another authority of the same name.
    pub(crate) async fn forger(&self, name: Name<'_>) -> Result<Client, tonic::transport::Error> {
        self.connect(Some(name), &authority()).await
    }

    async fn connect(
        &self,
        name: Option<Name<'_>>,
        signer: &CertifiedIssuer<'static, KeyPair>,
    ) -> Result<Client, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.authority.pem()))
            .domain_name("localhost");
        if let Some(name) = name {
            let (certificate, key) = signed(signer, name);
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let endpoint = Channel::from_shared(format!("https://127.0.0.1:{}", self.port))
            .unwrap()
            .timeout(Duration::from_secs(20));
        let channel = endpoint.tls_config(tls)?.connect().await?;
        Ok(MembershipServiceClient::new(channel))
    }

    /// A token of the client `bot`, changed as a test needs it.
    pub(crate) fn token(&self, change: impl FnOnce(TokenSpec) -> TokenSpec) -> SecretString {
        let honest = TokenSpec::new("service-account-bot")
            .claim("client_id", "bot")
            .claim("scope", "natsgate.memberships.write natsgate.memberships.read");
        self.provider.issue(change(honest)).unwrap()
    }

    /// What is announced and not known to be.
    pub(crate) async fn pending(&self) -> usize {
        self.store.pending(1000, soon()).await.unwrap().len()
    }

    pub(crate) async fn ids(&self, subject: &str) -> Vec<String> {
        let who = Principal::new("https://idp.example", subject);
        let found = self.store.of(&who, soon()).await.unwrap();
        found.into_iter().map(|membership| membership.id).collect()
    }

    pub(crate) fn now(&self) -> prost_types::Timestamp {
        let since = self.clock.now().duration_since(std::time::UNIX_EPOCH).unwrap();
        prost_types::Timestamp {
            seconds: since.as_secs() as i64,
            nanos: (since.subsec_micros() * 1000) as i32,
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "a test's authority");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate of `name` by `signer`, with its key, in PEM.
fn signed(signer: &CertifiedIssuer<'static, KeyPair>, name: Name<'_>) -> (String, String) {
    let mut params = CertificateParams::default();
    match name {
        Name::Uri(uri) => params
            .subject_alt_names
            .push(SanType::URI(uri.try_into().unwrap())),
        Name::Dns(dns) => params
            .subject_alt_names
            .push(SanType::DnsName(dns.try_into().unwrap())),
        Name::Common(_) => {}
    }
    if let Name::Common(name) = name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, signer).unwrap();
    (certificate.pem(), key.serialize_pem())
}

pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

/// `message`, with a token.
pub(crate) fn with_token<T>(message: T, token: &SecretString) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {}", token.expose_secret());
    request
        .metadata_mut()
        .insert("authorization", value.parse().unwrap());
    request
}

pub(crate) fn item(subject: &str, id: &str) -> v1::MembershipItem {
    v1::MembershipItem {
        principal: Some(v1::Principal {
            issuer: "https://idp.example".into(),
            subject: subject.into(),
        }),
        membership: Some(v1::Membership {
            kind: "project".into(),
            id: id.into(),
            role: "member".into(),
        }),
        expected_version: None,
    }
}

pub(crate) fn put(key: &str, items: Vec<v1::MembershipItem>) -> v1::PutMembershipsRequest {
    v1::PutMembershipsRequest {
        idempotency_key: key.into(),
        reason: "a test".into(),
        items,
    }
}

pub(crate) fn delete(key: &str, items: Vec<v1::MembershipItem>) -> v1::DeleteMembershipsRequest {
    v1::DeleteMembershipsRequest {
        idempotency_key: key.into(),
        reason: "a test".into(),
        items,
    }
}

/// The reason in an error's details.
pub(crate) fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("no details: {status:?}"));
    assert_eq!(info.domain, "natsgate");
    info.reason.clone()
}

/// The fields that an error's details name.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let request = details
        .bad_request()
        .unwrap_or_else(|| panic!("no fields: {status:?}"));
    request
        .field_violations
        .iter()
        .map(|one| one.field.clone())
        .collect()
}
