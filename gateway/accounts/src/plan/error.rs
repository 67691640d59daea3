//! Why a change must not be made.

use natsgate_claims::EncodeError;

use crate::account::AccountError;

/// Why a change must not be made, and what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// An operation cannot be done.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The account cannot be signed as it would be.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Larger than servers read, or than was allowed.
    #[error(
        "the account JWT would have {size} bytes with {templates} templates, and {cap} are the most; instead: fewer or \
         shorter subjects in each template (wildcards, tags), remove generations that are drained, move some templates to \
         another account, or grant these users in mode reconnect, which needs nothing in the account"
    )]
    OverCap {
        /// The size it would have, in bytes.
        size: usize,
        /// The size it may have.
        cap: usize,
        /// How many templates it would hold.
        templates: usize,
    },
    /// Larger than a message may be.
    #[error(
        "the account JWT would have {size} bytes, and {server} takes messages of {max_payload} at most: raise max_payload \
         on every server, or make the account smaller: fewer subjects, another account, or mode reconnect"
    )]
    OverMaxPayload {
        /// The size it would have, in bytes.
        size: usize,
        /// The server.
        server: String,
        /// Its `max_payload`, in bytes.
        max_payload: u64,
    },
    /// Not every server applies default permissions live, and nobody may be made to reconnect.
    #[error(
        "changed default permissions reach live sessions by themselves only on nats-server 2.14.3 and later, and {}; upgrade, \
         or allow a fallback to reconnect",
        not_live(.servers)
    )]
    NotLive {
        /// The servers that do not, with their versions; none: no server is known.
        servers: Vec<String>,
    },
}

fn not_live(servers: &[String]) -> String {
    if servers.is_empty() {
        return "no server's version is known".to_owned();
    }
    format!("not on {}", servers.join(", "))
}
