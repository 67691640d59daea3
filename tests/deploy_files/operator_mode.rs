//! nats/operator-mode/nats-server.conf with natsgate/shim.yaml and natsgate/decision.yaml as two processes.
//!
//! What `nsc` would make for make-operator.sh is made here with natsgate-claims: the same accounts, keys and users, with
//! the permissions that the script itself has.

use async_nats::{ConnectErrorKind, ConnectOptions};
use futures::StreamExt;
use natsgate_claims::{
    AccountBody, ClaimsBody, ClaimsToSign, Credentials, ExternalAuthorization, KeyPair, OperatorBody, Role,
    SigningKey, UserBody, UserPermissionLimits, XKeyPair, encode,
};
use natsgate_core::{Clock, SystemClock};
use natsgate_devkit::{Fault, TokenSpec};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::site::{Gateway, SHIM_READY, Server, Session, Site, Variables, deploy, within};

const CONF: &str = "nats/operator-mode/nats-server.conf";

/// What make-operator.sh leaves behind, beside files.
struct Operator {
    sentinel: Credentials,
    users: Vec<(&'static str, Credentials)>,
    natsgate: Variables,
}

fn key(role: Role) -> KeyPair {
    KeyPair::generate(role).unwrap()
}

fn sign<B: ClaimsBody>(name: &str, key: &KeyPair, body: B, signer: &KeyPair) -> String {
    encode(
        ClaimsToSign::new(key.public_key(), body).name(name),
        signer,
        SystemClock.unix_seconds(),
    )
    .unwrap()
}

fn user(name: &str, key: &KeyPair, account: &KeyPair, rights: UserPermissionLimits) -> Credentials {
    Credentials {
        jwt: sign(name, key, UserBody::with(rights), account),
        seed: key.seed().unwrap(),
    }
}

/// The permissions that make-operator.sh gives the user `name`.
fn scripted(name: &str) -> UserPermissionLimits {
    let script = std::fs::read_to_string(deploy().join("nats/operator-mode/make-operator.sh")).unwrap();
    let script = script.replace("\\\n", " ");
    let command = script
        .lines()
        .find(|line| line.starts_with("nsc add user ") && line.contains(&format!(" --name {name}")))
        .unwrap_or_else(|| panic!("no command for {name}"));
    let after = |flag: &str| -> Vec<String> {
        let flag = format!(" {flag} '");
        let values = command.split(&flag).skip(1);
        values
            .map(|rest| rest.split('\'').next().unwrap().to_owned())
            .collect()
    };
    let mut rights = UserPermissionLimits::unlimited();
    rights.publish.allow = after("--allow-pub");
    rights.subscribe.allow = after("--allow-sub");
    rights.publish.allow.extend(after("--allow-pubsub"));
    rights.subscribe.allow.extend(after("--allow-pubsub"));
    rights.publish.deny = after("--deny-pubsub");
    rights.subscribe.deny = after("--deny-pubsub");
    rights.bearer_token = command.contains(" --bearer");
    if command.contains("--allow-pub-response=1 --response-ttl 10s") {
        rights.responses = Some(natsgate_claims::ResponsePermission {
            max_messages: 1,
            ttl_nanoseconds: 10_000_000_000,
        });
    }
    rights
}

impl Operator {
    /// Makes everything and puts it where the files look for it.
    fn make(site: &Site) -> Self {
        let (operator, operator_signing, system) =
            (key(Role::Operator), key(Role::Operator), key(Role::Account));
        let (auth, auth_signing) = (key(Role::Account), key(Role::Account));
        let (app, app_signing) = (key(Role::Account), key(Role::Account));
        let xkey = XKeyPair::generate().unwrap();
        let callout = key(Role::User);

        let operator_jwt = OperatorBody {
            signing_keys: vec![operator_signing.public_key().to_owned()],
            system_account: Some(system.public_key().to_owned()),
            ..OperatorBody::default()
        };
        let operator_jwt = sign("natsgate", &operator, operator_jwt, &operator);
        let authorization = ExternalAuthorization {
            auth_users: vec![callout.public_key().to_owned()],
            allowed_accounts: vec![app.public_key().to_owned()],
            xkey: Some(xkey.public_key().to_owned()),
            ..ExternalAuthorization::default()
        };
        let plain = |key: &KeyPair| vec![SigningKey::Plain(key.public_key().to_owned())];
        let preload: String = [
            ("SYS", &system, AccountBody::default()),
            (
                "AUTH",
                &auth,
                AccountBody {
                    signing_keys: plain(&auth_signing),
                    authorization,
                    ..AccountBody::default()
                },
            ),
            (
                "APP",
                &app,
                AccountBody {
                    signing_keys: plain(&app_signing),
                    ..AccountBody::default()
                },
            ),
        ]
        .into_iter()
        .map(|(name, key, body)| {
            format!(
                "  {}: {}\n",
                key.public_key(),
                sign(name, key, body, &operator_signing)
            )
        })
        .collect();
        let sentinel = user("sentinel", &key(Role::User), &auth, scripted("sentinel"));
        site.write(
            "nats/operator-mode/operator.conf",
            &format!(
                "operator: {operator_jwt}\nsystem_account: {}\nresolver_preload {{\n{preload}}}\ndefault_sentinel: {}\n",
                system.public_key(),
                sentinel.jwt
            ),
        );

        let users = vec![
            ("callout", user("callout", &callout, &auth, scripted("callout"))),
            (
                "watch",
                user("watch", &key(Role::User), &system, scripted("watch")),
            ),
            (
                "evict",
                user("evict", &key(Role::User), &system, scripted("evict")),
            ),
            (
                "break-glass",
                user("break-glass", &key(Role::User), &app, scripted("break-glass")),
            ),
        ];
        for (name, credentials) in &users {
            site.write(&format!("natsgate/secrets/{name}.creds"), &credentials.format());
        }
        for (name, seed) in [
            ("auth-signing", auth_signing.seed().unwrap()),
            ("app-signing", app_signing.seed().unwrap()),
            ("xkey", xkey.seed()),
        ] {
            site.write(
                &format!("natsgate/secrets/{name}.nk"),
                &format!("{}\n", seed.expose_secret()),
            );
        }
        let natsgate = [("NATSGATE_AUTH_ACCOUNT", &auth), ("NATSGATE_APP_ACCOUNT", &app)];
        let natsgate = natsgate
            .map(|(name, key)| (name.to_owned(), key.public_key().to_owned()))
            .to_vec();
        Self {
            sentinel,
            users,
            natsgate,
        }
    }

