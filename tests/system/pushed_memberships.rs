//! Memberships that a backend pushes over the gRPC API: seen by every instance at once, kept through restarts, and taken
//! only from callers who may.

use natsgate_devkit::{DevProvider, PostgresServer, RedisServer, TokenSpec};
use natsgate_proto::v1;
use natsgate_proto::v1::membership_service_client::MembershipServiceClient;
use secrecy::{ExposeSecret, SecretString};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::harness::{Cluster, Folder, Gateway, Mode, SHIM_READY, free_port, provider};
use crate::shared_state::scene::{Instance, SECRET};

/// The callers of these tests: a shim that may ask, a backend that may push members of projects.
fn callers(issuer: &str) -> String {
    format!(
        "  callers:\n    - {{ name: shim, token: {{ subject: shim }}, scopes: [natsgate.authorize] }}\n    - name: backend\n      \
         token: {{ subject: backend }}\n      scopes: [natsgate.memberships.read, natsgate.memberships.write]\n      issuers: \
         ['*']\n      kinds: [project]\n      id_prefixes: ['*']\n      roles: [member]\n  caller_providers:\n    - {{ name: api, \
         issuer: {issuer}, audiences: [natsgate-api], leeway: 1s }}\n"
    )
}

/// A token with which `who` calls the API.
fn caller(provider: &DevProvider, who: &str, scopes: &str) -> SecretString {
    let spec = TokenSpec::new(who)
        .audience("natsgate-api")
        .claim("scope", scopes);
    provider.issue(spec).unwrap()
}

fn with<T>(token: Option<&SecretString>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let value = format!("Bearer {}", token.expose_secret()).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request
}

fn item(issuer: &str, subject: &str, project: &str, role: &str) -> v1::MembershipItem {
    v1::MembershipItem {
        principal: Some(v1::Principal {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
        }),
        membership: Some(v1::Membership {
            kind: "project".into(),
            id: project.to_owned(),
            role: role.to_owned(),
        }),
        expected_version: None,
    }
}

struct Backend {
    client: MembershipServiceClient<Channel>,
    token: Option<SecretString>,
}

impl Backend {
    async fn of(port: u16, token: Option<SecretString>) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
        Self {
            client: MembershipServiceClient::new(endpoint.connect().await.unwrap()),
            token,
        }
    }

    async fn put(&self, key: &str, item: v1::MembershipItem) -> Result<v1::PutMembershipsResponse, Status> {
        let request = v1::PutMembershipsRequest {
            idempotency_key: key.to_owned(),
            reason: "joined".into(),
            items: vec![item],
        };
        let answer = self
            .client
            .clone()
            .put_memberships(with(self.token.as_ref(), request))
            .await?;
        Ok(answer.into_inner())
    }

    async fn delete(
        &self,
        key: &str,
        item: v1::MembershipItem,
    ) -> Result<v1::DeleteMembershipsResponse, Status> {
        let request = v1::DeleteMembershipsRequest {
            idempotency_key: key.to_owned(),
            reason: "left".into(),
            items: vec![item],
        };
        let answer = self
            .client
            .clone()
            .delete_memberships(with(self.token.as_ref(), request))
            .await?;
        Ok(answer.into_inner())
    }
}

