//! What can be configured of the caches: once for the process, and once for each source.

use std::time::Duration;

use natsgate_core::CacheTimes;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::settings::SettingsError;

/// What all lookups of this process share.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LookupSettings {
    /// How many bytes of this process's memory all facts together may take.
    pub max_bytes: u64,
    /// Facts larger than this, in bytes of JSON, are used but not kept anywhere.
    pub max_fact_bytes: usize,
    /// The longest one call of the shared cache may take. After that the fact comes from its source.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub shared_timeout: Duration,
    /// While the revocation log is out of reach: how long after a fetch began others may still wait for its answer
    /// instead of asking for themselves.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub join_while_degraded: Duration,
    /// How many fetches may run at once. A lookup that would begin one more gets no answer.
    pub max_fetches: usize,
}

impl Default for LookupSettings {
    fn default() -> Self {
        Self {
            max_bytes: 64 * 1024 * 1024,
            max_fact_bytes: 256 * 1024,
            shared_timeout: Duration::from_millis(100),
            join_while_degraded: Duration::from_secs(1),
            max_fetches: 1024,
        }
    }
}

impl LookupSettings {
    /// Checks what types alone do not.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let wrong =
            |field: &str, problem: String| Err(SettingsError::new(format!("lookups.{field}"), problem));
        if self.shared_timeout.is_zero() || self.shared_timeout > Duration::from_secs(1) {
            return wrong(
                "shared_timeout",
                "must be more than 0 and at most 1s: every lookup waits so long for a shared cache that hangs"
                    .to_owned(),
            );
        }
        if self.join_while_degraded > Duration::from_secs(5) {
            return wrong(
                "join_while_degraded",
                "must be at most 5s: so much longer can a revocation take while the log is out of reach"
                    .to_owned(),
            );
        }
        // What the semaphore behind it can count.
        if self.max_fetches == 0 || self.max_fetches > 1_000_000 {
            return wrong("max_fetches", "must be between 1 and 1000000".to_owned());
        }
        Ok(())
    }
}

/// How long the answers of one source are kept, and how long a fetch may take.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceCacheSettings {
    /// As long as this an answer is used without asking again. A change at the source that nobody tells natsgate of
    /// takes up to so long to be seen; a revocation is seen at once.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub fresh: Duration,
    /// As long as this beyond `fresh` an answer is used while the source cannot be asked. 0s: not at all.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub stale_if_error: Duration,
    /// As long as this "no" and "nothing" are used without asking again. 0s: not at all.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub negative: Duration,
    /// The longest the source may take to answer. More than most requests have left is of no use: an answer in the time
    /// of staleness is given only once the source is known not to answer.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub fetch_timeout: Duration,
    /// Whether an answer that is used when three quarters of `fresh` have passed is fetched again in the background, so
    /// that nobody has to wait for what is often asked.
    pub refresh_ahead: bool,
}

impl Default for SourceCacheSettings {
    fn default() -> Self {
        Self {
            fresh: Duration::from_secs(60),
            stale_if_error: Duration::from_secs(10 * 60),
            negative: Duration::from_secs(10),
            fetch_timeout: Duration::from_secs(1),
            refresh_ahead: true,
        }
    }
}

/// The longest any of the times may be: beyond it a typing error is more likely than a wish.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

impl SourceCacheSettings {
    /// The three times of caching.
    pub fn times(&self) -> CacheTimes {
        CacheTimes {
            fresh: self.fresh,
            stale_if_error: self.stale_if_error,
            negative: self.negative,
        }
    }

    /// Checks what types alone do not. `key` is where these settings stand: `memberships[crm].cache`.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self, key: &str) -> Result<(), SettingsError> {
        let wrong = |field: &str, problem: &str| Err(SettingsError::new(format!("{key}.{field}"), problem));
        if self.fetch_timeout.is_zero() || self.fetch_timeout > Duration::from_secs(60) {
            return wrong(
                "fetch_timeout",
                "must be more than 0 and at most 60s: a request has some two seconds for everything",
            );
        }
        for (field, time) in [
            ("fresh", self.fresh),
            ("stale_if_error", self.stale_if_error),
            ("negative", self.negative),
        ] {
            if time > LONGEST {
                return wrong(field, "must be at most 7days");
            }
        }
        if self.negative > self.fresh {
            return wrong(
                "negative",
                "must not be longer than `fresh`: \"no\" is what people are waiting to see changed",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_used_and_unknown_keys_cannot() {
        let lookups: LookupSettings = serde_json::from_str("{}").unwrap();
        assert_eq!(lookups, LookupSettings::default());
        lookups.validate().unwrap();
        let cache: SourceCacheSettings = serde_json::from_str(r#"{ "fresh": "2m" }"#).unwrap();
        assert_eq!(cache.fresh, Duration::from_secs(120));
        assert_eq!(cache.negative, SourceCacheSettings::default().negative);
        cache.validate("memberships[crm].cache").unwrap();
        serde_json::from_str::<LookupSettings>(r#"{ "max_byte": 1 }"#).unwrap_err();
        serde_json::from_str::<SourceCacheSettings>(r#"{ "ttl": "1s" }"#).unwrap_err();
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, key) in [
            (r#"{ "shared_timeout": "0s" }"#, "lookups.shared_timeout"),
            (r#"{ "shared_timeout": "2s" }"#, "lookups.shared_timeout"),
            (
                r#"{ "join_while_degraded": "1h" }"#,
                "lookups.join_while_degraded",
            ),
            (r#"{ "max_fetches": 0 }"#, "lookups.max_fetches"),
        ] {
            let settings: LookupSettings = serde_json::from_str(text).unwrap();
            assert_eq!(settings.validate().unwrap_err().key, key);
        }
        for (text, key) in [
            (r#"{ "fetch_timeout": "0s" }"#, "x.fetch_timeout"),
            (r#"{ "fetch_timeout": "5m" }"#, "x.fetch_timeout"),
            (r#"{ "fresh": "30days" }"#, "x.fresh"),
            (r#"{ "stale_if_error": "30days" }"#, "x.stale_if_error"),
            (r#"{ "fresh": "5s", "negative": "6s" }"#, "x.negative"),
        ] {
            let settings: SourceCacheSettings = serde_json::from_str(text).unwrap();
            assert_eq!(settings.validate("x").unwrap_err().key, key);
        }
    }
}
