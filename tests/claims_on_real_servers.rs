//! What natsgate-claims writes is accepted by real nats-servers, and what they write is read with every field.
//!
//! Every test runs on 2.10.25, 2.12.8, 2.14.6 and 2.15.1, with an ordinary client. That something may not be published or
//! subscribed to is seen by what does not arrive before something later that may: the server keeps the order of one
//! connection.

#![cfg(feature = "devkit")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "clippy takes the helpers of a test file for no tests"
)]

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Message, Subscriber};
use futures::{FutureExt, StreamExt};
use natsgate_claims::{
    AccountBody, AuthorizationRequest, AuthorizationResponse, Claims, ClaimsToSign, Credentials, DecodeError,
    ExternalAuthorization, KeyPair, OperatorBody, Permission, Permissions, Role, SigningKey, UserBody,
    UserPermissionLimits, XKeyPair, decode, encode,
};
use natsgate_core::{Clock, Limits, Subject, SystemClock};
use natsgate_devkit::{ConfigMode, ConfigModeOptions, NatsServer, NatsServerOptions, NatsVersion};
use secrecy::ExposeSecret;

fn key(role: Role) -> KeyPair {
    KeyPair::generate(role).unwrap()
}

fn now() -> i64 {
    SystemClock.unix_seconds()
}

fn sign<B: natsgate_claims::ClaimsBody>(claims: ClaimsToSign<B>, signer: &KeyPair) -> String {
    encode(claims, signer, now()).unwrap()
}

/// An operator whose every JWT is natsgate-claims' own.
struct Operator {
    account: KeyPair,
    plain: KeyPair,
    scoped: KeyPair,
    callout: KeyPair,
    callout_user: Credentials,
    xkey: Option<Arc<XKeyPair>>,
    config: String,
}

impl Operator {
    /// SYS, the callout account AUTH (requests sealed if so asked) and APP with a plain and a scoped signing key and
    /// default permissions.
    fn new(sealed: bool) -> Self {
        let (operator, signing, system) = (key(Role::Operator), key(Role::Operator), key(Role::Account));
        let (account, plain, scoped) = (key(Role::Account), key(Role::Account), key(Role::Account));
        let (callout, user) = (key(Role::Account), key(Role::User));
        let xkey = sealed.then(|| Arc::new(XKeyPair::generate().unwrap()));
        let operator_body = OperatorBody {
            signing_keys: vec![signing.public_key().into()],
            system_account: Some(system.public_key().into()),
            ..OperatorBody::default()
        };
        let template = UserPermissionLimits {
            publish: allow(["projects.{{tag(project)}}.in.>"]),
            subscribe: allow(["projects.{{tag(project)}}.>"]),
            ..UserPermissionLimits::unlimited()
        };
        let account_body = AccountBody {
            signing_keys: vec![
                SigningKey::Plain(plain.public_key().into()),
                SigningKey::scoped(scoped.public_key(), "member", template),
            ],
            default_permissions: Permissions {
                publish: allow(["default.>"]),
                subscribe: allow(["default.>"]),
                ..Permissions::default()
            },
            ..AccountBody::default()
        };
        let callout_body = AccountBody {
            authorization: ExternalAuthorization {
                auth_users: vec![user.public_key().into()],
                allowed_accounts: vec![account.public_key().into()],
                xkey: xkey.as_ref().map(|xkey| xkey.public_key().into()),
                ..ExternalAuthorization::default()
            },
            ..AccountBody::default()
        };
        let preload: String = [
            ("SYS", &system, AccountBody::default()),
            ("APP", &account, account_body),
            ("AUTH", &callout, callout_body),
        ]
        .into_iter()
        .map(|(name, key, body)| {
            let jwt = sign(ClaimsToSign::new(key.public_key(), body).name(name), &signing);
            format!("  {}: {jwt}\n", key.public_key())
        })
        .collect();
        let config = format!(
            "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload {{\n{preload}}}\nserver_tags: [\"dc:1\"]\n",
            sign(
                ClaimsToSign::new(operator.public_key(), operator_body).name("natsgate"),
                &operator
            ),
            system.public_key(),
        );
        let callout_user = credentials(&user, UserBody::unlimited(), &callout);
        Self {
            account,
            plain,
            scoped,
            callout,
            callout_user,
            xkey,
            config,
        }
    }

