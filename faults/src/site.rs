//! A site: everything that natsgate runs with, and natsgate itself as two decision services and two shims.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{Clock, SystemClock};
use natsgate_devkit::{
    ConfiguredUser, DevProvider, DevProviderOptions, INTROSPECTION_CLIENT, PostgresServer, RedisOptions,
    RedisServer, TokenSpec,
};
use natsgate_proto::v1::ListBansRequest;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tonic::Code;

use crate::api::{AUDIENCE, Api, BACKEND, SCOPES};
use crate::crowd::{Crowd, Token, Tokens};
use crate::members::Members;
use crate::nats::Nats;
use crate::program::{Natsgate, Program};
use crate::system::System;
use crate::tls::Authority;
use crate::{free_port, until};

/// How far clocks may differ here: they are one clock, and `iat` is in whole seconds.
const CLOCK_SKEW: &str = "1s";

/// What seals everything in Redis.
const SECRET: &str = "no-secret-but-one-for-tests-0123456789";

/// What a shim says once it takes requests.
const SHIM_READY: &str = "the shim takes authorization requests";

/// What a decision service says once it listens.
const DECISION_READY: &str = "the decision service listens";

/// The cluster's configured name.
pub const CLUSTER: &str = "site";

/// What a site has beside the usual.
#[derive(Debug, Clone)]
pub struct SiteOptions {
    /// How many nats-servers.
    pub servers: usize,
    /// How many shims, each connected to a server of its own as far as there are.
    pub shims: usize,
    /// How many decision services.
    pub decisions: usize,
    /// Whether memberships can be pushed too: starts a PostgreSQL.
    pub pushed: bool,
    /// Whether Redis keeps its data through a restart (an append-only file, written with every command).
    pub durable: bool,
    /// `shim.enforcement`.
    pub enforcement: Value,
    /// The policy.
    pub policy: String,
    /// How much natsgate logs.
    pub log: String,
}

impl Default for SiteOptions {
    fn default() -> Self {
        Self {
            servers: 3,
            shims: 2,
            decisions: 2,
            pushed: false,
            durable: false,
            enforcement: json!({ "spread": "1s" }),
            policy: POLICY.to_owned(),
            log: "info".to_owned(),
        }
    }
}

/// Members of a project may publish to its `in` and subscribe to all of it; projects are known from the backend, and rooms
/// are pushed.
pub const POLICY: &str = r#"
version: 1
generation: 1
account: APP
rules:
  - name: project members
    for_each: { membership: { kind: [project, room], role: member } }
    publish: { allow: ["projects.{membership.id}.in.>"] }
    subscribe: { allow: ["projects.{membership.id}.>"] }
"#;

/// The whole. Dropping it ends everything.
pub struct Site {
    /// Decision services.
    pub decisions: Vec<Natsgate>,
    /// Shims.
    pub shims: Vec<Natsgate>,
    /// The backend that knows who belongs to which projects.
    pub members: Members,
    /// What nats-server says.
    pub system: System,
    /// The API.
    pub api: Api,
    /// The provider of all tokens.
    pub provider: Arc<DevProvider>,
    /// Redis.
    pub redis: RedisServer,
    /// PostgreSQL, if memberships can be pushed.
    pub postgres: Option<PostgresServer>,
    /// The nats-servers.
    pub nats: Nats,
    ports: Vec<u16>,
}

impl Site {
    /// Starts everything, and waits until it works: shims take requests, decision services decide, the API takes calls.
    pub async fn start(program: &Program, options: SiteOptions) -> Self {
        // Another has been installed already: that one will do.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let provider = Arc::new(DevProvider::start(DevProviderOptions::default()).await.unwrap());
        let members = Members::start().await;
        let (nats, redis, postgres) = tokio::join!(
            Nats::start(options.servers),
            start_redis(options.durable),
            start_postgres(options.pushed)
        );
        let authority = Authority::new();
        let ports: Vec<u16> = (0..options.decisions).map(|_| free_port()).collect();
        let parts = Parts {
            options: &options,
            nats: &nats,
            redis: &redis,
            postgres: postgres.as_ref(),
            provider: &provider,
            members: &members,
            ports: &ports,
        };
        let (decisions, shims) = parts.start(program, &authority);
        let mut site = Self {
            decisions,
            shims,
            members,
            system: System::of(&nats).await,
            api: Api::at(&ports, &authority.pem(), &provider),
            provider,
            redis,
            postgres,
            nats,
            ports,
        };
        site.ready().await;
        site
    }

