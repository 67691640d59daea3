//! A real nats-server whose callout is answered here: each client with the grant it was promised.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use data_encoding::BASE64URL_NOPAD;
use futures::StreamExt;
use natsgate_accounts::ScopedKeys;
use natsgate_claims::{ClaimsToSign, KeyPair, Role, UserBody, UserPermissionLimits, encode};
use natsgate_core::{Clock, Connection, Identity, Membership, Principal, SystemClock};
use natsgate_decision::convert::{self, Beside};
use natsgate_devkit::{
    ConfigMode, ConfigModeOptions, NatsServer, NatsServerOptions, NatsVersion, OperatorMode,
    OperatorModeOptions,
};
use natsgate_policy::{Facts, Policy};
use natsgate_proto::v1;
use natsgate_shim::response::{Recipient, Verdict, encode_response};
use natsgate_shim::settings::TargetSigner;
use natsgate_shim::{
    Bounds, Issuing, NatsCredentials, NatsSettings, ShimSettings, TargetAccount, mint, mint::Naming, request,
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::wire::{Heard, Wire};

/// Grants by the user name of the client they are for.
type Promised = Arc<Mutex<HashMap<String, v1::Grant>>>;

/// A server and its callout.
pub struct Gate {
    pub nats: NatsServer,
    /// Which server and mode, for what a test says when it fails.
    pub name: String,
    settings: Arc<ShimSettings>,
    promised: Promised,
    /// What every client has in CONNECT beside its name.
    sentinel: Value,
    observer: Value,
}

impl Gate {
    /// One of each version, in each mode.
    pub async fn all() -> Vec<Self> {
        let mut gates = Vec::new();
        for version in NatsVersion::ALL {
            gates.push(Self::config(version).await);
            gates.push(Self::operator(version).await);
        }
        gates
    }

    async fn config(version: NatsVersion) -> Self {
        let mode = ConfigMode::generate(ConfigModeOptions::default()).unwrap();
        let nats = start(version, mode.server_config()).await;
        let user = &mode.callout_user;
        let options = ConnectOptions::with_user_and_password(
            user.user.clone(),
            user.password.expose_secret().to_owned(),
        );
        let account = TargetAccount {
            name: "APP".into(),
            signer: None,
        };
        let observer = json!({ "user": mode.break_glass_user.user, "pass": mode.break_glass_user.password.expose_secret() });
        let about = mode.issuer.public_key().to_owned();
        let settings = settings(Issuing::Config { issuer: mode.issuer }, account);
        let client = options.connect(nats.client_url()).await.unwrap();
        let promised = answer(client, Arc::clone(&settings), about).await;
        Self {
            nats,
            name: format!("{version}, config mode"),
            settings,
            promised,
            sentinel: json!({}),
            observer,
        }
    }

    async fn operator(version: NatsVersion) -> Self {
        let mode = OperatorMode::generate(OperatorModeOptions::default()).unwrap();
        let nats = start(version, mode.server_config()).await;
        let options = ConnectOptions::with_credentials(&mode.callout_user.credentials.format()).unwrap();
        let app = &mode.accounts[0];
        let signer = TargetSigner {
            account: app.key.public_key().to_owned(),
            key: app.signing_key.clone(),
            scoped: Arc::new(ScopedKeys::without_secrets(app.key.public_key()).unwrap()),
        };
        let account = TargetAccount {
            name: "APP".into(),
            signer: Some(signer),
        };
        let (sentinel, observer) = (bearer(&mode.callout_account), bearer(&app.key));
        let about = mode.callout_account.public_key().to_owned();
        let issuing = Issuing::Operator {
            callout_account: about.clone(),
            signer: mode.callout_account.clone(),
        };
        let client = options.connect(nats.client_url()).await.unwrap();
        let settings = settings(issuing, account);
        let promised = answer(client, Arc::clone(&settings), about).await;
        Self {
            nats,
            name: format!("{version}, operator mode"),
            settings,
            promised,
            sentinel,
            observer,
        }
    }

    /// A client with `grant`.
    ///
    /// # Errors
    /// What the server said instead of letting it in.
    pub async fn enter(&self, grant: v1::Grant) -> Result<Wire, Heard> {
        let name = {
            let mut promised = self.promised.lock().unwrap();
            let name = format!("client-{}", promised.len());
            promised.insert(name.clone(), grant);
            name
        };
        let mut who = self.sentinel.clone();
        who["user"] = name.into();
        who["pass"] = "a-password".into();
        Wire::connect(self.nats.port(), |_| who).await
    }

    /// A client that logs in with the user JWT for `grant` itself, without the callout; `None` in config mode, where no
    /// client can.
    pub async fn log_in(&self, grant: &v1::Grant) -> Option<Result<Wire, Heard>> {
        if !matches!(self.settings.issuing, Issuing::Operator { .. }) {
            return None;
        }
        let user = KeyPair::generate(Role::User).unwrap();
        let jwt = mint::user_jwt(
            grant,
            user.public_key(),
            &self.settings,
            Naming::default(),
            SystemClock.now(),
        )
        .unwrap();
        let who = |nonce: &str| {
            let signature = BASE64URL_NOPAD.encode(&user.sign(nonce.as_bytes()).unwrap());
            json!({ "jwt": jwt, "sig": signature })
        };
        Some(Wire::connect(self.nats.port(), who).await)
    }

    /// A client with `grant`, who must get in.
    pub async fn entered(&self, grant: v1::Grant) -> Wire {
        match self.enter(grant).await {
            Ok(wire) => wire,
            Err(heard) => panic!("{}: {heard:?}\n{}", self.name, self.nats.logs()),
        }
    }

    /// A client of the same account who may do everything.
    pub async fn observer(&self) -> Wire {
        Wire::connect(self.nats.port(), |_| self.observer.clone())
            .await
            .unwrap()
    }
}

/// What `rules` grant to alice, for an hour.
pub fn granted(rules: Value) -> v1::Grant {
    let document = serde_json::from_value(json!({ "version": 1, "account": "APP", "rules": rules })).unwrap();
    let policy = Policy::compile(&document).unwrap();
    let identity = Identity {
        principal: Principal::new("https://login.example", "alice"),
        provider: "test".into(),
        claims: serde_json::Map::new(),
        issued_at: None,
        expires_at: SystemClock.now() + Duration::from_secs(3600),
        evidence: natsgate_core::Evidence::SignedToken { key_id: None },
    };
    let memberships: [Membership; 0] = [];
    let connection = Connection::default();
    let facts = Facts {
        identity: &identity,
        memberships: &memberships,
        connection: &connection,
        now: SystemClock.now(),
    };
    convert::grant(policy.evaluate(&facts).outcome.unwrap(), Beside::default())
}

async fn start(version: NatsVersion, config: String) -> NatsServer {
    NatsServer::start(NatsServerOptions {
        version,
        config,
        ..NatsServerOptions::default()
    })
    .await
    .unwrap()
}

/// CONNECT of a new user of `account` who may do everything and need not sign a nonce. In the callout account that is a
/// sentinel: it gets no further than the callout.
fn bearer(account: &KeyPair) -> Value {
    let limits = UserPermissionLimits {
        bearer_token: true,
        ..UserPermissionLimits::unlimited()
    };
    let user = KeyPair::generate(Role::User).unwrap();
    let claims = ClaimsToSign::new(user.public_key(), UserBody::with(limits));
    json!({ "jwt": encode(claims, account, SystemClock.unix_seconds()).unwrap() })
}

fn settings(issuing: Issuing, account: TargetAccount) -> Arc<ShimSettings> {
    Arc::new(ShimSettings {
        cluster: "test".into(),
        issuing,
        xkey: None,
        accounts: vec![account],
        operators: Vec::new(),
        max_session: Duration::from_secs(24 * 3600),
        bounds: Bounds {
            max_in_flight: 1,
            max_waiting: 1,
            answer_margin: Duration::from_millis(100),
        },
        callout: NatsSettings {
            servers: Vec::new(),
            credentials: NatsCredentials::None,
            require_tls: false,
            ca_file: None,
            client_certificate: None,
        },
        system_account: None,
        system: None,
        eviction: None,
        enforcement: natsgate_shim::EnforcementSettings::default(),
    })
}

/// Answers every request with what was promised to its user.
async fn answer(client: Client, settings: Arc<ShimSettings>, about: String) -> Promised {
    let promised = Promised::default();
    let mut requests = client.subscribe("$SYS.REQ.USER.AUTH").await.unwrap();
    // One connection's lines are taken in order: when this comes back, the subscription is there.
    let mut ready = client.subscribe("service.ready").await.unwrap();
    client.publish("service.ready", "".into()).await.unwrap();
    ready.next().await.unwrap();
    let promises = Arc::clone(&promised);
    tokio::spawn(async move {
        while let Some(message) = requests.next().await {
            let now = SystemClock.now();
            let opened = request::open(&message.payload, None, None, &about, now).unwrap();
            let grant = promises.lock().unwrap()[&opened.body.connect_opts.user].clone();
            let jwt =
                mint::user_jwt(&grant, &opened.body.user_nkey, &settings, Naming::default(), now).unwrap();
            let recipient = Recipient {
                server_id: &opened.body.server_id.id,
                user_nkey: &opened.body.user_nkey,
                xkey: None,
            };
            let now = SystemClock.unix_seconds();
            let response =
                encode_response(Verdict::Granted(jwt), &recipient, &settings.issuing, None, now).unwrap();
            client
                .publish(message.reply.unwrap(), response.into())
                .await
                .unwrap();
        }
    });
    promised
}