    /// A user of AUTH that may do nothing: what a client needs to come before the callout.
    fn sentinel(&self) -> Credentials {
        let limits = UserPermissionLimits {
            publish: deny_all(),
            subscribe: deny_all(),
            ..UserPermissionLimits::unlimited()
        };
        credentials(&key(Role::User), UserBody::with(limits), &self.callout)
    }
}

fn allow<const N: usize>(subjects: [&str; N]) -> Permission {
    Permission {
        allow: subjects.map(str::to_owned).to_vec(),
        deny: Vec::new(),
    }
}

fn deny_all() -> Permission {
    Permission {
        allow: Vec::new(),
        deny: vec![">".to_owned()],
    }
}

fn credentials(user: &KeyPair, body: UserBody, signer: &KeyPair) -> Credentials {
    Credentials {
        jwt: sign(ClaimsToSign::new(user.public_key(), body), signer),
        seed: user.seed().unwrap(),
    }
}

async fn start(version: NatsVersion, config: &str) -> NatsServer {
    let options = NatsServerOptions {
        version,
        name: Some("n1".to_owned()),
        config: config.to_owned(),
        ..NatsServerOptions::default()
    };
    NatsServer::start(options).await.unwrap()
}

/// Connects by a credentials file's text, as any client does.
async fn connect(server: &NatsServer, credentials: &Credentials) -> Client {
    let options = ConnectOptions::with_credentials(&credentials.format()).unwrap();
    match options.connect(server.client_url()).await {
        Ok(client) => client,
        Err(error) => panic!("{}: {error}\n{}", server.version(), server.logs()),
    }
}

/// Of `subjects`, those that `client` may publish to: what `observer`, who may see all, gets.
async fn may_publish(client: &Client, observer: &Client, subjects: &[&str], last: &str) -> Vec<String> {
    let mut seen = observer.subscribe(">").await.unwrap();
    // The server has the subscription once something comes back through it.
    observer.publish("observer.ready", "".into()).await.unwrap();
    until(&mut seen, |message| message.subject.as_str() == "observer.ready").await;
    for subject in subjects.iter().chain([&last]) {
        client.publish((*subject).to_owned(), "".into()).await.unwrap();
    }
    until(&mut seen, |message| message.subject.as_str() == last).await
}

/// Of `subjects`, those that `client` may subscribe to: where it gets what `observer` publishes.
async fn may_subscribe(client: &Client, observer: &Client, subjects: &[&str], last: &str) -> Vec<String> {
    let mut subscriptions = Vec::new();
    for subject in subjects {
        subscriptions.push(client.subscribe((*subject).to_owned()).await.unwrap());
    }
    // The server has all of them once the last one gets something; nobody else can say when that is.
    let mut end = client.subscribe(last.to_owned()).await.unwrap();
    let mut knock = tokio::time::interval(Duration::from_millis(10));
    while end.next().now_or_never().is_none() {
        within(knock.tick()).await;
        observer.publish(last.to_owned(), "".into()).await.unwrap();
    }
    for subject in subjects {
        observer.publish((*subject).to_owned(), "".into()).await.unwrap();
    }
    observer.publish(last.to_owned(), "the end".into()).await.unwrap();
    until(&mut end, |message| message.payload.as_ref() == b"the end").await;
    let got = subscriptions.iter_mut().zip(subjects);
    got.filter_map(
        |(subscription, subject)| match subscription.next().now_or_never() {
            Some(Some(_)) => Some((*subject).to_owned()),
            _ => None,
        },
    )
    .collect()
}

/// The subjects of the messages before the `last`.
async fn until(messages: &mut Subscriber, last: impl Fn(&Message) -> bool) -> Vec<String> {
    let mut before = Vec::new();
    loop {
        let message = within(messages.next()).await.unwrap();
        if last(&message) {
            return before;
        }
        before.push(message.subject.to_string());
    }
}

/// For what will surely happen: bounds a hanging test, decides nothing.
async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what)
        .await
        .expect("nothing for 30 s")
}

