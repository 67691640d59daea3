//! Rights that stand in the account's JWT: templates and default permissions, pushed to a real server under natsgate's feet.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{ConnectErrorKind, ConnectOptions, Event};
use natsgate_accounts::{
    DefaultPermissions, ManagedAccount, Operation, OperatorSigner, RootSecret, ScopedKeys, Template,
};
use natsgate_core::{
    AccountServers, Clock, Deadline, Limits, Permissions, Subject, SubscribeSubject, SystemClock,
};
use natsgate_devkit::OperatorMode;
use natsgate_shim::SystemAccountServers;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::harness::{
    Cluster, Folder, Gateway, Keys, Mode, PATIENCE, ROOT_SECRET, SHIM_READY, Session, alice,
    decision_section, provider,
};

/// Members of a project get the template, with a tag for each; whoever is in none gets the account's default permissions.
pub const POLICY: &str = r#"
version: 1
account: APP
rules:
  - name: project members
    for_each: { membership: { kind: project, role: member } }
    template: { name: member, tags: { project: "{membership.id}" } }
  - name: guests
    when: memberships.size() == 0
    account_defaults: true
"#;

/// Who writes the account APP.
pub struct Writer {
    pub servers: SystemAccountServers,
    pub keys: Arc<ScopedKeys>,
    pub signer: OperatorSigner,
    pub operators: Vec<String>,
}

impl Writer {
    pub async fn of(cluster: &Cluster) -> Self {
        let mode = mode(cluster);
        let system = ConnectOptions::with_credentials(&mode.system_user.credentials.format())
            .unwrap()
            .connect(cluster.nats.client_url())
            .await
            .unwrap();
        let secret = RootSecret::new(SecretString::from(ROOT_SECRET)).unwrap();
        let account = mode.account("APP").unwrap().key.public_key();
        Self {
            servers: SystemAccountServers::new(system),
            keys: Arc::new(ScopedKeys::new(account, secret, Vec::new()).unwrap()),
            signer: OperatorSigner::from_seed(&mode.operator.seed().unwrap()).unwrap(),
            operators: vec![mode.operator.public_key().to_owned()],
        }
    }

    async fn push(&self, operation: Operation) {
        let deadline = Deadline::after(PATIENCE);
        let now = SystemClock.unix_seconds();
        let kept = self.servers.look_up(self.keys.account(), deadline).await.unwrap();
        let mut account =
            ManagedAccount::read(&kept[0], Arc::clone(&self.keys), &self.operators, now).unwrap();
        account.apply(&operation, now).unwrap();
        let jwt = self.signer.sign(account.claims(), now).await.unwrap();
        let answers = self.servers.push(&jwt, 1, deadline).await.unwrap();
        assert_eq!(answers[0].taken, Ok(()));
    }
}

fn mode(cluster: &Cluster) -> &OperatorMode {
    match &cluster.keys {
        Keys::Operator(mode) => mode,
        Keys::Config(_) => unreachable!("operator mode"),
    }
}

fn subject(text: &str) -> Subject {
    Subject::parse(text).unwrap()
}

/// Publishing on `publish` and subscribing to `subscribe`.
fn permissions(publish: &[&str], subscribe: &[&str]) -> Permissions {
    let mut permissions = Permissions::default();
    permissions.publish.allow = publish.iter().copied().map(subject).collect();
    let entry = |text: &&str| SubscribeSubject {
        subject: subject(text),
        queue: None,
    };
    permissions.subscribe.allow = subscribe.iter().map(entry).collect();
    permissions
}

fn member(subscribe: &[&str]) -> Operation {
    let permissions = permissions(&["projects.{{tag(project)}}.in.>"], subscribe);
    let template = Template::new("member".parse().unwrap(), permissions, Limits::default());
    Operation::PutTemplate(Box::new(template.unwrap()))
}

async fn start(cluster: &Cluster, issuer: &str) -> Gateway {
    let config = format!("{}{}", cluster.shim_section(), decision_section(issuer, None));
    let folder = Folder::new(&config);
    folder.write("policy.yaml", POLICY);
    Gateway::start_in(folder, "all", SHIM_READY).await
}

