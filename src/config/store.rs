//! `store`: what instances share, and what natsgate itself keeps.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use natsgate_core::{
    BanStore, Board, Cache, Clock, Freshness, MembershipStore, RevocationFeed, RevocationLog, Sealing,
};
use natsgate_postgres::{Pool, PostgresSettings};
use natsgate_store::{
    FileMembershipStore, Follower, FollowerSettings, InProcessBoard, InProcessCache, InProcessLog,
    LogSettings, LookupSettings, LookupTiers, PostgresMembershipStore, RedisBoard, RedisCache,
    RedisConnection, RedisLog, RedisSettings, Secrets, WatchedLog,
};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;

use super::problem::{Problem, Problems};
use super::value::Secret;

/// The most a process keeps of its providers' documents, in bytes.
const DOCUMENT_BYTES: u64 = 16 * 1024 * 1024;

/// What instances share, and what natsgate itself keeps. Left out, everything is in this process's memory.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Redis: caches, the revocation log, and what shims tell of themselves, shared by all instances and shims. Left out, all of it
    /// is in this process: for `natsgate all` by itself, or a single `natsgate decision` whose shims hear of no revocation. What was
    /// revoked is forgotten then when the process ends (bans are not), so where anybody may revoke, tokens from before the start are
    /// asked about at their provider, or count for `decision.degraded_grant_life` at a time.
    pub redis: Option<RedisSettings>,
    /// What everything in Redis is sealed with; every instance needs the same. At least 32 bytes; make one with
    /// `openssl rand -base64 32`.
    pub secret: Option<Secret>,
    /// Secrets of before, which open what was sealed with them.
    pub previous_secrets: Vec<Secret>,
    /// The revocation log.
    pub log: LogSettings,
    /// How this instance follows the log.
    pub follow: FollowerSettings,
    /// The caches in front of all sources.
    pub lookups: LookupSettings,
    /// Where memberships are kept that backends push over the gRPC API (`MembershipService`), and bans (`RevocationService`). Left
    /// out, none can be pushed, and nobody can be banned.
    pub pushed: Option<PushedConfig>,
}

/// Where pushed memberships are kept: truth, which no other place has.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PushedConfig {
    /// PostgreSQL, for any number of instances.
    Postgres(Box<PushedPostgresConfig>),
    /// A file, for `natsgate all` or a single `natsgate decision`.
    File(PushedFileConfig),
}

/// A database with pushed memberships. natsgate makes its tables itself, in a schema of its own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PushedPostgresConfig {
    /// Where the database is.
    pub database: PostgresSettings,
    /// The schema.
    #[serde(default = "PushedPostgresConfig::default_schema")]
    pub schema: String,
}

impl PushedPostgresConfig {
    fn default_schema() -> String {
        "natsgate".to_owned()
    }
}

/// A file with pushed memberships.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PushedFileConfig {
    /// The file; made if it is not there.
    pub path: PathBuf,
}

/// What the configuration makes.
pub struct Stores {
    /// Follows the revocation log.
    pub follower: Arc<Follower>,
    /// Keeps providers' documents.
    pub documents: Arc<dyn Cache>,
    /// In front of all sources.
    pub tiers: Arc<LookupTiers>,
    /// Keeps pushed memberships.
    pub pushed: Option<Arc<dyn MembershipStore>>,
    /// Keeps bans, beside pushed memberships.
    pub bans: Option<Arc<dyn BanStore>>,
    /// What shims tell of themselves.
    pub board: Arc<dyn Board>,
    /// Seals what shims keep of sessions, for rechecks.
    pub sealing: Arc<dyn Sealing>,
    /// How long after a new beginning of the log others may still write into it what it lost.
    pub settle: Duration,
    /// How far a token's clock may be ahead of the log's.
    pub clock_skew: Duration,
    /// How long the log keeps its entries, and at least as long what was appended once.
    pub log_retention: Duration,
}

/// What a shim by itself makes of the configuration.
pub struct Watching {
    /// Follows the revocation log.
    pub follower: Arc<Follower>,
    /// What shims tell of themselves.
    pub board: Arc<dyn Board>,
}

impl Watching {
    /// Reads the log, entry by entry.
    pub fn feed(&self) -> Arc<dyn RevocationFeed> {
        Arc::clone(&self.follower) as Arc<dyn RevocationFeed>
    }
}

impl Stores {
    /// Reads the log, entry by entry.
    pub fn feed(&self) -> Arc<dyn RevocationFeed> {
        Arc::clone(&self.follower) as Arc<dyn RevocationFeed>
    }

    /// Knows what was revoked.
    pub fn freshness(&self) -> Arc<dyn Freshness> {
        Arc::clone(&self.follower) as Arc<dyn Freshness>
    }
}

