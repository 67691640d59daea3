//! Closes sessions with the system account alone: for the day when the revocation log, the decision services or the shims are
//! down.
//!
//! All that is asked are the nats-servers: who is there, which connections they have, and to close some. A session is known by
//! its user JWT's name, which tells whose it is and nothing of memberships, roles or tokens; a connection without such a name
//! was not let in by natsgate and is never touched. Nothing is written anywhere, so nothing keeps clients from coming back.

use std::time::Duration;

use async_nats::{Client, Subscriber};
use futures::StreamExt;
use futures::stream::{SelectAll, select_all};
use natsgate_core::{Principal, SessionKey};
use serde::Deserialize;

use crate::evict::{Evictor, Kicked};
use crate::name::SessionName;
use crate::watching::{Accounts, Listed, list, roll_call};

/// Servers whose connections are listed at the same time.
const SERVERS_AT_ONCE: usize = 16;

/// Kicks under way at once.
const KICKS_AT_ONCE: usize = 256;

/// How often a kick is tried whose outcome is not known.
const ROUNDS: usize = 4;

/// Pause before the second round; doubled for every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// How long a server is waited for to tell of itself: all do so every ten seconds.
const HEARTBEAT_TIME: Duration = Duration::from_secs(12);

/// Whose sessions are to be closed, as far as the name of a session tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concerned {
    /// One principal's.
    Principal(Principal),
    /// One session.
    Session(SessionKey),
    /// All in the account that policies call by this name.
    Account(String),
    /// All that natsgate let in.
    Everyone,
}

impl Concerned {
    fn has(&self, session: &Seen) -> bool {
        match self {
            Self::Principal(principal) => session.name.principal_digest == principal.digest(),
            Self::Session(key) => session.key == *key,
            Self::Account(name) => session.account == *name,
            Self::Everyone => true,
        }
    }
}

/// A live session that natsgate let in.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which connection.
    pub key: SessionKey,
    /// The server's configured name.
    pub server_name: String,
    /// Its account, by the name policies have for it.
    pub account: String,
    /// What its name tells.
    pub name: SessionName,
    /// Where the client came from.
    pub client_host: String,
}

/// A server that did not answer, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// The server's id.
    pub server_id: String,
    /// Why.
    pub cause: String,
}

/// What the servers tell.
#[derive(Debug, Default)]
pub struct Survey {
    /// How many servers listed their connections.
    pub servers: usize,
    /// How many sessions of natsgate's they have.
    pub sessions: usize,
    /// Those concerned, by server and client id.
    pub concerned: Vec<Seen>,
    /// Servers that are there and did not list their connections.
    pub unanswered: Vec<Unanswered>,
}

/// What became of the sessions concerned.
#[derive(Debug, Default)]
pub struct Closing {
    /// How many were closed.
    pub closed: usize,
    /// How many were gone before they could be.
    pub gone: usize,
    /// Those that may still be there, and why.
    pub open: Vec<(Seen, String)>,
}

/// Which sessions there are in `accounts`, and which of them are `concerned`, asked over `system`, a connection into the system
/// account.
///
/// A server that hangs, or is cut off from the one asked, is not heard and so not named: see [`Heartbeats`].
///
/// # Errors
/// Why no server could be asked.
pub async fn survey(system: &Client, accounts: &Accounts, concerned: &Concerned) -> Result<Survey, String> {
    let servers = roll_call(system).await?;
    let mut lists = futures::stream::iter(servers)
        .map(|server| async move {
            let sessions = sessions(system, &server, accounts).await;
            (server, sessions)
        })
        .buffer_unordered(SERVERS_AT_ONCE);
    let mut survey = Survey::default();
    while let Some((server_id, sessions)) = lists.next().await {
        match sessions {
            Ok(sessions) => {
                survey.servers = survey.servers.saturating_add(1);
                survey.sessions = survey.sessions.saturating_add(sessions.len());
                survey
                    .concerned
                    .extend(sessions.into_iter().filter(|session| concerned.has(session)));
            }
            Err(cause) => survey.unanswered.push(Unanswered { server_id, cause }),
        }
    }
    survey.concerned.sort_by(|one, other| {
        (&one.server_name, &one.key.server_id, one.key.client_id).cmp(&(
            &other.server_name,
            &other.key.server_id,
            other.key.client_id,
        ))
    });
    survey
        .unanswered
        .sort_by(|one, other| one.server_id.cmp(&other.server_id));
    Ok(survey)
}