#[tokio::test]
async fn what_is_pushed_to_one_instance_every_instance_knows() {
    let redis = RedisServer::start().await.unwrap();
    let postgres = PostgresServer::start().await.unwrap();
    let provider = provider().await;
    let issuer = provider.issuer();
    let config = format!(
        "store:\n  follow: {{ clock_skew: 1s }}\n  secret: {SECRET}\n  redis: {{ url: '{}' }}\n  pushed:\n    postgres: {{ database: {} }}\ndecision:\n  \
         policy_file: policy.yaml\n  providers:\n    - {{ name: test, issuer: {issuer}, audiences: [nats], leeway: 1s }}\n  memberships:\n    \
         - file: {{ path: members.yaml }}\n{}",
        redis.url(),
        scene_database(&postgres),
        callers(issuer),
    );
    let shim = caller(&provider, "shim", "natsgate.authorize");
    let files = [(
        "members.yaml",
        format!(
            "memberships:\n  - {{ issuer: '{issuer}', subject: carol, kind: project, id: apollo, role: member }}\n"
        ),
    )];
    let one = Instance::start_as(&config, &files, Some(&shim)).await;
    let other = Instance::start_as(&config, &files, Some(&shim)).await;
    let alice = provider.issue(TokenSpec::new("alice")).unwrap();
    // Of a token that is not newer than the log, by more than clocks may differ, nobody knows whether it was revoked before.
    let scopes = "natsgate.memberships.write natsgate.memberships.read";
    let mut backend = Backend::of(one.port, None).await;
    for _try in 0..100 {
        backend.token = Some(caller(&provider, "backend", scopes));
        let known = backend
            .put("k0", item(issuer, "nobody", "apollo", "member"))
            .await;
        match known {
            Ok(_) => break,
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }

    // Nobody knows her, and that is remembered.
    for instance in [&one, &other] {
        assert_eq!(instance.authorize(&alice, "").await.unwrap(), None);
    }
    let given = backend
        .put("k1", item(issuer, "alice", "apollo", "member"))
        .await
        .unwrap();
    assert!(!given.repeated && given.results[0].changed, "{given:?}");
    for instance in [&one, &other] {
        let grant = instance
            .authorize(&alice, &given.revision)
            .await
            .unwrap()
            .expect("a grant");
        assert_eq!(grant.permissions.unwrap().publish_allow, ["projects.apollo.in.>"]);
    }

    // The same call again is the same; the same key for something else is a mistake.
    let again = backend
        .put("k1", item(issuer, "alice", "apollo", "member"))
        .await
        .unwrap();
    assert!(again.repeated);
    assert_eq!(again.revision, given.revision);
    let reused = backend
        .put("k1", item(issuer, "alice", "gemini", "member"))
        .await
        .unwrap_err();
    assert_eq!(reused.code(), Code::InvalidArgument, "{reused}");

    // Compare-and-set on what the server gave.
    let version = given.results[0].record.as_ref().unwrap().version;
    let mut stale = item(issuer, "alice", "apollo", "member");
    stale.expected_version = Some(version + 7);
    assert_eq!(
        backend.delete("k2", stale).await.unwrap_err().code(),
        Code::Aborted
    );
    let mut current = item(issuer, "alice", "apollo", "member");
    current.expected_version = Some(version);
    let taken = backend.delete("k3", current).await.unwrap();
    assert!(taken.results[0].still_granted_by.is_empty(), "{taken:?}");
    for instance in [&other, &one] {
        assert_eq!(instance.authorize(&alice, &taken.revision).await.unwrap(), None);
    }

    // What another source still grants is said.
    backend
        .put("k4", item(issuer, "carol", "apollo", "member"))
        .await
        .unwrap();
    let taken = backend
        .delete("k5", item(issuer, "carol", "apollo", "member"))
        .await
        .unwrap();
    assert_eq!(taken.results[0].still_granted_by.len(), 1, "{taken:?}");
}

fn scene_database(postgres: &PostgresServer) -> String {
    format!(
        "{{ host: 127.0.0.1, port: {}, database: {}, user: {}, password: '{}', tls: {{ mode: disable }} }}",
        postgres.port(),
        postgres.database(),
        postgres.user(),
        postgres.password()
    )
}

#[tokio::test]
async fn natsgate_all_keeps_what_is_pushed_in_a_file() {
    let cluster = Cluster::start(Mode::Config, false).await;
    let provider = provider().await;
    let issuer = provider.issuer();
    let port = free_port();
    let kept = tempfile::tempdir().unwrap();
    let file = kept.path().join("pushed.redb");
    let config = format!(
        "{}store: {{ pushed: {{ file: {{ path: '{}' }} }} }}\ndecision:\n  listen: 127.0.0.1:{port}\n  policy_file: \
         policy.yaml\n  providers:\n    - {{ name: test, issuer: {issuer}, audiences: [nats], leeway: 1s }}\n{}",
        cluster.shim_section(),
        file.display(),
        callers(issuer),
    );
    let mut gateway = Gateway::start("all", &config, SHIM_READY).await;
    gateway.wait_for("the decision service listens").await;
    let alice = provider.issue(TokenSpec::new("alice")).unwrap();
    assert!(cluster.connect(&alice).await.is_err());

    // Each of those who may not, and what it lacks.
    let writes = "natsgate.memberships.write";
    for (token, role, code) in [
        (None, "member", Code::Unauthenticated),
        (Some(alice.clone()), "member", Code::Unauthenticated),
        (
            Some(caller(&provider, "stranger", writes)),
            "member",
            Code::Unauthenticated,
        ),
        (
            Some(caller(&provider, "shim", writes)),
            "member",
            Code::PermissionDenied,
        ),
        (
            Some(caller(&provider, "backend", "openid")),
            "member",
            Code::PermissionDenied,
        ),
        (
            Some(caller(&provider, "backend", writes)),
            "owner",
            Code::PermissionDenied,
        ),
    ] {
        let backend = Backend::of(port, token).await;
        let refused = backend
            .put("k", item(issuer, "alice", "apollo", role))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
    }
    assert!(cluster.connect(&alice).await.is_err());

    let backend = Backend::of(port, Some(caller(&provider, "backend", writes))).await;
    backend
        .put("k", item(issuer, "alice", "apollo", "member"))
        .await
        .unwrap();
    let session = cluster.connect(&alice).await.expect("she was given apollo");
    assert!(
        session
            .may_publish("projects.apollo.in.x", &cluster.break_glass().await)
            .await
    );
    drop(session);

    // It outlives the process; and two processes do not share the file.
    let second = Folder::new(&config.replace(&port.to_string(), &free_port().to_string()));
    let output = crate::harness::command(second.path(), &["all"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("store.pushed.file"),
        "{said}"
    );
    gateway.process.stop().await.unwrap();
    let log = gateway.process.logs();
    let _gateway = Gateway::start("all", &config, SHIM_READY).await;
    assert!(cluster.connect(&alice).await.is_ok());
    for secret in [backend.token.as_ref().unwrap(), &alice] {
        assert!(!log.contains(secret.expose_secret()), "a token is in the log");
    }
}