#[tokio::test]
async fn operator_account_and_users_of_every_shape_are_accepted() {
    for version in NatsVersion::ALL {
        let operator = Operator::new(false);
        let server = start(version, &operator.config).await;
        let app = operator.account.public_key();

        // By the account's own key; all that default permissions do not bound.
        let all = UserPermissionLimits {
            publish: allow([">"]),
            subscribe: allow([">"]),
            ..UserPermissionLimits::unlimited()
        };
        let all = credentials(&key(Role::User), UserBody::with(all), &operator.account);
        let observer = connect(&server, &all).await;

        // By the plain signing key: its own permissions.
        let own = UserPermissionLimits {
            publish: Permission {
                deny: vec!["own.secret".to_owned()],
                ..allow(["own.>"])
            },
            subscribe: allow(["own.>"]),
            ..UserPermissionLimits::unlimited()
        };
        let own = credentials(
            &key(Role::User),
            UserBody::with(own).of_account(app),
            &operator.plain,
        );
        let client = connect(&server, &own).await;
        let subjects = ["own.a", "own.secret", "default.a", "other"];
        assert_eq!(
            may_publish(&client, &observer, &subjects, "own.end").await,
            ["own.a"],
            "{version}"
        );
        assert_eq!(
            may_subscribe(&client, &observer, &subjects, "own.end").await,
            ["own.a", "own.secret"],
            "{version}"
        );

        // By the plain signing key, without permissions: the account's default.
        let bare = credentials(
            &key(Role::User),
            UserBody::unlimited().of_account(app),
            &operator.plain,
        );
        let client = connect(&server, &bare).await;
        let subjects = ["default.a", "own.a"];
        assert_eq!(
            may_publish(&client, &observer, &subjects, "default.end").await,
            ["default.a"],
            "{version}"
        );
        assert_eq!(
            may_subscribe(&client, &observer, &subjects, "default.end").await,
            ["default.a"],
            "{version}"
        );

        // By the scoped signing key: the template, with the user's tag.
        let scoped = UserBody::scoped(app).tagged(["project:apollo"]);
        let scoped = credentials(&key(Role::User), scoped, &operator.scoped);
        let client = connect(&server, &scoped).await;
        let subjects = [
            "projects.apollo.in.a",
            "projects.apollo.out",
            "projects.gemini.in.a",
            "default.a",
        ];
        let last = "projects.apollo.in.end";
        assert_eq!(
            may_publish(&client, &observer, &subjects, last).await,
            ["projects.apollo.in.a"],
            "{version}"
        );
        assert_eq!(
            may_subscribe(&client, &observer, &subjects, last).await,
            ["projects.apollo.in.a", "projects.apollo.out"],
            "{version}"
        );
    }
}

#[tokio::test]
async fn a_scoped_user_that_brings_its_own_permissions_is_refused_by_the_server() {
    for version in NatsVersion::ALL {
        let operator = Operator::new(false);
        let server = start(version, &operator.config).await;
        let body = UserBody::unlimited().of_account(operator.account.public_key());
        let refused = credentials(&key(Role::User), body, &operator.scoped);
        let options = ConnectOptions::with_credentials(&refused.format()).unwrap();
        let error = options.connect(server.client_url()).await.unwrap_err();
        assert_eq!(
            error.kind(),
            ConnectErrorKind::AuthorizationViolation,
            "{version}"
        );
    }
}

/// What the responder does with a request.
type Answer = dyn Fn(&Claims<AuthorizationRequest>) -> String + Send + Sync;

/// An authorization service that answers every request with `answer`'s token, sealed if the request was; gives each
/// request it read.
async fn respond(
    client: Client,
    xkey: Option<Arc<XKeyPair>>,
    answer: Box<Answer>,
) -> tokio::sync::mpsc::UnboundedReceiver<Result<Claims<AuthorizationRequest>, DecodeError>> {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut requests = client.subscribe("$SYS.REQ.USER.AUTH").await.unwrap();
    // One connection's lines are taken in order: this comes back after the subscription is there.
    let mut ready = client.subscribe("service.ready").await.unwrap();
    client.publish("service.ready", "".into()).await.unwrap();
    within(ready.next()).await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = requests.next().await {
            let from = message
                .headers
                .as_ref()
                .and_then(|headers| headers.get("Nats-Server-Xkey"));
            let from = from.map(|value| value.as_str().to_owned());
            assert_eq!(from.is_some(), xkey.is_some(), "sealed only with an xkey");
            let token = match (&xkey, &from) {
                (Some(xkey), Some(from)) => xkey.open(&message.payload, from).unwrap().to_vec(),
                _ => message.payload.to_vec(),
            };
            let request = decode::<AuthorizationRequest>(std::str::from_utf8(&token).unwrap(), now());
            if let Ok(request) = &request {
                let response = answer(request).into_bytes();
                let response = match (&xkey, &from) {
                    (Some(xkey), Some(from)) => xkey.seal(&response, from).unwrap(),
                    _ => response,
                };
                client
                    .publish(message.reply.clone().unwrap(), response.into())
                    .await
                    .unwrap();
            }
            sender.send(request).unwrap();
        }
    });
    receiver
}

