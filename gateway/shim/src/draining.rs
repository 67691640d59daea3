//! Moves sessions off a template's older generations: they are kicked, come back, and are minted by the newest.
//!
//! A session is told by the key that signed its user JWT. A shim may mint by an older generation for a moment after a newer one is in
//! force ([`crate::account_views::REMEMBERED_FOR`]), so who is to be gone is looked for until nobody has been there for longer than that.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use natsgate_core::{AccountServersError, Deadline, SessionKey};
use tokio::time::Instant;

use crate::account_servers::SystemAccountServers;
use crate::account_views::REMEMBERED_FOR;
use crate::evict::{Evictor, Kicked};

/// Kicks under way at once.
const KICKS_AT_ONCE: usize = 256;

/// How long one kick is tried.
const KICK_TIME: Duration = Duration::from_secs(2);

/// Pause before it is looked again who is there; doubled each time that somebody is.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long nobody must have come: longer than a shim remembers what a server has, and works on a request that it began just before.
const ALONE_FOR: Duration = REMEMBERED_FOR.saturating_add(Duration::from_secs(2));

/// How long servers may take to say that they are there.
const ROSTER_TIME: Duration = Duration::from_secs(5);

/// Beyond the time to drain over: how long it is gone on with, before what is left is given up and told.
const MOST_BEYOND: Duration = Duration::from_secs(60);

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drained {
    /// How many sessions were closed; one that came back with the same key and was closed again counts again.
    pub closed: u64,
    /// How many could not be, or came back with the same key; 0 if nobody is left.
    pub left: u64,
}

/// Closes all sessions of `account` (a public key) that one of `keys` (public keys) signed, evenly over `over`, and until nobody has
/// come with one of them for a while.
///
/// # Errors
/// [`AccountServersError`] if not all servers tell who is there.
pub async fn drain(
    servers: &SystemAccountServers,
    evictor: &Evictor,
    account: &str,
    keys: &BTreeSet<String>,
    over: Duration,
) -> Result<Drained, AccountServersError> {
    let mut drained = Drained::default();
    let begun = Instant::now();
    let give_up = begun
        .checked_add(over.saturating_add(MOST_BEYOND))
        .unwrap_or(begun);
    let mut alone_since: Option<Instant> = None;
    let (mut pace, mut pause) = (over, LOOK_PAUSE);
    loop {
        let there = match sessions(servers, account, keys).await {
            Ok(there) => there,
            // A server that goes or comes meanwhile. Who is there is not known, so nobody counts as gone.
            Err(_) if Instant::now() < give_up => {
                alone_since = None;
                tokio::time::sleep(pause).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        drained.left = u64::try_from(there.len()).unwrap_or(u64::MAX);
        let now = Instant::now();
        if there.is_empty() {
            let since = *alone_since.get_or_insert(now);
            if now.saturating_duration_since(since) > ALONE_FOR {
                return Ok(drained);
            }
        } else {
            alone_since = None;
            if now > give_up {
                return Ok(drained);
            }
            let kicked = kick(evictor, there, pace).await;
            drained.closed = drained.closed.saturating_add(kicked.closed);
            // Who comes after that came with what was remembered for a moment, and is few. If not, kicking faster is no help.
            pace = Duration::ZERO;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        let nobody = alone_since.is_some();
        tokio::time::sleep(if nobody { LOOK_PAUSE } else { pause }).await;
    }
}

/// Closes all sessions of `account` (a public key) that one of `keys` (public keys) signed, once, whatever they come back with. Left are
/// those of which it is not known that they are closed.
///
/// # Errors
/// [`AccountServersError`] if not all servers tell who is there.
pub async fn close(
    servers: &SystemAccountServers,
    evictor: &Evictor,
    account: &str,
    keys: &BTreeSet<String>,
) -> Result<Drained, AccountServersError> {
    let there = sessions(servers, account, keys).await?;
    Ok(kick(evictor, there, Duration::ZERO).await)
}

/// The sessions of `account` that one of `keys` signed, on all servers.
async fn sessions(
    servers: &SystemAccountServers,
    account: &str,
    keys: &BTreeSet<String>,
) -> Result<Vec<SessionKey>, AccountServersError> {
    let roster = servers.all_servers(Deadline::after(ROSTER_TIME)).await?;
    let all = servers.signed_connections(&roster, account).await?;
    let concerned = all.into_iter().filter(|(_, issuer)| keys.contains(issuer));
    Ok(concerned.map(|(key, _)| key).collect())
}

/// Kicks `sessions` evenly over `pace`.
async fn kick(evictor: &Evictor, sessions: Vec<SessionKey>, pace: Duration) -> Drained {
    let count = u32::try_from(sessions.len()).unwrap_or(u32::MAX).max(1);
    let begun = Instant::now();
    let step = pace / count;
    let kicks = sessions
        .into_iter()
        .zip(0u32..)
        .map(|(session, number)| async move {
            let at = begun.checked_add(step.saturating_mul(number)).unwrap_or(begun);
            tokio::time::sleep_until(at).await;
            let kicked = evictor.kick(&session.server_id, session.client_id, Deadline::after(KICK_TIME));
            match kicked.await {
                Kicked::Closed => (1, 0),
                Kicked::Gone => (0, 0),
                Kicked::Failed(_) => (0, 1),
            }
        });
    futures::stream::iter(kicks)
        .buffer_unordered(KICKS_AT_ONCE)
        .fold(Drained::default(), |sum, (closed, left): (u64, u64)| async move {
            Drained {
                closed: sum.closed.saturating_add(closed),
                left: sum.left.saturating_add(left),
            }
        })
        .await
}
