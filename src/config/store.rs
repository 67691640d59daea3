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
    /// What this process has applied of the log, entry by entry.
    pub feed: Arc<dyn RevocationFeed>,
    /// What shims tell of themselves.
    pub board: Arc<dyn Board>,
    /// Keeps pushed memberships.
    pub pushed: Option<Arc<dyn MembershipStore>>,
    /// Keeps bans: in the same place.
    pub bans: Option<Arc<dyn BanStore>>,
    /// Seals what shims keep of sessions for the decision services.
    pub sealing: Arc<dyn Sealing>,
    /// How long after a new beginning of the log others may still write into it what it lost.
    pub settle: Duration,
    /// How far a token's clock may be ahead of the log's.
    pub clock_skew: Duration,
}

impl Stores {
    /// Knows what was revoked.
    pub fn freshness(&self) -> Arc<dyn Freshness> {
        Arc::clone(&self.follower) as Arc<dyn Freshness>
    }
}

/// What somebody works with who reads the log and never writes it: a shim.
#[allow(dead_code, reason = "for `natsgate shim`")]
pub struct Watching {
    /// Follows the log; ends when it is dropped.
    pub follower: Arc<Follower>,
    /// What it has applied, entry by entry.
    pub feed: Arc<dyn RevocationFeed>,
    /// What shims tell of themselves.
    pub board: Arc<dyn Board>,
}

/// Where pushed memberships and bans are kept.
type Pushed = (Arc<dyn MembershipStore>, Arc<dyn BanStore>);

impl StoreConfig {
    /// Checks everything that can be checked without opening or connecting to anything.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn check(&self, base: &Path) -> Result<(), Problems> {
        let mut problems = Problems::default();
        self.check_redis(base, &mut problems);
        problems.take(self.log.validate("store.log").map_err(of_store));
        problems.take(self.lookups.validate().map_err(at_store));
        let of_redis = self.secret.is_some() || self.log.replicas > 0 || !self.previous_secrets.is_empty();
        if self.redis.is_none() && of_redis {
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

    /// Checks what a shim uses of it, in the same way.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn check_watching(&self, base: &Path) -> Result<(), Problems> {
        let mut problems = Problems::default();
        if self.redis.is_some() {
            self.check_redis(base, &mut problems);
        }
        problems.or(Some(()))
    }

    fn check_redis(&self, base: &Path, problems: &mut Problems) {
        problems.take(self.secrets());
        problems.take(self.follow.validate("store.follow").map_err(of_store));
        let Some(redis) = self.redis_settings(base) else {
            return;
        };
        problems.take(redis.validate().map_err(at_store));
        let tls = redis.tls.unwrap_or_default();
        if let Some(path) = &tls.ca_file {
            problems.take(super::tls::authorities("store.redis.tls.ca_file", path));
        }
        if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
            let (at_cert, at_key) = ("store.redis.tls.cert_file", "store.redis.tls.key_file");
            problems.take(super::tls::identity((at_cert, cert), (at_key, key)));
        }
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

    /// Opens everything; paths start from `base`. Redis and PostgreSQL need not be there. `can_revoke`: whether anybody may
    /// revoke here, so that an earlier process may have revoked what a log in memory does not know of.
    ///
    /// # Errors
    /// All that is wrong with the settings, or a file that cannot be opened.
    pub async fn open(&self, base: &Path, clock: Arc<dyn Clock>, can_revoke: bool) -> anyhow::Result<Stores> {
        self.check(base)?;
        let secrets = self.secrets()?;
        let shared = match self.redis_settings(base) {
            Some(settings) => Some(Shared::new(&settings, &secrets, &self.log, &clock)?),
            None => None,
        };
        let (log, documents, board, shared) = match shared {
            Some(Shared { log, cache, board }) => (log, Arc::clone(&cache), board, Some(cache)),
            None => {
                let complete_since = can_revoke.then(|| clock.now());
                let log = InProcessLog::new(&self.log, complete_since, Arc::clone(&clock));
                let documents = InProcessCache::new(DOCUMENT_BYTES, Arc::clone(&clock));
                (
                    Arc::new(log) as Arc<dyn RevocationLog>,
                    Arc::new(documents) as Arc<dyn Cache>,
                    Arc::new(InProcessBoard::new()) as Arc<dyn Board>,
                    None,
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
        let (pushed, bans) = self.open_pushed(base).await?.unzip();
        Ok(Stores {
            feed: Arc::clone(&follower) as Arc<dyn RevocationFeed>,
            follower,
            documents,
            tiers,
            board,
            pushed,
            bans,
            sealing: Arc::new(secrets.sealer("recheck basis")?),
            settle: match self.redis {
                Some(_) => self.follow.max_lag.saturating_mul(2),
                None => Duration::ZERO,
            },
            clock_skew: self.follow.clock_skew,
        })
    }

    /// Opens what a shim uses: the log, to read, and what shims tell of themselves. None without Redis: then there is no log
    /// that another process writes. Redis need not be there.
    ///
    /// # Errors
    /// All that is wrong with the settings.
    #[allow(dead_code, reason = "for `natsgate shim`")]
    pub fn open_watching(&self, base: &Path, clock: Arc<dyn Clock>) -> anyhow::Result<Option<Watching>> {
        self.check_watching(base)?;
        let Some(settings) = self.redis_settings(base) else {
            return Ok(None);
        };
        let secrets = self.secrets()?;
        let connection = RedisConnection::new(&settings).map_err(at_store)?;
        let log = WatchedLog::new(&connection, &secrets)?;
        let follower = Follower::start(Arc::new(log), self.follow.clone(), clock);
        Ok(Some(Watching {
            feed: Arc::clone(&follower) as Arc<dyn RevocationFeed>,
            follower,
            board: Arc::new(RedisBoard::new(&connection, &secrets)?),
        }))
    }

    async fn open_pushed(&self, base: &Path) -> anyhow::Result<Option<Pushed>> {
        Ok(match &self.pushed {
            None => None,
            Some(PushedConfig::File(file)) => {
                let store = FileMembershipStore::open(base.join(&file.path))
                    .await
                    .context("store.pushed.file")?;
                let store = Arc::new(store);
                Some((Arc::clone(&store) as Arc<dyn MembershipStore>, store))
            }
            Some(PushedConfig::Postgres(config)) => {
                let settings = self.postgres_settings(base).context("store.pushed.postgres")?;
                let pool = Pool::new(&settings).map_err(at_postgres)?;
                let store = PostgresMembershipStore::new(pool, &config.schema).map_err(|error| {
                    Problem::new(format!("store.pushed.postgres.{}", error.key), error.problem)
                })?;
                let store = Arc::new(store);
                Some((Arc::clone(&store) as Arc<dyn MembershipStore>, store))
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

/// What is in Redis, by one connection.
struct Shared {
    log: Arc<dyn RevocationLog>,
    cache: Arc<dyn Cache>,
    board: Arc<dyn Board>,
}

impl Shared {
    fn new(
        settings: &RedisSettings,
        secrets: &Secrets,
        log: &LogSettings,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let connection = RedisConnection::new(settings).map_err(at_store)?;
        let log = RedisLog::new(&connection, secrets, log, Arc::clone(clock))?;
        let board = RedisBoard::new(&connection, secrets)?;
        let cache = RedisCache::new(connection, secrets, settings.max_value_bytes)?;
        Ok(Self {
            log: Arc::new(log),
            cache: Arc::new(cache),
            board: Arc::new(board),
        })
    }
}

/// `settings` with their paths starting from `base`.
fn postgres_from(settings: &PostgresSettings, base: &Path) -> PostgresSettings {
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