    /// Waits until every process of natsgate has said that it is ready, and decision services take the API's calls: they know
    /// the log's end, and a token that is newer than the log's beginning.
    pub async fn ready(&mut self) {
        for process in self.decisions.iter_mut().chain(&mut self.shims) {
            process.ready().await;
        }
        for at in 0..self.ports.len() {
            self.takes_calls(at).await;
        }
    }

    /// Waits until the decision service of index `at` takes the API's calls.
    pub async fn takes_calls(&self, at: usize) {
        let api = &self.api;
        until("a decision service takes the API's calls", || async {
            let call = api.call(ListBansRequest::default(), Duration::from_secs(2));
            match api.revocations(at).list_bans(call).await {
                Ok(_) => true,
                // It knows who calls: bans are kept where pushed memberships are, which need not be.
                Err(status) => matches!(status.code(), Code::FailedPrecondition | Code::Unimplemented),
            }
        })
        .await;
    }

    /// A crowd of clients, of which `at_once` connect at once.
    pub fn crowd(&self, at_once: usize) -> Crowd {
        Crowd::new(self.nats.addresses(), at_once)
    }

    /// One token of `subject`'s, good for an hour, used for every connect.
    pub fn one_token(&self, subject: &str) -> Tokens {
        let token = self.token(subject);
        Arc::new(move || token.clone())
    }

    /// A token of `subject`'s, made anew for every connect.
    pub fn fresh_tokens(&self, subject: &str) -> Tokens {
        let (provider, subject) = (Arc::clone(&self.provider), subject.to_owned());
        Arc::new(move || issue(&provider, &subject))
    }

    /// A token of `subject`'s, good for an hour.
    pub fn token(&self, subject: &str) -> Token {
        issue(&self.provider, subject)
    }

    /// Every process of natsgate, with a name.
    pub fn named(&self) -> impl Iterator<Item = (String, &Natsgate)> {
        let decisions = self.decisions.iter().enumerate();
        let shims = self.shims.iter().enumerate();
        decisions
            .map(|(index, one)| (format!("decision-{index}"), one))
            .chain(shims.map(|(index, one)| (format!("shim-{index}"), one)))
    }

    /// The ports on which decision services listen.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }
}

fn issue(provider: &DevProvider, subject: &str) -> Token {
    let id = format!("{:032x}", rand::random::<u128>());
    let issued_at = SystemClock.unix_seconds();
    let spec = TokenSpec::new(subject)
        .ttl(Duration::from_secs(3600))
        .claim("jti", id.as_str());
    Token {
        secret: provider.issue(spec).unwrap(),
        id: id.into(),
        issued_at,
    }
}

async fn start_redis(durable: bool) -> RedisServer {
    let arguments = match durable {
        true => ["--appendonly", "yes", "--appendfsync", "always"]
            .map(str::to_owned)
            .to_vec(),
        false => Vec::new(),
    };
    let options = RedisOptions {
        arguments,
        ..RedisOptions::default()
    };
    RedisServer::start_as(options).await.unwrap()
}

async fn start_postgres(wanted: bool) -> Option<PostgresServer> {
    match wanted {
        true => Some(PostgresServer::start().await.unwrap()),
        false => None,
    }
}

/// What the configurations name.
struct Parts<'a> {
    options: &'a SiteOptions,
    nats: &'a Nats,
    redis: &'a RedisServer,
    postgres: Option<&'a PostgresServer>,
    provider: &'a DevProvider,
    members: &'a Members,
    ports: &'a [u16],
}

