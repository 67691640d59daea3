//! What closing a connection over gRPC and Redis costs at the least: a service that publishes what it is told, and a
//! subscriber that kicks what it hears.
//!
//! Nobody is asked who they are, nothing is written down, nothing is looked up: the connection is named by whoever calls.
//! What this costs, every gateway costs that is told by gRPC and tells by Redis.

use std::path::PathBuf;

use async_nats::ConnectOptions;
use futures::StreamExt;
use natsgate_proto::v1;
use natsgate_proto::v1::revocation_service_server::{RevocationService, RevocationServiceServer};
use natsgate_proto::v1::selector::Selector;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// The channel.
const CHANNEL: &str = "bare:revoked";

/// What both are told, as a JSON file.
#[derive(Serialize, Deserialize)]
pub struct Told {
    /// Redis' URL.
    pub redis: String,
    /// The nats-server's URL.
    pub nats: String,
    /// A user of the system account.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The port on 127.0.0.1 where the service listens.
    pub port: u16,
    /// Its certificate, a PEM file.
    pub certificate: PathBuf,
    /// The certificate's key, a PEM file.
    pub key: PathBuf,
}

fn redis(told: &Told) -> Client {
    let info = told.redis.as_str().into_connection_info().unwrap();
    Client::open(info.set_tcp_settings(TcpSettings::default().set_nodelay(true))).unwrap()
}

/// Publishes what it is told, for ever. Calls `ready` once it listens.
pub async fn serve(told: Told, ready: impl FnOnce()) {
    let redis = redis(&told).get_multiplexed_async_connection().await.unwrap();
    let identity = Identity::from_pem(
        std::fs::read(&told.certificate).unwrap(),
        std::fs::read(&told.key).unwrap(),
    );
    let listener = TcpListener::bind(("127.0.0.1", told.port)).await.unwrap();
    ready();
    Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity))
        .unwrap()
        .tcp_nodelay(true)
        .add_service(RevocationServiceServer::new(Publishes(redis)))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await
        .unwrap();
}

/// Kicks what it hears, for ever. Calls `ready` once it hears.
pub async fn kick(told: Told, ready: impl FnOnce()) {
    let nats = ConnectOptions::with_user_and_password(told.user.clone(), told.password.clone())
        .connect(told.nats.as_str())
        .await
        .unwrap();
    let mut heard = redis(&told).get_async_pubsub().await.unwrap();
    heard.subscribe(CHANNEL).await.unwrap();
    let mut heard = heard.into_on_message();
    ready();
    while let Some(message) = heard.next().await {
        let text: String = message.get_payload().unwrap();
        let (server, client) = text.split_once(' ').unwrap();
        let nats = nats.clone();
        let (subject, body) = (
            format!("$SYS.REQ.SERVER.{server}.KICK"),
            format!("{{\"cid\":{client}}}"),
        );
        tokio::spawn(async move { nats.request(subject, body.into()).await.unwrap() });
    }
}

struct Publishes(MultiplexedConnection);

#[tonic::async_trait]
impl RevocationService for Publishes {
    type WatchRevocationsStream = tokio_stream::Empty<Result<v1::WatchRevocationsResponse, Status>>;

    async fn revoke(
        &self,
        request: Request<v1::RevokeRequest>,
    ) -> Result<Response<v1::RevokeResponse>, Status> {
        let selector = request.into_inner().selector.and_then(|by| by.selector);
        let Some(Selector::Session(session)) = selector else {
            return Err(Status::invalid_argument("a session"));
        };
        let text = format!("{} {}", session.server_id, session.client_id);
        let () = redis::cmd("PUBLISH")
            .arg(CHANNEL)
            .arg(text)
            .query_async(&mut self.0.clone())
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(v1::RevokeResponse::default()))
    }

    async fn lift_ban(
        &self,
        _request: Request<v1::LiftBanRequest>,
    ) -> Result<Response<v1::LiftBanResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_bans(
        &self,
        _request: Request<v1::ListBansRequest>,
    ) -> Result<Response<v1::ListBansResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn watch_revocations(
        &self,
        _request: Request<v1::WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        Err(Status::unimplemented(""))
    }
}
