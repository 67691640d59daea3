//! Watches the connections that servers have: by their events, and by their lists.
//!
//! Events are told once and get lost. So lists (CONNZ) are read at the start, after every gap, when a server is met, and
//! every so often; what is listed and not known is found, what is known and not listed any more is gone. Lists are read by
//! overlapping pages: pages are counted by offset, so entries slip from one to another when earlier ones close.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Message};
use futures::StreamExt;
use natsgate_core::{SessionKey, SessionRecord};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::name::SessionName;
use crate::nats::is_connected;
use crate::sessions::{Found, Registry};
use crate::settings::TargetAccount;

/// How many connections a page has; the server's own default.
const PAGE: usize = 1024;

/// By how many connections pages overlap.
const OVERLAP: usize = 128;

/// How often a list is begun anew because entries slipped between its pages.
const ATTEMPTS: usize = 5;

/// How long one page may take.
const PAGE_TIME: Duration = Duration::from_secs(3);

/// How long servers have to answer who is there; the last ones are found by their own events.
const ROLL_CALL: Duration = Duration::from_millis(500);

/// A server that has been silent for so long is taken for dead, and its connections with it. Should it come back with the same
/// id, its connections are listed again, and judged by their names.
const LOST_AFTER: Duration = Duration::from_secs(600);

/// Pause before lists that could not be read are read again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Watches connections.
pub struct Watch {
    /// The connection into the system account.
    pub system: Client,
    /// Where what is seen goes.
    pub registry: Arc<Registry>,
    /// The accounts that are watched.
    pub accounts: Accounts,
    /// The cluster's configured name.
    pub cluster: String,
    /// How often lists are read though nothing seems to be missing.
    pub every: Duration,
    /// Rung when events may have been missed: after a reconnect, or when messages were dropped.
    pub missed: Arc<Notify>,
}

/// The target accounts, by what servers call them.
#[derive(Debug, Clone)]
pub struct Accounts(HashMap<String, String>);

impl Accounts {
    /// Of these target accounts: in operator mode servers call them by their public keys.
    pub fn of(accounts: &[TargetAccount]) -> Self {
        let pairs = accounts.iter().map(|account| {
            let servers = account
                .signer
                .as_ref()
                .map_or(&account.name, |signer| &signer.account);
            (servers.clone(), account.name.clone())
        });
        Self(pairs.collect())
    }

    /// Of these, each by what servers call it and what policies call it.
    pub fn named(accounts: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(accounts.into_iter().collect())
    }

    /// What servers call them.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What policies call the account that servers call `id`; `None` for another than these.
    pub fn name(&self, id: &str) -> Option<&str> {
        self.0.get(id).map(String::as_str)
    }
}

/// A connection as a server lists it.
#[derive(Debug, Clone, Deserialize)]
pub struct Listed {
    cid: u64,
    #[serde(default)]
    kind: String,
    #[serde(default, rename = "type")]
    client_type: String,
    #[serde(default)]
    ip: String,
    #[serde(default)]
    start: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    authorized_user: String,
    #[serde(default)]
    issuer_key: String,
}

#[derive(Deserialize)]
struct Page {
    server: Server,
    data: Option<PageData>,
}

#[derive(Deserialize)]
struct PageData {
    total: usize,
    /// `null` from a server that has not loaded the account: nobody of it is there.
    connections: Option<Vec<Listed>>,
}