impl Parts<'_> {
    /// Starts decision services and shims. They may not be ready yet.
    fn start(&self, program: &Program, authority: &Authority) -> (Vec<Natsgate>, Vec<Natsgate>) {
        let files = |folder: &Path| {
            authority.write(folder);
            std::fs::write(folder.join("policy.yaml"), &self.options.policy).unwrap();
        };
        let decisions = self
            .ports
            .iter()
            .map(|port| Natsgate::start(program, "decision", DECISION_READY, &self.decision(*port), files));
        let shims = (0..self.options.shims)
            .map(|index| Natsgate::start(program, "shim", SHIM_READY, &self.shim(index), files));
        (decisions.collect(), shims.collect())
    }

    fn decision(&self, port: u16) -> Value {
        let issuer = self.provider.issuer();
        let (client, secret) = INTROSPECTION_CLIENT;
        let mut store = self.store();
        store["follow"] = json!({ "clock_skew": CLOCK_SKEW });
        if let Some(postgres) = self.postgres {
            store["pushed"] = json!({ "postgres": { "database": {
                "host": "127.0.0.1", "port": postgres.port(), "database": postgres.database(), "user": postgres.user(),
                "password": postgres.password(), "tls": { "mode": "disable" },
            } } });
        }
        let everything = ["*"];
        json!({
            "log": { "format": "json", "level": self.options.log },
            "store": store,
            "decision": {
                "listen": format!("127.0.0.1:{port}"),
                "tls": { "cert_file": "decision.pem", "key_file": "decision.key", "client_ca_file": "ca.pem" },
                "policy_file": "policy.yaml",
                "providers": [{
                    "name": "people", "issuer": issuer, "audiences": ["nats"], "leeway": CLOCK_SKEW,
                    "verify": ["jwt", "introspection"],
                    "introspection": { "client_id": client, "authentication": { "client_secret_post": { "secret": secret } } },
                }],
                "memberships": [self.members.source()],
                "caller_providers": [{ "name": "api", "issuer": issuer, "audiences": [AUDIENCE], "leeway": CLOCK_SKEW }],
                "callers": [
                    { "name": "shim", "certificate": { "san_dns": "shim" }, "scopes": ["natsgate.authorize"] },
                    {
                        "name": BACKEND, "token": { "subject": BACKEND }, "scopes": SCOPES, "issuers": everything,
                        "kinds": everything, "id_prefixes": everything, "roles": everything,
                    },
                ],
            },
        })
    }

    fn shim(&self, index: usize) -> Value {
        let servers = &self.nats.servers;
        let url = servers[index % servers.len()].client_url();
        let login = |user: &ConfiguredUser| json!({ "servers": [url], "user": user.user, "password": user.password.expose_secret() });
        let keys = &self.nats.keys;
        let endpoints: Vec<String> = self
            .ports
            .iter()
            .map(|port| format!("https://127.0.0.1:{port}"))
            .collect();
        json!({
            "log": { "format": "json", "level": self.options.log },
            "store": self.store(),
            "shim": {
                "cluster": CLUSTER,
                "nats": login(&keys.callout_user),
                "system": login(&keys.system_user),
                "config_mode": { "issuer_seed": keys.issuer.seed().unwrap().expose_secret() },
                "xkey_seed": keys.xkey.as_ref().unwrap().seed().expose_secret(),
                "accounts": [{ "name": "APP" }],
                "enforcement": self.options.enforcement,
                "decision": {
                    "endpoints": endpoints,
                    "tls": {
                        "ca_file": "ca.pem", "cert_file": "shim.pem", "key_file": "shim.key", "server_name": "localhost",
                    },
                },
            },
        })
    }

    fn store(&self) -> Value {
        json!({ "secret": SECRET, "redis": { "url": self.redis.url() } })
    }
}