impl StoreConfig {
    /// Checks everything that can be checked without opening or connecting to anything.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn check(&self, base: &Path) -> Result<(), Problems> {
        let mut problems = Problems::default();
        problems.take(self.secrets());
        problems.take(self.log.validate("store.log").map_err(of_store));
        problems.take(self.follow.validate("store.follow").map_err(of_store));
        problems.take(self.lookups.validate().map_err(at_store));
        if let Some(redis) = self.redis_settings(base) {
            problems.take(redis.validate().map_err(at_store));
            let tls = redis.tls.unwrap_or_default();
            if let Some(path) = &tls.ca_file {
                problems.take(super::tls::authorities("store.redis.tls.ca_file", path));
            }
            if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
                let (at_cert, at_key) = ("store.redis.tls.cert_file", "store.redis.tls.key_file");
                problems.take(super::tls::identity((at_cert, cert), (at_key, key)));
            }
        } else if self.secret.is_some() || self.log.replicas > 0 || !self.previous_secrets.is_empty() {
            problems.push(Problem::new(
                "store.redis",
                "is missing: store.secret, store.previous_secrets and store.log.replicas are of no use without it",
            ));
        }
        match &self.pushed {
            Some(PushedConfig::Postgres(_)) => {
                if let Some(settings) = self.postgres_settings(base) {
                    problems.take(Pool::new(&settings).map_err(at_postgres));
                }
            }
            Some(PushedConfig::File(file)) => {
                let path = base.join(&file.path);
                let folder = path.parent().unwrap_or(base);
                if !folder.is_dir() {
                    let problem = format!("{} is not a folder: make it first", folder.display());
                    problems.push(Problem::new("store.pushed.file.path", problem));
                }
                if self.redis.is_some() {
                    problems.push(Problem::new(
                        "store.pushed.file",
                        "is for one instance by itself, and store.redis is for several: keep pushed memberships in \
                         PostgreSQL",
                    ));
                }
            }
            None => {}
        }
        problems.or(Some(()))
    }

    /// Checks what a decision service needs that is one of several: what is pushed to one must reach the others' caches.
    ///
    /// # Errors
    /// A [`Problem`] for pushed memberships in PostgreSQL without Redis.
    pub fn check_shared(&self) -> Result<(), Problem> {
        if matches!(self.pushed, Some(PushedConfig::Postgres(_))) && self.redis.is_none() {
            return Err(Problem::new(
                "store.redis",
                "is missing: with store.pushed.postgres there may be other instances, and it is by Redis that they hear of \
                 what is pushed here. A single instance keeps it in store.pushed.file",
            ));
        }
        Ok(())
    }

    /// Opens what a shim by itself needs: the log, read only, and the board. `None` without Redis. Redis need not be there.
    ///
    /// # Errors
    /// All that is wrong with the settings.
    pub fn open_watching(&self, base: &Path, clock: Arc<dyn Clock>) -> anyhow::Result<Option<Watching>> {
        self.check(base)?;
        let Some(settings) = self.redis_settings(base) else {
            return Ok(None);
        };
        let secrets = self.secrets()?;
        let connection = RedisConnection::new(&settings).map_err(at_store)?;
        let log = WatchedLog::new(&connection, &secrets)?;
        Ok(Some(Watching {
            follower: Follower::start(Arc::new(log), self.follow.clone(), clock),
            board: Arc::new(RedisBoard::new(&connection, &secrets)?),
        }))
    }

    /// Opens everything; paths start from `base`. Redis and PostgreSQL need not be there. `can_revoke` says whether anybody can
    /// revoke through this process.
    ///
    /// # Errors
    /// All that is wrong with the settings, or a file that cannot be opened.
    pub async fn open(&self, base: &Path, can_revoke: bool, clock: Arc<dyn Clock>) -> anyhow::Result<Stores> {
        self.check(base)?;
        let secrets = self.secrets()?;
        let (log, documents, shared, board) = match self.redis_settings(base) {
            Some(settings) => {
                let connection = RedisConnection::new(&settings).map_err(at_store)?;
                let log = RedisLog::new(&connection, &secrets, &self.log, Arc::clone(&clock))?;
                let board = RedisBoard::new(&connection, &secrets)?;
                let cache = RedisCache::new(connection, &secrets, settings.max_value_bytes)?;
                let cache: Arc<dyn Cache> = Arc::new(cache);
                (
                    Arc::new(log) as Arc<dyn RevocationLog>,
                    Arc::clone(&cache),
                    Some(cache),
                    Arc::new(board) as Arc<dyn Board>,
                )
            }
            None => {
                // Where nobody can revoke, nothing can have been revoked that a token from before would have to be held
                // against. Else what was revoked before this process began is forgotten: see ARCHITECTURE.md, "Freshness".
                let complete_since = can_revoke.then(|| clock.now());
                let log = InProcessLog::new(&self.log, complete_since, Arc::clone(&clock));
                let documents = InProcessCache::new(DOCUMENT_BYTES, Arc::clone(&clock));
                (
                    Arc::new(log) as Arc<dyn RevocationLog>,
                    Arc::new(documents) as Arc<dyn Cache>,
                    None,
                    Arc::new(InProcessBoard::new()) as Arc<dyn Board>,
                )
            }
        };
        let follower = Follower::start(log, self.follow.clone(), Arc::clone(&clock));
        let tiers = LookupTiers::new(
            &self.lookups,
            shared,
            secrets.key_digests("lookups")?,
            Arc::clone(&follower) as Arc<dyn Freshness>,
            clock,
        )
        .map_err(at_store)?;
        let (pushed, bans) = match self.open_pushed(base).await? {
            Some((pushed, bans)) => (Some(pushed), Some(bans)),
            None => (None, None),
        };
        Ok(Stores {
            follower,
            documents,
            tiers,
            pushed,
            bans,
            board,
            sealing: Arc::new(secrets.sealer("recheck basis")?),
            settle: match self.redis {
                Some(_) => self.follow.max_lag.saturating_mul(2),
                None => Duration::ZERO,
            },
            clock_skew: self.follow.clock_skew,
            log_retention: self.log.retention,
        })
    }

    async fn open_pushed(&self, base: &Path) -> anyhow::Result<Option<Kept>> {
        Ok(match &self.pushed {
            None => None,
            Some(PushedConfig::File(file)) => {
                let store = FileMembershipStore::open(base.join(&file.path))
                    .await
                    .context("store.pushed.file")?;
                Some(both(store))
            }
            Some(PushedConfig::Postgres(config)) => {
                let settings = self.postgres_settings(base).context("store.pushed.postgres")?;
                let pool = Pool::new(&settings).map_err(at_postgres)?;
                let store = PostgresMembershipStore::new(pool, &config.schema).map_err(|error| {
                    Problem::new(format!("store.pushed.postgres.{}", error.key), error.problem)
                })?;
                Some(both(store))
            }
        })
    }

    fn secrets(&self) -> Result<Secrets, Problem> {
        let secret = match (&self.secret, &self.redis) {
            (Some(Secret(secret)), _) => secret.clone(),
            (None, None) => at_random(),
            (None, Some(_)) => {
                return Err(Problem::new(
                    "store.secret",
                    "is missing: with store.redis it is what everything there is sealed with; make one with `openssl \
                     rand -base64 32`",
                ));
            }
        };
        let previous = self.previous_secrets.iter().map(|Secret(secret)| secret.clone());
        Secrets::new(secret, previous.collect()).map_err(at_store)
    }

    fn redis_settings(&self, base: &Path) -> Option<RedisSettings> {
        let mut settings = self.redis.clone()?;
        if let Some(tls) = &mut settings.tls {
            for file in [&mut tls.ca_file, &mut tls.cert_file, &mut tls.key_file] {
                join(base, file);
            }
        }
        Some(settings)
    }

    fn postgres_settings(&self, base: &Path) -> Option<PostgresSettings> {
        let Some(PushedConfig::Postgres(settings)) = &self.pushed else {
            return None;
        };
        Some(postgres_from(&settings.database, base))
    }
}

