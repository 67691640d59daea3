//! `natsgate accounts`, and the account API of `natsgate all`: templates put over gRPC, in clusters that shims lend.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{ConnectOptions, Event};
use natsgate_claims::{AccountBody, ClaimsToSign, KeyPair, Role, encode};
use natsgate_core::{AccountServers, AccountSessions, Clock, CloseUntil, Deadline, SystemClock};
use natsgate_devkit::{DevProvider, NatsServer, NatsServerOptions, OperatorMode, TokenSpec};
use natsgate_proto::v1;
use natsgate_proto::v1::account_service_client::AccountServiceClient;
use natsgate_shim::SystemAccountServers;
use natsgate_shim::evict::Evictor;
use natsgate_shim::lending::SystemAccounts;
use secrecy::ExposeSecret;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use crate::harness::{
    Cluster, Folder, Gateway, Keys, Mode, PATIENCE, ROOT_SECRET, SHIM_READY, alice, decision_section,
    free_port, provider,
};
use crate::written_rights::{POLICY, connect_until};

const SCOPES: &str = "natsgate.accounts.read natsgate.accounts.write natsgate.accounts.link";

/// The callers of these tests, for the section that they stand in.
fn callers(issuer: &str) -> String {
    format!(
        "  callers:\n    - {{ name: shim, token: {{ subject: shim }}, scopes: [natsgate.accounts.link], clusters: ['*'] }}\n    - \
         {{ name: ops, token: {{ subject: ops }}, scopes: [natsgate.accounts.read, natsgate.accounts.write], accounts: [APP] }}\n  \
         caller_providers:\n    - {{ name: api, issuer: {issuer}, audiences: [natsgate-api] }}\n"
    )
}

fn token(provider: &DevProvider, who: &str) -> String {
    let spec = TokenSpec::new(who)
        .audience("natsgate-api")
        .claim("scope", SCOPES);
    provider.issue(spec).unwrap().expose_secret().to_owned()
}

fn keys(cluster: &Cluster) -> &OperatorMode {
    match &cluster.keys {
        Keys::Operator(keys) => keys,
        Keys::Config(_) => unreachable!("operator mode"),
    }
}

/// The account API, as `ops`.
struct Api<'a> {
    client: AccountServiceClient<Channel>,
    provider: &'a DevProvider,
}

impl<'a> Api<'a> {
    async fn of(port: u16, provider: &'a DevProvider) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
        Self {
            client: AccountServiceClient::new(endpoint.connect().await.unwrap()),
            provider,
        }
    }

    fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let value = format!("Bearer {}", token(self.provider, "ops")).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        request
    }

    async fn put(&self, key: &str, subjects: &[&str]) -> v1::PutTemplateResponse {
        let entry = |subject: &&str| v1::SubscribeSubject {
            subject: (*subject).to_owned(),
            queue: String::new(),
        };
        let request = v1::PutTemplateRequest {
            account: "APP".to_owned(),
            idempotency_key: key.to_owned(),
            template: Some(v1::Template {
                name: "member".to_owned(),
                permissions: Some(v1::Permissions {
                    publish_allow: vec!["projects.{{tag(project)}}.in.>".to_owned()],
                    subscribe_allow: subjects.iter().map(entry).collect(),
                    ..v1::Permissions::default()
                }),
                limits: None,
            }),
            reason: "a test".to_owned(),
        };
        let put = self.client.clone().put_template(self.call(request)).await;
        put.unwrap().into_inner()
    }

    async fn get(&self) -> v1::GetAccountResponse {
        let request = v1::GetAccountRequest {
            account: "APP".to_owned(),
        };
        let got = self.client.clone().get_account(self.call(request)).await;
        got.unwrap().into_inner()
    }
}

/// What a server's resolver keeps of APP.
async fn kept(keys: &OperatorMode, url: &str) -> Vec<String> {
    let system = ConnectOptions::with_credentials(&keys.system_user.credentials.format())
        .unwrap()
        .connect(url)
        .await
        .unwrap();
    let account = keys.account("APP").unwrap().key.public_key();
    SystemAccountServers::new(system)
        .look_up(account, Deadline::after(PATIENCE))
        .await
        .unwrap()
}

