//! The gRPC API as a backend calls it: over TLS, with an access token, at one decision service or another.

use std::sync::Arc;
use std::time::Duration;

use natsgate_devkit::{DevProvider, TokenSpec};
use natsgate_proto::v1;
use natsgate_proto::v1::membership_service_client::MembershipServiceClient;
use natsgate_proto::v1::revocation_service_client::RevocationServiceClient;
use natsgate_proto::v1::session_service_client::SessionServiceClient;
use secrecy::ExposeSecret;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

/// The audience of tokens for the API.
pub(crate) const AUDIENCE: &str = "natsgate-api";

/// Whose tokens they are.
pub(crate) const BACKEND: &str = "backend";

/// All that the backend may do.
pub(crate) const SCOPES: [&str; 4] = [
    "natsgate.revoke",
    "natsgate.memberships.read",
    "natsgate.memberships.write",
    "natsgate.sessions.read",
];

/// Calls the API.
#[derive(Clone)]
pub struct Api {
    channels: Vec<Channel>,
    provider: Arc<DevProvider>,
}

impl Api {
    /// At decision services on these ports, with certificates of this authority.
    pub(crate) fn at(ports: &[u16], authority_pem: &str, provider: &Arc<DevProvider>) -> Self {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(authority_pem))
            .domain_name("localhost");
        let channels = ports
            .iter()
            .map(|port| {
                Endpoint::from_shared(format!("https://127.0.0.1:{port}"))
                    .unwrap()
                    .tls_config(tls.clone())
                    .unwrap()
                    .tcp_nodelay(true)
                    .connect_timeout(Duration::from_secs(2))
                    .connect_lazy()
            })
            .collect();
        Self {
            channels,
            provider: Arc::clone(provider),
        }
    }

    /// The issuer of everybody's tokens.
    pub fn issuer(&self) -> &str {
        self.provider.issuer()
    }

    /// A fresh token, as it stands in `authorization`.
    pub fn token(&self) -> MetadataValue<Ascii> {
        let spec = TokenSpec::new(BACKEND)
            .audience(AUDIENCE)
            .claim("scope", SCOPES.join(" "));
        let token = self.provider.issue(spec).unwrap();
        format!("Bearer {}", token.expose_secret()).parse().unwrap()
    }

    /// The decision service of index `at`, modulo how many there are.
    pub fn channel(&self, at: usize) -> Channel {
        self.channels[at % self.channels.len()].clone()
    }

    /// Its revocations.
    pub fn revocations(&self, at: usize) -> RevocationServiceClient<Channel> {
        RevocationServiceClient::new(self.channel(at))
    }

    /// A call of `message`, with a fresh token, that gives up after `patience`.
    pub fn call<T>(&self, message: T, patience: Duration) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.token());
        request.set_timeout(patience);
        request
    }

    /// Revokes, at the decision service of index `at`.
    ///
    /// # Errors
    /// The service's.
    pub async fn revoke(
        &self,
        at: usize,
        request: v1::RevokeRequest,
        patience: Duration,
    ) -> Result<v1::RevokeResponse, Status> {
        let call = self.call(request, patience);
        Ok(self.revocations(at).revoke(call).await?.into_inner())
    }

    /// Gives memberships.
    ///
    /// # Errors
    /// The service's.
    pub async fn put(
        &self,
        at: usize,
        key: &str,
        items: Vec<v1::MembershipItem>,
        patience: Duration,
    ) -> Result<v1::PutMembershipsResponse, Status> {
        let request = v1::PutMembershipsRequest {
            idempotency_key: key.to_owned(),
            reason: "a test".to_owned(),
            items,
        };
        let mut client = MembershipServiceClient::new(self.channel(at));
        let called = client.put_memberships(self.call(request, patience)).await?;
        Ok(called.into_inner())
    }

    /// Takes memberships.
    ///
    /// # Errors
    /// The service's.
    pub async fn delete(
        &self,
        at: usize,
        key: &str,
        items: Vec<v1::MembershipItem>,
        patience: Duration,
    ) -> Result<v1::DeleteMembershipsResponse, Status> {
        let request = v1::DeleteMembershipsRequest {
            idempotency_key: key.to_owned(),
            reason: "a test".to_owned(),
            items,
        };
        let mut client = MembershipServiceClient::new(self.channel(at));
        let called = client.delete_memberships(self.call(request, patience)).await?;
        Ok(called.into_inner())
    }

    /// All sessions, and the shims that tell of them.
    ///
    /// # Errors
    /// The service's.
    pub async fn sessions(&self, at: usize) -> Result<(Vec<v1::Session>, Vec<v1::ShimState>), Status> {
        let mut client = SessionServiceClient::new(self.channel(at));
        let (mut sessions, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = v1::ListSessionsRequest {
                page_size: 1000,
                page_token,
                ..Default::default()
            };
            let page = client
                .list_sessions(self.call(request, Duration::from_secs(10)))
                .await?
                .into_inner();
            sessions.extend(page.sessions);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok((sessions, page.shims));
            }
        }
    }

    /// A member of a project, for [`Self::put`] and [`Self::delete`].
    pub fn item(&self, subject: &str, kind: &str, id: &str) -> v1::MembershipItem {
        v1::MembershipItem {
            principal: Some(self.principal(subject)),
            membership: Some(v1::Membership {
                kind: kind.to_owned(),
                id: id.to_owned(),
                role: "member".to_owned(),
            }),
            expected_version: None,
        }
    }

    /// Somebody by name.
    pub fn principal(&self, subject: &str) -> v1::Principal {
        v1::Principal {
            issuer: self.issuer().to_owned(),
            subject: subject.to_owned(),
        }
    }
}

/// What is revoked.
pub mod selector {
    use natsgate_proto::v1;
    use natsgate_proto::v1::selector::Selector as By;

    fn by(selector: By) -> v1::Selector {
        v1::Selector {
            selector: Some(selector),
        }
    }

    /// One principal.
    pub fn principal(principal: v1::Principal) -> v1::Selector {
        by(By::Principal(principal))
    }

    /// One principal's memberships in one project.
    pub fn membership(principal: v1::Principal, kind: &str, id: &str) -> v1::Selector {
        by(By::Membership(v1::MembershipSelector {
            principal: Some(principal),
            kind: kind.to_owned(),
            id: id.to_owned(),
        }))
    }

    /// A whole project.
    pub fn resource(kind: &str, id: &str) -> v1::Selector {
        by(By::Resource(v1::ResourceSelector {
            kind: kind.to_owned(),
            id: id.to_owned(),
        }))
    }

    /// A role.
    pub fn role(kind: &str, role: &str) -> v1::Selector {
        by(By::Role(v1::RoleSelector {
            kind: kind.to_owned(),
            role: role.to_owned(),
        }))
    }

    /// A policy's rule.
    pub fn rule(name: &str) -> v1::Selector {
        by(By::Rule(name.to_owned()))
    }

    /// One connection.
    pub fn session(server_id: &str, client_id: u64) -> v1::Selector {
        by(By::Session(v1::SessionSelector {
            server_id: server_id.to_owned(),
            client_id,
        }))
    }

    /// A whole account.
    pub fn account(name: &str) -> v1::Selector {
        by(By::Account(name.to_owned()))
    }

    /// One token.
    pub fn token(issuer: &str, token_id: &str) -> v1::Selector {
        by(By::Token(v1::TokenSelector {
            issuer: issuer.to_owned(),
            token_id: token_id.to_owned(),
        }))
    }
}
