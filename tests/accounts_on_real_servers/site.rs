//! A real cluster, its account APP, and users of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, Subscriber};
use futures::StreamExt;
use natsgate_accounts::template::TagName;
use natsgate_accounts::{ManagedAccount, OperatorSigner, RootSecret, ScopedKeys, Template, TemplateName};
use natsgate_claims::{ClaimsToSign, Credentials, KeyPair, Role, UserBody, UserPermissionLimits, encode};
use natsgate_core::{
    AccountAtServer, AccountServers, Clock, Deadline, Limits, Permissions, Subject, SubscribeSubject,
    SystemClock,
};
use natsgate_devkit::{
    ClusterOptions, NatsServer, NatsServerOptions, NatsVersion, OperatorMode, OperatorModeOptions,
};
use natsgate_shim::SystemAccountServers;
use secrecy::SecretString;

/// The longest anything may take that has to happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long it is waited for what must not happen.
pub const A_WHILE: Duration = Duration::from_millis(300);

/// Where whoever is asked to tells that it has done what it was asked before.
pub const DONE: &str = "probe.done";

/// An operator, its servers, and the account APP.
pub struct Site {
    pub mode: OperatorMode,
    pub servers: Vec<NatsServer>,
    pub at_servers: SystemAccountServers,
    /// The system account.
    pub system: Client,
    pub keys: Arc<ScopedKeys>,
    pub signer: OperatorSigner,
    /// A user of APP that may do everything.
    pub watcher: Client,
}

pub fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}

pub fn now() -> i64 {
    SystemClock.unix_seconds()
}

impl Site {
    /// One server; of the newest version three.
    pub async fn start(version: NatsVersion) -> Self {
        let count = if version == NatsVersion::default() { 3 } else { 1 };
        Self::with(version, count, 0).await
    }

    /// So many servers, of which the last `caching` only cache account JWTs.
    pub async fn with(version: NatsVersion, count: usize, caching: usize) -> Self {
        let options = OperatorModeOptions {
            full_resolver: true,
            ..OperatorModeOptions::default()
        };
        let mode = OperatorMode::generate(options).unwrap();
        let mut servers: Vec<NatsServer> = Vec::new();
        for number in 0..count {
            let routes = servers.iter().filter_map(NatsServer::cluster_url);
            let cluster = ClusterOptions {
                name: "test".into(),
                routes: routes.map(str::to_owned).collect(),
            };
            let options = NatsServerOptions {
                version,
                name: Some(format!("n{number}")),
                config: if number + caching < count {
                    mode.server_config()
                } else {
                    mode.caching_server_config()
                },
                cluster: (count > 1).then_some(cluster),
                ..NatsServerOptions::default()
            };
            servers.push(NatsServer::start(options).await.unwrap());
        }
        let system = ConnectOptions::with_credentials(&mode.system_user.credentials.format())
            .unwrap()
            .connect(servers[0].client_url())
            .await
            .unwrap();
        let at_servers = SystemAccountServers::new(system.clone());
        // Routes take a moment.
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let roster = at_servers.roster(soon()).await.unwrap();
            if roster.len() == count {
                assert!(
                    roster.iter().all(|one| one.version == version.as_str()),
                    "{roster:?}"
                );
                break;
            }
            assert!(tokio::time::Instant::now() < until, "{roster:?}");
        }
        let account = mode.accounts[0].key.public_key();
        let secret = RootSecret::new(SecretString::from("only for this test, 32 bytes at least")).unwrap();
        let keys = Arc::new(ScopedKeys::new(account, secret, Vec::new()).unwrap());
        let signer = OperatorSigner::from_seed(&mode.operator.seed().unwrap()).unwrap();
        // With permissions of its own: without any the account's default ones would hold for it too.
        let mut everything = UserPermissionLimits::unlimited();
        everything.publish.allow = vec![">".into()];
        everything.subscribe.allow = vec![">".into()];
        let watcher = credentials(UserBody::with(everything), &mode.accounts[0].key);
        let watcher = ConnectOptions::with_credentials(&watcher.format())
            .unwrap()
            .connect(servers[0].client_url())
            .await
            .unwrap();
        Self {
            mode,
            servers,
            at_servers,
            system,
            keys,
            signer,
            watcher,
        }
    }

    /// The account as the servers keep it.
    pub async fn read(&self) -> ManagedAccount {
        let kept = self
            .at_servers
            .look_up(self.keys.account(), soon())
            .await
            .unwrap();
        assert_eq!(kept.len(), 1, "servers keep different JWTs");
        let operators = [self.mode.operator.public_key().to_owned()];
        ManagedAccount::read(&kept[0], Arc::clone(&self.keys), &operators, now()).unwrap()
    }

    /// Signs and pushes; every server takes it, keeps it, and has it in force if it has loaded the account.
    pub async fn push(&self, account: &ManagedAccount) {
        let jwt = self.signer.sign(account.claims(), now()).await.unwrap();
        let answers = self
            .at_servers
            .push(&jwt, self.servers.len(), soon())
            .await
            .unwrap();
        assert_eq!(answers.len(), self.servers.len());
        for answer in &answers {
            assert_eq!(answer.taken, Ok(()), "{}", answer.server_id);
        }
        let kept = self
            .at_servers
            .look_up(self.keys.account(), soon())
            .await
            .unwrap();
        assert_eq!(kept, [jwt.as_str()]);
        let mut in_force = 0;
        for server in self.at_servers.roster(soon()).await.unwrap() {
            let there = self.at_servers.in_force(&server.id, self.keys.account(), soon());
            match there.await.unwrap() {
                AccountAtServer::InForce(found) => {
                    assert_eq!(found, jwt, "{}", server.name);
                    in_force += 1;
                }
                AccountAtServer::NotLoaded | AccountAtServer::NotKept => {}
            }
        }
        assert!(in_force > 0, "the watcher is connected somewhere");
    }

    /// A user JWT by the newest key of `template`, of a member of `project`.
    pub fn mint(&self, account: &ManagedAccount, template: &str, project: &str) -> Credentials {
        let state = account.template(&name(template)).unwrap();
        let newest = state.newest();
        let found = self
            .keys
            .find(state.name(), newest.generation(), newest.public_key());
        let (signer, _) = found.unwrap().expect("it is ours");
        let values = [(
            TagName::parse("project").unwrap(),
            BTreeSet::from([project.to_owned()]),
        )];
        let content = newest.content().template().unwrap();
        let tags = content.tags(&values.into(), account.facts()).unwrap();
        let body = UserBody::scoped(account.account()).tagged(tags);
        credentials(body, &signer)
    }

    pub async fn connect(&self, credentials: &Credentials) -> Result<Session, async_nats::ConnectError> {
        self.connect_to(0, credentials).await
    }

    pub async fn connect_to(
        &self,
        server: usize,
        credentials: &Credentials,
    ) -> Result<Session, async_nats::ConnectError> {
        let events = Arc::new(Events::default());
        let told = Arc::clone(&events);
        let client = ConnectOptions::with_credentials(&credentials.format())
            .unwrap()
            .event_callback(move |event| {
                if matches!(event, Event::Disconnected) {
                    told.disconnected.fetch_add(1, Ordering::SeqCst);
                }
                std::future::ready(())
            })
            .connection_timeout(PATIENCE)
            .reconnect_delay_callback(|_| Duration::from_millis(50))
            .connect(self.servers[server].client_url())
            .await?;
        Ok(Session { client, events })
    }
}

