//! The shim's own ceilings hold against a decision service that grants too much.

use std::sync::Mutex;

use async_nats::ConnectErrorKind;
use natsgate_core::{Clock, SystemClock};
use natsgate_devkit::process::Process;
use natsgate_devkit::{ConfigMode, ConfigModeOptions, NatsServer, NatsServerOptions};
use natsgate_proto::v1;
use natsgate_proto::v1::authorize_response::Result as Answer;
use natsgate_proto::v1::decision_service_server::{DecisionService, DecisionServiceServer};
use secrecy::SecretString;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::harness::{Cluster, Folder, Gateway, Keys, Mode, PATIENCE, command, install_crypto};

/// A decision service in another hand: it grants what it was told to, and keeps what it was asked.
pub struct Foreign {
    grant: v1::Grant,
    asked: Mutex<Option<v1::AuthorizeRequest>>,
}

#[tonic::async_trait]
impl DecisionService for Foreign {
    async fn authorize(
        &self,
        request: Request<v1::AuthorizeRequest>,
    ) -> Result<Response<v1::AuthorizeResponse>, Status> {
        *self.asked.lock().unwrap() = Some(request.into_inner());
        let result = Some(Answer::Grant(self.grant.clone()));
        Ok(Response::new(v1::AuthorizeResponse {
            decision_id: "foreign-1".into(),
            result,
        }))
    }

    async fn recheck(
        &self,
        _request: tonic::Request<natsgate_proto::v1::RecheckRequest>,
    ) -> Result<tonic::Response<natsgate_proto::v1::RecheckResponse>, tonic::Status> {
        Err(tonic::Status::unimplemented("it does not know"))
    }
}

