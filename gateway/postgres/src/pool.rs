//! Connections that are shared, opened when they are needed.

use std::fmt;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, PoolError, RecyclingMethod, Runtime, TimeoutType};
use natsgate_core::Deadline;
use secrecy::ExposeSecret;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Config, NoTls};

use crate::error::{PostgresError, PostgresSettingsError};
use crate::session::Session;
use crate::settings::{PostgresSettings, PostgresTlsMode};
use crate::tls;

/// How long an idle connection is left without a sign of life from the server's machine.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// How long bytes may be on their way before the connection counts as broken.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// What a session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read. The server refuses anything else.
    Read,
    /// Read and write.
    Write,
}

/// A pool of connections to one database. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Pool {
    connections: deadpool_postgres::Pool,
    at: String,
    max_connections: usize,
    statement_timeout: Duration,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool for the database of `settings`, which is not connected to before it is needed.
    ///
    /// # Errors
    /// The setting that cannot be used, or what is wrong with a file it names.
    pub fn new(settings: &PostgresSettings) -> Result<Self, PostgresSettingsError> {
        settings.validate()?;
        let mut config = Config::new();
        config
            .host(&settings.host)
            .port(settings.port)
            .dbname(&settings.database)
            .user(&settings.user)
            .application_name("natsgate")
            .keepalives_idle(KEEPALIVE)
            .tcp_user_timeout(UNACKNOWLEDGED)
            .connect_timeout(settings.connect_timeout);
        if let Some(password) = &settings.password {
            config.password(password.expose_secret());
        }
        // Whether a connection still lives shows with the first thing asked of it.
        let fast = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = match settings.tls_mode() {
            PostgresTlsMode::Disable => {
                config.ssl_mode(SslMode::Disable);
                Manager::from_config(config, NoTls, fast)
            }
            PostgresTlsMode::Require => {
                config.ssl_mode(SslMode::Require);
                Manager::from_config(config, tls::connector(&settings.tls)?, fast)
            }
        };
        let connections = deadpool_postgres::Pool::builder(manager)
            .max_size(settings.max_connections)
            .create_timeout(Some(settings.connect_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| PostgresSettingsError::new("max_connections", error.to_string()))?;
        Ok(Self {
            connections,
            at: format!("{}:{}/{}", settings.host, settings.port, settings.database),
            max_connections: settings.max_connections,
            statement_timeout: settings.statement_timeout,
        })
    }

    /// Where the database is, for logs: host, port and database.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Begins a transaction that is over by `deadline`. `doing` says what for, in errors: `reading memberships`.
    ///
    /// A connection that turns out to be closed is replaced: the server may have been restarted since.
    ///
    /// # Errors
    /// [`PostgresError`] if no connection is to be had, or the server does not answer, before `deadline`.
    pub async fn begin(
        &self,
        access: Access,
        doing: &str,
        deadline: Deadline,
    ) -> Result<Session, PostgresError> {
        let mut attempts = self.max_connections;
        loop {
            let connection = self.connection(doing, deadline).await?;
            let mut session = Session::new(connection, doing, &self.at, deadline, self.statement_timeout);
            match session.begin(access).await {
                Err(error) if error.connection_lost() && attempts > 0 => attempts -= 1,
                Err(error) => return Err(error),
                Ok(()) => return Ok(session),
            }
        }
    }

    /// Asks the server for a sign of life.
    ///
    /// # Errors
    /// As for [`Self::begin`].
    pub async fn check(&self, deadline: Deadline) -> Result<(), PostgresError> {
        let session = self
            .begin(Access::Read, "looking whether it answers", deadline)
            .await?;
        session.rollback().await
    }

    async fn connection(&self, doing: &str, deadline: Deadline) -> Result<Object, PostgresError> {
        let wrong = |cause: String| PostgresError::new(doing, &self.at, cause);
        let waited = deadline.bound(self.connections.get()).await;
        waited
            .map_err(|_passed| {
                let status = self.connections.status();
                let busy = status.size >= status.max_size && status.available == 0;
                wrong(if busy {
                    format!(
                        "all {} connections were busy until the request's deadline: raise `max_connections`, or look for \
                         slow queries",
                        self.max_connections
                    )
                } else {
                    "no connection before the request's deadline: is the server there, and not overloaded?".to_owned()
                })
            })?
            .map_err(|error| match error {
                PoolError::Backend(error) => PostgresError::of(doing, &self.at, &error),
                PoolError::Timeout(TimeoutType::Create) => {
                    wrong("no connection within `connect_timeout`: is the server there?".to_owned())
                }
                other => wrong(other.to_string()),
            })
    }
}
