//! What can go wrong with a call to Redis, told apart by what is known of its effect.

use std::time::Duration;

use redis::{ErrorKind, RedisError as Failed, ServerError};

/// A call to Redis failed. Its text holds no key, value or argument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisError {
    /// The command was not sent: there is no connection.
    #[error("Redis cannot be reached ({cause}): is it running, and do redis.* settings and its users agree?")]
    NotConnected {
        /// Why the last attempt to connect failed.
        cause: String,
    },
    /// There was no answer in time. Whether the command had an effect is not known.
    #[error("Redis did not answer within {} ms: is it overloaded or frozen?", .within.as_millis())]
    TimedOut {
        /// How long was waited.
        within: Duration,
    },
    /// The connection was lost before the answer came. Whether the command had an effect is not known.
    #[error("the connection to Redis was lost before the answer came: {cause}")]
    Lost {
        /// What happened to it.
        cause: String,
    },
    /// Redis answered with an error.
    #[error("Redis refused: {code} {detail}")]
    Refused {
        /// The error's code: `READONLY`, `NOPERM`, `LOADING`, `OOM`, `ERR`.
        code: String,
        /// The rest of it.
        detail: String,
    },
    /// Redis answered with something else than was asked for.
    #[error("Redis answered with something unexpected: {0}")]
    Unexpected(String),
}

impl RedisError {
    /// The code of the error that Redis answered with, if it answered.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the command certainly had no effect: it was not sent. A script that Redis answered with an error may have
    /// come half way.
    pub fn had_no_effect(&self) -> bool {
        matches!(self, Self::NotConnected { .. })
    }
}

/// An error that Redis answered with.
pub(super) fn refused(error: &ServerError) -> RedisError {
    RedisError::Refused {
        code: error.code().to_owned(),
        detail: clean(error.details().unwrap_or_default().to_owned()),
    }
}

/// A server that does not know a command repeats the first of its arguments, which may be a password, a key or a value:
/// those are cut off.
pub(super) fn clean(mut text: String) -> String {
    if let Some(at) = text.find(", with args beginning") {
        text.truncate(at);
    }
    text
}

/// A failure of the redis crate's while a connection was in use.
pub(super) fn failed(error: Failed, within: Duration) -> RedisError {
    if error.is_timeout() {
        return RedisError::TimedOut { within };
    }
    match ServerError::try_from(error) {
        Ok(server) => refused(&server),
        Err(error) => match error.kind() {
            ErrorKind::UnexpectedReturnType | ErrorKind::Parse => {
                RedisError::Unexpected(error.category().to_owned())
            }
            _ => RedisError::Lost {
                cause: clean(error.to_string()),
            },
        },
    }
}
