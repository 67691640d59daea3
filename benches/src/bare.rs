//! What a callout responder does at the least: read whom a request is about, and sign that they may do everything.
//!
//! It looks at no token, knows no server, checks no signature and decides nothing: what it costs, every responder costs.

use std::path::Path;

use async_nats::{Client, ConnectOptions};
use data_encoding::BASE64URL_NOPAD;
use futures::StreamExt;
use natsgate_claims::{
    AuthorizationResponse, ClaimsToSign, KeyPair, Role, UserBody, UserPermissionLimits, encode,
};
use natsgate_core::{Clock, SystemClock};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// What the responder is told, as a JSON file.
#[derive(Serialize, Deserialize)]
pub struct Told {
    /// The server's URL.
    pub url: String,
    /// The responder's user name.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The issuer's seed.
    pub issuer_seed: String,
}

/// What it reads of a request.
#[derive(Deserialize)]
struct Request {
    nats: Asked,
}

#[derive(Deserialize)]
struct Asked {
    user_nkey: String,
    server_id: Server,
}

#[derive(Deserialize)]
struct Server {
    id: String,
}

/// Answers requests for ever. Calls `ready` once the server has the subscription.
pub async fn run(told: &Path, ready: impl FnOnce()) {
    let told: Told = serde_json::from_slice(&std::fs::read(told).unwrap()).unwrap();
    let issuer = KeyPair::from_seed(&SecretString::from(told.issuer_seed), Role::Account).unwrap();
    let options = ConnectOptions::with_user_and_password(told.user, told.password);
    let client = options.connect(told.url).await.unwrap();
    let mut requests = client.subscribe("$SYS.REQ.USER.AUTH").await.unwrap();
    after_subscribing(&client).await;
    ready();
    while let Some(message) = requests.next().await {
        let response = answer(&message.payload, &issuer);
        if let Some(reply) = message.reply {
            client.publish(reply, response.into()).await.unwrap();
        }
    }
}

/// The server takes the lines of one connection in order: when this comes back, it has what was sent before.
async fn after_subscribing(client: &Client) {
    let mut ready = client.subscribe("bare.ready").await.unwrap();
    client.publish("bare.ready", "".into()).await.unwrap();
    ready.next().await.unwrap();
}

fn answer(request: &[u8], issuer: &KeyPair) -> String {
    let payload = request.split(|byte| *byte == b'.').nth(1).unwrap();
    let request: Request = serde_json::from_slice(&BASE64URL_NOPAD.decode(payload).unwrap()).unwrap();
    let asked = request.nats;
    let now = SystemClock.unix_seconds();
    let body = UserBody::with(UserPermissionLimits::unlimited());
    let user = ClaimsToSign::new(&*asked.user_nkey, body).audience("APP");
    let user = encode(user, issuer, now).unwrap();
    let response = ClaimsToSign::new(&*asked.user_nkey, AuthorizationResponse::granted(user));
    encode(response.audience(asked.server_id.id), issuer, now).unwrap()
}