#[derive(Deserialize)]
struct Server {
    id: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Event {
    server: Server,
    client: Option<EventClient>,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
struct EventClient {
    id: u64,
    #[serde(default)]
    host: String,
    #[serde(default)]
    acc: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    client_type: String,
    #[serde(default)]
    start: String,
    #[serde(default)]
    issuer_key: String,
}

impl Listed {
    /// The public key that signed its user JWT; empty if it has none.
    pub fn issuer_key(&self) -> &str {
        &self.issuer_key
    }

    /// The client's id on its server.
    pub fn client_id(&self) -> u64 {
        self.cid
    }

    /// Where the client came from.
    pub fn host(&self) -> &str {
        &self.ip
    }

    /// The name of the user it is authenticated as: of a session that natsgate let in, its [`SessionName`].
    pub fn user(&self) -> &str {
        &self.authorized_user
    }
}

/// The servers that were met.
#[derive(Default)]
struct Met {
    /// Those whose lists were read since.
    servers: HashSet<String>,
    /// The ids of those that have a name of their own, by it.
    names: HashMap<String, String>,
    /// Since when those are silent that are.
    silent: HashMap<String, Instant>,
}

impl Met {
    /// Notes the name of `server`. Returns the id of another that had it before: it was restarted, and its connections are gone.
    fn named(&mut self, server: &Server) -> Option<String> {
        // Without a name of its own a server has its id for one.
        if server.name.is_empty() || server.name == server.id {
            return None;
        }
        let before = self.names.insert(server.name.clone(), server.id.clone());
        before.filter(|before| *before != server.id)
    }
}

/// A server's list of the connections in one account.
#[derive(Debug)]
pub struct List {
    /// The server's configured name.
    pub server_name: String,
    /// The connections, by client id.
    pub connections: Vec<Listed>,
}

impl Watch {
    /// Watches until `stop`. `ready` is notified whenever all lists were read.
    pub async fn run(self, ready: Arc<Notify>, stop: CancellationToken) {
        tokio::select! {
            () = self.follow(&ready) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn follow(&self, ready: &Notify) {
        let mut subjects = vec![
            "$SYS.SERVER.*.STATSZ".to_owned(),
            "$SYS.SERVER.*.SHUTDOWN".to_owned(),
        ];
        for account in self.accounts.ids() {
            subjects.push(format!("$SYS.ACCOUNT.{account}.CONNECT"));
            subjects.push(format!("$SYS.ACCOUNT.{account}.DISCONNECT"));
        }
        let mut streams = Vec::with_capacity(subjects.len());
        for subject in subjects {
            match self.system.subscribe(subject.clone()).await {
                Ok(stream) => streams.push(stream),
                Err(error) => warn!(%error, subject, "events of the system account cannot be followed"),
            }
        }
        let mut events = futures::stream::select_all(streams);
        let mut read = Met::default();
        let mut due = Instant::now();
        loop {
            tokio::select! {
                Some(message) = events.next() => {
                    if let Some(server) = self.event(&message, &mut read) {
                        match self.read_server(&server).await {
                            Ok(()) => drop(read.servers.insert(server)),
                            Err(cause) => debug!(server, cause, "a server's connections could not be listed yet"),
                        }
                    }
                }
                () = self.missed.notified() => due = Instant::now(),
                () = tokio::time::sleep_until(due) => {
                    match self.read_all(&mut read).await {
                        Ok(()) => {
                            ready.notify_one();
                            due = Instant::now() + self.every;
                        }
                        Err(cause) => {
                            warn!(cause, "the servers' connections could not be listed; trying again");
                            due = Instant::now() + RETRY_PAUSE;
                        }
                    }
                }
            }
        }
    }

    /// Takes in one event. Returns a server that was not met before: its connections are to be listed.
    fn event(&self, message: &Message, read: &mut Met) -> Option<String> {
        let subject = message.subject.as_str();
        let event: Event = serde_json::from_slice(&message.payload).ok()?;
        if subject.ends_with(".STATSZ") {
            let named = subject.split('.').nth(2)?;
            if named != event.server.id {
                return None;
            }
            if let Some(before) = read.named(&event.server) {
                let sessions = self.registry.server_gone(&before, "");
                info!(
                    server = before,
                    by = event.server.id,
                    sessions,
                    "a server is gone: another one of its name is there"
                );
            }
            return (!read.servers.contains(&event.server.id)).then_some(event.server.id);
        }
        if subject.ends_with(".SHUTDOWN") {
            read.servers.remove(&event.server.id);
            let sessions = self.registry.server_gone(&event.server.id, "Server Shutdown");
            if sessions > 0 {
                info!(server = event.server.id, sessions, "a server shut down");
            }
            return None;
        }
        let client = event.client?;
        let key = SessionKey {
            server_id: event.server.id,
            client_id: client.id,
        };
        if subject.ends_with(".DISCONNECT") {
            self.registry.gone(&key, &event.reason);
            return None;
        }
        let listed = Listed {
            cid: client.id,
            kind: client.kind,
            client_type: client.client_type,
            ip: client.host,
            start: client.start,
            name: client.name,
            authorized_user: client.user,
            issuer_key: client.issuer_key,
        };
        self.seen(&key.server_id, &event.server.name, &client.acc, &listed);
        None
    }

    /// A connection is there.
    fn seen(&self, server_id: &str, server_name: &str, account: &str, listed: &Listed) {
        let Some(account) = self.accounts.name(account) else {
            return;
        };
        if let Some(found) = found(&self.cluster, server_id, server_name, account, listed) {
            self.registry.seen(found);
        }
    }

    /// Lists all servers' connections.
    async fn read_all(&self, read: &mut Met) -> Result<(), String> {
        if !is_connected(&self.system) {
            return Err("the system connection is down".into());
        }
        let mut servers = roll_call(&self.system).await?;
        servers.extend(read.servers.iter().cloned());
        servers.extend(self.registry.servers());
        read.silent.retain(|server, _| servers.contains(server));
        for server in servers {
            match self.read_server(&server).await {
                Ok(()) => {
                    read.silent.remove(&server);
                    read.servers.insert(server);
                }
                Err(cause) => {
                    // One that is out of reach does not keep the others from being read; it is met again by its events.
                    let since = *read.silent.entry(server.clone()).or_insert_with(Instant::now);
                    if since.elapsed() > LOST_AFTER {
                        let sessions = self.registry.server_gone(&server, "");
                        read.silent.remove(&server);
                        warn!(
                            server,
                            sessions,
                            "a server has been silent for long and is given up; should it come back, its sessions are judged anew"
                        );
                    }
                    if read.servers.remove(&server) {
                        warn!(
                            server,
                            cause,
                            "a server's connections could not be listed: is it up, and may the system user publish on \
                             $SYS.REQ.SERVER.*.CONNZ?"
                        );
                    }
                }
            }
        }
        Ok(())
    }

    async fn read_server(&self, server: &str) -> Result<(), String> {
        let asked = Instant::now();
        let mut listed: HashSet<u64> = HashSet::new();
        for account in self.accounts.ids() {
            let list = list(&self.system, server, account).await?;
            for connection in &list.connections {
                listed.insert(connection.cid);
                self.seen(server, &list.server_name, account, connection);
            }
        }
        let gone = self
            .registry
            .missing(server, asked, &|key| listed.contains(&key.client_id));
        if gone > 0 {
            debug!(server, gone, "sessions were gone without a word");
        }
        Ok(())
    }
}

/// What is known of a listed connection, if natsgate let it in.
pub fn found(
    cluster: &str,
    server_id: &str,
    server_name: &str,
    account: &str,
    listed: &Listed,
) -> Option<Found> {
    let name = SessionName::parse(&listed.authorized_user)?;
    Some(Found {
        leaf: is_leaf(&listed.kind),
        record: SessionRecord {
            key: SessionKey {
                server_id: server_id.to_owned(),
                client_id: listed.cid,
            },
            cluster: cluster.to_owned(),
            server_name: server_name.to_owned(),
            account: account.to_owned(),
            principal: None,
            name: name.readable,
            principal_digest: name.principal_digest,
            shim: name.shim.unwrap_or_default(),
            as_of: name.as_of,
            policy_generation: 0,
            connected_at: humantime::parse_rfc3339_weak(&listed.start).ok(),
            expires_at: None,
            client_host: listed.ip.clone(),
            client_name: listed.name.clone(),
            client_kind: listed.kind.clone(),
            client_type: listed.client_type.clone(),
            details: String::new(),
        },
    })
}

/// Whether a connection of this kind is a leaf node's.
pub fn is_leaf(kind: &str) -> bool {
    kind.eq_ignore_ascii_case("leafnode")
}

/// The ids of the servers that answer.
///
/// # Errors
/// Why they could not be asked.
pub async fn roll_call(system: &Client) -> Result<HashSet<String>, String> {
    let inbox = system.new_inbox();
    let mut answers = system
        .subscribe(inbox.clone())
        .await
        .map_err(|error| error.to_string())?;
    system
        .publish_with_reply("$SYS.REQ.SERVER.PING.IDZ", inbox, "".into())
        .await
        .map_err(|error| error.to_string())?;
    let end = Instant::now() + ROLL_CALL;
    let mut servers = HashSet::new();
    while let Ok(Some(answer)) = tokio::time::timeout_at(end, answers.next()).await {
        if let Ok(server) = serde_json::from_slice::<Server>(&answer.payload) {
            servers.insert(server.id);
        }
    }
    if servers.is_empty() {
        return Err(
            "no server answered who is there: may the system user publish on $SYS.REQ.SERVER.PING.IDZ?"
                .into(),
        );
    }
    Ok(servers)
}

/// All connections of `server` in `account`.
///
/// # Errors
/// Why they could not be listed.
pub async fn list(system: &Client, server: &str, account: &str) -> Result<List, String> {
    let mut overlap = OVERLAP;
    for _attempt in 0..ATTEMPTS {
        if let Some(list) = list_once(system, server, account, overlap).await? {
            return Ok(list);
        }
        overlap = overlap.saturating_mul(2).min(PAGE / 2);
    }
    Err("its connections close faster than they can be listed".into())
}

/// As [`list`]; `None` if entries slipped between two pages.
async fn list_once(
    system: &Client,
    server: &str,
    account: &str,
    overlap: usize,
) -> Result<Option<List>, String> {
    let mut list = List {
        server_name: String::new(),
        connections: Vec::new(),
    };
    let mut offset = 0;
    loop {
        let page: Page = ask(system, server, account, offset).await?;
        if page.server.id != server {
            return Err("another server answered".into());
        }
        list.server_name = page.server.name;
        let Some(data) = page.data else {
            return Err("the server's answer has no list".into());
        };
        let connections = data.connections.unwrap_or_default();
        let last = list.connections.last().map(|connection| connection.cid);
        let first = connections.first().map(|connection| connection.cid);
        // Without a connection that both pages have, some may be in neither.
        if let (Some(last), Some(first)) = (last, first)
            && first > last
            && offset > 0
        {
            return Ok(None);
        }
        let count = connections.len();
        let new = connections
            .into_iter()
            .filter(|one| last.is_none_or(|last| one.cid > last));
        list.connections.extend(new);
        if count < PAGE || offset.saturating_add(count) >= data.total {
            return Ok(Some(list));
        }
        offset = offset.saturating_add(count.saturating_sub(overlap));
    }
}

async fn ask<T: DeserializeOwned>(
    system: &Client,
    server: &str,
    account: &str,
    offset: usize,
) -> Result<T, String> {
    let body =
        serde_json::json!({ "auth": true, "acc": account, "sort": "cid", "limit": PAGE, "offset": offset });
    let asked = system.request(format!("$SYS.REQ.SERVER.{server}.CONNZ"), body.to_string().into());
    let answer = tokio::time::timeout(PAGE_TIME, asked)
        .await
        .map_err(|_elapsed| "it did not answer in time".to_owned())?
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&answer.payload).map_err(|error| format!("its answer cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use natsgate_core::Principal;

    use super::*;

    #[test]
    fn only_what_natsgate_let_in_is_found() {
        let listed = |user: &str| Listed {
            cid: 7,
            kind: "Leafnode".into(),
            client_type: String::new(),
            ip: "192.0.2.7".into(),
            start: "2026-11-25T08:11:22.616652172Z".into(),
            name: "me".into(),
            authorized_user: user.into(),
            issuer_key: String::new(),
        };
        let name = SessionName::new(&Principal::new("i", "alice"), None, "abc").to_string();
        let found = |user: &str| found("eu-1", "NSERVER", "n1", "APP", &listed(user));
        let session = found(&name).unwrap();
        assert!(session.leaf && session.record.connected_at.is_some());
        assert_eq!(
            (session.record.shim.as_str(), session.record.account.as_str()),
            ("abc", "APP")
        );
        assert!(found("break-glass").is_none() && found("").is_none());
    }
}
