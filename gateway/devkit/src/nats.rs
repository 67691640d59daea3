//! nats-server as a child process, and the configurations it is started with.
//!
//! Not here: anything that speaks to the server. Tests use an ordinary client for that.

pub mod config_mode;
pub mod operator_mode;
pub mod server;

use crate::error::DevkitError;

/// For `map_err`: a key or JWT that could not be made, with what was being done.
fn key_error<E: std::error::Error + Send + Sync + 'static>(doing: &str) -> impl FnOnce(E) -> DevkitError {
    let doing = doing.to_owned();
    move |source| DevkitError::Key {
        doing,
        source: Box::new(source),
    }
}
