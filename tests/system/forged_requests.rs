//! Authorization requests that no server of the cluster sent are refused: no answer, one line in the log, and the next
//! real one is answered all the same.
//!
//! A server with a callout lets no client publish on the callout's subject. They come in here as they would in the
//! wild: through another server of the cluster, one without the callout in its configuration.

use async_nats::{Client, HeaderMap, Message};
use data_encoding::BASE64URL_NOPAD;
use futures::StreamExt;
use natsgate_claims::{AuthorizationRequest, Claims, ClaimsToSign, KeyPair, Role, XKeyPair, decode, encode};
use natsgate_core::{Clock, SystemClock};
use natsgate_devkit::{
    ClusterOptions, ConfigMode, ConfigModeOptions, DevProvider, NatsServer, NatsServerOptions,
};
use secrecy::ExposeSecret;
use std::time::Duration;

use crate::harness::{Cluster, Gateway, Keys, PATIENCE, alice, provider};

const SUBJECT: &str = "$SYS.REQ.USER.AUTH";

struct Setup {
    provider: DevProvider,
    cluster: Cluster,
    gateway: Gateway,
    /// In the callout account, on the server without the callout.
    intruder: Client,
    _open_door: NatsServer,
}

impl Setup {
    async fn new(xkey: bool) -> Self {
        let provider = provider().await;
        let keys = ConfigMode::generate(ConfigModeOptions {
            xkey,
            ..Default::default()
        })
        .unwrap();
        let config = keys.server_config();
        let without_callout = config.split("authorization {").next().unwrap().to_owned();
        let member = |routes| {
            Some(ClusterOptions {
                name: "forged".into(),
                routes,
            })
        };
        let nats = NatsServer::start(NatsServerOptions {
            config,
            cluster: member(vec![]),
            ..Default::default()
        });
        let nats = nats.await.unwrap();
        let routes = vec![nats.cluster_url().unwrap().to_owned()];
        let options = NatsServerOptions {
            config: without_callout,
            cluster: member(routes),
            ..Default::default()
        };
        let open_door = NatsServer::start(options).await.unwrap();

        let user = &keys.callout_user;
        let intruder = async_nats::ConnectOptions::with_user_and_password(
            user.user.clone(),
            user.password.expose_secret().to_owned(),
        );
        let intruder = intruder.connect(open_door.client_url()).await.unwrap();
        let cluster = Cluster {
            nats,
            keys: Keys::Config(Box::new(keys)),
            pushes: false,
        };
        let gateway = Gateway::all(&cluster, provider.issuer()).await;
        Self {
            provider,
            cluster,
            gateway,
            intruder,
            _open_door: open_door,
        }
    }

    /// A request as a server sends it, with its headers.
    async fn real_request(&self) -> Message {
        let mut requests = self.intruder.subscribe(SUBJECT).await.unwrap();
        // The subscription takes a moment to be known on the other server.
        loop {
            self.alice_gets_in().await;
            if let Ok(request) = tokio::time::timeout(Duration::from_millis(100), requests.next()).await {
                return request.unwrap();
            }
        }
    }

    async fn alice_gets_in(&self) {
        let token = self.provider.issue(alice()).unwrap();
        assert!(self.cluster.connect(&token).await.is_ok());
    }

    /// `payload` gets no answer, and one line that says `why`. Returns that line.
    async fn is_refused(&mut self, what: &str, payload: Vec<u8>, headers: Option<HeaderMap>, why: &str) {
        let refused = "an authorization request was refused";
        let before = self.gateway.lines(refused).len();
        let inbox = self.intruder.new_inbox();
        let mut answers = self.intruder.subscribe(inbox.clone()).await.unwrap();
        let headers = headers.unwrap_or_default();
        let publish = || {
            self.intruder.publish_with_reply_and_headers(
                SUBJECT,
                inbox.clone(),
                headers.clone(),
                payload.clone().into(),
            )
        };
        publish().await.unwrap();
        let waiting = async {
            while self.gateway.lines(refused).len() == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| panic!("{what}: {}", self.gateway.process.logs()));
        // Whatever else was said about it would be there once a real client is in.
        self.alice_gets_in().await;
        let lines = self.gateway.lines(refused);
        assert_eq!(lines.len(), before + 1, "{what}: {lines:?}");
        assert!(lines[before].contains(why), "{what}: {}", lines[before]);
        self.intruder.flush().await.unwrap();
        assert!(
            futures::poll!(answers.next()).is_pending(),
            "{what}: it was answered"
        );
    }

    fn keys(&self) -> &ConfigMode {
        match &self.cluster.keys {
            Keys::Config(keys) => keys,
            Keys::Operator(_) => unreachable!("config mode"),
        }
    }
}

fn now() -> i64 {
    SystemClock.unix_seconds()
}

/// `request`, signed by `signer`.
fn signed(request: AuthorizationRequest, subject: &str, signer: &KeyPair, expires_at: i64) -> String {
    let claims = ClaimsToSign::new(subject, request)
        .audience("nats-authorization-request")
        .expires_at(expires_at);
    encode(claims, signer, now()).unwrap()
}