/// A user JWT for `request` in an operator's APP: `granted.>` to publish, `granted.>` and queue `work.>` to subscribe.
fn granted() -> UserPermissionLimits {
    let subject = |text: &str| Subject::parse(text).unwrap();
    let mut permissions = natsgate_core::Permissions::default();
    permissions.publish.allow = vec![subject("granted.>")];
    permissions.publish.deny = vec![subject("granted.secret")];
    permissions.subscribe.allow = vec![natsgate_core::SubscribeSubject {
        subject: subject("granted.>"),
        queue: None,
    }];
    UserPermissionLimits::granting(&permissions, &Limits::default())
}

/// The answer that is right in every respect.
fn right_answer(
    request: &Claims<AuthorizationRequest>,
    user: UserBody,
    user_signer: &KeyPair,
    signer: &KeyPair,
) -> String {
    let body = &request.body;
    let user = ClaimsToSign::new(&*body.user_nkey, user).name("alice");
    let user = sign(user.expires_at(now() + 600), user_signer);
    let response = AuthorizationResponse::granted(user);
    sign(
        ClaimsToSign::new(&*body.user_nkey, response).audience(&*body.server_id.id),
        signer,
    )
}

/// A client as people run them, with everything a CONNECT can hold.
fn client_options(sentinel: &Credentials) -> ConnectOptions {
    ConnectOptions::with_credentials(&sentinel.format())
        .unwrap()
        .token("a-token".to_owned())
        .user_and_password("alice".to_owned(), "a-password".to_owned())
        .name("a-client")
}

#[tokio::test]
async fn a_real_request_is_read_with_every_field_and_the_answer_lets_in_with_exactly_its_permissions() {
    for version in NatsVersion::ALL {
        for sealed in [false, true] {
            let operator = Operator::new(sealed);
            let server = start(version, &operator.config).await;
            let (plain, callout) = (operator.plain.clone(), operator.callout.clone());
            let app = operator.account.public_key().to_owned();
            let answer = move |request: &Claims<AuthorizationRequest>| {
                right_answer(
                    request,
                    UserBody::with(granted()).of_account(&*app),
                    &plain,
                    &callout,
                )
            };
            let service = connect(&server, &operator.callout_user).await;
            let mut requests = respond(service, operator.xkey.clone(), Box::new(answer)).await;

            let sentinel = operator.sentinel();
            let before = now();
            let client = match client_options(&sentinel).connect(server.client_url()).await {
                Ok(client) => client,
                Err(error) => panic!("{version}, sealed {sealed}: {error}\n{}", server.logs()),
            };
            let request = requests.recv().await.unwrap().unwrap();
            check_request(&request, version, before, operator.callout.public_key(), sealed);
            assert_eq!(secret(&request.body.connect_opts.jwt), sentinel.jwt);
            assert!(!request.body.client_info.nonce.is_empty());
            assert!(!secret(&request.body.connect_opts.signature).is_empty());

            let all = UserPermissionLimits {
                publish: allow([">"]),
                subscribe: allow([">"]),
                ..UserPermissionLimits::unlimited()
            };
            let all = credentials(&key(Role::User), UserBody::with(all), &operator.account);
            let observer = connect(&server, &all).await;
            check_granted(&client, &observer, version).await;
        }
    }
}