const OWN: &str = "projects.{{tag(project)}}.>";

#[tokio::test]
async fn two_clusters_are_written_by_one_process_through_their_shims() {
    let provider = provider().await;
    let eu = Cluster::start(Mode::OperatorWithPushes, false).await;
    let keys = keys(&eu);
    // The same operator and accounts, and nothing that joins the two.
    let us = NatsServer::start(NatsServerOptions {
        config: keys.server_config(),
        ..Default::default()
    })
    .await
    .unwrap();
    let port = free_port();
    let config = format!(
        "accounts:\n  operator_seed: {}\n  file: accounts.redb\n  listen: 127.0.0.1:{port}\n  clusters: [eu, us]\n  operators: [{}]\n  \
         accounts: [{{ name: APP, account: {}, root_secrets: ['{ROOT_SECRET}'] }}]\n{}",
        keys.operator.seed().unwrap().expose_secret(),
        keys.operator.public_key(),
        keys.account("APP").unwrap().key.public_key(),
        callers(provider.issuer()),
    );
    let mut writer = Gateway::start("accounts", &config, "the account writer listens").await;
    let shim = async |name: &str, url: &str| {
        let section = eu
            .shim_section()
            .replace("cluster: test", &format!("cluster: {name}"))
            .replace(eu.nats.client_url(), url);
        let folder = Folder::new(&format!(
            "{section}  decision: {{ endpoints: ['http://127.0.0.1:{}'] }}\n  accounts_service: {{ url: 'http://127.0.0.1:{port}', \
             token_file: token }}\n",
            free_port()
        ));
        folder.write("token", &token(&provider, "shim"));
        let mut shim = Gateway::start_in(folder, "shim", SHIM_READY).await;
        shim.wait_for("the account writer has this cluster").await;
        shim
    };
    let _eu_shim = shim("eu", eu.nats.client_url()).await;
    let mut us_shim = shim("us", us.client_url()).await;
    let api = Api::of(port, &provider).await;
    let both = async || {
        (
            kept(keys, eu.nats.client_url()).await,
            kept(keys, us.client_url()).await,
        )
    };

    let done = api.put("k1", &[OWN]).await;
    let outcome = done.outcome.unwrap();
    assert!(outcome.complete && done.revision > 0, "{outcome:?}");
    let clusters: Vec<&str> = outcome.clusters.iter().map(|one| one.cluster.as_str()).collect();
    assert_eq!(clusters, ["eu", "us"]);
    assert!(outcome.clusters.iter().all(|one| one.servers.len() == 1));
    let (in_eu, in_us) = both().await;
    assert_eq!((in_eu.len(), &in_eu), (1, &in_us));
    assert!(api.get().await.complete);

    // One cluster's shim is gone: told, and not waited for for ever.
    us_shim.process.stop().await.unwrap();
    writer.wait_for("a shim lends its cluster no more").await;
    let outcome = api.put("k2", &[OWN, "news.>"]).await.outcome.unwrap();
    assert!(!outcome.complete);
    assert!(
        outcome.clusters[1]
            .problem
            .contains("no shim of the cluster us is attached"),
        "{outcome:?}"
    );
    let (in_eu, in_us) = both().await;
    assert_ne!(in_eu, in_us);

    // It is back: nobody has to ask.
    let _us_shim = shim("us", us.client_url()).await;
    let caught_up = async {
        loop {
            let (in_eu, in_us) = both().await;
            if in_eu == in_us && api.get().await.complete {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, caught_up).await.unwrap();
    let now = api.get().await;
    assert_eq!(now.templates[0].generations.len(), 2);

    writer.process.stop().await.unwrap();
    assert_eq!(writer.lines("the account writer stopped").len(), 1);
}

#[tokio::test]
async fn a_shim_lends_its_own_accounts_and_pushes_its_own_operators_word_alone() {
    let cluster = Cluster::start(Mode::OperatorWithPushes, false).await;
    let keys = keys(&cluster);
    let system = ConnectOptions::with_credentials(&keys.system_user.credentials.format())
        .unwrap()
        .connect(cluster.nats.client_url())
        .await
        .unwrap();
    let app = keys.account("APP").unwrap();
    let own = app.key.public_key();
    let lent = SystemAccounts::new(
        system.clone(),
        Evictor::new(system),
        BTreeSet::from([own.to_owned()]),
        vec![keys.operator.public_key().to_owned()],
        Arc::new(SystemClock),
    );
    let deadline = Deadline::after(PATIENCE);
    lent.push(&app.jwt, 1, deadline).await.unwrap();
    assert_eq!(lent.look_up(own, deadline).await.unwrap().len(), 1);
    lent.count(own, deadline).await.unwrap();

    let other = keys.callout_account.public_key();
    let none = BTreeSet::new();
    let server = &lent.roster(deadline).await.unwrap()[0].id;
    let refused = [
        lent.look_up(other, deadline).await.map(drop),
        lent.in_force(server, other, deadline).await.map(drop),
        lent.count(other, deadline).await.map(drop),
        lent.close(other, &none, CloseUntil::Once, deadline)
            .await
            .map(drop),
    ];
    for refused in refused {
        assert!(refused.unwrap_err().cause.contains("is none of this shim's"));
    }
    let generate = |role| KeyPair::generate(role).unwrap();
    let now = SystemClock.unix_seconds();
    let signed = |subject: &str, operator: &KeyPair| {
        encode(ClaimsToSign::new(subject, AccountBody::default()), operator, now).unwrap()
    };
    let foreign = signed(own, &generate(Role::Operator));
    let refused = lent.push(&foreign, 1, deadline).await.unwrap_err();
    assert!(
        refused.cause.contains("none of shim.operator_mode.operators"),
        "{refused}"
    );
    let refused = lent.push(&signed(other, &keys.operator), 1, deadline).await;
    assert!(refused.unwrap_err().cause.contains("is none of this shim's"));
    assert!(lent.push("no JWT", 1, deadline).await.is_err());
}

#[tokio::test]
async fn all_in_one_serves_it_beside_the_others_and_closes_who_loses_something() {
    let provider = provider().await;
    let cluster = Cluster::start(Mode::OperatorWithPushes, false).await;
    let port = free_port();
    let folder = Folder::new(&format!(
        "{}{}{}accounts: {{ operator_seed: {}, file: accounts.redb }}\n",
        cluster.shim_section(),
        decision_section(provider.issuer(), Some(port)),
        callers(provider.issuer()),
        keys(&cluster).operator.seed().unwrap().expose_secret(),
    ));
    folder.write("policy.yaml", POLICY);
    let _gateway = Gateway::start_in(folder, "all", SHIM_READY).await;
    let api = Api::of(port, &provider).await;
    let watcher = &cluster.break_glass().await;

    let done = api.put("k1", &[OWN, "news.>"]).await;
    assert!(done.outcome.unwrap().complete);
    let session = connect_until(&cluster, &provider.issue(alice()).unwrap(), async |_| true).await;
    assert!(session.may_subscribe("news.a", watcher).await);

    let (done, _) = tokio::join!(
        api.put("k2", &[OWN]),
        session.event(|event| matches!(event, Event::Disconnected))
    );
    let outcome = done.outcome.unwrap();
    assert!(outcome.complete, "{outcome:?}");
    assert_eq!(outcome.clusters[0].sessions_closed, 1);
    session.event(|event| matches!(event, Event::Connected)).await;
    assert!(!session.may_subscribe("news.b", watcher).await);

    // Whoever only asks for decisions may not.
    let request = v1::GetAccountRequest {
        account: "APP".to_owned(),
    };
    let anybody = api.client.clone().get_account(request).await.unwrap_err();
    assert_eq!(anybody.code(), Code::Unauthenticated);
}
