//! An API that notes what it is asked and answers what it is told to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures::stream::BoxStream;
use natsgate_proto::v1;
use natsgate_proto::v1::revocation_service_server::{RevocationService, RevocationServiceServer};
use natsgate_proto::v1::selector::Selector;
use natsgate_proto::v1::session_service_server::{SessionService, SessionServiceServer};
use natsgate_proto::v1::watch_sessions_response::Event;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::harness::install_crypto;

/// The only token it takes.
pub const TOKEN: &str = "a-token-that-nobody-may-see";

type Watched = Vec<Result<v1::WatchRevocationsResponse, Status>>;

#[derive(Default)]
struct State {
    revokes: Vec<v1::RevokeRequest>,
    answers: VecDeque<Result<v1::RevokeResponse, Status>>,
    lifts: Vec<v1::LiftBanRequest>,
    watched_after: Vec<String>,
    watches: VecDeque<Watched>,
    filters: Vec<v1::SessionFilter>,
    session_watches: usize,
}

/// A running API. Dropping it ends it.
pub struct Fake {
    state: Arc<Mutex<State>>,
    url: String,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub async fn start() -> Self {
        Self::serve("http://127.0.0.1", Server::builder()).await
    }

    /// With TLS, for clients with a certificate; and a folder with `ca.pem`, `client.pem` and `client.key`.
    pub async fn start_tls() -> (Self, TempDir) {
        install_crypto();
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let ca = rcgen::Issuer::new(ca, ca_key);
        let issue = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
            (params.signed_by(&key, &ca).unwrap().pem(), key.serialize_pem())
        };
        let (server, client) = (issue("localhost"), issue("client"));
        let folder = tempfile::tempdir().unwrap();
        for (name, pem) in [
            ("ca.pem", &ca_pem),
            ("client.pem", &client.0),
            ("client.key", &client.1),
        ] {
            std::fs::write(folder.path().join(name), pem).unwrap();
        }
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(server.0, server.1))
            .client_ca_root(Certificate::from_pem(ca_pem));
        let builder = Server::builder().tls_config(tls).unwrap();
        (Self::serve("https://localhost", builder).await, folder)
    }

    async fn serve(host: &str, mut builder: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{host}:{}", listener.local_addr().unwrap().port());
        let state = Arc::new(Mutex::new(State::default()));
        let api = Api(state.clone());
        let router = builder
            .add_service(RevocationServiceServer::new(api.clone()))
            .add_service(SessionServiceServer::new(api));
        let task = tokio::spawn(async move {
            router
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self { state, url, task }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// What the next calls of Revoke are answered. Forgets what was asked.
    pub fn will_revoke(&self, answers: impl IntoIterator<Item = Result<v1::RevokeResponse, Status>>) {
        let mut state = self.state.lock().unwrap();
        state.answers = answers.into_iter().collect();
        state.revokes.clear();
    }

    pub fn will_watch(&self, watches: impl IntoIterator<Item = Watched>) {
        self.state.lock().unwrap().watches = watches.into_iter().collect();
    }

    pub fn revokes(&self) -> Vec<v1::RevokeRequest> {
        self.state.lock().unwrap().revokes.clone()
    }

    pub fn lifts(&self) -> Vec<v1::LiftBanRequest> {
        self.state.lock().unwrap().lifts.clone()
    }

    pub fn watched_after(&self) -> Vec<String> {
        self.state.lock().unwrap().watched_after.clone()
    }

    /// The filters that lists were asked for with. Forgets them.
    pub fn filters(&self) -> Vec<v1::SessionFilter> {
        std::mem::take(&mut self.state.lock().unwrap().filters)
    }
}

/// An answer of shims that have all done it.
pub fn complete() -> v1::RevokeResponse {
    v1::RevokeResponse {
        revision: "0.12".into(),
        repeated: false,
        confirmed: true,
        id: "e1".into(),
        clusters: vec![v1::ClusterResult {
            cluster: "eu-1".into(),
            closed: 2,
            complete: true,
            shims: vec![v1::ShimResult {
                shim: "one".into(),
                answered: true,
                closed: 2,
                took: Some(prost_types::Duration {
                    seconds: 0,
                    nanos: 4_000_000,
                }),
                ..Default::default()
            }],
        }],
        complete: true,
    }
}

/// An answer of which one cluster's is missing.
pub fn incomplete() -> v1::RevokeResponse {
    let mut answer = complete();
    answer.complete = false;
    answer.clusters.push(v1::ClusterResult {
        cluster: "us-1".into(),
        closed: 0,
        complete: false,
        shims: vec![
            v1::ShimResult {
                shim: "two".into(),
                ..Default::default()
            },
            v1::ShimResult {
                shim: "three".into(),
                answered: true,
                pending: 1,
                unreachable_servers: vec!["NLOST".into()],
                ..Default::default()
            },
        ],
    });
    answer
}

#[derive(Clone)]
struct Api(Arc<Mutex<State>>);

/// Who does not show the token is not heard.
fn known<T>(request: Request<T>) -> Result<T, Status> {
    let shown = request
        .metadata()
        .get("authorization")
        .map(|value| value.as_bytes().to_vec());
    if shown == Some(format!("Bearer {TOKEN}").into_bytes()) {
        Ok(request.into_inner())
    } else {
        Err(Status::unauthenticated("no credentials"))
    }
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn bans() -> [v1::Ban; 2] {
    let by = |selector: Selector| {
        Some(v1::Selector {
            selector: Some(selector),
        })
    };
    let alice = v1::Principal {
        issuer: "https://a".into(),
        subject: "alice".into(),
    };
    [
        v1::Ban {
            id: "b1".into(),
            selector: by(Selector::Principal(alice)),
            scope: Some(v1::ban::Scope::TokensIssuedUntil(at(10).unwrap())),
            reason: "left".into(),
            actor: "backend".into(),
            imposed_at: at(11),
            ..Default::default()
        },
        v1::Ban {
            id: "b2".into(),
            selector: by(Selector::Account("APP".into())),
            scope: Some(v1::ban::Scope::EveryoneUntil(at(20).unwrap())),
            actor: "backend".into(),
            imposed_at: at(11),
            lifted_at: at(15),
            lifted_by: "admin".into(),
            ..Default::default()
        },
    ]
}

#[tonic::async_trait]
impl RevocationService for Api {
    async fn revoke(
        &self,
        request: Request<v1::RevokeRequest>,
    ) -> Result<Response<v1::RevokeResponse>, Status> {
        let request = known(request)?;
        let mut state = self.0.lock().unwrap();
        state.revokes.push(request);
        let answer = state.answers.pop_front().expect("one more Revoke than expected");
        answer.map(Response::new)
    }

    async fn lift_ban(
        &self,
        request: Request<v1::LiftBanRequest>,
    ) -> Result<Response<v1::LiftBanResponse>, Status> {
        let request = known(request)?;
        let ban = bans().into_iter().find(|ban| ban.id == request.ban);
        self.0.lock().unwrap().lifts.push(request);
        let Some(ban) = ban else {
            let mut details = ErrorDetails::new();
            details.set_error_info("NO_SUCH_BAN", "natsgate", std::collections::HashMap::new());
            return Err(Status::with_error_details(Code::NotFound, "no such ban", details));
        };
        Ok(Response::new(v1::LiftBanResponse {
            revision: "0.13".into(),
            repeated: false,
            confirmed: true,
            ban: Some(ban),
        }))
    }

    async fn list_bans(
        &self,
        request: Request<v1::ListBansRequest>,
    ) -> Result<Response<v1::ListBansResponse>, Status> {
        let request = known(request)?;
        let [one, two] = bans();
        let (ban, next) = match request.page_token.as_str() {
            "" if request.all => (one, "2"),
            "" => (one, ""),
            _ => (two, ""),
        };
        Ok(Response::new(v1::ListBansResponse {
            bans: vec![ban],
            next_page_token: next.into(),
        }))
    }

    type WatchRevocationsStream = BoxStream<'static, Result<v1::WatchRevocationsResponse, Status>>;

    async fn watch_revocations(
        &self,
        request: Request<v1::WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        let request = known(request)?;
        let mut state = self.0.lock().unwrap();
        state.watched_after.push(request.after);
        let answers = state.watches.pop_front().expect("one more watch than expected");
        Ok(Response::new(Box::pin(futures::stream::iter(answers))))
    }
}

fn session(client_id: u64) -> v1::Session {
    v1::Session {
        cluster: "eu-1".into(),
        server_id: "NABC".into(),
        client_id,
        account: "APP".into(),
        principal: Some(v1::Principal {
            issuer: "https://a".into(),
            subject: "alice".into(),
        }),
        connected_at: at(10),
        client_host: "192.0.2.7".into(),
        client_name: "\u{1b}mine".into(),
        ..Default::default()
    }
}

#[tonic::async_trait]
impl SessionService for Api {
    async fn list_sessions(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        let request = known(request)?;
        self.0
            .lock()
            .unwrap()
            .filters
            .push(request.filter.unwrap_or_default());
        let (one, next) = match request.page_token.as_str() {
            "" => (1, "2"),
            _ => (2, ""),
        };
        Ok(Response::new(v1::ListSessionsResponse {
            sessions: vec![session(one)],
            next_page_token: next.into(),
            shims: vec![v1::ShimState {
                shim: "one".into(),
                cluster: "eu-1".into(),
                applied: "0.12".into(),
                sessions: 2,
                ..Default::default()
            }],
        }))
    }

    type WatchSessionsStream = BoxStream<'static, Result<v1::WatchSessionsResponse, Status>>;

    /// The first time something happens and then events are lost; the second time it is refused.
    async fn watch_sessions(
        &self,
        request: Request<v1::WatchSessionsRequest>,
    ) -> Result<Response<Self::WatchSessionsStream>, Status> {
        known(request)?;
        let mut state = self.0.lock().unwrap();
        state.session_watches += 1;
        if state.session_watches > 1 {
            return Err(Status::permission_denied("no more"));
        }
        let event = |event: Event| Ok(v1::WatchSessionsResponse { event: Some(event) });
        let gone = v1::SessionGone {
            cluster: "eu-1".into(),
            server_id: "NABC".into(),
            client_id: 1,
            reason: "Kicked".into(),
        };
        Ok(Response::new(Box::pin(futures::stream::iter([
            event(Event::Begun(v1::WatchBegun {})),
            event(Event::Gone(gone)),
            Err(Status::data_loss("events were lost")),
        ]))))
    }

    async fn kick_session(
        &self,
        _request: Request<v1::KickSessionRequest>,
    ) -> Result<Response<v1::KickSessionResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}