/// What keeps pushed memberships, and what keeps bans.
type Kept = (Arc<dyn MembershipStore>, Arc<dyn BanStore>);

/// A store of both.
fn both<S: MembershipStore + BanStore + 'static>(store: S) -> Kept {
    let store = Arc::new(store);
    (Arc::clone(&store) as Arc<dyn MembershipStore>, store)
}

/// `settings` with their paths starting from `base`.
pub(super) fn postgres_from(settings: &PostgresSettings, base: &Path) -> PostgresSettings {
    let mut settings = settings.clone();
    for file in [
        &mut settings.tls.ca_file,
        &mut settings.tls.cert_file,
        &mut settings.tls.key_file,
    ] {
        join(base, file);
    }
    settings
}

/// Makes `file` start from `base`.
fn join(base: &Path, file: &mut Option<PathBuf>) {
    if let Some(path) = file {
        *path = base.join(&path);
    }
}

/// A secret for keys that live no longer than this process.
fn at_random() -> SecretString {
    SecretString::from(data_encoding::BASE64.encode(&rand::random::<[u8; 32]>()))
}

fn of_store(error: natsgate_store::SettingsError) -> Problem {
    Problem::new(error.key, error.problem)
}

fn at_store(error: natsgate_store::SettingsError) -> Problem {
    Problem::new(format!("store.{}", error.key), error.problem)
}

fn at_postgres(error: natsgate_postgres::PostgresSettingsError) -> Problem {
    Problem::new(
        format!("store.pushed.postgres.database.{}", error.field),
        error.problem,
    )
}
