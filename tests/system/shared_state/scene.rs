//! A decision service with a Redis, and asking it.

use std::time::Duration;

use natsgate_core::{Clock, SystemClock};
use natsgate_devkit::{DevProvider, RedisServer, TokenSpec};
use natsgate_proto::v1;
use natsgate_proto::v1::authorize_response::Result as Answer;
use natsgate_proto::v1::decision_service_client::DecisionServiceClient;
use secrecy::{ExposeSecret, SecretString};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Folder, Gateway, PATIENCE, free_port};

pub const SERVICE: &str = "natsgate.v1.DecisionService";
pub const LOG: &str = "natsgate.RevocationLog";
pub const SECRET: &str = "no-secret-but-one-for-tests-0123456789";

/// The configuration of a decision service with Redis at `redis` and a source of memberships, without `listen`.
pub fn decision(issuer: &str, redis: &str, source: &str) -> String {
    format!(
        "store:\n  follow: {{ clock_skew: 1s }}\n  secret: {SECRET}\n  redis: {{ url: '{redis}' }}\ndecision:\n  policy_file: policy.yaml\n  providers:\n    - \
         name: test\n      issuer: {issuer}\n      audiences: [nats]\n      leeway: 1s\n  memberships:\n{source}"
    )
}

/// A running decision service.
pub struct Instance {
    pub gateway: Gateway,
    pub port: u16,
    channel: Channel,
    caller: Option<SecretString>,
}

impl Instance {
    /// Starts one and waits until it is ready.
    pub async fn start(config: &str) -> Self {
        Self::start_as(config, &[], None).await
    }

    /// With more files beside the configuration, and asked with the access token `caller`.
    pub async fn start_as(config: &str, files: &[(&str, String)], caller: Option<&SecretString>) -> Self {
        let instance = Self::begin(config, files, caller).await;
        until(
            async || instance.health(SERVICE).await == ServingStatus::Serving,
            "the decision service is ready",
        )
        .await;
        instance
    }

    /// Starts one that may not be ready yet.
    pub async fn begin(config: &str, files: &[(&str, String)], caller: Option<&SecretString>) -> Self {
        let port = free_port();
        let folder = Folder::new(&format!("{config}  listen: 127.0.0.1:{port}\n"));
        for (name, text) in files {
            folder.write(name, text);
        }
        let gateway = Gateway::start_in(folder, "decision", "the decision service listens").await;
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
        Self {
            gateway,
            port,
            channel: endpoint.connect().await.unwrap(),
            caller: caller.cloned(),
        }
    }

    /// What it answers: a grant, a denial (`None`), or no answer.
    pub async fn authorize(
        &self,
        token: &SecretString,
        min_revision: &str,
    ) -> Result<Option<v1::Grant>, Status> {
        let mut connect = v1::ConnectOptions::default();
        connect.auth_token.push_str(token.expose_secret());
        let request = v1::AuthorizeRequest {
            cluster: "by hand".into(),
            server: Some(v1::Server {
                id: "NSERVER".into(),
                ..Default::default()
            }),
            user_nkey: "UUSER".into(),
            client: Some(v1::Client {
                id: 7,
                ..Default::default()
            }),
            connect_options: Some(connect),
            client_tls: None,
            min_revision: min_revision.to_owned(),
        };
        let mut request = Request::new(request);
        request.set_timeout(Duration::from_secs(4));
        if let Some(caller) = &self.caller {
            let value = format!("Bearer {}", caller.expose_secret()).parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        let answer = DecisionServiceClient::new(self.channel.clone())
            .authorize(request)
            .await?;
        match answer.into_inner().result {
            Some(Answer::Grant(grant)) => Ok(Some(grant)),
            Some(Answer::Denial(_)) => Ok(None),
            None => panic!("neither a grant nor a denial"),
        }
    }

    pub async fn grant(&self, token: &SecretString) -> v1::Grant {
        match self.authorize(token, "").await {
            Ok(Some(grant)) => grant,
            other => panic!("{other:?}; {}", self.gateway.process.logs()),
        }
    }

    /// A grant for `subject` as long as its token, which is newer than the log by more than clocks may differ: of older
    /// ones nobody knows what was revoked before the log began.
    pub async fn long_grant(&self, provider: &DevProvider, subject: &str) -> v1::Grant {
        let spec = TokenSpec::new(subject).ttl(Duration::from_secs(3600));
        let waiting = async {
            loop {
                let grant = self.grant(&provider.issue(spec.clone()).unwrap()).await;
                if life(&grant) > Duration::from_secs(3000) {
                    return grant;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .expect("grants stay short")
    }

    pub async fn allowed(&self, token: &SecretString) -> Vec<String> {
        publishes(&self.grant(token).await)
    }

    pub async fn health(&self, service: &str) -> ServingStatus {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = HealthClient::new(self.channel.clone())
            .check(request)
            .await
            .unwrap();
        answer.into_inner().status()
    }
}

pub fn publishes(grant: &v1::Grant) -> Vec<String> {
    grant.permissions.as_ref().unwrap().publish_allow.clone()
}

/// How long a grant lives from now on.
pub fn life(grant: &v1::Grant) -> Duration {
    let until = grant.expires_at.as_ref().unwrap().seconds;
    Duration::from_secs(u64::try_from(until - SystemClock.unix_seconds()).unwrap_or(0))
}

/// How many GETs Redis has answered.
pub async fn gets(redis: &RedisServer) -> u64 {
    let statistics: String = ask(redis, &["INFO", "commandstats"]).await;
    let line = statistics
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_get:calls="));
    line.and_then(|line| line.split(',').next()?.parse().ok())
        .unwrap_or(0)
}

/// How many facts are in Redis' caches.
pub async fn cached(redis: &RedisServer) -> usize {
    let keys: Vec<String> = ask(redis, &["KEYS", "*:c:memberships*"]).await;
    keys.len()
}

async fn ask<T: redis::FromRedisValue>(redis: &RedisServer, words: &[&str]) -> T {
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(word);
    }
    command.query_async(&mut connection).await.unwrap()
}

/// Waits until `done`.
pub async fn until(done: impl AsyncFn() -> bool, what: &str) {
    let waiting = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, waiting).await.is_ok(),
        "never: {what}"
    );
}