/// Connects until `wanted` holds: a push is on its way to the shim, too.
pub async fn connect_until<F: Future<Output = bool>>(
    cluster: &Cluster,
    token: &SecretString,
    wanted: impl Fn(Arc<Session>) -> F,
) -> Arc<Session> {
    tokio::time::timeout(PATIENCE, async {
        loop {
            if let Ok(session) = cluster.connect(token).await {
                let session = Arc::new(session);
                if wanted(Arc::clone(&session)).await {
                    return session;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("nobody got in with what was pushed")
}

#[tokio::test]
async fn a_member_gets_the_newest_generation_of_the_template_and_keeps_it() {
    let provider = provider().await;
    let cluster = Cluster::start(Mode::OperatorWithPushes, true).await;
    let mut gateway = start(&cluster, provider.issuer()).await;
    let watcher = &cluster.break_glass().await;
    let writer = Writer::of(&cluster).await;
    let token = provider
        .issue(alice().claim("projects", json!(["apollo", "zeus"])))
        .unwrap();

    // Not pushed yet: that may be otherwise in a moment, so the client is told to come again, not that it may not.
    let early = cluster.connect(&token).await.err();
    assert_ne!(early, Some(ConnectErrorKind::AuthorizationViolation));
    gateway.wait_for("has no template member").await;

    writer.push(member(&["projects.{{tag(project)}}.>"])).await;
    let first = connect_until(&cluster, &token, async |_| true).await;
    for (subject, allowed) in [
        ("projects.apollo.in.a", true),
        ("projects.zeus.in.a", true),
        ("projects.gemini.in.a", false),
        ("projects.apollo.out.a", false),
        ("other", false),
    ] {
        assert_eq!(
            first.may_publish(subject, watcher).await,
            allowed,
            "publish {subject}"
        );
    }
    for (subject, allowed) in [("projects.zeus.>", true), ("news.>", false), (">", false)] {
        assert_eq!(
            first.may_subscribe(subject, watcher).await,
            allowed,
            "subscribe {subject}"
        );
    }

    // The next generation, beside the first: who comes now has it, and who is there keeps the other one.
    writer
        .push(member(&["projects.{{tag(project)}}.>", "news.>"]))
        .await;
    let second = connect_until(&cluster, &token, async |session: Arc<Session>| {
        session.may_subscribe("news.a", watcher).await
    })
    .await;
    assert!(second.may_publish("projects.apollo.in.a", watcher).await);
    assert!(!first.may_subscribe("news.b", watcher).await);
    assert!(first.may_publish("projects.apollo.in.a", watcher).await);

    // Retired: nobody new, and that is final.
    writer
        .push(Operation::RetireTemplate("member".parse().unwrap()))
        .await;
    let refused = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Err(kind) = cluster.connect(&token).await {
                return kind;
            }
        }
    });
    assert_eq!(refused.await.unwrap(), ConnectErrorKind::AuthorizationViolation);
    gateway.wait_for("the template member is retired").await;
    assert!(!gateway.process.logs().contains(ROOT_SECRET));
    assert!(!gateway.process.logs().contains(token.expose_secret()));
}

#[tokio::test]
async fn default_permissions_change_under_an_open_connection() {
    let provider = provider().await;
    let cluster = Cluster::start(Mode::OperatorWithPushes, false).await;
    let mut gateway = start(&cluster, provider.issuer()).await;
    let watcher = &cluster.break_glass().await;
    let writer = Writer::of(&cluster).await;
    let token = provider.issue(alice().claim("projects", json!([]))).unwrap();

    // Without default permissions a session could do everything: nobody gets in.
    assert!(cluster.connect(&token).await.is_err());
    gateway.wait_for("has no default permissions").await;

    let set = |permissions| Operation::SetDefaults(DefaultPermissions::new(permissions).unwrap());
    writer.push(set(permissions(&["lobby.in"], &["lobby.>"]))).await;
    let session = connect_until(&cluster, &token, async |_| true).await;
    assert!(session.may_publish("lobby.in", watcher).await);
    assert!(!session.may_publish("news", watcher).await);

    writer
        .push(set(permissions(&["lobby.in", "news"], &["lobby.>"])))
        .await;
    let seen = session.may_publish("news", watcher).await;
    assert!(seen, "widened");
    writer.push(set(permissions(&["news"], &["lobby.>"]))).await;
    assert!(!session.may_publish("lobby.in", watcher).await, "narrowed");
    // Never was it disconnected for that: else it would have come back meanwhile.
    let gone = session.event(|event| matches!(event, Event::Disconnected));
    assert!(
        tokio::time::timeout(Duration::from_millis(300), gone)
            .await
            .is_err()
    );
}
