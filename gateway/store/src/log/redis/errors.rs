//! What went wrong with Redis, in the log's own words, with what to do about it.

use natsgate_core::LogError;

use crate::redis::RedisError;
use crate::seal::SealError;

/// Redis could not be asked, or refused.
pub(super) fn unavailable(doing: &str, error: &RedisError) -> LogError {
    let mend = match error.code() {
        Some("READONLY") => "this is a replica: name the primary, its sentinels or the cluster in redis.*",
        Some("NOREPLICAS") => {
            "the primary lacks the replicas that min-replicas-to-write asks for: bring them back"
        }
        Some("LOADING") => "it is still loading its data: wait",
        Some("BUSY") => "a script of somebody's does not end: SCRIPT KILL",
        Some("MISCONF") => "it cannot save to disk: its own log says why",
        Some("OOM") => "it is out of memory: raise maxmemory, or evict caches (volatile-lru)",
        Some("NOAUTH" | "WRONGPASS") => "check redis.username and redis.password",
        Some("NOPERM") => "its user may not do that: see deploy/redis/users.acl",
        Some("CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN") => "the cluster is not whole: look at CLUSTER INFO",
        _ => return cause(doing, error.to_string()),
    };
    cause(doing, format!("{error}; {mend}"))
}

/// What was to be written could not be sealed.
pub(super) fn unsealed(doing: &str, error: SealError) -> LogError {
    cause(doing, error.to_string())
}

/// What lies in Redis was sealed with a secret that this instance does not have. Were that taken for a forgery, instances
/// with different secrets would throw away each other's log for ever, and never hear of each other's revocations.
pub(super) fn another_secret(doing: &str) -> LogError {
    cause(
        doing,
        "the log in Redis is sealed with a secret that is not configured here: give all instances under this namespace \
         the same secrets, a new one first as a previous one (or, if somebody put it there, delete the keys of the log)"
            .to_owned(),
    )
}

/// What lies in Redis cannot be right.
pub(super) fn damaged(what: &str) -> LogError {
    LogError::Damaged(format!(
        "{what}; if nobody changed it by hand, does another instance under the same namespace have other secrets?"
    ))
}

fn cause(doing: &str, cause: String) -> LogError {
    LogError::Unavailable {
        doing: doing.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_refuses_comes_with_the_mend() {
        for (code, mend) in [
            ("READONLY", "name the primary"),
            ("NOREPLICAS", "min-replicas-to-write"),
            ("LOADING", "wait"),
            ("NOPERM", "users.acl"),
            ("CLUSTERDOWN", "CLUSTER INFO"),
        ] {
            let error = RedisError::Refused {
                code: code.to_owned(),
                detail: "no".to_owned(),
            };
            let text = unavailable("appending", &error).to_string();
            assert!(text.starts_with("appending: ") && text.contains(mend), "{text}");
        }
    }
}
