//! A connection to PostgreSQL: pooled, over TLS, every call bounded in time.
//!
//! A [`Pool`] needs no server to start: it connects when somebody asks. Whoever has something to ask begins a [`Session`],
//! which is one transaction, bounded by one deadline: here by leaving, at the server by a statement timeout. What is left
//! before its end takes its connection with it, so nobody ever waits behind, or sees, what somebody else has left.
//!
//! What does not live here: any table, any query, and what the answers mean. A [`PostgresError`] tells what the server
//! said as far as it holds no values of a query.

mod error;
mod pool;
mod quiet;
mod session;
mod settings;
mod tls;

pub use error::{PostgresError, PostgresSettingsError};
pub use pool::{Access, Pool};
pub use session::{Rows, Session};
pub use settings::{PostgresSettings, PostgresTlsMode, PostgresTlsSettings};
pub use tokio_postgres::error::SqlState;
pub use tokio_postgres::types;
pub use tokio_postgres::{Row, Statement};