/// Closes `sessions`, many at once; what is in doubt is tried again, a few times.
pub async fn close(evictor: &Evictor, sessions: Vec<Seen>) -> Closing {
    let mut closing = Closing::default();
    let mut open: Vec<(Seen, String)> = sessions.into_iter().map(|one| (one, String::new())).collect();
    let mut pause = FIRST_PAUSE;
    for round in 0..ROUNDS {
        if open.is_empty() {
            break;
        }
        if round > 0 {
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
        let mut kicks = futures::stream::iter(std::mem::take(&mut open))
            .map(|(session, _cause)| async move {
                let kicked = evictor.once(&session.key.server_id, session.key.client_id).await;
                (session, kicked)
            })
            .buffer_unordered(KICKS_AT_ONCE);
        while let Some((session, kicked)) = kicks.next().await {
            match kicked {
                Ok(Kicked::Closed) => closing.closed = closing.closed.saturating_add(1),
                Ok(Kicked::Gone) => closing.gone = closing.gone.saturating_add(1),
                Ok(Kicked::Failed(cause)) => open.push((session, cause)),
                Err(cause) => open.push((session, cause.to_string())),
            }
        }
    }
    closing.open = open;
    closing
}

/// What servers tell of themselves, when they are asked and every ten seconds: how many servers they know, those included that
/// do not answer.
pub struct Heartbeats(SelectAll<Subscriber>);

#[derive(Deserialize)]
struct Heartbeat {
    statsz: Statistics,
}

#[derive(Deserialize)]
struct Statistics {
    active_servers: usize,
}

impl Heartbeats {
    /// Asks, and listens, over a connection into the system account. Its user needs no right to ask; without, it takes longer.
    ///
    /// # Errors
    /// Why that cannot be.
    pub async fn listen(system: &Client) -> Result<Self, String> {
        let inbox = system.new_inbox();
        let subjects = ["$SYS.SERVER.*.STATSZ".to_owned(), inbox.clone()];
        let subscribing = subjects.map(|subject| system.subscribe(subject));
        let streams = futures::future::try_join_all(subscribing)
            .await
            .map_err(|error| error.to_string())?;
        system
            .publish_with_reply("$SYS.REQ.SERVER.PING.STATSZ", inbox, "".into())
            .await
            .map_err(|error| error.to_string())?;
        Ok(Self(select_all(streams)))
    }

    /// How many servers there are, as the first says that is heard since listening began; `None` if none is for twelve
    /// seconds. A server that died is counted for some minutes.
    pub async fn servers(mut self) -> Option<usize> {
        let first = async {
            loop {
                let message = self.0.next().await?;
                if let Ok(heartbeat) = serde_json::from_slice::<Heartbeat>(&message.payload) {
                    return Some(heartbeat.statsz.active_servers);
                }
            }
        };
        tokio::time::timeout(HEARTBEAT_TIME, first).await.ok().flatten()
    }
}

/// The sessions that natsgate let in on `server`.
async fn sessions(system: &Client, server: &str, accounts: &Accounts) -> Result<Vec<Seen>, String> {
    let mut sessions = Vec::new();
    for id in accounts.ids() {
        let account = accounts.name(id).unwrap_or(id);
        let list = list(system, server, id).await?;
        let found = list
            .connections
            .iter()
            .filter_map(|listed| seen(server, &list.server_name, account, listed));
        sessions.extend(found);
    }
    Ok(sessions)
}

/// A listed connection, if natsgate let it in.
fn seen(server_id: &str, server_name: &str, account: &str, listed: &Listed) -> Option<Seen> {
    Some(Seen {
        key: SessionKey {
            server_id: server_id.to_owned(),
            client_id: listed.client_id(),
        },
        server_name: server_name.to_owned(),
        account: account.to_owned(),
        name: SessionName::parse(listed.user())?,
        client_host: listed.host().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(cid: u64, user: &str) -> Listed {
        serde_json::from_value(serde_json::json!({ "cid": cid, "ip": "192.0.2.7", "authorized_user": user }))
            .unwrap()
    }

    fn session(cid: u64, principal: &Principal, account: &str) -> Seen {
        let name = SessionName::new(principal, None, "abc").to_string();
        seen("NSERVER", "n1", account, &listed(cid, &name)).unwrap()
    }

    #[test]
    fn a_session_is_judged_by_its_whole_principal_never_by_what_can_be_read() {
        let ours = Principal::new("https://a", "alice");
        let theirs = Principal::new("https://b", "alice");
        let (one, other) = (session(7, &ours, "APP"), session(8, &theirs, "OTHER"));
        assert_eq!(one.name.readable, other.name.readable);
        let key = |client_id| SessionKey {
            server_id: "NSERVER".into(),
            client_id,
        };
        for (concerned, has_one, has_other) in [
            (Concerned::Principal(ours), true, false),
            (Concerned::Principal(theirs), false, true),
            (Concerned::Session(key(7)), true, false),
            (Concerned::Session(key(9)), false, false),
            (Concerned::Account("OTHER".into()), false, true),
            (Concerned::Everyone, true, true),
        ] {
            assert_eq!(concerned.has(&one), has_one, "{concerned:?}");
            assert_eq!(concerned.has(&other), has_other, "{concerned:?}");
        }
    }

    #[test]
    fn what_natsgate_did_not_let_in_is_not_a_session() {
        for user in ["", "break-glass", "alice", "UABC", "a~b~c~d"] {
            assert!(
                seen("NSERVER", "n1", "APP", &listed(7, user)).is_none(),
                "{user:?}"
            );
        }
    }
}