impl Foreign {
    /// Serves on a port of its own.
    pub async fn serve(grant: v1::Grant) -> (std::sync::Arc<Self>, u16) {
        let foreign = std::sync::Arc::new(Self {
            grant,
            asked: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let service = DecisionServiceServer::from_arc(foreign.clone());
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        (foreign, port)
    }

    pub fn asked(&self) -> v1::AuthorizeRequest {
        self.asked.lock().unwrap().clone().unwrap()
    }
}

/// Everything, in `account`, for an hour.
pub fn everything(account: &str) -> v1::Grant {
    let all = v1::SubscribeSubject {
        subject: ">".into(),
        queue: String::new(),
    };
    v1::Grant {
        account: account.into(),
        principal: Some(v1::Principal {
            issuer: "https://foreign.example".into(),
            subject: "mallory".into(),
        }),
        permissions: Some(v1::Permissions {
            publish_allow: vec![">".into()],
            subscribe_allow: vec![all],
            ..Default::default()
        }),
        limits: None,
        expires_at: Some(prost_types::Timestamp {
            seconds: SystemClock.unix_seconds() + 3600,
            nanos: 0,
        }),
        ..Default::default()
    }
}

async fn refused(mode: Mode, grant: v1::Grant, why: &str) {
    let cluster = Cluster::start(mode, false).await;
    let (_foreign, port) = Foreign::serve(grant).await;
    let gateway = Gateway::shim(&cluster, &[port]).await;
    let answer = cluster.connect(&SecretString::from("any token")).await.err();
    assert_eq!(answer, Some(ConnectErrorKind::AuthorizationViolation));
    let lines = gateway.lines("refused by this shim's ceilings");
    assert_eq!(lines.len(), 1, "{}", gateway.process.logs());
    assert!(lines[0].contains(why), "{}", lines[0]);
}

#[tokio::test]
async fn a_grant_for_the_system_account_is_refused_in_config_mode() {
    // Here the server itself would let it in: in config mode it does not hold the account against any list.
    refused(Mode::Config, everything("SYS"), "not among shim.accounts").await;
}

#[tokio::test]
async fn a_grant_for_the_system_account_is_refused_in_operator_mode() {
    refused(Mode::Operator, everything("SYS"), "not among shim.accounts").await;
}

#[tokio::test]
async fn a_grant_for_the_callout_account_is_refused() {
    refused(Mode::Operator, everything("AUTH"), "not among shim.accounts").await;
}

#[tokio::test]
async fn a_grant_without_an_end_or_with_a_broken_subject_is_refused() {
    let mut endless = everything("APP");
    endless.expires_at = None;
    refused(Mode::Config, endless, "no expires_at").await;
    let mut broken = everything("APP");
    broken
        .permissions
        .as_mut()
        .unwrap()
        .publish_allow
        .push("a..b".into());
    refused(Mode::Config, broken, "publish_allow").await;
}

#[tokio::test]
async fn limits_that_the_server_does_not_hold_are_held_by_the_shim() {
    let limited = |change: fn(&mut v1::Limits)| {
        let mut limits = v1::Limits::default();
        change(&mut limits);
        v1::Grant {
            limits: Some(limits),
            ..everything("APP")
        }
    };
    let elsewhere = limited(|limits| limits.source_networks.push("10.0.0.0/8".into()));
    refused(Mode::Operator, elsewhere, "source_networks").await;
    let websocket = limited(|limits| limits.connection_types.push("WEBSOCKET".into()));
    refused(Mode::Config, websocket, "connection_types").await;
}

#[tokio::test]
async fn a_shim_does_not_start_with_the_system_account_among_its_targets() {
    install_crypto();
    let cluster = Cluster::start(Mode::Config, false).await;
    for (name, kind) in [("SYS", "system"), ("AUTH", "callout")] {
        let section = cluster
            .shim_section()
            .replace("name: APP", &format!("name: {name}"));
        let said = ends(&section).await;
        let refused = format!("{name} is the {kind} account, into which no grant may lead");
        assert!(said.contains(&refused), "{said}");
    }
}

#[tokio::test]
async fn a_backend_in_another_hand_is_told_everything_and_its_grant_holds() {
    let cluster = Cluster::start(Mode::Operator, true).await;
    let mut grant = everything("APP");
    grant.permissions.as_mut().unwrap().publish_allow = vec!["only.this".into()];
    let (foreign, port) = Foreign::serve(grant).await;
    let _gateway = Gateway::shim(&cluster, &[port]).await;
    let options = cluster.client_options().token("opaque".into()).name("a client");
    let session = cluster.connect_with(options).await.unwrap();
    let watcher = cluster.break_glass().await;
    assert!(session.may_publish("only.this", &watcher).await);
    assert!(!session.may_publish("anything.else", &watcher).await);

    let asked = foreign.asked();
    let Keys::Operator(keys) = &cluster.keys else {
        unreachable!("operator mode")
    };
    let server = asked.server.as_ref().unwrap();
    assert_eq!(asked.cluster, "test");
    assert!(server.id.starts_with('N') && asked.user_nkey.starts_with('U'));
    assert_eq!(server.version, "2.15.1");
    let client = asked.client.as_ref().unwrap();
    assert_eq!(
        (client.host.as_str(), client.kind.as_str(), client.r#type.as_str()),
        ("127.0.0.1", "Client", "nats")
    );
    assert!(client.id > 0);
    let connect = asked.connect_options.as_ref().unwrap();
    assert_eq!(
        (connect.auth_token.as_str(), connect.name.as_str()),
        ("opaque", "a client")
    );
    assert_eq!(connect.jwt, keys.sentinel.credentials.jwt);
    assert!(!connect.sig.is_empty() && !connect.lang.is_empty() && !connect.version.is_empty());
}

/// Runs `natsgate shim` with `section`, which must not work, until it ends, and returns what it said.
async fn ends(section: &str) -> String {
    let config = format!("{section}  decision: {{ endpoints: ['http://127.0.0.1:1'] }}\n");
    let folder = Folder::new(&config);
    let log = folder.path().join("shim.log");
    let mut process = Process::spawn("natsgate shim", &mut command(folder.path(), &["shim"]), &log).unwrap();
    let ended = async {
        while process.is_running() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("it went on");
    process.logs()
}

#[tokio::test]
async fn connections_with_each_others_users_are_noticed_at_the_start() {
    let cluster = Cluster::start(Mode::Config, false).await;
    let section = cluster.shim_section();
    let line = |name: &str| {
        section
            .lines()
            .find(|line| line.trim_start().starts_with(name))
            .unwrap()
            .to_owned()
    };
    let (nats, system) = (line("nats:"), line("system:"));
    let both_callout = section.replace(&system, &nats.replacen("nats:", "system:", 1));
    let said = ends(&both_callout).await;
    assert!(
        said.contains("shim.system: its user is in the account AUTH"),
        "{said}"
    );
    let eviction = format!("{section}{}\n", nats.replacen("nats:", "eviction:", 1));
    let said = ends(&eviction).await;
    assert!(
        said.contains("shim.eviction: its user is in the account AUTH"),
        "{said}"
    );
}

#[tokio::test]
async fn a_callout_user_that_may_not_subscribe_is_noticed() {
    let keys = ConfigMode::generate(ConfigModeOptions::default()).unwrap();
    let entry = format!("{{ user: \"{}\", ", keys.callout_user.user);
    let permissions = "permissions: { subscribe: { deny: \"$SYS.REQ.USER.AUTH\" } }, ";
    let config = keys
        .server_config()
        .replace(&entry, &format!("{entry}{permissions}"));
    assert!(config.contains("deny"), "{config}");
    install_crypto();
    let nats = NatsServer::start(NatsServerOptions {
        config,
        ..Default::default()
    })
    .await
    .unwrap();
    let cluster = Cluster {
        nats,
        keys: Keys::Config(Box::new(keys)),
        pushes: false,
    };
    let said = ends(&cluster.shim_section()).await;
    assert!(
        said.contains("shim.nats: the server refuses its user the subscription"),
        "{said}"
    );
}