fn check_request(
    request: &Claims<AuthorizationRequest>,
    version: NatsVersion,
    before: i64,
    about: &str,
    sealed: bool,
) {
    assert_eq!(request.subject, about);
    assert_eq!(request.audience.as_deref(), Some("nats-authorization-request"));
    let expires_at = request.expires_at.unwrap();
    assert!(
        (before + 1..=now() + 2).contains(&expires_at),
        "two seconds after it was made"
    );
    let body = &request.body;
    let server = &body.server_id;
    assert_eq!(
        (server.name.as_str(), server.version.as_str()),
        ("n1", version.as_str())
    );
    assert_eq!((server.host.as_str(), server.cluster.as_str()), ("127.0.0.1", ""));
    assert_eq!(server.tags, ["dc:1"]);
    assert_eq!(server.id, request.issuer);
    assert_eq!(server.xkey.is_some(), sealed);
    let info = &body.client_info;
    assert_eq!(
        (info.host.as_str(), info.name.as_str()),
        ("127.0.0.1", "a-client")
    );
    assert_eq!(
        (info.kind.as_str(), info.client_type.as_str()),
        ("Client", "nats")
    );
    assert!(info.id > 0);
    assert_eq!(secret(&info.user), "alice");
    let options = &body.connect_opts;
    assert_eq!(secret(&options.auth_token), "a-token");
    assert_eq!(
        (options.user.as_str(), secret(&options.password)),
        ("alice", "a-password")
    );
    assert_eq!(
        (options.name.as_str(), options.lang.as_str(), options.protocol),
        ("a-client", "rust", 1)
    );
    assert!(!options.version.is_empty());
    assert!(body.client_tls.is_none());
}

fn secret(secret: &Option<secrecy::SecretString>) -> &str {
    secret.as_ref().unwrap().expose_secret()
}

async fn check_granted(client: &Client, observer: &Client, version: NatsVersion) {
    let subjects = ["granted.a", "granted.secret", "default.a", "other"];
    let last = "granted.end";
    assert_eq!(
        may_publish(client, observer, &subjects, last).await,
        ["granted.a"],
        "{version}"
    );
    assert_eq!(
        may_subscribe(client, observer, &subjects, last).await,
        ["granted.a", "granted.secret"],
        "{version}"
    );
}

#[tokio::test]
async fn an_answer_by_the_scoped_key_lets_in_with_the_template() {
    for version in NatsVersion::ALL {
        let operator = Operator::new(true);
        let server = start(version, &operator.config).await;
        let (scoped, callout) = (operator.scoped.clone(), operator.callout.clone());
        let app = operator.account.public_key().to_owned();
        let answer = move |request: &Claims<AuthorizationRequest>| {
            let user = UserBody::scoped(&*app).tagged(["project:apollo"]);
            right_answer(request, user, &scoped, &callout)
        };
        let service = connect(&server, &operator.callout_user).await;
        let _requests = respond(service, operator.xkey.clone(), Box::new(answer)).await;
        let client = client_options(&operator.sentinel())
            .connect(server.client_url())
            .await
            .unwrap();
        let all = UserPermissionLimits {
            publish: allow([">"]),
            subscribe: allow([">"]),
            ..UserPermissionLimits::unlimited()
        };
        let observer = connect(
            &server,
            &credentials(&key(Role::User), UserBody::with(all), &operator.account),
        )
        .await;
        let subjects = ["projects.apollo.in.a", "projects.gemini.in.a"];
        assert_eq!(
            may_publish(&client, &observer, &subjects, "projects.apollo.in.end").await,
            ["projects.apollo.in.a"],
            "{version}"
        );
    }
}

