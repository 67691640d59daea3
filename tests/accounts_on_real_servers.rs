//! What natsgate writes into account JWTs, on real servers: scoped signing keys and their users, default permissions.
//!
//! Every test runs on 2.10.25, 2.12.8, 2.14.6 and 2.15.1 with a `full` resolver, the last as a cluster of three. Users come with JWTs
//! of their own here, minted as a shim would.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic; clippy.toml's leave for tests does not reach helpers in tests/"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, Subscriber};
use futures::StreamExt;
use natsgate_accounts::plan::{CAP, Circumstances, Server, Sessions};
use natsgate_accounts::template::TagName;
use natsgate_accounts::{
    DefaultPermissions, Generation, ManagedAccount, Operation, OperatorSigner, Plan, PlanError, RootSecret,
    ScopedKeys, ServerVersion, Template, TemplateName,
};
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
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it is waited for what must not happen.
const A_WHILE: Duration = Duration::from_millis(300);

/// Where whoever is asked to tells that it has done what it was asked before.
const DONE: &str = "probe.done";

/// An operator, its servers, and the account APP.
struct Site {
    mode: OperatorMode,
    servers: Vec<NatsServer>,
    at_servers: SystemAccountServers,
    keys: Arc<ScopedKeys>,
    signer: OperatorSigner,
    /// A user of APP that may do everything.
    watcher: Client,
}

fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}

fn now() -> i64 {
    SystemClock.unix_seconds()
}

impl Site {
    async fn start(version: NatsVersion) -> Self {
        let options = OperatorModeOptions {
            full_resolver: true,
            ..OperatorModeOptions::default()
        };
        let mode = OperatorMode::generate(options).unwrap();
        let mut servers: Vec<NatsServer> = Vec::new();
        let count = if version == NatsVersion::default() { 3 } else { 1 };
        for number in 0..count {
            let routes = servers.iter().filter_map(NatsServer::cluster_url);
            let cluster = ClusterOptions {
                name: "test".into(),
                routes: routes.map(str::to_owned).collect(),
            };
            let options = NatsServerOptions {
                version,
                name: Some(format!("n{number}")),
                config: mode.server_config(),
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
        let at_servers = SystemAccountServers::new(system);
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
            keys,
            signer,
            watcher,
        }
    }

    /// The account as the servers keep it.
    async fn read(&self) -> ManagedAccount {
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
    async fn push(&self, account: &ManagedAccount) {
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
                AccountAtServer::NotLoaded => {}
            }
        }
        assert!(in_force > 0, "the watcher is connected somewhere");
    }

    /// A user JWT by the newest key of `template`, of a member of `project`.
    fn mint(&self, account: &ManagedAccount, template: &str, project: &str) -> Credentials {
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

    async fn connect(&self, credentials: &Credentials) -> Result<Session, async_nats::ConnectError> {
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
            .connect(self.servers[0].client_url())
            .await?;
        Ok(Session { client, events })
    }
}

fn credentials(body: UserBody, signer: &KeyPair) -> Credentials {
    let user = KeyPair::generate(Role::User).unwrap();
    let claims = ClaimsToSign::new(user.public_key(), body).name("somebody");
    Credentials {
        jwt: encode(claims, signer, now()).unwrap(),
        seed: user.seed().unwrap(),
    }
}

#[derive(Default)]
struct Events {
    disconnected: AtomicU64,
}

/// A client whose permissions are tried out.
struct Session {
    client: Client,
    events: Arc<Events>,
}

impl Session {
    fn disconnects(&self) -> u64 {
        self.events.disconnected.load(Ordering::SeqCst)
    }

