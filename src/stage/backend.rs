//! The stage's backend: whoever knows who belongs to what, and calls the gRPC API as it changes.

use std::time::Duration;

use anyhow::{Context, bail};
use natsgate_devkit::{DevProvider, TokenSpec};
use natsgate_proto::v1;
use natsgate_proto::v1::membership_service_client::MembershipServiceClient;
use natsgate_proto::v1::revocation_service_client::RevocationServiceClient;
use secrecy::ExposeSecret;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use crate::client::Failed;

/// Its name at the provider, and among the callers of the API.
pub const NAME: &str = "backend";

/// What its tokens are for.
pub const AUDIENCE: &str = "natsgate-api";

/// What it may do, all of which its tokens say.
pub const SCOPES: &str =
    "natsgate.memberships.read natsgate.memberships.write natsgate.revoke natsgate.sessions.read";

/// How long the API may take for a call.
const CALL_TIME: Duration = Duration::from_secs(8);

/// How often a call is made that is to be made again, and the pause between.
const ATTEMPTS: usize = 30;
const PAUSE: Duration = Duration::from_millis(100);

/// A backend that may call the API.
pub struct Backend<'a> {
    provider: &'a DevProvider,
    channel: Channel,
}

impl<'a> Backend<'a> {
    /// One that calls the API at `url`, as `provider` vouches for it.
    ///
    /// # Errors
    /// A URL that is none.
    pub fn new(provider: &'a DevProvider, url: &str) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned()).with_context(|| format!("the API at {url}"))?;
        Ok(Self {
            provider,
            channel: endpoint.connect_lazy(),
        })
    }

    /// Gives `subject` memberships of these projects.
    ///
    /// # Errors
    /// What was refused or failed.
    pub async fn put(&self, subject: &str, projects: &[&str]) -> anyhow::Result<()> {
        let request = v1::PutMembershipsRequest {
            idempotency_key: format!("give {subject} {}", projects.join(" ")),
            reason: "joined".into(),
            items: self.items(subject, projects),
        };
        // Of a token as old as the revocation log nobody knows whether it was revoked before: a moment later there is a newer one.
        for _attempt in 0..ATTEMPTS {
            let mut service = MembershipServiceClient::new(self.channel.clone());
            match service.put_memberships(self.call(request.clone())?).await {
                Ok(_) => return Ok(()),
                Err(status) if status.code() == Code::Unavailable => tokio::time::sleep(PAUSE).await,
                Err(status) => return Err(Failed::new("pushing memberships", status).into()),
            }
        }
        bail!("pushing memberships: the API stays unavailable")
    }

    /// Takes from `subject` the membership of `project`.
    ///
    /// # Errors
    /// What was refused or failed.
    pub async fn delete(
        &self,
        subject: &str,
        project: &str,
    ) -> anyhow::Result<v1::DeleteMembershipsResponse> {
        let request = v1::DeleteMembershipsRequest {
            idempotency_key: format!("take {subject} {project}"),
            reason: "left".into(),
            items: self.items(subject, &[project]),
        };
        let answer = MembershipServiceClient::new(self.channel.clone())
            .delete_memberships(self.call(request)?)
            .await
            .map_err(|status| Failed::new("taking a membership", status))?;
        Ok(answer.into_inner())
    }

    /// Revokes `subject`, and waits for the shims.
    ///
    /// # Errors
    /// What was refused or failed.
    pub async fn revoke(&self, subject: &str, wait: Duration) -> anyhow::Result<v1::RevokeResponse> {
        let request = v1::RevokeRequest {
            idempotency_key: format!("revoke {subject}"),
            selector: Some(v1::Selector {
                selector: Some(v1::selector::Selector::Principal(self.principal(subject))),
            }),
            reason: "left the company".into(),
            wait: Some(wait.try_into()?),
            ..Default::default()
        };
        let answer = RevocationServiceClient::new(self.channel.clone())
            .revoke(self.call(request)?)
            .await
            .map_err(|status| Failed::new("revoking", status))?;
        Ok(answer.into_inner())
    }

    fn items(&self, subject: &str, projects: &[&str]) -> Vec<v1::MembershipItem> {
        let item = |project: &&str| v1::MembershipItem {
            principal: Some(self.principal(subject)),
            membership: Some(v1::Membership {
                kind: "project".into(),
                id: (*project).to_owned(),
                role: "member".into(),
            }),
            expected_version: None,
        };
        projects.iter().map(item).collect()
    }

    fn principal(&self, subject: &str) -> v1::Principal {
        v1::Principal {
            issuer: self.provider.issuer().to_owned(),
            subject: subject.to_owned(),
        }
    }

    fn call<T>(&self, message: T) -> anyhow::Result<Request<T>> {
        let spec = TokenSpec::new(NAME).audience(AUDIENCE).claim("scope", SCOPES);
        let token = self.provider.issue(spec)?;
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.expose_secret())
            .parse()
            .context("writing the backend's token into a call")?;
        value.set_sensitive(true);
        let mut request = Request::new(message);
        request.set_timeout(CALL_TIME);
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}