    fn login(&self, name: &str) -> ConnectOptions {
        let (_, credentials) = self.users.iter().find(|(user, _)| *user == name).unwrap();
        ConnectOptions::with_credentials(&credentials.format()).unwrap()
    }
}

async fn nats(site: &Site) -> Server {
    let accounts = site.file("accounts").display().to_string();
    Server::start(site, CONF, &[], &vec![("NATS_ACCOUNTS_DIR".to_owned(), accounts)]).await
}

/// A decision service and a shim that asks it, with mutual TLS between them.
async fn two_processes(site: &Site, server: &Server, operator: &Operator) -> (Gateway, Gateway) {
    site.make_certificates();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let listen = vec![(
        "NATSGATE__DECISION__LISTEN".to_owned(),
        format!("127.0.0.1:{port}"),
    )];
    let decision = site
        .start("decision", &listen, "the decision service listens")
        .await;
    let mut variables = operator.natsgate.clone();
    variables.extend(server.overrides());
    variables.push((
        "NATSGATE__SHIM__DECISION__ENDPOINTS".to_owned(),
        format!("https://localhost:{port}"),
    ));
    (decision, site.start("shim", &variables, SHIM_READY).await)
}

#[tokio::test]
async fn the_break_glass_user_gets_in_while_natsgate_is_not_running() {
    let site = Site::new().await;
    let operator = Operator::make(&site);
    let server = nats(&site).await;
    let client = server
        .connect(operator.login("break-glass"))
        .await
        .unwrap()
        .client;
    let mut seen = client.subscribe(">").await.unwrap();
    client.publish("anything", "x".into()).await.unwrap();
    assert_eq!(within(seen.next()).await.unwrap().subject.as_str(), "anything");
}

#[tokio::test]
async fn tokens_get_in_through_shim_and_decision_service() {
    let site = Site::new().await;
    let operator = Operator::make(&site);
    let server = nats(&site).await;
    let (mut decision, mut shim) = two_processes(&site, &server, &operator).await;
    let bob = site
        .provider
        .issue(TokenSpec::new("bob").claim("projects", json!(["apollo"])))
        .unwrap();

    // With a token alone, thanks to the default sentinel; and with the sentinel's own credentials beside it.
    let mut session = server.connect_as("bob", &bob).await.unwrap();
    assert!(session.may_publish("projects.apollo.in.a").await);
    assert!(session.may_subscribe("projects.apollo.>", None).await);
    assert!(!session.may_publish("projects.gemini.in.a").await);
    let sentinel = ConnectOptions::with_credentials(&operator.sentinel.format()).unwrap();
    let with_sentinel = sentinel.token(bob.expose_secret().to_owned());
    let mut session = server.connect(with_sentinel).await.unwrap();
    assert!(session.may_publish("projects.apollo.in.a").await);

    // The sentinel alone opens nothing; nor does a good token of somebody who belongs to nothing.
    let sentinel = ConnectOptions::with_credentials(&operator.sentinel.format()).unwrap();
    assert_eq!(
        server.connect(sentinel).await.err(),
        Some(ConnectErrorKind::AuthorizationViolation)
    );
    let mallory = site.provider.issue(TokenSpec::new("mallory")).unwrap();
    let stranger = server.connect_as("mallory", &mallory).await.err();
    assert_eq!(stranger, Some(ConnectErrorKind::AuthorizationViolation));
    // A token that is larger than what a CONNECT line may be by default.
    let large = TokenSpec::new("bob")
        .claim("projects", json!(["apollo"]))
        .claim("more", "x".repeat(8000));
    assert!(
        server
            .connect_as("bob", &site.provider.issue(large).unwrap())
            .await
            .is_ok()
    );

    shim.0.stop().await.unwrap();
    decision.0.stop().await.unwrap();
}

#[tokio::test]
async fn least_permissions_are_enough_to_answer_to_look_up_and_to_kick() {
    let site = Site::new().await;
    let operator = Operator::make(&site);
    let server = nats(&site).await;
    let (decision, mut shim) = two_processes(&site, &server, &operator).await;
    let token = site
        .provider
        .issue(TokenSpec::new("bob").claim("projects", json!(["apollo"])))
        .unwrap();
    server.connect_as("bob", &token).await.unwrap();

    drop(decision);
    site.provider.set_fault(Fault::Status(503));
    let kicked = server
        .connect_as("bob", &token)
        .await
        .err()
        .expect("nobody can have let it in");
    assert_ne!(kicked, ConnectErrorKind::AuthorizationViolation);
    shim.wait_for("its connection was kicked").await;
    // Stopped, it has had everything it sent taken by the server.
    shim.0.stop().await.unwrap();
    assert_eq!(server.violations(), Vec::<String>::new());
    let log = shim.0.logs();
    for complaint in [
        "iolation",
        "could not be learned",
        "looked up one by one",
        "no shim.system",
        "\"ERROR\"",
    ] {
        assert!(!log.contains(complaint), "{complaint}: {log}");
    }
}

#[tokio::test]
async fn natsgate_s_users_may_do_nothing_else() {
    let site = Site::new().await;
    let operator = Operator::make(&site);
    let server = nats(&site).await;
    for (name, publish, subscribe) in [
        (
            "callout",
            ["$SYS.REQ.USER.AUTH", "$SYS._INBOX.a.b"],
            ["$SYS.REQ.USER.*", ">"],
        ),
        (
            "watch",
            ["$SYS.REQ.SERVER.x.KICK", "$SYS.REQ.CLAIMS.UPDATE"],
            ["$SYS.SERVER.*.CLIENT.AUTH.ERR", "_INBOX.>"],
        ),
        (
            "evict",
            ["$SYS.REQ.SERVER.x.CONNZ", "$SYS.REQ.CLAIMS.UPDATE"],
            ["$SYS.SERVER.*.STATSZ", "$SYS.>"],
        ),
    ] {
        let mut session: Session = server.connect(operator.login(name)).await.unwrap();
        for subject in publish {
            assert!(!session.may_publish(subject).await, "{name} publish {subject}");
        }
        for subject in subscribe {
            assert!(
                !session.may_subscribe(subject, None).await,
                "{name} subscribe {subject}"
            );
        }
    }
}

#[tokio::test]
async fn check_config_accepts_shim_yaml_and_decision_yaml() {
    let site = Site::new().await;
    let operator = Operator::make(&site);
    site.make_certificates();
    for what in ["shim", "decision"] {
        let arguments = ["check-config", "--config", &format!("{what}.yaml")];
        let output = site.natsgate(&arguments, &operator.natsgate).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(told.contains(&format!("good for natsgate {what}")), "{told}");
    }
}