    /// Whether what it publishes on `subject` arrives. It must be allowed to publish on [`DONE`].
    async fn may_publish(&self, subject: &str, site: &Site) -> bool {
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
    async fn may_subscribe(&self, subject: &str, site: &Site) -> bool {
        let mut subscription = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.after(site, || async {}).await;
        reaches(&mut subscription, subject, site).await
    }

    /// Does `what`, and comes back when the server has taken it.
    fn after<'a, F: Future<Output = ()> + 'a>(
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
async fn reaches(subscription: &mut Subscriber, subject: &str, site: &Site) -> bool {
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

fn name(text: &str) -> TemplateName {
    text.parse().unwrap()
}

fn permissions(publish: &[&str], subscribe: &[&str]) -> Permissions {
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

fn member(publish: &[&str]) -> Template {
    let publish = [publish, &[DONE]].concat();
    let permissions = permissions(&publish, &["projects.{{tag(project)}}.out.>"]);
    Template::new(name("member"), permissions, Limits::default()).unwrap()
}

/// Waits until `what` holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_life_of_a_scoped_key() {
    for version in NatsVersion::ALL {
        let site = Site::start(version).await;
        let mut account = site.read().await;
        account
            .put_template(&member(&["projects.{{tag(project)}}.in.>"]))
            .unwrap();
        site.push(&account).await;
        let first = site.mint(&account, "member", "apollo");
        let alice = site.connect(&first).await.unwrap();
        let has = async |session: &Session, publish: &[(&str, bool)]| {
            for (subject, may) in publish {
                assert_eq!(
                    session.may_publish(subject, &site).await,
                    *may,
                    "{version} {subject}"
                );
            }
            assert!(
                session.may_subscribe("projects.apollo.out.a", &site).await,
                "{version}"
            );
            assert!(
                !session.may_subscribe("projects.gemini.out.a", &site).await,
                "{version}"
            );
        };
        let before = [
            ("projects.apollo.in.a", true),
            ("projects.apollo.admin.a", false),
            ("projects.gemini.in.a", false),
        ];
        has(&alice, &before).await;

        // The next generation stands beside it: nobody is touched, and whoever comes now has what it says.
        let mut account = site.read().await;
        account
            .put_template(&member(&["projects.{{tag(project)}}.admin.>"]))
            .unwrap();
        site.push(&account).await;
        let second = site.mint(&account, "member", "apollo");
        let bob = site.connect(&second).await.unwrap();
        has(
            &bob,
            &[("projects.apollo.in.a", false), ("projects.apollo.admin.a", true)],
        )
        .await;
        has(&alice, &before).await;
        assert_eq!(alice.disconnects(), 0, "{version}");

        // Its key taken out, the first one's sessions are closed and do not come back. Nobody else is touched.
        let mut account = site.read().await;
        account
            .remove_generation(&name("member"), Generation::FIRST)
            .unwrap();
        site.push(&account).await;
        until("alice is closed", async || alice.disconnects() > 0).await;
        assert!(site.connect(&first).await.is_err(), "{version}");
        has(
            &bob,
            &[("projects.apollo.in.a", false), ("projects.apollo.admin.a", true)],
        )
        .await;
        assert_eq!(bob.disconnects(), 0, "{version}");
        let carol = site
            .connect(&site.mint(&account, "member", "gemini"))
            .await
            .unwrap();
        assert!(
            carol.may_publish("projects.gemini.admin.a", &site).await,
            "{version}"
        );
    }
}

#[tokio::test]
async fn the_life_of_a_live_default() {
    for version in NatsVersion::ALL {
        let site = Site::start(version).await;
        let live = ServerVersion::parse(version.as_str())
            .unwrap()
            .applies_defaults_live();
        let narrow = DefaultPermissions::new(permissions(&["a.>", DONE], &["x.>"])).unwrap();
        let wide = DefaultPermissions::new(permissions(&["a.>", "b.>", DONE], &["x.>", "y.>"])).unwrap();
        let mut account = site.read().await;
        assert!(account.set_defaults(&wide));
        site.push(&account).await;

        let plain = || {
            let target = &site.mode.accounts[0];
            credentials(
                UserBody::unlimited().of_account(target.key.public_key()),
                &target.signing_key,
            )
        };
        let alice = site.connect(&plain()).await.unwrap();
        assert!(alice.may_publish("b.1", &site).await && !alice.may_publish("c.1", &site).await);
        let mut subscribed = alice.client.subscribe("y.1").await.unwrap();
        alice.after(&site, || async {}).await;
        assert!(reaches(&mut subscribed, "y.1", &site).await, "{version}");
        let connection = alice.client.server_info().client_id;

        let mut account = site.read().await;
        assert!(account.set_defaults(&narrow));
        site.push(&account).await;
        if live {
            until("alice has less", async || !alice.may_publish("b.1", &site).await).await;
            assert!(!reaches(&mut subscribed, "y.1", &site).await, "{version}");
        } else {
            assert!(alice.may_publish("b.1", &site).await, "{version}");
            assert!(reaches(&mut subscribed, "y.1", &site).await, "{version}");
        }
        assert!(alice.may_publish("a.1", &site).await, "{version}");
        // Whoever comes now has less on every version.
        let bob = site.connect(&plain()).await.unwrap();
        assert!(!bob.may_publish("b.1", &site).await && bob.may_publish("a.1", &site).await);

        let mut account = site.read().await;
        assert!(account.set_defaults(&wide));
        site.push(&account).await;
        if live {
            until("bob has more", async || bob.may_publish("b.1", &site).await).await;
            assert!(bob.may_subscribe("y.1", &site).await, "{version}");
        } else {
            assert!(!bob.may_publish("b.1", &site).await, "{version}");
        }
        for session in [&alice, &bob] {
            assert_eq!(session.disconnects(), 0, "{version}");
        }
        assert_eq!(alice.client.server_info().client_id, connection, "{version}");
    }
}

#[tokio::test]
async fn two_thousand_templates_are_pushed_and_read_back_and_three_thousand_are_refused() {
    let site = Site::start(NatsVersion::default()).await;
    let operations = |count: usize| -> Vec<Operation> {
        let template = |number: usize| {
            let (publish, subscribe) = (
                [format!("t{number}.{{{{tag(project)}}}}.in.>"), DONE.to_owned()],
                [
                    format!("t{number}.{{{{tag(project)}}}}.out.>"),
                    format!("t{number}.all"),
                ],
            );
            let publish: Vec<&str> = publish.iter().map(String::as_str).collect();
            let subscribe: Vec<&str> = subscribe.iter().map(String::as_str).collect();
            let permissions = permissions(&publish, &subscribe);
            let template = Template::new(name(&format!("t{number}")), permissions, Limits::default());
            Operation::PutTemplate(Box::new(template.unwrap()))
        };
        (0..count).map(template).collect()
    };
    let roster = site.at_servers.roster(soon()).await.unwrap();
    let servers: Vec<Server> = roster
        .iter()
        .map(|one| Server {
            name: one.name.clone(),
            version: one.version.clone(),
            max_payload: Some(1024 * 1024),
        })
        .collect();
    let sessions = Sessions::default();
    let circumstances = Circumstances {
        operator: site.signer.public_key(),
        now: now(),
        cap: CAP,
        servers: &servers,
        sessions: &sessions,
        may_reconnect: false,
    };
    let account = site.read().await;
    let plan = Plan::make(&account, &operations(2000), &circumstances).unwrap();
    let begun = std::time::Instant::now();
    site.push(&plan.after).await;
    println!(
        "2,000 templates: {} bytes, signed, pushed to {} servers and read back in {:?}",
        plan.size_after,
        roster.len(),
        begun.elapsed()
    );
    let account = site.read().await;
    assert_eq!(account.templates().count(), 2000);
    let alice = site
        .connect(&site.mint(&account, "t1999", "apollo"))
        .await
        .unwrap();
    assert!(alice.may_publish("t1999.apollo.in.a", &site).await);
    assert!(!alice.may_publish("t1998.apollo.in.a", &site).await);

    let refused = Plan::make(&account, &operations(3000), &circumstances).unwrap_err();
    assert!(matches!(refused, PlanError::OverCap { .. }), "{refused}");
}