#[tokio::test]
async fn plain_requests() {
    let mut setup = Setup::new(false).await;
    let real = setup.real_request().await;
    let text = std::str::from_utf8(&real.payload).unwrap().to_owned();
    let claims: Claims<AuthorizationRequest> = decode(&text, now()).unwrap();
    let (signing_input, _) = text.rsplit_once('.').unwrap();
    let account = setup.keys().issuer.public_key().to_owned();

    setup
        .is_refused(
            "truncated",
            text.as_bytes()[..text.len() / 2].to_vec(),
            None,
            "cannot be verified",
        )
        .await;
    setup
        .is_refused("empty", Vec::new(), None, "cannot be verified")
        .await;
    setup
        .is_refused("not text", vec![0xff, 0xfe, 0x00], None, "not a JWT")
        .await;
    setup
        .is_refused(
            "unsigned",
            format!("{signing_input}.").into_bytes(),
            None,
            "cannot be verified",
        )
        .await;
    let header = BASE64URL_NOPAD.encode(br#"{"typ":"JWT","alg":"none"}"#);
    let body = text.split('.').nth(1).unwrap();
    setup
        .is_refused(
            "alg none",
            format!("{header}.{body}.").into_bytes(),
            None,
            "algorithm",
        )
        .await;

    // A stranger's key in the name of the real server, then in its own name.
    let stranger = KeyPair::generate(Role::Server).unwrap();
    let mut own_name = claims.body.clone();
    own_name.server_id.id = stranger.public_key().to_owned();
    // A new nkey each time, as servers make them: an old one has been seen.
    let anew = || {
        let mut request = own_name.clone();
        request.user_nkey = KeyPair::generate(Role::User).unwrap().public_key().to_owned();
        request
    };
    let unknown = signed(anew(), &account, &stranger, now() + 2);
    setup
        .is_refused("unknown server", unknown.into_bytes(), None, "does not know")
        .await;

    let other_account = KeyPair::generate(Role::Account).unwrap();
    let foreign = signed(anew(), other_account.public_key(), &stranger, now() + 2);
    setup
        .is_refused(
            "another callout's",
            foreign.into_bytes(),
            None,
            "not for this callout",
        )
        .await;

    let late = signed(anew(), &account, &stranger, now() - 5);
    setup
        .is_refused(
            "an old one by a stranger",
            late.into_bytes(),
            None,
            "does not know",
        )
        .await;
    setup
        .is_refused("played again", text.clone().into_bytes(), None, "seen before")
        .await;

    let mut headers = HeaderMap::new();
    headers.insert("Nats-Server-Xkey", XKeyPair::generate().unwrap().public_key());
    setup
        .is_refused(
            "sealed without an xkey",
            real.payload.to_vec(),
            Some(headers),
            "no xkey is configured",
        )
        .await;
    setup.alice_gets_in().await;
}

#[tokio::test]
async fn an_old_request_played_again_is_expired() {
    let mut setup = Setup::new(false).await;
    let real = setup.real_request().await;
    let claims: Claims<AuthorizationRequest> =
        decode(std::str::from_utf8(&real.payload).unwrap(), now()).unwrap();
    let expires_at = claims.expires_at.unwrap();
    while now() <= expires_at {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Another shim has not seen it.
    setup.gateway = Gateway::all(&setup.cluster, setup.provider.issuer()).await;
    setup
        .is_refused("replayed", real.payload.to_vec(), None, "expired")
        .await;
}

#[tokio::test]
async fn sealed_requests() {
    let mut setup = Setup::new(true).await;
    let real = setup.real_request().await;
    let headers = real.headers.clone().unwrap();
    let sealed = real.payload.to_vec();

    setup
        .is_refused(
            "truncated",
            sealed[..40].to_vec(),
            Some(headers.clone()),
            "cannot be opened",
        )
        .await;
    setup
        .is_refused(
            "not sealed",
            b"eyJ0eXAiOiJKV1QifQ.e30.e30".to_vec(),
            None,
            "not sealed",
        )
        .await;

    let stranger = XKeyPair::generate().unwrap();
    let mut strangers = HeaderMap::new();
    strangers.insert("Nats-Server-Xkey", stranger.public_key());
    let other = XKeyPair::generate().unwrap();
    let elsewhere = stranger.seal(b"anything", other.public_key()).unwrap();
    setup
        .is_refused(
            "sealed to another key",
            elsewhere,
            Some(strangers.clone()),
            "cannot be opened",
        )
        .await;

    let ours = setup.keys().xkey.as_ref().unwrap().public_key().to_owned();
    let garbage = stranger.seal(b"not a JWT at all", &ours).unwrap();
    setup
        .is_refused("sealed garbage", garbage, Some(strangers), "cannot be verified")
        .await;

    let mut nonsense = HeaderMap::new();
    nonsense.insert("Nats-Server-Xkey", "not-a-key");
    setup
        .is_refused(
            "a header that is no key",
            sealed,
            Some(nonsense),
            "cannot be opened",
        )
        .await;
    setup.alice_gets_in().await;
}
