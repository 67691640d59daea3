//! The development OpenID provider: in process, for the demo, for `natsgate dev`, and for tests of what natsgate does
//! with bad tokens and bad providers.
//!
//! It knows a list of people and gives anybody who asks a token for any of them, so it listens on the loopback
//! interface only. It can be told to answer late, wrongly or not at all, to change its keys, and to sign nonsense.

mod client;
mod faults;
mod issued;
mod online;
mod routes;
mod signing;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use natsgate_core::{Clock, SystemClock};
use secrecy::SecretString;
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use client::fetch_token;
pub use faults::{Fault, Fetches};

use crate::error::DevkitError;
use crate::oidc::algorithm::SigningAlgorithm;
use crate::oidc::spec::TokenSpec;
use issued::Issued;
use signing::Keys;

/// The client that may introspect tokens, and its secret, by `client_secret_basic` or `client_secret_post`.
pub const INTROSPECTION_CLIENT: (&str, &str) = ("natsgate", "development-only");

/// How the provider is started.
pub struct DevProviderOptions {
    /// The port; the system chooses one where this is `None`.
    pub port: Option<u16>,
    /// The audience of its tokens, where a token does not ask for another.
    pub audience: String,
    /// How long its tokens live, where a token does not ask for another time. Whole seconds.
    pub ttl: Duration,
    /// The algorithms it has a key for. The first signs where a token does not ask for another; never empty.
    pub algorithms: Vec<SigningAlgorithm>,
    /// Whom its token endpoint knows.
    pub people: Vec<Person>,
    /// The clock that `iat` and `exp` are taken from.
    pub clock: Arc<dyn Clock>,
}

impl Default for DevProviderOptions {
    fn default() -> Self {
        Self {
            port: None,
            audience: "nats".to_owned(),
            ttl: Duration::from_secs(300),
            algorithms: vec![SigningAlgorithm::Es256],
            people: Vec::new(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// Somebody the token endpoint knows.
#[derive(Debug, Clone)]
pub struct Person {
    /// The subject (`sub`), and the user name at the token endpoint.
    pub name: String,
    /// Further claims of every token of theirs, such as `projects: ["apollo"]`.
    pub claims: Map<String, Value>,
}

impl Person {
    /// Somebody without further claims.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            claims: Map::new(),
        }
    }

    /// The same, with one more claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }
}

/// A running development provider. Dropping it closes its port.
pub struct DevProvider {
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    issuer: String,
    audience: String,
    ttl: Duration,
    algorithms: Vec<SigningAlgorithm>,
    people: RwLock<Vec<Person>>,
    clock: Arc<dyn Clock>,
    keys: RwLock<Keys>,
    issued: Issued,
    fault: watch::Sender<Fault>,
    online_fault: watch::Sender<Fault>,
    fetches: watch::Sender<Fetches>,
}

impl DevProvider {
    /// Makes keys and listens on the loopback interface.
    ///
    /// # Errors
    /// The port is taken, no algorithm was given, or the system gives no randomness.
    pub async fn start(options: DevProviderOptions) -> Result<Self, DevkitError> {
        let keys = Keys::generate(&options.algorithms)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port.unwrap_or(0)));
        let doing = format!("listen on {address} as the development OpenID provider");
        let listener = TcpListener::bind(address)
            .await
            .map_err(DevkitError::io(doing.as_str()))?;
        let address = listener.local_addr().map_err(DevkitError::io(doing))?;
        let state = Arc::new(State {
            issuer: format!("http://{address}"),
            audience: options.audience,
            ttl: options.ttl,
            algorithms: options.algorithms,
            people: RwLock::new(options.people),
            clock: options.clock,
            keys: RwLock::new(keys),
            issued: Issued::default(),
            fault: watch::Sender::new(Fault::None),
            online_fault: watch::Sender::new(Fault::None),
            fetches: watch::Sender::new(Fetches::default()),
        });
        let routes = routes::routes(Arc::clone(&state));
        let task = tokio::spawn(async move {
            // It serves until it is aborted, and never returns an error.
            let _served = axum::serve(listener, routes).await;
        });
        Ok(Self { state, task })
    }

