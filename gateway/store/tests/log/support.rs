//! Instances on one Redis, and what they revoke.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use natsgate_core::{
    Change, Clock, Concern, Deadline, EntryId, Freshness, Idempotency, LogEntry, NewEntry, Position,
    Principal, Revision, RevocationLog, Selector, SystemClock,
};
use natsgate_store::{
    Follower, FollowerSettings, LogSettings, RedisConnection, RedisLog, RedisSettings, Secrets,
};
use secrecy::SecretString;
use serde_json::{Value, json};

/// How long anything may take that must happen at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const SECRET: &str = "a secret of thirty-two bytes or more";

/// Secrets of which the first seals.
pub(crate) fn secrets(all: &[&str]) -> Secrets {
    let mut all = all.iter().map(|secret| SecretString::from(*secret));
    Secrets::new(all.next().unwrap(), all.collect()).unwrap()
}

/// Settings for the Redis that `how` says, under a namespace.
pub(crate) fn redis(how: Value, namespace: &str) -> RedisSettings {
    let mut settings = how;
    settings["namespace"] = json!(namespace);
    serde_json::from_value(settings).unwrap()
}

pub(crate) fn log_on(redis: &RedisSettings, settings: &LogSettings) -> Arc<RedisLog> {
    sealed_log_on(redis, settings, &secrets(&[SECRET]))
}

pub(crate) fn sealed_log_on(
    redis: &RedisSettings,
    settings: &LogSettings,
    secrets: &Secrets,
) -> Arc<RedisLog> {
    let connection = RedisConnection::new(redis).unwrap();
    Arc::new(RedisLog::new(&connection, secrets, settings, Arc::new(SystemClock)).unwrap())
}

/// Settings by which survivors vouch for what was before.
pub(crate) fn vouching() -> LogSettings {
    LogSettings {
        vouch_within: std::time::Duration::from_secs(60),
        ..LogSettings::default()
    }
}

/// One natsgate, as far as the log goes.
pub(crate) struct Instance {
    pub(crate) log: Arc<RedisLog>,
    pub(crate) follower: Arc<Follower>,
}

impl Instance {
    /// One that has not caught up yet.
    pub(crate) fn begin(redis: &RedisSettings, settings: &LogSettings) -> Self {
        Self::of(log_on(redis, settings))
    }

    /// One with other secrets than the usual one; of several the first seals.
    pub(crate) fn with_secrets(redis: &RedisSettings, all: &[&str]) -> Self {
        Self::of(sealed_log_on(redis, &vouching(), &secrets(all)))
    }

    fn of(log: Arc<RedisLog>) -> Self {
        let follower = Follower::start(log.clone(), FollowerSettings::default(), Arc::new(SystemClock));
        Self { log, follower }
    }

    /// One that has.
    pub(crate) async fn start(redis: &RedisSettings) -> Self {
        let instance = Self::begin(redis, &vouching());
        instance.confirmed().await;
        instance
    }

    /// Waits for a position.
    pub(crate) async fn until(&self, wanted: impl FnMut(&Position) -> bool) -> Position {
        let mut positions = self.follower.positions();
        let wait = tokio::time::timeout(PATIENCE, positions.wait_for(wanted)).await;
        match wait {
            Ok(position) => *position.unwrap(),
            Err(_elapsed) => panic!("still at {:?}", self.follower.position()),
        }
    }

    /// Waits until the position is confirmed.
    pub(crate) async fn confirmed(&self) -> Revision {
        let position = self
            .until(|position| matches!(position, Position::Confirmed(_)))
            .await;
        position.revision().unwrap()
    }

    /// Waits until the position is confirmed in another epoch than that of `before`, and says how long that took.
    pub(crate) async fn in_another_epoch(&self, before: Revision, what: &str) -> Revision {
        let since = Instant::now();
        let position = self
            .until(|position| matches!(position, Position::Confirmed(now) if now.epoch != before.epoch))
            .await;
        println!("{what}: confirmed again after {:?}", since.elapsed());
        position.revision().unwrap()
    }

    /// Revokes a principal.
    pub(crate) async fn revoke(&self, who: &str) -> (EntryId, Revision) {
        let entry = revocation(who);
        let appended = self.follower.append(entry.clone(), soon()).await.unwrap();
        assert!(!appended.repeated && appended.confirmed);
        (entry.id, appended.revision)
    }

    /// Everything the log holds.
    pub(crate) async fn entries(&self) -> Vec<LogEntry> {
        self.log.read(0, 10_000, soon()).await.unwrap().entries
    }

    /// Waits until the log holds exactly these, in whatever order.
    pub(crate) async fn holds(&self, ids: &[EntryId]) {
        let mut wanted: Vec<[u8; 16]> = ids.iter().map(|id| id.0).collect();
        wanted.sort_unstable();
        eventually("the log holds what it should", async || {
            let Ok(page) = self.log.read(0, 10_000, soon()).await else {
                return false;
            };
            let entries = page.entries;
            let mut held: Vec<[u8; 16]> = entries.iter().map(|entry| entry.id.0).collect();
            held.sort_unstable();
            held == wanted
        })
        .await;
    }

    /// What is known of a token of `who`'s, issued when the test began or, at least, after the log did.
    pub(crate) fn standing(&self, who: &str, issued_at: SystemTime) -> natsgate_core::ClaimsStanding {
        // The skew that is allowed for would reach back to before the log began.
        let skew = FollowerSettings::default().clock_skew;
        self.follower.claims(Some(issued_at + skew), &about(who))
    }
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, waiting).await.is_ok(),
        "never: {what}"
    );
}

pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

pub(crate) fn principal(name: &str) -> Principal {
    Principal::new("https://login.example.com", format!("{name}@example.com"))
}

pub(crate) fn about(name: &str) -> Vec<Concern> {
    vec![Concern::principal(&principal(name))]
}

pub(crate) fn revocation(who: &str) -> NewEntry {
    NewEntry {
        id: EntryId(rand::random()),
        at: SystemClock.now(),
        change: Change::revoked(
            Selector::Principal {
                principal: principal(who),
            },
            "no longer employed",
            "personnel",
        ),
        idempotency: None,
    }
}

pub(crate) fn once(key: u8, body: u8) -> Option<Idempotency> {
    Some(Idempotency {
        key: [key; 32],
        body: [body; 32],
    })
}
