//! What shims tell of themselves: for one process in its memory, for several in Redis.
//!
//! Two implementations of [`natsgate_core::Board`]. Nothing here is enforced by: whoever reads it answers questions. What
//! must not get lost is in the log; what is here may, and is told again.

mod in_process;
mod redis;

use std::time::Duration;

pub use self::in_process::InProcessBoard;
pub use self::redis::RedisBoard;

/// How many events of sessions a listener may be behind before it misses some.
const EVENTS_BEHIND: usize = 4096;

/// How long it is remembered that a session is gone, for those who tell late that it is there.
const GONE_FOR: Duration = Duration::from_secs(60);

/// The most sessions in one page, whatever was asked for.
const MAX_PAGE: usize = 1000;

/// Whether one who tells of a session knows whom it is for. What he says is not replaced by what somebody says who does
/// not: only the shim that answered a connection knows that, and every shim of the cluster sees it come.
fn knows_whom(record: &natsgate_core::SessionRecord) -> bool {
    record.principal.is_some()
}