    /// The issuer, such as `http://127.0.0.1:40130`.
    pub fn issuer(&self) -> &str {
        &self.state.issuer
    }

    /// Where the key set is.
    pub fn jwks_url(&self) -> String {
        format!("{}/jwks", self.state.issuer)
    }

    /// Where a token is to be had: `curl -d username=alice` on it.
    pub fn token_url(&self) -> String {
        format!("{}/token", self.state.issuer)
    }

    /// Where tokens are introspected (RFC 7662), by [`INTROSPECTION_CLIENT`] with its secret.
    pub fn introspection_url(&self) -> String {
        format!("{}/introspection", self.state.issuer)
    }

    /// Where a token's owner is described (OpenID Connect Core 1.0 section 5.3).
    pub fn userinfo_url(&self) -> String {
        format!("{}/userinfo", self.state.issuer)
    }

    /// Issues an opaque token, which only introspection and userinfo tell anything about. How `spec` would be signed does
    /// not matter.
    pub fn issue_opaque(&self, spec: TokenSpec) -> SecretString {
        self.state.issue_opaque(spec)
    }

    /// Puts a token, of either kind, out of force. A JWT's signature stays good.
    pub fn revoke(&self, token: &SecretString) {
        self.state.issued.revoke(token);
    }

    /// Issues a token, past the token endpoint and its faults.
    ///
    /// # Errors
    /// The provider has no key for the algorithm, or a key cannot be made or used.
    pub fn issue(&self, spec: TokenSpec) -> Result<SecretString, DevkitError> {
        self.state.issue(spec)
    }

    /// Replaces whom the provider knows. Tokens already issued stay as they are; introspection and userinfo tell of their
    /// owners as they are now.
    pub fn set_people(&self, people: Vec<Person>) {
        *self.state.people.write().unwrap_or_else(PoisonError::into_inner) = people;
    }

    /// Signs with new keys from now on. `keep_old`: whether the published set still holds the ones before.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn rotate_keys(&self, keep_old: bool) -> Result<(), DevkitError> {
        let fresh = Keys::generate(&self.state.algorithms)?;
        let mut keys = self.state.keys.write().unwrap_or_else(PoisonError::into_inner);
        *keys = fresh.after(&keys, keep_old);
        Ok(())
    }

    /// How all endpoints behave from now on; requests held by [`Fault::Hold`] go on when it changes.
    pub fn set_fault(&self, fault: Fault) {
        self.state.fault.send_replace(fault);
    }

    /// How introspection and userinfo behave from now on, beside [`Self::set_fault`].
    pub fn set_online_fault(&self, fault: Fault) {
        self.state.online_fault.send_replace(fault);
    }

    /// How often each document has been asked for. A request counts when it arrives.
    pub fn fetches(&self) -> Fetches {
        *self.state.fetches.borrow()
    }

    /// Closes its port and waits until that is done. Connections that are still open are answered 503.
    pub async fn stop(mut self) {
        self.state.fault.send_replace(Fault::Status(503));
        self.state.online_fault.send_replace(Fault::Status(503));
        self.task.abort();
        // Aborted, as it should be.
        let _aborted = (&mut self.task).await;
    }

    /// Waits until the counts are as `enough` says.
    pub async fn fetched(&self, enough: impl FnMut(&Fetches) -> bool) -> Fetches {
        let mut fetches = self.state.fetches.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        fetches
            .wait_for(enough)
            .await
            .map_or_else(|_| self.fetches(), |fetches| *fetches)
    }
}

impl std::fmt::Debug for DevProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DevProvider").field(&self.state.issuer).finish()
    }
}

impl Drop for DevProvider {
    fn drop(&mut self) {
        // What is held is let go, so that no connection outlives its provider for long.
        self.state.fault.send_replace(Fault::Status(503));
        self.state.online_fault.send_replace(Fault::Status(503));
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