#[tokio::test]
async fn config_mode_takes_the_account_s_name_as_the_audience() {
    for version in NatsVersion::ALL {
        for sealed in [false, true] {
            let mode = ConfigMode::generate(ConfigModeOptions {
                xkey: sealed,
                ..ConfigModeOptions::default()
            })
            .unwrap();
            let config = format!("server_tags: [\"dc:1\"]\n{}", mode.server_config());
            let server = start(version, &config).await;
            let login = |user: &natsgate_devkit::ConfiguredUser| {
                let password = user.password.expose_secret().to_owned();
                ConnectOptions::with_user_and_password(user.user.clone(), password)
            };
            let service = login(&mode.callout_user)
                .connect(server.client_url())
                .await
                .unwrap();
            let issuer = mode.issuer.clone();
            let answer = move |request: &Claims<AuthorizationRequest>| {
                let body = &request.body;
                let user = ClaimsToSign::new(&*body.user_nkey, UserBody::with(granted())).audience("APP");
                let response = AuthorizationResponse::granted(sign(user, &issuer));
                sign(
                    ClaimsToSign::new(&*body.user_nkey, response).audience(&*body.server_id.id),
                    &issuer,
                )
            };
            let about = mode.issuer.public_key().to_owned();
            let mut requests = respond(service, mode.xkey.map(Arc::new), Box::new(answer)).await;
            let before = now();
            let client = ConnectOptions::with_user_and_password("alice".to_owned(), "a-password".to_owned())
                .token("a-token".to_owned())
                .name("a-client")
                .connect(server.client_url())
                .await
                .unwrap();
            let request = requests.recv().await.unwrap().unwrap();
            check_request(&request, version, before, &about, sealed);
            assert!(request.body.connect_opts.jwt.is_none() && request.body.connect_opts.signature.is_none());
            let observer = login(&mode.break_glass_user)
                .connect(server.client_url())
                .await
                .unwrap();
            check_granted(&client, &observer, version).await;
        }
    }
}

#[tokio::test]
async fn an_answer_for_another_server_or_user_or_by_another_key_is_refused_by_the_server() {
    /// Answers in one respect wrong: (request, user's signer, response's signer, a stranger of the same role).
    type Wrong = fn(&Claims<AuthorizationRequest>, UserBody, &KeyPair, &KeyPair) -> String;
    let wrongs: [(&str, Wrong); 6] = [
        ("for another server", |request, user, plain, callout| {
            let mut request = request.clone();
            request.body.server_id.id = key(Role::Server).public_key().to_owned();
            right_answer(&request, user, plain, callout)
        }),
        ("for another user", |request, user, plain, callout| {
            let mut request = request.clone();
            request.body.user_nkey = key(Role::User).public_key().to_owned();
            right_answer(&request, user, plain, callout)
        }),
        (
            "with a user JWT for another user",
            |request, user, plain, callout| {
                let body = &request.body;
                let jwt = sign(ClaimsToSign::new(key(Role::User).public_key(), user), plain);
                let response = ClaimsToSign::new(&*body.user_nkey, AuthorizationResponse::granted(jwt));
                sign(response.audience(&*body.server_id.id), callout)
            },
        ),
        ("by another account", |request, user, plain, _| {
            right_answer(request, user, plain, &key(Role::Account))
        }),
        (
            "with a user JWT by a key the account does not have",
            |request, user, _, callout| right_answer(request, user, &key(Role::Account), callout),
        ),
        ("that says no", |request, _, _, callout| {
            let body = &request.body;
            let response = ClaimsToSign::new(&*body.user_nkey, AuthorizationResponse::denied("no"));
            sign(response.audience(&*body.server_id.id), callout)
        }),
    ];
    for version in NatsVersion::ALL {
        let operator = Operator::new(false);
        let server = start(version, &operator.config).await;
        let (plain, callout) = (operator.plain.clone(), operator.callout.clone());
        let app = operator.account.public_key().to_owned();
        let turn = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let which = Arc::clone(&turn);
        let answer = move |request: &Claims<AuthorizationRequest>| {
            let user = UserBody::with(granted()).of_account(&*app);
            match wrongs.get(which.load(std::sync::atomic::Ordering::SeqCst)) {
                Some((_, wrong)) => wrong(request, user, &plain, &callout),
                None => right_answer(request, user, &plain, &callout),
            }
        };
        let service = connect(&server, &operator.callout_user).await;
        let mut requests = respond(service, None, Box::new(answer)).await;
        for (index, (what, _)) in wrongs.iter().enumerate() {
            turn.store(index, std::sync::atomic::Ordering::SeqCst);
            let result = client_options(&operator.sentinel())
                .connect(server.client_url())
                .await;
            let error = result.expect_err(what);
            assert_eq!(
                error.kind(),
                ConnectErrorKind::AuthorizationViolation,
                "{version}: {what}"
            );
            requests.recv().await.unwrap().unwrap();
        }
        // The same with nothing wrong gets in: it was the wrong that was refused.
        turn.store(wrongs.len(), std::sync::atomic::Ordering::SeqCst);
        client_options(&operator.sentinel())
            .connect(server.client_url())
            .await
            .unwrap();
    }
}