pub fn credentials(body: UserBody, signer: &KeyPair) -> Credentials {
    credentials_named("somebody", body, signer)
}

pub fn credentials_named(name: &str, body: UserBody, signer: &KeyPair) -> Credentials {
    let user = KeyPair::generate(Role::User).unwrap();
    let claims = ClaimsToSign::new(user.public_key(), body)
        .name(name)
        .expires_at(now() + 3600);
    Credentials {
        jwt: encode(claims, signer, now()).unwrap(),
        seed: user.seed().unwrap(),
    }
}

#[derive(Default)]
pub struct Events {
    pub disconnected: AtomicU64,
}

/// A client whose permissions are tried out.
pub struct Session {
    pub client: Client,
    pub events: Arc<Events>,
}

impl Session {
    pub fn disconnects(&self) -> u64 {
        self.events.disconnected.load(Ordering::SeqCst)
    }

    /// Whether what it publishes on `subject` arrives. It must be allowed to publish on [`DONE`].
    pub async fn may_publish(&self, subject: &str, site: &Site) -> bool {
        let mut heard = site.watcher.subscribe(">").await.unwrap();
        let mut done = self.after(site, || async {
            self.client.publish(subject.to_owned(), "x".into()).await.unwrap();
        });
        done.as_mut().await;
        loop {
            let message = tokio::time::timeout(PATIENCE, heard.next())
                .await
                .unwrap()
                .unwrap();
            match message.subject.as_str() {
                DONE => return false,
                heard if heard == subject => return true,
                _ => {}
            }
        }
    }

    /// Whether what is published on `subject` reaches it, newly subscribed.
    pub async fn may_subscribe(&self, subject: &str, site: &Site) -> bool {
        let mut subscription = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.after(site, || async {}).await;
        reaches(&mut subscription, subject, site).await
    }

    /// Does `what`, and comes back when the server has taken it.
    pub fn after<'a, F: Future<Output = ()> + 'a>(
        &'a self,
        site: &'a Site,
        what: impl FnOnce() -> F + 'a,
    ) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(async move {
            let mut done = site.watcher.subscribe(DONE).await.unwrap();
            // The watcher's subscriptions are in force once its server has answered anything.
            site.watcher
                .request("$SYS.REQ.USER.INFO", "".into())
                .await
                .unwrap();
            what().await;
            self.client.publish(DONE, "".into()).await.unwrap();
            tokio::time::timeout(PATIENCE, done.next())
                .await
                .expect("it may publish there");
        })
    }
}

/// Whether what is published on `subject` arrives at `subscription`.
pub async fn reaches(subscription: &mut Subscriber, subject: &str, site: &Site) -> bool {
    site.watcher
        .publish(subject.to_owned(), "y".into())
        .await
        .unwrap();
    site.watcher.flush().await.unwrap();
    matches!(
        tokio::time::timeout(A_WHILE, subscription.next()).await,
        Ok(Some(_))
    )
}

pub fn name(text: &str) -> TemplateName {
    text.parse().unwrap()
}

pub fn permissions(publish: &[&str], subscribe: &[&str]) -> Permissions {
    let subject = |text: &&str| Subject::parse(*text).unwrap();
    let plain = |text| SubscribeSubject {
        subject: subject(text),
        queue: None,
    };
    let mut permissions = Permissions::default();
    permissions.publish.allow = publish.iter().map(subject).collect();
    permissions.subscribe.allow = subscribe.iter().map(plain).collect();
    permissions
}

pub fn member(publish: &[&str]) -> Template {
    let publish = [publish, &[DONE]].concat();
    let permissions = permissions(&publish, &["projects.{{tag(project)}}.out.>"]);
    Template::new(name("member"), permissions, Limits::default()).unwrap()
}

/// Waits until `what` holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
