//! What can be configured of the revocation log and of following it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::settings::SettingsError;

/// The least time entries must be kept: shorter, and an instance that was away for a while misses them.
const LEAST_RETENTION: Duration = Duration::from_secs(60);

/// How long and how much the revocation log keeps, and how sure of an entry it must be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// How long entries are kept. Longer than the longest token life and the longest time facts are cached: tokens and
    /// facts from before what the log still holds are checked online.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub retention: Duration,
    /// How many entries are kept at most, whatever their age; every instance holds as many in memory. What is trimmed
    /// early by this makes older facts and tokens be checked online.
    pub max_entries: u64,
    /// How many replicas must have an entry before it counts as confirmed (Redis' WAIT), and a tick before it counts. At least
    /// half of all nodes, rounded down, or both sides of a cut may confirm. 0: the primary alone will do, and
    /// a failover may lose what was just revoked. The log's end, too, counts as confirmed only by so many: while they are
    /// away instances are degraded, which is what keeps one that still speaks to a replaced primary from going on as if
    /// nothing had happened. Only for a log in Redis.
    pub replicas: u32,
    /// How long those replicas are waited for. Only for a log in Redis.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub replicas_timeout: Duration,
    /// Whether an instance may vouch, when Redis was restarted or another primary took over, that no revocation is missing,
    /// so that tokens from before go on being accepted without being checked online: it may, if it heard from the old primary
    /// within this time before. Set it only with `replicas` of 1 or more and failovers that promote one of them: a revocation
    /// that the voucher had not read yet, and that no replica has, would be forgotten for older tokens. 0s: nobody vouches; older
    /// tokens are checked online, or count for a short time. Only for a log in Redis.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub vouch_within: Duration,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(25 * 3600),
            max_entries: 200_000,
            replicas: 0,
            replicas_timeout: Duration::from_millis(200),
            vouch_within: Duration::ZERO,
        }
    }
}

impl LogSettings {
    /// Whether they can be used; `at` is where they stand in the configuration (`revocation_log`).
    ///
    /// # Errors
    /// [`SettingsError`] names the key and the mend.
    pub fn validate(&self, at: &str) -> Result<(), SettingsError> {
        let wrong = |field: &str, problem: &str| Err(SettingsError::new(format!("{at}.{field}"), problem));
        if self.retention < LEAST_RETENTION {
            return wrong(
                "retention",
                "must be 1m at least: instances that were away read the log from there",
            );
        }
        if self.max_entries == 0 {
            return wrong("max_entries", "must be 1 at least");
        }
        if self.replicas > 0 && self.replicas_timeout.is_zero() {
            return wrong(
                "replicas_timeout",
                "must be longer than 0s when `replicas` is not 0",
            );
        }
        if self.replicas_timeout > Duration::from_secs(10) {
            return wrong(
                "replicas_timeout",
                "must be 10s at most: revoking waits that long",
            );
        }
        Ok(())
    }
}

/// How an instance follows the revocation log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FollowerSettings {
    /// How often the log's end is asked for. 1s at most where shims follow the log: what they read counts as its end only if a
    /// decision service asked lately.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub tick: Duration,
    /// How long after the last time the log's end was confirmed cached facts still count. Beyond it the instance is
    /// degraded: facts come from their sources only.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub max_lag: Duration,
    /// How long one question to the log may take.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// How far clocks may differ between the providers that issue tokens and the instances that revoke. A token issued
    /// up to this long after a revocation counts as issued before it.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub clock_skew: Duration,
}

impl Default for FollowerSettings {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(500),
            max_lag: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            clock_skew: Duration::from_secs(30),
        }
    }
}

impl FollowerSettings {
    /// Whether they can be used; `at` is where they stand in the configuration (`revocation_log.follow`).
    ///
    /// # Errors
    /// [`SettingsError`] names the key and the mend.
    pub fn validate(&self, at: &str) -> Result<(), SettingsError> {
        let wrong = |field: &str, problem: &str| Err(SettingsError::new(format!("{at}.{field}"), problem));
        if self.tick < Duration::from_millis(10) {
            return wrong("tick", "must be 10ms at least: every tick is a write to the log");
        }
        if self.max_lag < self.tick.saturating_mul(2) {
            return wrong(
                "max_lag",
                "must be twice `tick` at least, or every late tick degrades the instance",
            );
        }
        if self.max_lag > Duration::from_secs(60) {
            return wrong(
                "max_lag",
                "must be 60s at most: that long a revocation may go unnoticed",
            );
        }
        if self.timeout.is_zero() || self.timeout > self.max_lag {
            return wrong("timeout", "must be longer than 0s and not longer than `max_lag`");
        }
        if self.clock_skew > Duration::from_secs(600) {
            return wrong(
                "clock_skew",
                "must be 10m at most: keep the machines' clocks in step instead",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_good() {
        assert_eq!(LogSettings::default().validate("log"), Ok(()));
        assert_eq!(FollowerSettings::default().validate("log"), Ok(()));
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_name() {
        type Change<S> = fn(&mut S);
        let log: [(&str, Change<LogSettings>); 4] = [
            ("retention", |s| s.retention = Duration::from_secs(59)),
            ("max_entries", |s| s.max_entries = 0),
            ("replicas_timeout", |s| {
                s.replicas = 1;
                s.replicas_timeout = Duration::ZERO;
            }),
            ("replicas_timeout", |s| {
                s.replicas_timeout = Duration::from_secs(11)
            }),
        ];
        for (field, change) in log {
            let mut settings = LogSettings::default();
            change(&mut settings);
            assert_eq!(settings.validate("log").unwrap_err().key, format!("log.{field}"));
        }
        let follow: [(&str, Change<FollowerSettings>); 6] = [
            ("tick", |s| s.tick = Duration::ZERO),
            ("max_lag", |s| s.max_lag = Duration::from_millis(999)),
            ("max_lag", |s| s.max_lag = Duration::from_secs(61)),
            ("timeout", |s| s.timeout = Duration::ZERO),
            ("timeout", |s| s.timeout = Duration::from_secs(3)),
            ("clock_skew", |s| s.clock_skew = Duration::from_secs(601)),
        ];
        for (field, change) in follow {
            let mut settings = FollowerSettings::default();
            change(&mut settings);
            assert_eq!(settings.validate("log").unwrap_err().key, format!("log.{field}"));
        }
    }

    #[test]
    fn every_setting_is_described_in_the_schema() {
        for schema in [
            schemars::schema_for!(LogSettings),
            schemars::schema_for!(FollowerSettings),
        ] {
            let schema = serde_json::to_value(schema).unwrap();
            for (name, property) in schema["properties"].as_object().unwrap() {
                assert!(property["description"].is_string(), "{name} has no description");
            }
            assert_eq!(schema["additionalProperties"], false);
        }
    }
}
